use csm_api::{Reason, Urgency};
use jiff::Timestamp;

use super::{Gate, Held, Inputs, moment};
use crate::decision::Cause;
use crate::view::{View, Want};
use crate::world::{Breaker, Circuit};

/// Gate 13: growths have failed in a row, or too much of the fleet grew at once. A rescue is tried all the same. Half open,
/// one may try; while it does, the others wait.
pub(crate) const GATE: Gate = Gate::new(Reason::CircuitOpen, holds, inputs);

fn breakers(view: &View) -> [(Circuit, bool); 2] {
    [(view.world.cluster.breaker, false), (view.world.global_breaker, true)]
}

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    if want?.urgency == Urgency::Rescue {
        return None;
    }
    let (circuit, global) = breakers(view).into_iter().find(|(breaker, _)| breaker.holds(view.now()))?;
    let half_open = circuit.state(view.now()) == Breaker::HalfOpen;
    Some(Held::new(
        Reason::CircuitOpen,
        Cause::Breaker {
            global,
            half_open,
            circuit,
        },
    ))
}

/// When a breaker that is open lets one try, and when one that tries is waited for no longer.
pub(crate) fn changes_at(view: &View) -> impl Iterator<Item = Timestamp> {
    let moments = |(breaker, _): (Circuit, bool)| [breaker.resets_at(), breaker.tried_until];
    breakers(view).into_iter().flat_map(moments).flatten()
}

fn inputs(view: &View) -> Inputs {
    let [(own, _), (global, _)] = breakers(view);
    let mut inputs = vec![
        ("circuitBreaker", format!("{:?}", own.state(view.now()))),
        ("globalCircuitBreaker", format!("{:?}", global.state(view.now()))),
    ];
    let open = [own, global].into_iter().find(|breaker| breaker.opened.is_some());
    let counted = [own, global].into_iter().map(|breaker| breaker.failures).max().unwrap_or(0);
    if counted > 0 {
        inputs.push(("failuresInARow", counted.to_string()));
    }
    if let Some(open) = open {
        inputs.push(("resetsAt", moment(open.resets_at().filter(|at| *at > Timestamp::MIN), "unknown")));
    }
    inputs
}
