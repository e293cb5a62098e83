//! Stepping back from a size that the storage cannot give: to one between what a PVC has and what was infeasible.
//!
//! Kubernetes lets the request of a PVC be lowered after a failed expansion, as long as it stays above what the PVC has
//! (KEP-1790, `RecoverVolumeExpansionFailure`; on by default from 1.32, general from 1.34).

use csm_api::{PvcStatus, Recovery};
use csm_units::Bytes;

use crate::world::{Member, ResizeStage};

/// How often the distance to what was infeasible is halved.
const MOST_HALVINGS: i32 = 3;

/// The next size to ask for, of a PVC that has `actual` and cannot have `infeasible`; none where nothing is left between
/// the two, or enough was tried.
pub(super) fn next(actual: Bytes, infeasible: Bytes, before: Option<&Recovery>) -> Option<Recovery> {
    let halvings = before.map_or(0, |r| r.halvings).saturating_add(1);
    let half = infeasible.saturating_sub(actual).mul_div(1, 2);
    let size = actual.saturating_add(half).round_down();
    (halvings <= MOST_HALVINGS && size > actual && size < infeasible).then_some(Recovery {
        infeasible,
        size,
        halvings,
        asked_at: None,
    })
}

/// The size that a PVC is to ask for now.
pub(super) fn target(status: &PvcStatus, requested: Bytes) -> Bytes {
    status.recovery.as_ref().map_or(requested, |recovery| recovery.size)
}

/// Whether its storage or its node says that a PVC cannot have the size that it asks for. What is said of a size that it
/// asked for before counts no more.
pub(super) fn is_infeasible(member: &Member, stepping_back: bool) -> Option<ResizeStage> {
    let resize = member.resize.as_ref()?;
    let of_this = resize.allocated.map_or(!stepping_back, |allocated| allocated == member.request);
    (resize.stage.is_infeasible() && of_this).then_some(resize.stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_halved_three_times_and_rounded_down() {
        let (actual, mut infeasible, mut sizes, mut before) = (Bytes::gib(10), Bytes::gib(20), Vec::new(), None);
        while let Some(recovery) = next(actual, infeasible, before.as_ref()) {
            infeasible = recovery.size;
            sizes.push(recovery.size);
            before = Some(recovery);
        }
        assert_eq!(sizes, [Bytes::gib(15), Bytes::gib(12), Bytes::gib(11)]);
    }

    #[test]
    fn nothing_is_left_within_one_unit() {
        assert_eq!(next(Bytes::gib(10), Bytes::gib(11), None), None);
        assert_eq!(next(Bytes::gib(10), Bytes::gib(10), None), None);
        assert_eq!(next(Bytes::mib(100), Bytes::mib(102), None).map(|r| r.size), Some(Bytes::mib(101)));
    }
}
