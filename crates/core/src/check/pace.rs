//! What paces growth: the fleet, the maintenance window, and WAL in the resize model.

use csm_api::{Role, Urgency};

use super::seen::total;
use super::{Action, Report, Rule};
use crate::resolve::{Sizing, WalSafetyRules};

pub(super) fn check(action: &Action, report: Report) {
    let seen = &action.seen;
    let waits = match action.urgency {
        Urgency::Planned => true,
        Urgency::CatchUp => !a_lagging_member_is_nearly_full(action),
        Urgency::Rescue | Urgency::Emergency | Urgency::Runway => false,
    };
    let classes = seen.volume.members.iter().map(|m| m.class.fleet);
    let mut fleets = std::iter::once(seen.world.fleet).chain(classes);
    if let Some(fleet) = fleets.find(|fleet| waits && fleet.is_full().is_some()) {
        report(
            Rule::FleetLimit,
            format!("{} of {:?} are in progress", fleet.in_progress, fleet.limit),
        );
    }
    let planned = action.urgency == Urgency::Planned;
    let closed = seen
        .rules
        .window
        .as_ref()
        .is_some_and(|rules| rules.window.open(seen.now).is_none());
    if planned && closed {
        report(Rule::WindowClosed, "the maintenance window is closed".to_owned());
    }
    if let Sizing::Resize(rules) = &seen.rules.sizing {
        wal(action, &rules.wal_safety, report);
    }
}

fn a_lagging_member_is_nearly_full(action: &Action) -> bool {
    let seen = &action.seen;
    let mut lagging = seen.volume.members.iter().filter(|m| seen.lags(m));
    lagging.any(|m| {
        let fresh = seen.fresh(m);
        fresh.is_some_and(|o| o.used.wide().saturating_mul(100) >= total(&o).saturating_mul(95))
    })
}

fn wal(action: &Action, rules: &WalSafetyRules, report: Report) {
    let seen = &action.seen;
    let role = seen.volume.key.role;
    let separate = seen.world.volumes.iter().any(|v| v.key.role == Role::Wal);
    let shared = role == Role::Data && !separate;
    // A runway stands in for a planned growth, which it may not pass this gate for.
    let asked = matches!(action.urgency, Urgency::Planned | Urgency::Emergency | Urgency::Runway);
    if asked && shared && !rules.acknowledged.value {
        report(Rule::WalRisk, "acknowledgeWALRisk is not true".to_owned());
    }
    if action.urgency != Urgency::Planned || !(shared || role == Role::Wal) {
        return;
    }
    let Some(health) = &seen.world.cluster.wal else { return };
    if let Some(archiving) = health.archiving {
        let failed = match (archiving.last_failed, archiving.last_archived) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(failed), Some(archived)) => failed > archived,
        };
        if failed && rules.require_archive_healthy.value {
            report(Rule::WalHealth, "WAL archiving fails".to_owned());
        }
        let max = rules.max_pending_files.value;
        if max != 0 && archiving.pending > max {
            report(Rule::WalHealth, format!("{} files wait, at most {max} may", archiving.pending));
        }
    }
    let max = rules.max_slot_retention.value.wide();
    let inactive = health.slots.iter().filter(|s| !s.active).map(|s| s.retained.wide());
    let retained = inactive.fold(0_i128, i128::saturating_add);
    if max != 0 && retained > max {
        report(
            Rule::WalHealth,
            format!("inactive slots retain {retained} bytes, at most {max} may be"),
        );
    }
}
