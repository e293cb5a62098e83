use csm_api::{Reason, Urgency};

use crate::size;
use crate::view::{View, Want};

/// Rule 7, resize model: more than `inodeThreshold` percent of inodes are used, where the filesystem counts them.
pub(crate) fn trigger(view: &View) -> Option<Want> {
    let rules = view.resize()?;
    let threshold = rules.inode_threshold.as_ref()?.value;
    let above = view.figures().filter_map(|f| f.inodes).any(|inodes| inodes.exceed(threshold));
    above.then(|| size::growth(view, Reason::InodeThreshold, Urgency::Planned, size::resize(view.effective, rules)))
}
