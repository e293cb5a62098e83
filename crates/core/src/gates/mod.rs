//! What holds a growth: one rule a file, in the order of the list in `plan.rs`.

pub(crate) mod at_limit;
pub(crate) mod block_volume;
pub(crate) mod budget;
pub(crate) mod circuit;
pub(crate) mod cluster_deleting;
pub(crate) mod cooldown;
pub(crate) mod disabled;
pub(crate) mod dry_run;
pub(crate) mod fenced;
pub(crate) mod fleet_limit;
pub(crate) mod hibernated;
pub(crate) mod in_use_resize;
pub(crate) mod no_policy;
pub(crate) mod not_bound;
pub(crate) mod observation;
pub(crate) mod paused;
pub(crate) mod policy_conflict;
pub(crate) mod policy_invalid;
pub(crate) mod provider_limit;
pub(crate) mod resize_in_flight;
pub(crate) mod retry_later;
pub(crate) mod shared_filesystem;
pub(crate) mod storage_class;
pub(crate) mod wal_health;
pub(crate) mod wal_risk;
pub(crate) mod window;

use csm_api::{Reason, Urgency};
use jiff::Timestamp;

use crate::decision::Cause;
use crate::plan::GATES;
use crate::view::{MemberView, View, Want};

/// A gate that holds: its reason, and what it saw.
#[derive(Debug)]
pub(crate) struct Held {
    pub reason: Reason,
    pub cause: Cause,
}

impl Held {
    pub fn new(reason: Reason, cause: Cause) -> Self {
        Self { reason, cause }
    }
}

/// What a gate looks at, for people: names and values.
pub(crate) type Inputs = Vec<(&'static str, String)>;

/// When a gate lets pass what is wanted, from a moment on.
pub(crate) type OpensAt = fn(&View, &Want, Timestamp) -> Option<Timestamp>;

/// One gate of planner.md, section 4.
pub(crate) struct Gate {
    /// The first of its reasons.
    pub name: Reason,
    /// It answers also when nothing fired (marked * in the table).
    pub always: bool,
    /// A catch-up may go beside a growth that it holds (gates 14 to 22).
    pub lets_catch_up: bool,
    /// A runway may pass it when it holds a planned growth with this reason: it only paces growth, or is true of members
    /// that a runway leaves out. The runway itself is asked of every gate.
    pub lets_runway: fn(Reason) -> bool,
    /// Whether it holds what is wanted, or, where it answers always, the volume as such.
    pub holds: fn(&View, Option<&Want>) -> Option<Held>,
    /// Whether it is true of a single member, where it is asked of members ("Left out").
    pub affects: Option<fn(&View, &MemberView, &Want) -> bool>,
    /// The first moment at or after the given one at which it does not hold what is wanted, all else unchanged; none where
    /// it does not hold at the given one, the end of time where it never opens.
    pub opens_at: Option<OpensAt>,
    /// What it looks at.
    pub inputs: fn(&View) -> Inputs,
}

impl Gate {
    /// A gate that holds a growth that is wanted; all else is switched on where it is defined.
    pub const fn new(name: Reason, holds: fn(&View, Option<&Want>) -> Option<Held>, inputs: fn(&View) -> Inputs) -> Self {
        Self {
            name,
            always: false,
            lets_catch_up: false,
            lets_runway: |_| false,
            holds,
            affects: None,
            opens_at: None,
            inputs,
        }
    }

    /// Whether it holds, asked as the planner asks it.
    pub fn ask(&self, view: &View, want: Option<&Want>) -> Option<Held> {
        if want.is_none() && !self.always {
            return None;
        }
        (self.holds)(view, want)
    }
}

/// The first gate that holds, and why.
pub(crate) fn first(view: &View, want: Option<&Want>) -> Option<(&'static Gate, Held)> {
    GATES.iter().find_map(|gate| gate.ask(view, want).map(|held| (gate, held)))
}

/// Whether any gate that is asked of single members is true of this one.
pub(crate) fn leaves_out(view: &View, member: &MemberView, want: &Want) -> bool {
    GATES
        .iter()
        .filter_map(|gate| gate.affects)
        .any(|affects| affects(view, member, want))
}

/// The members that a growth cannot do without: of a planned one all, of an emergency or a runway the worst, of a rescue
/// those whose disk is full, of a catch-up the lagging ones.
pub(crate) fn concerned<'a>(view: &View<'a>, want: &Want) -> impl Iterator<Item = &'a MemberView<'a>> {
    let worst = view.worst.map(|(worst, _)| worst);
    let urgency = want.urgency;
    view.counted().filter(move |m| match urgency {
        Urgency::Planned => true,
        Urgency::Emergency | Urgency::Runway => worst.is_none_or(|worst| std::ptr::eq(*m, worst)),
        Urgency::Rescue => m.member.disk_full,
        Urgency::CatchUp => m.is_lagging(),
    })
}

/// "Left out": a gate that is true of single members holds planned growth when it is true of any of them. Any other
/// growth leaves such members out, and is held when every member that it cannot do without is affected by some gate,
/// and this one is true of one.
pub(crate) fn by_members(view: &View, want: Option<&Want>, held: impl Fn(&MemberView) -> Option<Held>) -> Option<Held> {
    let want = want?;
    let found = concerned(view, want).find_map(held)?;
    let holds = want.is_planned() || concerned(view, want).all(|m| leaves_out(view, m, want));
    holds.then_some(found)
}

/// The member as the cause.
pub(crate) fn member(member: &MemberView) -> Cause {
    Cause::Member {
        instance: member.member.instance.clone(),
        pvc: member.member.pvc.clone(),
    }
}

/// Names, separated by commas; "none" where there are none.
pub(crate) fn list<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    for name in names {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(name.as_ref());
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

/// A moment for people; `none` where there is none.
pub(crate) fn moment(at: Option<Timestamp>, none: &str) -> String {
    at.map_or_else(|| none.to_owned(), |at| at.to_string())
}
