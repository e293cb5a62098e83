//! What the ledger says of one volume.

use csm_api::Urgency;
use jiff::Timestamp;

use crate::freshness::{DAY, after, before};
use crate::view::MemberView;
use crate::world::{Member, Operation, Volume, World};

/// What the operations of a volume come to, in one pass over them.
pub(crate) struct Ledger<'a> {
    /// Accepted ones of the last 24 h, catch-ups aside.
    pub actions_last_24h: u32,
    /// When that number changes next.
    pub count_changes_at: Option<Timestamp>,
    /// Start of the newest accepted growth; a catch-up is none.
    pub last_growth: Option<Timestamp>,
    /// The newest unfinished operation.
    pub unfinished: Option<&'a Operation>,
}

impl<'a> Ledger<'a> {
    pub fn new(world: &'a World, volume: &Volume, now: Timestamp) -> Self {
        let day_ago = before(now, DAY);
        let mut ledger = Self {
            actions_last_24h: 0,
            count_changes_at: None,
            last_growth: None,
            unfinished: None,
        };
        for operation in world.operations.iter().filter(|o| o.volume == volume.key) {
            if !operation.done {
                ledger.unfinished = Some(newer(ledger.unfinished, operation));
            }
            if !operation.accepted || operation.urgency == Urgency::CatchUp {
                continue;
            }
            let start = operation.started_at;
            ledger.last_growth = ledger.last_growth.max(Some(start));
            let change = if start > now {
                Some(start)
            } else if start > day_ago {
                ledger.actions_last_24h = ledger.actions_last_24h.saturating_add(1);
                Some(after(start, DAY))
            } else {
                None
            };
            ledger.count_changes_at = earliest(ledger.count_changes_at, change);
        }
        ledger
    }
}

/// The earlier of two moments, where there is one.
pub(crate) fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// The newer of two operations; of two of one age, the one whose name sorts last.
fn newer<'a>(known: Option<&'a Operation>, next: &'a Operation) -> &'a Operation {
    match known {
        Some(known) if (known.started_at, &known.id) >= (next.started_at, &next.id) => known,
        _ => next,
    }
}

/// A resize that is under way.
#[derive(Clone, Copy)]
pub(crate) struct InFlight<'a> {
    /// When the newest of what is under way began, as far as that is known.
    pub since: Option<Timestamp>,
    /// The newest unfinished operation.
    pub operation: Option<&'a Operation>,
    /// The first member whose PVC shows a resize.
    pub member: Option<&'a Member>,
}

impl<'a> InFlight<'a> {
    /// What is under way for these members, and in these operations.
    pub fn of(members: impl Iterator<Item = &'a MemberView<'a>>, operations: impl Iterator<Item = &'a Operation> + Clone) -> Option<Self> {
        let mut found = Self {
            since: None,
            operation: None,
            member: None,
        };
        for member in members.filter(|m| m.resizes()) {
            found.member = found.member.or(Some(member.member));
            found.since = found.since.max(began(member.member, operations.clone()));
        }
        for operation in operations.filter(|o| !o.done) {
            found.operation = Some(newer(found.operation, operation));
            found.since = found.since.max(Some(operation.started_at));
        }
        (found.member.is_some() || found.operation.is_some()).then_some(found)
    }
}

/// When the resize that a PVC shows began: as the PVC says, else with the newest accepted operation that
/// asked for the size that it asks for.
fn began<'a>(member: &Member, operations: impl Iterator<Item = &'a Operation>) -> Option<Timestamp> {
    let said = member.resize.as_ref().and_then(|r| r.since);
    said.or_else(|| {
        let asked = operations.filter(|o| o.accepted && o.to == member.request && o.concerns(&member.uid));
        asked.map(|o| o.started_at).max()
    })
}
