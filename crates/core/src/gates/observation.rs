use csm_api::Reason;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::view::{MemberView, View, Want};

/// Gate 14: nothing fired, but no member that counts has fresh figures: absence is never read as zero.
pub(crate) const GATE: Gate = Gate {
    always: true,
    lets_catch_up: true,
    ..Gate::new(Reason::StaleObservation, holds, inputs)
};

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    if want.is_some() || view.figures().next().is_some() {
        return None;
    }
    let seen = view.counted().filter_map(|m| m.member.figures().map(|f| (f.at, m)));
    // Of two of one age the first by name.
    let newest = seen.reduce(|a, b| if b.0 > a.0 { b } else { a });
    let reason = if newest.is_some() {
        Reason::StaleObservation
    } else {
        Reason::NoObservation
    };
    let cause = Cause::Figures {
        newest: newest.map(|(at, m)| (at, m.member.instance.clone())),
        limit: view.freshness.limit,
    };
    Some(Held::new(reason, cause))
}

fn inputs(view: &View) -> Inputs {
    let age = |m: &MemberView| {
        let text = match (m.member.figures(), m.fresh.as_ref()) {
            (None, _) => "never".to_owned(),
            (Some(f), Some(_)) => format!("{} (fresh)", f.at),
            (Some(f), None) => format!("{} (not fresh)", f.at),
        };
        format!("{}: {text}", m.member.instance)
    };
    let estimate = |m: &MemberView| {
        let sample = m.member.figures()?;
        let estimate = m.member.estimate.filter(|e| m.fresh.is_some() && e.on(sample).is_some())?;
        let (used, error, by) = (estimate.used, estimate.error, estimate.source.as_str());
        Some(format!(
            "{}: {used} at {}, give or take {error}, by {by}",
            m.member.instance, estimate.at
        ))
    };
    let estimates: Vec<String> = view.members.iter().filter_map(estimate).collect();
    let mut inputs = vec![
        ("observedAt", super::list(view.members.iter().map(age))),
        ("limit", format!("{:#}", view.freshness.limit)),
    ];
    if !estimates.is_empty() {
        inputs.push(("estimatedSince", super::list(estimates)));
    }
    inputs
}
