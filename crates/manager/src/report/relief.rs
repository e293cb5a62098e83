//! The Events of WAL relief.

use csm_api::{EventReason, StorageEvent, WalCleanupOutcome, WalCleanupStatus};
use csm_gather::relief::{instance_of, is_dry_run};

use crate::apply::{Note, Severity};

/// The Event of a relief that has ended; `before` is the one of the same instance before it. What is refused again for the same is
/// told once.
#[must_use]
pub fn ended(event: &StorageEvent, before: Option<&StorageEvent>) -> Option<Note> {
    let found = found(event)?;
    let outcome = found.outcome?;
    let instance = instance_of(event)?;
    let status = event.status.as_ref()?;
    let message = status.conditions.first().map_or("", |condition| condition.message.as_str());
    if outcome == WalCleanupOutcome::Relieved {
        return Some(Note {
            severity: Severity::Normal,
            reason: EventReason::WALCleanup,
            message: format!("WAL of {instance}: {message}"),
        });
    }
    // A list is what was asked for.
    if is_dry_run(event) && outcome == WalCleanupOutcome::Listed {
        return None;
    }
    let is_told = before.and_then(found_outcome) == Some(outcome) && outcome != WalCleanupOutcome::ArchiveGap;
    let lever = found.advice.first().map(|advice| format!("; {}", advice.message));
    // The first advice is about who holds it, and says that once more.
    let message = match &lever {
        Some(_) if outcome == WalCleanupOutcome::NothingToFree => outcome.meaning().trim_end_matches('.'),
        _ => message,
    };
    let lever = lever.unwrap_or_default();
    (!is_told).then(|| Note {
        severity: Severity::Warning,
        reason: EventReason::WALCleanupRefused,
        message: format!("WAL of {instance}: {message}{lever}"),
    })
}

/// The Event of what a person asked for and is refused.
#[must_use]
pub fn refused(event: &StorageEvent, why: &str) -> Note {
    Note {
        severity: Severity::Warning,
        reason: EventReason::WALCleanupRefused,
        message: format!(
            "WAL of {}: not begun, nothing was changed: {why}",
            instance_of(event).unwrap_or_default()
        ),
    }
}

fn found(event: &StorageEvent) -> Option<&WalCleanupStatus> {
    event.status.as_ref()?.wal_cleanup.as_ref()
}

fn found_outcome(event: &StorageEvent) -> Option<WalCleanupOutcome> {
    found(event)?.outcome
}
