use csm_api::{Reason, Urgency};

use crate::size;
use crate::view::{View, Want};

/// Rule 11: some member lags. It needs no figures.
pub(crate) fn trigger(view: &View) -> Option<Want> {
    view.rules?;
    let lags = view.lagging().next().is_some();
    lags.then(|| size::catch_up(view, Reason::MemberBelowEffectiveSize, Urgency::CatchUp))
}
