use csm_api::{Reason, Urgency};

use crate::size;
use crate::view::{MemberView, View, Want};

/// Rule 1: an instance is down because the volume is full. It needs no figures. Where all such members lag, catching
/// them up is enough.
pub(crate) fn trigger(view: &View) -> Option<Want> {
    view.rules?;
    let (reason, urgency) = (Reason::DiskFull, Urgency::Rescue);
    if view.disk_full().next().is_none() {
        let outsize = view.members.iter().any(|m| m.is_outsize() && m.member.disk_full);
        return outsize.then(|| size::outsize(view, reason, urgency));
    }
    if view.disk_full().all(MemberView::is_lagging) {
        return Some(size::catch_up(view, reason, urgency));
    }
    size::emergency(view, reason, urgency)
}
