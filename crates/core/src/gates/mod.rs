//! What holds a growth: one rule a file, in the order of the list in `plan.rs`.

pub(crate) mod at_limit;
pub(crate) mod block_volume;
pub(crate) mod cluster_deleting;
pub(crate) mod cooldown;
pub(crate) mod disabled;
pub(crate) mod dry_run;
pub(crate) mod fenced;
pub(crate) mod hibernated;
pub(crate) mod in_use_resize;
pub(crate) mod no_policy;
pub(crate) mod not_bound;
pub(crate) mod observation;
pub(crate) mod paused;
pub(crate) mod policy_conflict;
pub(crate) mod policy_invalid;
pub(crate) mod resize_in_flight;
pub(crate) mod retry_later;
pub(crate) mod shared_filesystem;
pub(crate) mod storage_class;

use csm_api::Reason;
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

/// One gate of planner.md, section 4.
pub(crate) struct Gate {
    /// The first of its reasons.
    pub name: Reason,
    /// It answers also when nothing fired (marked * in the table).
    pub always: bool,
    /// A catch-up may go beside a growth that it holds (gates 14 to 22).
    pub lets_catch_up: bool,
    /// Whether it holds what is wanted, or, where it answers always, the volume as such.
    pub holds: fn(&View, Option<&Want>) -> Option<Held>,
    /// Whether it is true of a single member, where it is asked of members ("Left out").
    pub affects: Option<fn(&View, &MemberView, &Want) -> bool>,
    /// The moment at which it opens by itself, where it holds what is wanted and that moment is known.
    pub opens_at: Option<fn(&View, &Want) -> Option<Timestamp>>,
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

/// "Left out": a gate that is true of single members holds planned growth when it is true of any of them. It
/// holds a catch-up, which concerns the lagging members each by itself, when every one of them is affected by
/// some gate, and this one is true of one.
pub(crate) fn by_members(view: &View, want: Option<&Want>, held: impl Fn(&MemberView) -> Option<Held>) -> Option<Held> {
    let want = want?;
    if !want.is_catch_up() {
        return view.counted().find_map(held);
    }
    let found = view.lagging().find_map(held)?;
    view.lagging().all(|m| leaves_out(view, m, want)).then_some(found)
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
