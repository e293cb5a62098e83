//! What a person can do about what holds WAL: better than removing files, since the server then does it itself.

use csm_api::{WalAdvice, WalFiles, WalLever};
use csm_units::Bytes;

use super::journal::{size_of, text};
use super::verdict::last;
use super::{Order, Reading, SlotLimit};
use crate::wal::{Bound, Holder, Proof, Refusal, Segment};

/// CloudNativePG's default of `wal_keep_size` (`CnpgConfigurationSettings`, pkg/postgres/configuration.go).
const WAL_KEEP_SIZE: Bytes = Bytes::mib(512);

/// PostgreSQL's default of `max_wal_size`.
const MAX_WAL_SIZE: Bytes = Bytes::GIB;

/// Slots that CloudNativePG makes and drops itself, for its standbys (`replicationSlots.highAvailability.slotPrefix`).
const OF_STANDBYS: &str = "_cnpg_";

/// What can be done, the best first. `removed` is what has just been removed.
pub(super) fn advice(order: &Order, reading: &Reading, found: &Result<Proof, Refusal>, removed: Option<&WalFiles>) -> Vec<WalAdvice> {
    let mut advice = Vec::new();
    match found {
        Ok(proof) => {
            let kept = kept_for_nobody(order, reading, proof, removed);
            let bound = decisive(proof);
            // A few segments that the policy keeps are not what fills a volume.
            let (first, last) = if matches!(bound.holder, Holder::RetainCount(_)) {
                (kept, None)
            } else {
                (None, kept)
            };
            advice.extend(first);
            advice.extend(about_holder(order, reading, bound));
            advice.extend(slots_without_limit(order, reading, proof));
            advice.extend(last);
        }
        Err(refusal) => advice.push(WalAdvice {
            lever: WalLever::Evidence,
            message: text(&format!("{refusal}; {}", refusal.remedy())),
            command: None,
        }),
    }
    advice.extend(made_in_advance(order, reading));
    if advice.is_empty() {
        advice.push(WalAdvice {
            lever: WalLever::Grow,
            message: "what is left is needed for recovery from a crash: the volume is too small for what is written".to_owned(),
            command: None,
        });
    }
    advice
}

/// What decided, and where a checkpoint holds as much as `retainCount`, the checkpoint: to keep fewer would free nothing.
fn decisive(proof: &Proof) -> &Bound {
    let is_checkpoint = |bound: &&Bound| bound.segment == proof.cutoff() && matches!(bound.holder, Holder::Checkpoint { .. });
    let checkpoint = proof.kept_by().iter().find(is_checkpoint);
    match proof.decided_by().holder {
        Holder::RetainCount(_) => checkpoint.unwrap_or(proof.decided_by()),
        _ => proof.decided_by(),
    }
}

fn about_holder(order: &Order, reading: &Reading, bound: &Bound) -> Option<WalAdvice> {
    let (lever, what, command) = match &bound.holder {
        Holder::Archive { .. } | Holder::ArchiveElsewhere(_) => (
            WalLever::RepairArchiving,
            "let archiving work again; the server then frees the WAL itself",
            Some(format!(
                "kubectl cnpg status {} -n {}; kubectl logs -n {} -l cnpg.io/cluster={},cnpg.io/instanceRole=primary -c postgres | grep -i archive",
                order.cluster, order.namespace, order.namespace, order.cluster
            )),
        ),
        Holder::Slot { name, .. } if is_unused(reading, name) && !name.starts_with(OF_STANDBYS) => (
            WalLever::DropSlot,
            "nobody uses the slot now; drop it if nobody will, since its reader has to start anew then",
            drop_slot(order, name),
        ),
        Holder::Slot { .. } | Holder::Standby { .. } => (
            WalLever::RepairStandby,
            "let what reads there catch up; look at why it is behind",
            Some(format!("kubectl cnpg status {} -n {}", order.cluster, order.namespace)),
        ),
        Holder::WalKeepSize { size, .. } => return Some(lower_wal_keep_size(order, *size)),
        Holder::RetainCount(_) => (WalLever::LowerRetainCount, "lower walCleanup.retainCount in the policy", None),
        Holder::OtherTimeline(_) | Holder::Partial(_) => (
            WalLever::Evidence,
            "the server removes such files itself, once they are archived and a checkpoint has passed them; look at the archiver if they stay",
            None,
        ),
        Holder::Checkpoint { .. } => return None,
    };
    Some(WalAdvice {
        lever,
        message: text(&format!("{}: {what}", bound.holder)),
        command,
    })
}

fn is_unused(reading: &Reading, name: &str) -> bool {
    let mut slots = reading.evidence.slots.iter().flatten();
    slots.any(|slot| *slot.name == *name && !slot.active)
}

/// The names of slots are lower-case letters, digits and underscores (`ReplicationSlotValidateName`,
/// src/backend/replication/slot.c); anything else goes into no command.
fn drop_slot(order: &Order, name: &str) -> Option<String> {
    let is_plain = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    is_plain.then(|| {
        format!(
            "kubectl exec -n {} {} -c postgres -- psql -U postgres -c \"SELECT pg_drop_replication_slot('{name}')\"",
            order.namespace, order.instance
        )
    })
}

/// A merge patch of one parameter of the Cluster.
fn set(order: &Order, parameter: &str, value: Bytes) -> String {
    let mib = value.get().checked_div(Bytes::MIB.get()).unwrap_or(0);
    format!(
        "kubectl patch cluster.postgresql.cnpg.io {} -n {} --type merge -p '{{\"spec\":{{\"postgresql\":{{\"parameters\":{{\"{parameter}\":\"{mib}MB\"}}}}}}}}'",
        order.cluster, order.namespace
    )
}

/// The default where more is set, else half of it.
fn lower(size: Bytes, default: Bytes) -> Bytes {
    let half = Bytes::new(size.get().checked_div(2).unwrap_or(0));
    if size > default { default } else { half.max(Bytes::mib(32)) }
}

fn lower_wal_keep_size(order: &Order, size: Bytes) -> WalAdvice {
    WalAdvice {
        lever: WalLever::LowerWalKeepSize,
        message: format!("wal_keep_size keeps {size} for standbys that ask for it; with a slot for each of them it need not"),
        command: Some(set(order, "wal_keep_size", lower(size, WAL_KEEP_SIZE))),
    }
}

/// What the server keeps for `wal_keep_size` alone, and nobody needs; or kept until a moment ago, and will keep again.
fn kept_for_nobody(order: &Order, reading: &Reading, proof: &Proof, removed: Option<&WalFiles>) -> Option<WalAdvice> {
    let last = last(&reading.evidence)?;
    let size = reading.evidence.wal_keep_size?;
    let kept_from = last.number().saturating_sub(last.size().count(size));
    let newest = removed.and_then(|files| Segment::parse(files.last.as_deref()?, last.size()).ok());
    let kept = proof.removable().iter().chain(&newest).any(|segment| segment.number() >= kept_from);
    kept.then(|| lower_wal_keep_size(order, size))
}

fn slots_without_limit(order: &Order, reading: &Reading, proof: &Proof) -> Option<WalAdvice> {
    let Holder::Slot { name, .. } = &proof.decided_by().holder else {
        return None;
    };
    if reading.slot_limit != Some(SlotLimit::Unlimited) {
        return None;
    }
    let directory = reading.evidence.directory.as_ref()?;
    let taken = size_of(directory.segments().count(), directory.segment_size());
    let half = Bytes::new(taken.get().checked_div(2).unwrap_or(0)).max(Bytes::GIB);
    Some(WalAdvice {
        lever: WalLever::LimitSlots,
        message: format!(
            "max_slot_wal_keep_size is -1, so that replication slot \"{name}\" holds WAL until the volume is full; beyond a limit the slot is lost, and its reader has to start anew"
        ),
        command: Some(set(order, "max_slot_wal_keep_size", half)),
    })
}

/// Segments that the server made or kept for later, up to `max_wal_size`: `pg_archivecleanup` never removes them.
fn made_in_advance(order: &Order, reading: &Reading) -> Option<WalAdvice> {
    let last = last(&reading.evidence)?;
    let directory = reading.evidence.directory.as_ref()?;
    let (ahead, all) = directory.segments().fold((0_usize, 0_usize), |(ahead, all), segment| {
        let is_ahead = usize::from(segment.number() > last.number());
        (ahead.saturating_add(is_ahead), all.saturating_add(1))
    });
    let size = reading.max_wal_size.filter(|_| ahead.saturating_mul(2) > all)?;
    Some(WalAdvice {
        lever: WalLever::LowerMaxWalSize,
        message: format!(
            "{ahead} of {all} segments are made in advance ({}), as max_wal_size {size} allows; checkpoints come more often with less",
            size_of(ahead, directory.segment_size())
        ),
        command: Some(set(order, "max_wal_size", lower(size, MAX_WAL_SIZE))),
    })
}
