//! The new size.

use csm_api::{Reason, Urgency};
use csm_units::Bytes;
use jiff::SignedDuration;

use crate::freshness::Freshness;
use crate::resolve::{ResizeRules, ResolvedExpansion, Sizing, Step, TargetRules, WindowRules};
use crate::view::{Kind, MemberView, View, Want};
use crate::world::Observation;

/// A target that is missed by less is met with a step of 5 percent: no action is spent on less.
const LEAST_STEP_PERCENT: u64 = 105;
/// A planned growth provides for at most a quarter of the volume to be written before the next window.
const MOST_BETWEEN_WINDOWS_PERCENT: u64 = 25;
/// An emergency grows by a quarter, and by this at least.
const EMERGENCY_STEP: Bytes = Bytes::GIB;
/// A runway lasts for half an hour of growth.
const RUNWAY: SignedDuration = SignedDuration::from_mins(30);

/// The thresholds model: a share of the effective size, at least `minIncrementGi`, rounded up to the unit.
pub(crate) fn thresholds(effective: Bytes, expansion: &ResolvedExpansion) -> Bytes {
    let share = expansion.percentage.value.share_of(effective);
    effective.saturating_add(share.max(expansion.min_increment.value)).round_up()
}

/// The resize model: a step, rounded up to the unit, or down where up would be a step over `maxStep`.
pub(crate) fn resize(effective: Bytes, rules: &ResizeRules) -> Bytes {
    let share = match rules.step.value {
        Step::Size(size) => return effective.saturating_add(size).round_up(),
        Step::Share(percent) => percent.share_of(effective),
    };
    let step = share.max(rules.min_step.value).min(rules.max_step.value);
    let exact = effective.saturating_add(step);
    let up = exact.round_up();
    if up.saturating_sub(effective) <= rules.max_step.value {
        return up;
    }
    let down = exact.round_down();
    if down > effective {
        return down;
    }
    let mebibytes = exact.get().checked_div(Bytes::MIB.get()).unwrap_or(0);
    Bytes::mib(mebibytes)
}

/// The size at which `used` bytes leave the buffer free, at least `request`. The filesystem is smaller than its PVC by
/// what it keeps for itself, and `figures` of a PVC of `size` tell by how much.
pub(crate) fn with_buffer(rules: &TargetRules, used: Bytes, size: Bytes, figures: &Observation) -> Bytes {
    let kept = 100_i128.saturating_sub(i128::from(rules.buffer.value.get()));
    let divisor = kept.saturating_mul(figures.used.wide().saturating_add(figures.available.wide()));
    let product = used.wide().saturating_mul(100).saturating_mul(size.wide());
    let rounded_up = product.saturating_add(divisor.saturating_sub(1)).checked_div(divisor);
    Bytes::saturating_from(rounded_up.unwrap_or(0)).max(rules.request.value)
}

/// The fresh, non-lagging member with the most used bytes; ties by least available, then by name.
pub(crate) fn most_used<'a>(view: &View<'a>) -> Option<(&'a MemberView<'a>, &'a Observation)> {
    let more = |a: &Observation, b: &Observation| (a.used, b.available) > (b.used, a.available);
    view.observed().reduce(|best, next| if more(next.1, best.1) { next } else { best })
}

/// The target of the request/limit model for what is used now; `request` where nothing is known of that.
pub(crate) fn target(view: &View, rules: &TargetRules) -> Bytes {
    match most_used(view) {
        Some((member, figures)) => with_buffer(rules, figures.used, member.member.size, figures),
        None => rules.request.value,
    }
}

/// The size that a target comes to.
fn towards(view: &View, target: Bytes) -> Bytes {
    target.max(view.effective.mul_div(LEAST_STEP_PERCENT, 100)).round_up()
}

/// The request/limit model, for planned growth: where there is a window, what is forecast to be written until the
/// next one is provided for.
pub(crate) fn planned_target(view: &View, rules: &TargetRules) -> Bytes {
    let window = view.rules.and_then(|rules| rules.window.as_ref());
    let provided = most_used(view).and_then(|(member, figures)| {
        let written = until_the_next_window(view, window?)?;
        let used = figures.used.saturating_add(written);
        Some(with_buffer(rules, used, member.member.size, figures))
    });
    towards(view, provided.unwrap_or_else(|| target(view, rules)))
}

/// What is forecast to be written until the next firing of the schedule, or, while the window is closed, until the one
/// after that. None without a forecast whose samples span a tenth of that time.
fn until_the_next_window(view: &View, rules: &WindowRules) -> Option<Bytes> {
    let Freshness { now, .. } = view.freshness;
    let window = &rules.window;
    let mut firing = window.next_firing(now)?;
    if !window.is_open(now) {
        firing = window.next_firing(firing)?;
    }
    let time = SignedDuration::from_secs(firing.duration_since(now).as_secs());
    let forecast = view.forecast_of_a_day()?;
    let covers = forecast.span.as_nanos().saturating_mul(10) >= time.as_nanos();
    let most = view.effective.mul_div(MOST_BETWEEN_WINDOWS_PERCENT, 100);
    covers.then(|| forecast.grows_in(time).min(most))
}

/// The new size of the volume's own model, without any forecast.
pub(crate) fn own(view: &View) -> Option<Bytes> {
    Some(match &view.rules?.sizing {
        Sizing::Thresholds => thresholds(view.effective, &view.settings?.expansion),
        Sizing::Resize(rules) => resize(view.effective, rules),
        Sizing::Target(rules) => towards(view, target(view, rules)),
    })
}

/// An emergency or a rescue: the model's own size, and a quarter more at least.
pub(crate) fn emergency(view: &View, reason: Reason, urgency: Urgency) -> Option<Want> {
    let quarter = view.effective.mul_div(25, 100).max(EMERGENCY_STEP);
    let to = own(view)?.max(view.effective.saturating_add(quarter)).round_up();
    Some(growth(view, reason, urgency, to))
}

/// What only a member that is larger than the ceiling wants.
pub(crate) fn outsize(view: &View, reason: Reason, urgency: Urgency) -> Want {
    Want {
        reason,
        urgency,
        kind: Kind::Outsize,
        unbounded: view.effective,
        to: view.effective,
        at_limit: true,
    }
}

/// A small step that keeps the volume from filling while `held` waits, and no more than that.
pub(crate) fn runway(view: &View, held: &Want) -> Want {
    let base = match view.resize() {
        Some(rules) if matches!(rules.step.value, Step::Share(_)) => rules.min_step.value,
        _ => view.effective.mul_div(5, 100).max(Bytes::GIB),
    };
    let written = view.forecast().map_or(Bytes::ZERO, |forecast| forecast.grows_in(RUNWAY));
    let to = view.effective.saturating_add(base.max(written)).round_up().min(held.to);
    growth(view, Reason::Runway, Urgency::Runway, to)
}

/// A growth of all members, bounded by the ceiling.
pub(crate) fn growth(view: &View, reason: Reason, urgency: Urgency, unbounded: Bytes) -> Want {
    // A quantity ends below 2^63; the last multiple of the unit before that is as far as any volume goes.
    let largest = Bytes::MAX.round_down();
    let to = view.ceiling_of(urgency).map_or(largest, |c| largest.min(c.size)).min(unbounded);
    let enough = view.effective.saturating_add(view.effective.unit());
    let lowered = to < unbounded;
    Want {
        reason,
        urgency,
        kind: Kind::Growth,
        unbounded,
        to,
        at_limit: (lowered && to < enough) || to <= view.effective,
    }
}

/// What brings the lagging members up: the effective size, bounded by the ceiling. A member that has as much
/// already is left out; where that is true of all of them, the catch-up is at its limit.
pub(crate) fn catch_up(view: &View, reason: Reason, urgency: Urgency) -> Want {
    let to = view.ceiling_of(urgency).map_or(view.effective, |c| view.effective.min(c.size));
    Want {
        reason,
        urgency,
        kind: Kind::CatchUp,
        unbounded: view.effective,
        to,
        at_limit: view.lagging().all(|m| m.bytes >= to),
    }
}
