use csm_api::Reason;
use jiff::Timestamp;

use super::{Gate, Held, Inputs, by_members, concerned};
use crate::decision::Cause;
use crate::ledger::drops_to;
use crate::view::{MemberView, View, Want};

/// Gate 17: the provisioner lets a PVC be changed only so often, and it was changed as often as that.
pub(crate) const GATE: Gate = Gate {
    lets_catch_up: true,
    lets_runway: |_| true,
    affects: Some(|view, m, _| used_up_until(view, m, view.now()).is_some()),
    opens_at: Some(opens_at),
    ..Gate::new(Reason::ProviderLimit, holds, inputs)
};

/// When a member may be changed again, where that is not so at `from`. Catch-ups count as well.
fn used_up_until(view: &View, member: &MemberView, from: Timestamp) -> Option<Timestamp> {
    let limit = member.member.class.provider_limit?;
    let patched = view.operations().filter(|o| o.accepted && o.concerns(&member.member.uid));
    let starts = patched.map(|o| o.started_at);
    drops_to(starts, limit.max_actions.saturating_sub(1), limit.period, from)
}

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    by_members(view, want, |m| {
        let at = used_up_until(view, m, view.now())?;
        let cause = Cause::Provider {
            pvc: m.member.pvc.clone(),
            limit: m.member.class.provider_limit?,
            at: Some(at),
        };
        Some(Held::new(Reason::ProviderLimit, cause))
    })
}

/// When members may be changed again that may not be now: then they are not left out any more.
pub(crate) fn openings(view: &View) -> impl Iterator<Item = Timestamp> {
    view.counted().filter_map(|m| used_up_until(view, m, view.now()))
}

/// Planned growth waits for all members, any other for one that it concerns.
fn opens_at(view: &View, want: &Want, from: Timestamp) -> Option<Timestamp> {
    let waits = |m| used_up_until(view, m, from);
    let members = || concerned(view, want);
    if want.is_planned() {
        return members().filter_map(waits).max();
    }
    let all = members().map(waits).collect::<Option<Vec<_>>>()?;
    all.into_iter().min()
}

fn inputs(view: &View) -> Inputs {
    let used_up = view.names(|m| !m.is_outsize() && used_up_until(view, m, view.now()).is_some());
    let limit = view.counted().find_map(|m| m.member.class.provider_limit);
    let limit = limit.map_or_else(|| "none".to_owned(), |l| format!("{} in {:#}", l.max_actions, l.period));
    vec![("providerLimit", limit), ("usedUp", super::list(used_up))]
}
