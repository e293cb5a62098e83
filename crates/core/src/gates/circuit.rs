use csm_api::{Reason, Urgency};

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::view::{View, Want};
use crate::world::Breaker;

/// Gate 13: growths have failed in a row. A rescue is tried all the same. Half open, one may try.
pub(crate) const GATE: Gate = Gate::new(Reason::CircuitOpen, holds, inputs);

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    if want?.urgency == Urgency::Rescue {
        return None;
    }
    let breakers = [(view.world.cluster.breaker, false), (view.world.global_breaker, true)];
    let (_, global) = breakers.into_iter().find(|(breaker, _)| *breaker == Breaker::Open)?;
    Some(Held::new(Reason::CircuitOpen, Cause::Breaker { global }))
}

fn inputs(view: &View) -> Inputs {
    vec![
        ("circuitBreaker", format!("{:?}", view.world.cluster.breaker)),
        ("globalCircuitBreaker", format!("{:?}", view.world.global_breaker)),
    ]
}
