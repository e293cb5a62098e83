//! What is said to be the reason is so.

use csm_api::{Mode, Reason, Urgency};

use super::seen::total;
use super::{Action, Report, Rule, Seen, is_planned, sizes};
use crate::resolve::{ResizeRules, Sizing};
use crate::world::{Member, Observation};

const GIB: i128 = 1 << 30;
const MIB: i128 = 1 << 20;

pub(super) fn check(action: &Action, report: Report) {
    let seen = &action.seen;
    let reason = action.decision.reason;
    let so = match reason {
        Reason::MemberBelowEffectiveSize => true,
        Reason::DiskFull => {
            let rests = |m: &Member| m.disk_full && m.findings.as_ref().is_none_or(|found| found.full);
            seen.volume.members.iter().any(|m| rests(m) && !seen.is_outsize(m))
        }
        // The growth that it stands in for has its own.
        Reason::Runway => action
            .decision
            .wanted
            .is_some_and(|w| is_planned(w.reason) && is_so(seen, w.reason)),
        reason => is_so(seen, reason),
    };
    let caught_up = !action.is_catch_up() || {
        let mut patched = action.patched().filter_map(|plan| action.member(plan));
        patched.all(|m| seen.lags(m))
    };
    if !so || !caught_up {
        report(Rule::NoEvidence, format!("nothing shows that this is so: {reason}"));
    }
    if action.urgency == Urgency::Runway {
        runway(action, report);
    }
}

fn runway(action: &Action, report: Report) {
    let seen = &action.seen;
    let planned = action.decision.wanted.is_some_and(|w| w.urgency == Urgency::Planned);
    let passes = |gate: &Reason| {
        matches!(
            gate,
            Reason::BudgetReservedForEmergency
                | Reason::Cooldown
                | Reason::FleetLimit
                | Reason::MaintenanceWindowClosed
                | Reason::ArchiveUnhealthy
                | Reason::TooManyPendingWalFiles
                | Reason::SlotRetention
                | Reason::Fenced
                | Reason::NotBound
                | Reason::BlockVolume
                | Reason::StorageClassNotExpandable
                | Reason::ResizeInProgress
                | Reason::ResizeStuck
                | Reason::ProviderLimit
        )
    };
    let passed = &action.decision.passed;
    let allowed = seen.settings.emergency_runway.value && planned && !passed.is_empty() && passed.iter().all(passes);
    if !allowed {
        report(Rule::NoRunway, format!("none is allowed: it passes {passed:?}"));
    }
    if !is_about_to_fill(seen) {
        report(Rule::NoRunway, "the volume is not about to fill".to_owned());
    }
}

/// Whether any member is about to fill.
fn is_about_to_fill(seen: &Seen) -> bool {
    let short = seen.level().any(|(member, figures)| {
        let available = figures.available.wide();
        let five_percent = available.saturating_mul(100) < member.size.wide().saturating_mul(5);
        available < MIB.saturating_mul(32) || (available < GIB.saturating_mul(10) && five_percent)
    });
    short || is_full_within(seen, 600)
}

/// Whether the worst member is forecast to be full in less than so many seconds.
fn is_full_within(seen: &Seen, seconds: i128) -> bool {
    let (Some((_, figures)), Some(forecast)) = (seen.worst(), seen.forecast()) else {
        return false;
    };
    // available / slope, rounded down, is less than this where available is less than what is written in that time.
    let available = figures.available.wide().saturating_mul(forecast.slope.seconds());
    available < forecast.slope.bytes().saturating_mul(seconds)
}

/// Whether this is true of any member that has the volume's size, by figures that count.
fn any(seen: &Seen, holds: impl Fn(&Member, &Observation) -> bool) -> bool {
    seen.level().any(|(member, figures)| holds(member, &figures))
}

fn is_so(seen: &Seen, reason: Reason) -> bool {
    let used = |o: &Observation| o.used.wide().saturating_mul(100);
    let share = |o: &Observation, percent: u16| total(o).saturating_mul(i128::from(percent));
    let emergency = seen.emergency();
    match (reason, &seen.rules.sizing) {
        (Reason::CriticalThreshold, _) => emergency.is_some_and(|e| any(seen, |_, o| used(o) >= share(o, e.threshold.value.get()))),
        (Reason::CriticalMinimumFree, _) => emergency.is_some_and(|e| {
            any(seen, |m, o| {
                let twentieth = m.size.wide().saturating_mul(5).checked_div(100).unwrap_or(0);
                let least = e.minimum_free.as_ref().map_or(GIB.min(twentieth), |f| f.value.wide());
                o.available.wide() <= least
            })
        }),
        (Reason::UsageThreshold, Sizing::Thresholds) => {
            let threshold = seen.settings.thresholds.expansion.value.get();
            any(seen, |_, o| used(o) >= share(o, threshold))
        }
        (Reason::RequestFloor, Sizing::Target(rules)) => seen.effective < rules.request.value,
        (Reason::TargetBuffer, Sizing::Target(rules)) => {
            seen.most_used().is_some() && sizes::target(seen, rules, 0) > seen.effective.wide()
        }
        (reason, Sizing::Resize(rules)) => resize_is_so(seen, rules, reason),
        _ => false,
    }
}

fn resize_is_so(seen: &Seen, rules: &ResizeRules, reason: Reason) -> bool {
    match reason {
        Reason::UsageThreshold => {
            let threshold = i128::from(rules.usage_threshold.value.get());
            any(seen, |_, o| o.used.wide().saturating_mul(100) > total(o).saturating_mul(threshold))
        }
        Reason::MinAvailable => {
            let least = rules.min_available.as_ref().map(|f| f.value);
            any(seen, |_, o| least.is_some_and(|least| o.available < least))
        }
        Reason::InodeThreshold => {
            let threshold = rules.inode_threshold.as_ref().map(|f| i128::from(f.value.get()));
            any(seen, |_, o| {
                threshold.zip(o.inodes).is_some_and(|(threshold, inodes)| {
                    let total = i128::from(inodes.total);
                    total > 0 && i128::from(inodes.used).saturating_mul(100) > total.saturating_mul(threshold)
                })
            })
        }
        Reason::TimeToFull => {
            let limit = i128::from(rules.time_to_full.value.get().as_secs());
            // A limit of whole seconds and a fraction: what rounds down to the whole ones is below it.
            let parts = i128::from(rules.time_to_full.value.get().subsec_nanos() > 0);
            rules.mode.value == Mode::Predictive && is_full_within(seen, limit.saturating_add(parts))
        }
        _ => false,
    }
}
