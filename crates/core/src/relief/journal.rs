//! The journal: what is known, as it is written.

use csm_api::{Rung, RungResult, RungStatus, WalBound, WalCleanupStatus, WalFiles, WalHolder, WalProof};
use csm_units::Bytes;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::wal::{Bound, Directory, Holder, Proof, Segment, SegmentSize};

/// Bounds that are listed: as many as the schema allows.
const BOUNDS: usize = 32;

/// Characters of a text: as many as the schema allows.
const TEXT: usize = 1024;

/// A text that the schema takes.
pub(super) fn text(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

/// A number that the schema takes.
pub(super) fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Bytes as the schema takes them.
pub(super) fn bytes(bytes: Bytes) -> i64 {
    i64::try_from(bytes.get()).unwrap_or(i64::MAX)
}

/// What so many segments take.
pub(super) fn size_of(count: usize, size: SegmentSize) -> Bytes {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    Bytes::new(count.saturating_mul(size.bytes().get()))
}

/// What the segments of a directory take.
pub(super) fn taken(directory: &Directory) -> Bytes {
    size_of(directory.segments().count(), directory.segment_size())
}

pub(super) fn bounds<'a>(bounds: impl IntoIterator<Item = &'a Bound>) -> Vec<WalBound> {
    bounds.into_iter().take(BOUNDS).map(bound).collect()
}

fn bound(bound: &Bound) -> WalBound {
    WalBound {
        holder: holder(&bound.holder),
        segment: bound.segment.to_string(),
        message: text(&bound.holder.to_string()),
    }
}

const fn holder(holder: &Holder) -> WalHolder {
    match holder {
        Holder::Archive { .. } => WalHolder::Archive,
        Holder::ArchiveElsewhere(_) => WalHolder::ArchiveElsewhere,
        Holder::Slot { .. } => WalHolder::Slot,
        Holder::Standby { .. } => WalHolder::Standby,
        Holder::WalKeepSize { .. } => WalHolder::WalKeepSize,
        Holder::OtherTimeline(_) => WalHolder::OtherTimeline,
        Holder::Partial(_) => WalHolder::Partial,
        Holder::RetainCount(_) => WalHolder::RetainCount,
        Holder::Checkpoint { .. } => WalHolder::Checkpoint,
    }
}

pub(super) fn proof(proof: &Proof, now: Timestamp) -> WalProof {
    let more = proof.kept_by().len().saturating_sub(BOUNDS);
    WalProof {
        cutoff: proof.cutoff().to_string(),
        at: Time(now),
        removable: count(proof.removable().len()),
        bounds: bounds(proof.kept_by()),
        more_bounds: (more > 0).then(|| count(more)),
    }
}

/// A list of segments, by its ends.
pub(super) fn files(listed: &[Segment]) -> WalFiles {
    WalFiles {
        count: count(listed.len()),
        first: listed.iter().min().map(ToString::to_string),
        last: listed.iter().max().map(ToString::to_string),
    }
}

/// A rung is begun, or begun once more after a restart: it keeps the time of its first beginning.
pub(super) fn begin(status: &mut WalCleanupStatus, rung: Rung, now: Timestamp) {
    if status.rungs.iter().all(|r| r.rung != rung) {
        status.rungs.push(RungStatus {
            rung,
            result: RungResult::Begun,
            started_at: Time(now),
            ended_at: None,
            bytes_before: None,
            bytes_after: None,
            message: None,
        });
    }
}

/// A rung has ended. One that had ended before stays as it is.
pub(super) fn end(status: &mut WalCleanupStatus, rung: Rung, result: RungResult, message: Option<&str>, now: Timestamp) {
    begin(status, rung, now);
    let open = |r: &&mut RungStatus| r.rung == rung && r.result == RungResult::Begun;
    if let Some(r) = status.rungs.iter_mut().find(open) {
        r.result = result;
        r.ended_at = Some(Time(now));
        r.message = message.map(text);
    }
}

/// What `pg_wal` took before a rung, and after it.
pub(super) fn measure(status: &mut WalCleanupStatus, rung: Rung, before: Option<Bytes>, after: Option<Bytes>) {
    if let Some(r) = status.rungs.iter_mut().find(|r| r.rung == rung) {
        r.bytes_before = before.map(bytes).or(r.bytes_before);
        r.bytes_after = after.map(bytes).or(r.bytes_after);
    }
}

/// Whether a rung was begun, by the journal.
pub(super) fn was_begun(status: &WalCleanupStatus, rung: Rung) -> bool {
    status.rungs.iter().any(|r| r.rung == rung)
}
