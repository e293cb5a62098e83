//! The tests. Each is named by its id in the list of what must be shown on a real cluster.

mod b10;
mod c01;
mod c02;
mod c04;
mod c10;
mod contract;
mod held;
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
            id: "C01",
            title: "clusters appear, change and go: discovered, followed, series and objects removed",
            left_out: "",
            smoke: false,
            nodes: 1,
            limit: minutes(8),
            body: |stage| Box::pin(c01::come_and_go(stage)),
        },
        Case {
            id: "C04",
            title: "settings of four ranks, field by field; excluded; dry run changes nothing; pause, and its end by itself",
            left_out: "",
            smoke: false,
            nodes: 1,
            limit: minutes(12),
            body: |stage| Box::pin(c04::ranks_pause_and_dry_run(stage)),
        },
        Case {
            id: "C10",
            title: "a node's kubelet stopped: its volumes go stale and say so, nothing is done on old figures, all others go on",
            left_out: "the alert metrics-lost",
            smoke: false,
            nodes: 2,
            limit: minutes(14),
            body: |stage| Box::pin(c10::a_silent_kubelet(stage)),
        },
        Case {
            id: "C02b",
            title: "it grows by percentage; the cooldown holds the next growth until its end; maxSize is reached exactly, never passed",
            left_out: "the alerts at 80 % and at 100 % of maxSize",
            smoke: false,
            nodes: 1,
            limit: minutes(12),
            body: |stage| Box::pin(c02::cooldown_and_limit(stage)),
        },
        Case {
            id: "B10",
            title: "killed (SIGKILL) while the controller and then while the node works on a growth: one operation, complete",
            left_out: "",
            smoke: true,
            nodes: 1,
            limit: minutes(10),
            body: |stage| Box::pin(b10::killed_while_in_flight(stage)),
        },
        Case {
            id: "C03",
            title: "a storage class without expansion: watched only, and said in condition, event and metric",
            left_out: "the alert",
            smoke: false,
            nodes: 1,
            limit: minutes(6),
            body: |stage| Box::pin(held::class_without_expansion(stage)),
        },
        Case {
            id: "C14",
            title: "local-path-like storage, a directory of the node's disk: refused, and said",
            left_out: "the alert unsupported-storage",
            smoke: true,
            nodes: 1,
            limit: minutes(6),
            body: |stage| Box::pin(held::directory_of_the_node(stage)),
        },
        Case {
            id: "CONTRACT",
            title: "what the simulated world promises holds here: the kubelet's answers, the steps of a resize, refusals",
            left_out: "",
            smoke: true,
            nodes: 1,
            limit: minutes(4),
            body: |stage| Box::pin(contract::like_the_simulated_world(stage)),
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
