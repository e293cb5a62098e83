use csm_api::{Reason, Urgency};
use csm_units::Percent;

use crate::size;
use crate::view::{View, Want};
use crate::world::Inodes;

/// Rule 7, resize model: more than `inodeThreshold` percent of inodes are used, where the filesystem counts them.
pub(crate) fn trigger(view: &View) -> Option<Want> {
    let rules = view.resize()?;
    let threshold = rules.inode_threshold.as_ref()?.value;
    let above = view.figures().filter_map(|f| f.inodes).any(|inodes| exceeds(inodes, threshold));
    above.then(|| size::growth(view, Reason::InodeThreshold, Urgency::Planned, size::resize(view.effective, rules)))
}

fn exceeds(Inodes { total, used }: Inodes, threshold: Percent) -> bool {
    let limit = i128::from(total).saturating_mul(i128::from(threshold.get()));
    total > 0 && i128::from(used).saturating_mul(100) > limit
}
