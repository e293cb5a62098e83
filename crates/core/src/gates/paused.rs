use csm_api::Reason;
use jiff::Timestamp;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::view::{View, Want};
use crate::world::Pause;

/// Gate 6: a person paused the Cluster.
pub(crate) const GATE: Gate = Gate {
    opens_at: Some(opens_at),
    ..Gate::new(Reason::Paused, holds, inputs)
};

fn holds(view: &View, _: Option<&Want>) -> Option<Held> {
    let pause = &view.world.cluster.pause;
    pause.in_force(view.now()).then(|| {
        let cause = Cause::Pause { until: pause.until() };
        Held::new(Reason::Paused, cause)
    })
}

fn opens_at(view: &View, _: &Want, from: Timestamp) -> Option<Timestamp> {
    let pause = &view.world.cluster.pause;
    pause.until().filter(|_| pause.in_force(from))
}

fn inputs(view: &View) -> Inputs {
    match &view.world.cluster.pause {
        Pause::No => vec![("paused", "false".to_owned())],
        Pause::Paused { until, unreadable } => vec![
            ("paused", unreadable.as_deref().unwrap_or("true").to_owned()),
            ("pause-until", super::moment(*until, "none")),
        ],
    }
}
