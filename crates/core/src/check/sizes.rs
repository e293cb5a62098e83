//! Sizes: on the unit or the ceiling, never above the ceiling, never above what the model comes to.

use csm_api::Urgency;

use super::seen::total;
use super::{Action, Report, Rule, Seen};
use crate::resolve::{ResizeRules, Sizing, Step, TargetRules};

const MIB: i128 = 1 << 20;
const GIB: i128 = 1 << 30;

/// A MiB below ten GiB, a GiB from there on.
pub(super) const fn unit(size: i128) -> i128 {
    if size < GIB.saturating_mul(10) { MIB } else { GIB }
}

fn floor(size: i128, unit: i128) -> i128 {
    size.saturating_sub(size.checked_rem(unit).unwrap_or(0))
}

fn up(size: i128) -> i128 {
    let down = floor(size, unit(size));
    if down == size { size } else { down.saturating_add(unit(size)) }
}

fn percent(size: i128, percent: u16) -> i128 {
    size.saturating_mul(i128::from(percent)).checked_div(100).unwrap_or(0)
}

pub(super) fn check(action: &Action, report: Report) {
    let Some(to) = action.decision.to else { return };
    let seen = &action.seen;
    let ceiling = seen.ceiling(action.urgency);
    if ceiling.is_some_and(|c| to > c) {
        report(Rule::AboveCeiling, format!("to {to}, the ceiling is {ceiling:?}"));
    }
    if !is_even(action, to.wide()) && ceiling != Some(to) {
        report(
            Rule::OddSize,
            format!("{} to {to}, the ceiling is {ceiling:?}", action.decision.verdict),
        );
    }
    let most = most(action);
    if to.wide() > most {
        report(
            Rule::TooLarge,
            format!("{} to {to}, at most to {most} bytes", action.decision.verdict),
        );
    }
}

fn is_even(action: &Action, to: i128) -> bool {
    let seen = &action.seen;
    if action.is_catch_up() {
        return to == seen.effective.wide();
    }
    let on = |unit| floor(to, unit) == to;
    on(unit(to))
        || match &seen.rules.sizing {
            // A step that `maxStep` leaves no whole unit is a whole number of MiB.
            Sizing::Resize(rules) => {
                let step = to.saturating_sub(seen.effective.wide());
                on(MIB) && step <= rules.max_step.value.wide() && matches!(rules.step.value, Step::Share(_))
            }
            Sizing::Thresholds | Sizing::Target(_) => false,
        }
}

/// The most that a growth of this urgency comes to, before the ceiling.
fn most(action: &Action) -> i128 {
    let seen = &action.seen;
    let effective = seen.effective.wide();
    if action.is_catch_up() {
        return effective;
    }
    match action.urgency {
        Urgency::Planned => planned(seen),
        Urgency::Runway => {
            let held = action.decision.wanted.and_then(|w| w.to).map_or(0, csm_units::Bytes::wide);
            runway(seen).min(planned(seen)).min(held)
        }
        Urgency::Emergency | Urgency::Rescue | Urgency::CatchUp => {
            let step = percent(effective, 25).max(GIB);
            up(own(seen, 0).max(effective.saturating_add(step)))
        }
    }
}

fn runway(seen: &Seen) -> i128 {
    let effective = seen.effective.wide();
    let base = match &seen.rules.sizing {
        Sizing::Resize(rules) if matches!(rules.step.value, Step::Share(_)) => rules.min_step.value.wide(),
        _ => percent(effective, 5).max(GIB),
    };
    let written = seen.forecast().map_or(0, |forecast| {
        let product = forecast.slope.bytes().saturating_mul(1800);
        product.checked_div(forecast.slope.seconds()).unwrap_or(0)
    });
    up(effective.saturating_add(base.max(written)))
}

/// Planned growth; with a window a quarter of the volume may be provided for at most.
fn planned(seen: &Seen) -> i128 {
    let provided = seen.rules.window.as_ref().map_or(0, |_| percent(seen.effective.wide(), 25));
    own(seen, provided)
}

/// The model's own new size, with so much more used.
fn own(seen: &Seen, more: i128) -> i128 {
    let effective = seen.effective.wide();
    match &seen.rules.sizing {
        Sizing::Thresholds => {
            let expansion = &seen.settings.expansion;
            let share = percent(effective, expansion.percentage.value.get());
            up(effective.saturating_add(share.max(expansion.min_increment.value.wide())))
        }
        Sizing::Resize(rules) => resize(effective, rules),
        Sizing::Target(rules) => up(target(seen, rules, more).max(percent(effective, 105))),
    }
}

fn resize(effective: i128, rules: &ResizeRules) -> i128 {
    let share = match rules.step.value {
        Step::Size(step) => return up(effective.saturating_add(step.wide())),
        Step::Share(share) => percent(effective, share.get()),
    };
    let most = rules.max_step.value.wide();
    let exact = effective.saturating_add(share.max(rules.min_step.value.wide()).min(most));
    let rounded = up(exact);
    if rounded.saturating_sub(effective) <= most {
        return rounded;
    }
    match floor(exact, unit(exact)) {
        down if down > effective => down,
        _ => floor(exact, MIB),
    }
}

/// The size at which what is used leaves the buffer free.
pub(super) fn target(seen: &Seen, rules: &TargetRules, more: i128) -> i128 {
    let request = rules.request.value.wide();
    let Some((member, figures)) = seen.most_used() else {
        return request;
    };
    let kept = 100_i128.saturating_sub(i128::from(rules.buffer.value.get()));
    let used = figures.used.wide().saturating_add(more);
    let product = used.checked_mul(100).and_then(|p| p.checked_mul(member.size.wide()));
    let divisor = kept.saturating_mul(total(&figures));
    // Beyond 128 bits it is more than any volume.
    let size = product
        .and_then(|p| p.checked_add(divisor.saturating_sub(1)))
        .map_or(i128::MAX, |p| p.checked_div(divisor).unwrap_or(0));
    size.max(request)
}
