//! What the ledger forbids, counted anew: the budget, the provider's limit, the cooldown.

use csm_api::Urgency;
use jiff::{SignedDuration, Timestamp};

use super::{Action, Report, Rule};
use crate::resolve::Sizing;
use crate::world::{Member, Operation};

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Rescues in 24 hours, whatever the settings say.
const RESCUES: usize = 3;

/// Started in the period that ends now; its beginning is not in it.
fn within(operation: &Operation, now: Timestamp, period: SignedDuration) -> bool {
    let age = now.duration_since(operation.started_at);
    !age.is_negative() && age < period
}

pub(super) fn check(action: &Action, report: Report) {
    budget(action, report);
    for member in action.patched().filter_map(|plan| action.member(plan)) {
        if provider_is_used_up(action, member) {
            report(Rule::ProviderLimit, format!("PVC {}", member.pvc));
        }
    }
    cooldown(action, report);
}

fn budget(action: &Action, report: Report) {
    if action.is_catch_up() {
        return;
    }
    let seen = &action.seen;
    let started = |o: &&Operation| o.accepted && o.urgency != Urgency::CatchUp && within(o, seen.now, DAY);
    let all = seen.operations().filter(started).count();
    let of = |urgency: Urgency| seen.operations().filter(started).filter(|o| o.urgency == urgency).count();
    let bound = seen.settings.bounds.max_actions.as_ref().map(|f| f.value);
    let capped = |max: u32| match (max, bound) {
        (0, bound) => bound,
        (max, None) => Some(max),
        (max, Some(bound)) => Some(if bound < max { bound } else { max }),
    };
    let emergency = seen.rules.emergency.as_ref();
    // What counts, the most of it, and what is left for others.
    let (count, max, reserved) = match (action.urgency, &seen.rules.sizing) {
        (Urgency::Rescue, _) => (of(Urgency::Rescue), u32::try_from(RESCUES).ok(), 0),
        (_, Sizing::Resize(rules)) => (all, capped(rules.max_actions.value), 0),
        (urgency, Sizing::Target(_)) => {
            let reserved = emergency
                .filter(|e| e.enabled.value && urgency == Urgency::Planned)
                .map_or(0, |e| e.reserved.value);
            (all, emergency.and_then(|e| capped(e.max_actions.value)), reserved)
        }
        (Urgency::Emergency, Sizing::Thresholds) => {
            let max = emergency.and_then(|e| capped(e.max_actions.value));
            (of(Urgency::Emergency), max, 0)
        }
        (_, Sizing::Thresholds) => (all, bound, 0),
    };
    let Some(max) = max else { return };
    let left = usize::try_from(max).unwrap_or(usize::MAX).saturating_sub(count);
    if left == 0 || left <= usize::try_from(reserved).unwrap_or(usize::MAX) {
        report(
            Rule::Budget,
            format!(
                "{count} of {max} are used in 24 hours, {reserved} reserved, urgency {}",
                action.urgency
            ),
        );
    }
}

fn provider_is_used_up(action: &Action, member: &Member) -> bool {
    let seen = &action.seen;
    let Some(limit) = member.class.provider_limit else { return false };
    let patched = |o: &&Operation| {
        let listed = o.members.as_ref().is_none_or(|uids| uids.contains(&member.uid));
        o.accepted && listed && within(o, seen.now, limit.period)
    };
    let count = seen.operations().filter(patched).count();
    count >= usize::try_from(limit.max_actions.max(1)).unwrap_or(usize::MAX)
}

fn cooldown(action: &Action, report: Report) {
    let seen = &action.seen;
    if action.urgency != Urgency::Planned || !matches!(seen.rules.sizing, Sizing::Thresholds) {
        return;
    }
    let cooldown = seen.settings.expansion.cooldown.value;
    let growths = seen.operations().filter(|o| o.accepted && o.urgency != Urgency::CatchUp);
    let ends = |o: &Operation| o.started_at.saturating_add(cooldown).unwrap_or(Timestamp::MAX);
    for growth in growths.filter(|o| seen.now < ends(o)) {
        report(Rule::Cooldown, format!("operation {} started at {}", growth.id, growth.started_at));
    }
}
