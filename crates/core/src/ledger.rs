//! What the ledger says of one volume.

use csm_api::Urgency;
use jiff::{SignedDuration, Timestamp};

use crate::freshness::{DAY, after, before};
use crate::view::MemberView;
use crate::world::{Member, Operation, Volume, World};

/// What the operations of a volume come to, in one pass over them.
pub(crate) struct Ledger {
    /// Accepted ones of the last 24 h, catch-ups aside.
    pub actions: u32,
    /// Of these, rescues.
    pub rescues: u32,
    /// Of these, emergencies.
    pub emergencies: u32,
    /// Start of the oldest of the actions.
    pub oldest: Option<Timestamp>,
    /// When these numbers change next.
    pub changes_at: Option<Timestamp>,
    /// Start of the newest accepted growth; a catch-up is none.
    pub last_growth: Option<Timestamp>,
    /// Whether an operation is unfinished.
    pub unfinished: bool,
}

impl Ledger {
    pub fn new(world: &World, volume: &Volume, now: Timestamp) -> Self {
        let day_ago = before(now, DAY);
        let mut ledger = Self {
            actions: 0,
            rescues: 0,
            emergencies: 0,
            oldest: None,
            changes_at: None,
            last_growth: None,
            unfinished: false,
        };
        for operation in world.operations.iter().filter(|o| o.volume == volume.key) {
            ledger.unfinished |= !operation.done;
            let start = operation.started_at;
            if !operation.counts() {
                // Catch-ups count against the limit of a provider, one from the future from its start on.
                let change = (operation.accepted && start > now).then_some(start);
                ledger.changes_at = earliest(ledger.changes_at, change);
                continue;
            }
            ledger.last_growth = ledger.last_growth.max(Some(start));
            let change = if start > now {
                Some(start)
            } else if start > day_ago {
                ledger.actions = ledger.actions.saturating_add(1);
                match operation.urgency {
                    Urgency::Rescue => ledger.rescues = ledger.rescues.saturating_add(1),
                    Urgency::Emergency => ledger.emergencies = ledger.emergencies.saturating_add(1),
                    Urgency::Planned | Urgency::Runway | Urgency::CatchUp => {}
                }
                ledger.oldest = earliest(ledger.oldest, Some(start));
                Some(after(start, DAY))
            } else {
                None
            };
            ledger.changes_at = earliest(ledger.changes_at, change);
        }
        ledger
    }
}

/// When, at or after `from`, no more than `allowed` of these actions are less than `period` old; none where that is
/// so at `from`.
pub(crate) fn drops_to(
    starts: impl Iterator<Item = Timestamp>,
    allowed: u32,
    period: SignedDuration,
    from: Timestamp,
) -> Option<Timestamp> {
    let oldest = before(from, period);
    let mut counted: Vec<Timestamp> = starts.filter(|start| *start > oldest && *start <= from).collect();
    let excess = counted.len().checked_sub(usize::try_from(allowed).ok()?)?;
    counted.sort_unstable();
    let last = counted.get(excess.checked_sub(1)?)?;
    Some(after(*last, period))
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
