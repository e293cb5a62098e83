//! The new size.

use csm_api::{Reason, Urgency};
use csm_units::Bytes;

use crate::resolve::ResolvedExpansion;
use crate::view::{View, Want};

/// The thresholds model: a share of the effective size, at least `minIncrementGi`, rounded up to the unit.
pub(crate) fn thresholds(effective: Bytes, expansion: &ResolvedExpansion) -> Bytes {
    let share = expansion.percentage.value.share_of(effective);
    effective.saturating_add(share.max(expansion.min_increment.value)).round_up()
}

/// A growth of all members, bounded by the ceiling.
pub(crate) fn growth(view: &View, reason: Reason, urgency: Urgency, unbounded: Bytes) -> Want {
    // A quantity ends below 2^63; the last multiple of the unit before that is as far as any volume goes.
    let largest = Bytes::MAX.round_down();
    let to = view.ceiling.map_or(largest, |c| largest.min(c.size)).min(unbounded);
    let enough = view.effective.saturating_add(view.effective.unit());
    let lowered = to < unbounded;
    Want {
        reason,
        urgency,
        unbounded,
        to,
        at_limit: (lowered && to < enough) || to <= view.effective,
    }
}

/// What brings the lagging members up: the effective size, bounded by the ceiling. A member that has as much
/// already is left out; where that is true of all of them, the catch-up is at its limit.
pub(crate) fn catch_up(view: &View) -> Want {
    let to = view.ceiling.map_or(view.effective, |c| view.effective.min(c.size));
    Want {
        reason: Reason::MemberBelowEffectiveSize,
        urgency: Urgency::CatchUp,
        unbounded: view.effective,
        to,
        at_limit: view.lagging().all(|m| m.bytes >= to),
    }
}
