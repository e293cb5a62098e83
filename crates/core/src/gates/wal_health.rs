use std::sync::Arc;

use csm_api::Reason;
use csm_units::Bytes;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::resolve::WalSafetyRules;
use crate::view::{View, Want};
use crate::world::{Archiving, WalHealth};

/// Gate 22, resize model, volumes that hold pg_wal: growth must not hide that WAL cannot leave. What is not known
/// holds nothing, and is a warning.
pub(crate) const GATE: Gate = Gate {
    lets_catch_up: true,
    lets_runway: |_| true,
    ..Gate::new(Reason::ArchiveUnhealthy, holds, inputs)
};

/// What is to be checked for a growth, where anything is.
fn rules<'a>(view: &View<'a>, want: Option<&Want>) -> Option<&'a WalSafetyRules> {
    let asks = want.is_some_and(|want| want.is_planned() && !want.is_catch_up()) && view.holds_wal();
    view.resize().filter(|_| asks).map(|rules| &rules.wal_safety)
}

/// Whether a growth goes on although nothing is known of WAL.
pub(crate) fn is_unknown(view: &View, want: Option<&Want>) -> bool {
    view.world.cluster.wal.is_none() && rules(view, want).is_some()
}

/// The inactive slots with what they hold back, the most first.
fn inactive(health: &WalHealth) -> Vec<(Arc<str>, Bytes)> {
    health.inactive().map(|slot| (slot.name.clone(), slot.retained)).collect()
}

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    judge(rules(view, want)?, view.world.cluster.wal.as_ref()?)
}

/// What holds a planned growth under these rules.
pub(crate) fn judge(rules: &WalSafetyRules, health: &WalHealth) -> Option<Held> {
    if let Some(archiving) = health.archiving {
        let Archiving {
            last_archived,
            last_failed,
            pending,
        } = archiving;
        if rules.require_archive_healthy.value && archiving.is_failing() {
            let cause = Cause::Archive {
                last_archived,
                last_failed,
            };
            return Some(Held::new(Reason::ArchiveUnhealthy, cause));
        }
        let max = rules.max_pending_files.value;
        if max > 0 && pending > max {
            return Some(Held::new(Reason::TooManyPendingWalFiles, Cause::Pending { files: pending, max }));
        }
    }
    let (retained, max) = (health.retained(), rules.max_slot_retention.value);
    (!max.is_zero() && retained > max).then(|| {
        let slots = inactive(health);
        Held::new(Reason::SlotRetention, Cause::Slots { slots, retained, max })
    })
}

fn inputs(view: &View) -> Inputs {
    if !view.holds_wal() {
        return vec![("pgWal", "not on this volume".to_owned())];
    }
    let Some(resize) = view.resize() else {
        return vec![("walSafetyPolicy", "only in model Resize".to_owned())];
    };
    let Some(health) = &view.world.cluster.wal else {
        return vec![("walHealth", "unknown".to_owned())];
    };
    let rules = &resize.wal_safety;
    let checked = |checked: bool, value: String| if checked { value } else { "not checked".to_owned() };
    let mut inputs = match health.archiving {
        None => vec![("archiving", "not configured".to_owned())],
        Some(Archiving {
            last_archived,
            last_failed,
            pending,
        }) => vec![
            ("requireArchiveHealthy", rules.require_archive_healthy.value.to_string()),
            ("lastArchived", super::moment(last_archived, "never")),
            ("lastFailed", super::moment(last_failed, "never")),
            ("pendingFiles", pending.to_string()),
            (
                "maxPendingWALFiles",
                checked(rules.max_pending_files.value > 0, rules.max_pending_files.value.to_string()),
            ),
        ],
    };
    let slots = inactive(health);
    inputs.push((
        "inactiveSlots",
        super::list(slots.iter().map(|(name, retained)| format!("{name}: {retained}"))),
    ));
    inputs.push(("retainedByInactiveSlots", health.retained().to_string()));
    let max = rules.max_slot_retention.value;
    inputs.push(("maxSlotRetentionBytes", checked(!max.is_zero(), max.to_string())));
    inputs
}
