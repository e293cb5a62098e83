use csm_api::{Reason, Urgency};

use crate::resolve::EmergencyRules;
use crate::size;
use crate::view::{MemberView, View, Want};
use crate::world::Observation;

/// Rule 2: percent used of any member has reached `criticalThreshold`.
pub(crate) fn threshold(view: &View) -> Option<Want> {
    fires(view, Reason::CriticalThreshold, |rules, _, figures| {
        rules.threshold.value.reached_by(figures.used, figures.available)
    })
}

/// Rule 3: no more than `criticalMinimumFree` is available to any member.
pub(crate) fn minimum_free(view: &View) -> Option<Want> {
    fires(view, Reason::CriticalMinimumFree, |rules, member, figures| {
        figures.available <= rules.minimum_free_of(member.member.size)
    })
}

fn fires(view: &View, reason: Reason, is: impl Fn(&EmergencyRules, &MemberView, &Observation) -> bool) -> Option<Want> {
    let rules = view.emergency()?;
    if view.observed().any(|(member, figures)| is(rules, member, figures)) {
        return size::emergency(view, reason, Urgency::Emergency);
    }
    let mut outsize = view.members.iter().filter(|m| m.is_outsize());
    let in_danger = outsize.any(|m| m.fresh.as_ref().is_some_and(|figures| is(rules, m, figures)));
    in_danger.then(|| size::outsize(view, reason, Urgency::Emergency))
}
