//! The tests. Each is named by its id in the list of what must be shown on a real cluster.

mod c02;
mod rbac;

use std::time::Duration;

use crate::runner::Case;

/// All of them, in the order in which they run.
pub fn all() -> Vec<Case> {
    let minutes = Duration::from_mins;
    vec![
        Case {
            id: "C02a",
            title: "filled by rows past 85 %, both instances' volumes grow once, and df in both pods shows it",
            left_out: "",
            smoke: true,
            nodes: 1,
            limit: minutes(8),
            body: |stage| Box::pin(c02::grows(stage)),
        },
        Case {
            id: "RBAC",
            title: "all that the manager asked for is within deploy/rbac.yaml, and nothing was refused",
            left_out: "",
            smoke: true,
            nodes: 1,
            limit: minutes(2),
            body: |stage| Box::pin(async move { rbac::within_what_ships(&stage) }),
        },
    ]
}
