use csm_api::{Model, Reason, Urgency};
use jiff::Timestamp;

use super::{Gate, Held, Inputs};
use crate::decision::{Budget, Cause};
use crate::freshness::{DAY, after};
use crate::ledger::drops_to;
use crate::view::{View, Want};
use crate::world::Operation;

/// Gate 16: the growths of the last 24 hours have used up the budget, or what is left is kept for emergencies.
pub(crate) const GATE: Gate = Gate {
    lets_catch_up: true,
    lets_runway: |reason| reason == Reason::BudgetReservedForEmergency,
    opens_at: Some(opens_at),
    ..Gate::new(Reason::BudgetExhausted, holds, inputs)
};

/// A rescue is bounded by itself: what does not help three times in a day does not help.
const RESCUES_A_DAY: u32 = 3;

/// What a growth may use.
struct Allowance {
    /// What counts against it.
    actions: u32,
    /// The most of them in 24 hours.
    max: u32,
    /// How many a planned growth leaves.
    reserved: u32,
    /// Which operations count.
    counts: fn(&Operation) -> bool,
}

/// The most actions a day, where the policy's own number or a bound sets one.
fn capped(view: &View, max: u32) -> Option<u32> {
    view.settings?.bounds.actions_a_day(max)
}

fn any(operation: &Operation) -> bool {
    operation.counts()
}

/// What counts against a growth, where anything does.
fn allowance(view: &View, want: &Want) -> Option<Allowance> {
    let of_all = |max| Allowance {
        actions: view.ledger.actions,
        max,
        reserved: 0,
        counts: any,
    };
    if want.is_catch_up() {
        return None;
    }
    if want.urgency == Urgency::Rescue {
        return Some(Allowance {
            actions: view.ledger.rescues,
            max: RESCUES_A_DAY,
            reserved: 0,
            counts: |o| o.counts() && o.urgency == Urgency::Rescue,
        });
    }
    let emergency = view.rules?.emergency.as_ref();
    match (view.model()?, want.urgency) {
        (Model::Thresholds, Urgency::Emergency) => Some(Allowance {
            actions: view.ledger.emergencies,
            max: capped(view, emergency?.max_actions.value)?,
            reserved: 0,
            counts: |o| o.counts() && o.urgency == Urgency::Emergency,
        }),
        (Model::Thresholds, _) => Some(of_all(capped(view, 0)?)),
        (Model::Resize, _) => Some(of_all(capped(view, view.resize()?.max_actions.value)?)),
        (Model::Target, urgency) => Some(Allowance {
            reserved: if urgency == Urgency::Planned { reserved(view) } else { 0 },
            ..of_all(capped(view, emergency?.max_actions.value)?)
        }),
    }
}

/// What planned growth leaves for emergencies.
fn reserved(view: &View) -> u32 {
    view.emergency().map_or(0, |rules| rules.reserved.value)
}

/// The most growths of any kind in 24 hours, where the model or a bound sets one.
fn most(view: &View) -> Option<u32> {
    match view.model() {
        Some(Model::Resize) => view.resize().and_then(|rules| capped(view, rules.max_actions.value)),
        Some(Model::Target) => {
            let rules = view.rules.and_then(|rules| rules.emergency.as_ref());
            rules.and_then(|rules| capped(view, rules.max_actions.value))
        }
        Some(Model::Thresholds) | None => None,
    }
}

/// What the actions of the last 24 hours leave, for people.
pub(crate) fn of(view: &View) -> Budget {
    let max = most(view);
    let kept = if view.model() == Some(Model::Target) { reserved(view) } else { 0 };
    let left = max.map(|max| max.saturating_sub(view.ledger.actions));
    Budget {
        actions_last_24h: view.ledger.actions,
        available_for_planned: left.map(|left| left.saturating_sub(kept)),
        available_for_emergency: left.map(|left| left.min(kept)),
        resets_at: view.ledger.oldest.map(|oldest| after(oldest, DAY)),
    }
}

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    let want = want?;
    let Allowance {
        actions, max, reserved, ..
    } = allowance(view, want)?;
    let left = max.saturating_sub(actions);
    if left > reserved {
        return None;
    }
    let reason = if left == 0 {
        Reason::BudgetExhausted
    } else {
        Reason::BudgetReservedForEmergency
    };
    let cause = Cause::Budget {
        actions,
        max,
        reserved,
        at: opens_at(view, want, view.now()).filter(|at| *at < Timestamp::MAX),
    };
    Some(Held::new(reason, cause))
}

fn opens_at(view: &View, want: &Want, from: Timestamp) -> Option<Timestamp> {
    let Allowance { max, reserved, counts, .. } = allowance(view, want)?;
    let Some(allowed) = max.checked_sub(reserved).and_then(|free| free.checked_sub(1)) else {
        return Some(Timestamp::MAX);
    };
    let starts = view.operations().filter(|o| counts(o)).map(|o| o.started_at);
    drops_to(starts, allowed, DAY, from)
}

fn inputs(view: &View) -> Inputs {
    let Budget {
        actions_last_24h,
        available_for_planned,
        available_for_emergency,
        resets_at,
    } = of(view);
    let Some(max) = most(view) else {
        return vec![
            ("actionsLast24h", actions_last_24h.to_string()),
            ("maxActionsPerDay", "no limit".to_owned()),
        ];
    };
    let number = |n: Option<u32>| n.map_or_else(|| "no limit".to_owned(), |n| n.to_string());
    vec![
        ("actionsLast24h", actions_last_24h.to_string()),
        ("maxActionsPerDay", max.to_string()),
        ("availableForPlanned", number(available_for_planned)),
        ("availableForEmergency", number(available_for_emergency)),
        ("resetsAt", super::moment(resets_at, "none")),
    ]
}
