//! A relief of WAL that a person asked for: who holds it, what was done, what is left and what to do about it.

use csm_api::{Phase, RungResult, RungStatus, WalBound, WalCleanupStatus, WalFiles};
use csm_units::Bytes;

use super::levers::dry;
use super::lines::Lines;
use super::size::size;
use super::table::{Table, plain};
use super::time::moment;
use super::{Page, Tone};
use crate::levers::{Relief, ReliefAsked};

/// A relief of WAL.
#[must_use]
pub fn relief(relief: &Relief, page: &Page) -> String {
    let Relief {
        asked:
            ReliefAsked {
                cluster,
                instance,
                primary,
                acts,
                cluster_ref: _,
                spec: _,
            },
        event,
        dry_run,
        phase,
        outcome,
        message,
        wal_cleanup,
        follow,
    } = relief;
    let mut lines = Lines::default();
    let role = if *primary { ", the primary" } else { "" };
    let head = format!("Cluster {cluster}, WAL of {instance}{role}:");
    let what = if *acts {
        "CHECKPOINT, and the removal of what nobody needs"
    } else {
        "a dry run, which lists what could go and changes nothing"
    };
    lines.line(0, &format!("{} {what}{}", Tone::Title.paint(&head), dry(*dry_run)));
    if let Some(found) = wal_cleanup {
        findings(&mut lines, found, page);
    }
    if let Some(event) = event {
        lines.paragraph(
            page,
            0,
            &format!("Recorded as StorageEvent {event}; the manager does the work."),
            Tone::Plain,
        );
    }
    if let (Some(outcome), Some(message)) = (outcome, message) {
        let failed = *phase == Some(Phase::Failed);
        let tone = if failed { Tone::Bad } else { Tone::Good };
        lines.paragraph(page, 0, &format!("{outcome}: {message}"), tone);
    }
    if let Some(follow) = follow {
        lines.line(0, follow);
    }
    lines.into_text()
}

fn findings(lines: &mut Lines, found: &WalCleanupStatus, page: &Page) {
    let WalCleanupStatus {
        rungs,
        holders,
        proof,
        dry_run,
        files_removed,
        space_freed_bytes,
        oldest_retained,
        still_held_by,
        advice,
        outcome: _,
    } = found;
    held(lines, "Held by, before anything was changed, who holds most first:", holders, page);
    steps(lines, rungs, page);
    if let Some(proof) = proof {
        let (cutoff, at) = (&proof.cutoff, moment(proof.at.0));
        let first = format!("Cutoff: {cutoff} is the first segment that stays, as of {at}");
        // Often what was shown just now.
        if proof.bounds == *holders {
            lines.line(0, &format!("{first}; it rests on what is above"));
        } else {
            held(lines, &format!("{first}; it is the lowest of:"), &proof.bounds, page);
        }
        if let Some(more) = proof.more_bounds {
            lines.line(2, &format!("and {more} more"));
        }
    }
    if let Some(files) = dry_run {
        lines.line(0, &format!("Could go: {}", range(files)));
    }
    if let Some(removed) = files_removed {
        lines.line(0, &format!("Removed: {}", count(*removed)));
    }
    if let Some(freed) = space_freed_bytes {
        lines.line(0, &format!("Freed in pg_wal: {}", bytes(*freed)));
    }
    if let Some(oldest) = oldest_retained {
        lines.line(0, &format!("Oldest segment that is left: {oldest}"));
    }
    match proof {
        Some(proof) if !still_held_by.is_empty() && proof.bounds == *still_held_by => {
            lines.line(0, "The rest is held by what the cutoff rests on");
        }
        _ => held(lines, "The rest is held by, who holds most first:", still_held_by, page),
    }
    if !advice.is_empty() {
        lines.line(0, "What frees WAL for good, the best first:");
    }
    for advice in advice {
        lines.paragraph(page, 2, &format!("{}: {}", advice.lever, advice.message), Tone::Plain);
        if let Some(command) = &advice.command {
            lines.line(4, command);
        }
    }
}

fn held(lines: &mut Lines, title: &str, bounds: &[WalBound], page: &Page) {
    if bounds.is_empty() {
        return;
    }
    lines.line(0, title);
    let mut table = Table::new(&["HOLDER", "FROM", "WHY"]).indented(2).within(page.width);
    for WalBound { holder, segment, message } in bounds {
        table.row(&[plain(holder.as_str()), plain(segment.as_str()), plain(message.as_str())]);
    }
    lines.block(&table.text());
}

fn steps(lines: &mut Lines, rungs: &[RungStatus], page: &Page) {
    if rungs.is_empty() {
        return;
    }
    let headers = ["STEP", "RESULT", "PG_WAL BEFORE>", "AFTER>", "FREED>", "NOTE"];
    let none = || "-".to_owned();
    let mut table = Table::new(&headers).indented(2).within(page.width);
    for step in rungs {
        let tone = match step.result {
            RungResult::Done => Tone::Good,
            RungResult::Begun | RungResult::Skipped => Tone::Plain,
            RungResult::Refused | RungResult::Unknown => Tone::Watch,
            RungResult::Failed => Tone::Bad,
        };
        let freed = step
            .bytes_before
            .zip(step.bytes_after)
            .map(|(before, after)| before.saturating_sub(after).max(0));
        table.row(&[
            plain(step.rung.as_str()),
            (step.result.as_str().to_owned(), tone),
            plain(step.bytes_before.map_or_else(none, bytes)),
            plain(step.bytes_after.map_or_else(none, bytes)),
            plain(freed.map_or_else(none, bytes)),
            plain(step.message.clone().unwrap_or_default()),
        ]);
    }
    lines.line(0, "Steps:");
    lines.block(&table.text());
}

/// Segments are whole MiB each: "1104Mi", where one more or less shows.
fn bytes(bytes: i64) -> String {
    size(Bytes::new(u64::try_from(bytes).unwrap_or(0)))
}

fn count(segments: i32) -> String {
    match segments {
        1 => "1 segment".to_owned(),
        segments => format!("{segments} segments"),
    }
}

/// "12 segments, 00… to 00…".
fn range(
    WalFiles {
        count: segments,
        first,
        last,
    }: &WalFiles,
) -> String {
    let segments = count(*segments);
    match (first, last) {
        (Some(first), Some(last)) if first != last => format!("{segments}, {first} to {last}"),
        (Some(only), _) | (None, Some(only)) => format!("{segments}, {only}"),
        (None, None) => segments,
    }
}
