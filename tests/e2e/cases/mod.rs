//! The tests. Each is named by its id in the list of what must be shown on a real cluster.

mod a01;
mod a02;
mod a03;
mod a05;
mod a06;
mod a07;
mod a08;
mod a09;
mod a11;
mod a15;
mod a16;
mod a17;
mod a18;
mod b02;
mod b03;
mod b05;
mod b07;
mod b10;
mod b11;
mod b12;
mod b13;
mod b14;
mod b15;
mod b16;
mod b17;
mod b21;
mod between;
mod c01;
mod c02;
mod c04;
mod c05;
mod c06;
mod c07;
mod c08;
mod c09;
mod c10;
mod c15;
mod c16;
mod c17a;
mod c17b;
mod c18;
mod causes;
mod contract;
mod d01;
mod d04;
mod d05;
mod doctor;
mod held;
mod operations;
mod rbac;
mod relief;
mod rescue;
mod w01;
mod w02;
mod w03;
mod w04;
mod w05;
mod wal;

use std::time::Duration;

use crate::runner::{Case, Suite};

/// All of them, in the order in which they run.
#[expect(clippy::too_many_lines, reason = "a list")]
pub fn all() -> Vec<Case> {
    let minutes = Duration::from_mins;
    let cases = vec![
        Case {
            id: "C02a",
            suite: Suite::Manager,
            title: "filled by rows past 85 %, both instances' volumes grow once, and df in both pods shows it",
            left_out: "",
            smoke: true,
            nodes: 1,
            limit: minutes(8),
            body: |stage| Box::pin(c02::grows(stage)),
        },
        Case {
            id: "C01",
            suite: Suite::Manager,
            title: "clusters appear, change and go: discovered, followed, series and objects removed",
            left_out: "",
            smoke: false,
            nodes: 1,
            limit: minutes(8),
            body: |stage| Box::pin(c01::come_and_go(stage)),
        },
        Case {
            id: "C04",
            suite: Suite::Manager,
            title: "settings of four ranks, field by field; excluded; dry run changes nothing; pause, and its end by itself",
            left_out: "",
            smoke: false,
            nodes: 1,
            limit: minutes(12),
            body: |stage| Box::pin(c04::ranks_pause_and_dry_run(stage)),
        },
        Case {
            id: "C10",
            suite: Suite::Manager,
            title: "a node's kubelet stopped: its volumes go stale and say so, nothing is done on old figures, all others go on",
            left_out: "the alert metrics-lost",
            smoke: false,
            nodes: 2,
            limit: minutes(14),
            body: |stage| Box::pin(c10::a_silent_kubelet(stage)),
        },
        Case {
            id: "C02b",
            suite: Suite::Manager,
            title: "it grows by percentage; the cooldown holds the next growth until its end; maxSize is reached exactly, never passed",
            left_out: "the alerts at 80 % and at 100 % of maxSize",
            smoke: false,
            nodes: 1,
            limit: minutes(12),
            body: |stage| Box::pin(c02::cooldown_and_limit(stage)),
        },
        Case {
            id: "C03",
            suite: Suite::Manager,
            title: "a storage class without expansion: watched only, and said in condition, event and metric",
            left_out: "the alert",
            smoke: false,
            nodes: 1,
            limit: minutes(6),
            body: |stage| Box::pin(held::class_without_expansion(stage)),
        },
        Case {
            id: "C14",
            suite: Suite::Manager,
            title: "local-path-like storage, a directory of the node's disk: refused, and said",
            left_out: "the alert unsupported-storage",
            smoke: true,
            nodes: 1,
            limit: minutes(6),
            body: |stage| Box::pin(held::directory_of_the_node(stage)),
        },
        Case {
            id: "A01+A13",
            suite: Suite::Resize,
            title: "data over usageThreshold grows on primary and replica; autoResizeEvents tells of each",
            left_out: "",
            smoke: true,
            nodes: 1,
            limit: minutes(8),
            body: |stage| Box::pin(a01::all_instances(stage)),
        },
        Case {
            id: "A02",
            suite: Suite::Resize,
            title: "a WAL volume filled by WAL grows on primary and replica; the data volume stays",
            left_out: "the alert of alertOnResize",
            smoke: false,
            nodes: 1,
            limit: minutes(10),
            body: |stage| Box::pin(a02::wal_volume(stage)),
        },
        Case {
            id: "A03+A10",
            suite: Suite::Resize,
            title: "a step that would pass the limit lands on it, and stays; minStep raises a step, maxStep cuts it",
            left_out: "",
            smoke: false,
            nodes: 1,
            limit: minutes(12),
            body: |stage| Box::pin(a03::limit_and_steps(stage)),
        },
        Case {
            id: "A04+A05",
            suite: Suite::Resize,
            title: "data and WAL on one volume: refused and held until the risk is acknowledged, then it really grows",
            left_out: "",
            smoke: false,
            nodes: 1,
            limit: minutes(8),
            body: |stage| Box::pin(a05::acknowledged(stage)),
        },
        Case {
            id: "A06+A12",
            suite: Suite::Resize,
            title: "minAvailable fires alone; with one action a day the second breach is held, also by a manager that was killed",
            left_out: "the loss of the manager's volume",
            smoke: false,
            nodes: 1,
            limit: minutes(10),
            body: |stage| Box::pin(a06::one_a_day(stage)),
        },
        Case {
            id: "A11+B06",
            suite: Suite::Resize,
            title: "two tablespaces grow, each by its own policy, in steps and towards a buffer; data and WAL stay",
            left_out: "",
            smoke: false,
            nodes: 1,
            limit: minutes(12),
            body: |stage| Box::pin(a11::tablespaces(stage)),
        },
        Case {
            id: "A18",
            suite: Suite::Resize,
            title: "a forecast fires far below every threshold; half a million files, all inodes of 1 GiB, grow a volume",
            left_out: "",
            smoke: false,
            nodes: 1,
            limit: minutes(15),
            body: |stage| Box::pin(a18::forecast_and_inodes(stage)),
        },
        Case {
            id: "B02",
            suite: Suite::Target,
            title: "a volume that is smaller than request grows to it; a new instance and a new cluster are born with it",
            left_out: "",
            smoke: false,
            nodes: 1,
            limit: minutes(10),
            body: |stage| Box::pin(b02::floor(stage)),
        },
        Case {
            id: "B03+B04",
            suite: Suite::Target,
            title: "three growths towards 20 % of free space, the last one onto the limit; effective and target size in the status",
            left_out: "",
            smoke: false,
            nodes: 1,
            limit: minutes(12),
            body: |stage| Box::pin(b03::buffer_and_limit(stage, 2)),
        },
        Case {
            id: "B07+B08+B09",
            suite: Suite::Target,
            title: "planned growth waits for its window, an emergency does not; the budget's split, and what is kept for emergencies",
            left_out: "",
            smoke: false,
            nodes: 1,
            limit: minutes(14),
            body: |stage| Box::pin(b07::window_emergency_budget(stage)),
        },
        Case {
            id: "B17",
            suite: Suite::Target,
            title: "usage comes and goes around the threshold: nothing is done for what went again, and one growth in all",
            left_out: "",
            smoke: false,
            nodes: 1,
            limit: minutes(12),
            body: |stage| Box::pin(b17::no_flapping(stage)),
        },
        Case {
            id: "CONTRACT",
            suite: Suite::Manager,
            title: "what the simulated world promises holds here: the kubelet's answers, the steps of a resize, refusals",
            left_out: "",
            smoke: true,
            nodes: 1,
            limit: minutes(4),
            body: |stage| Box::pin(contract::like_the_simulated_world(stage)),
        },
        Case {
            id: "RBAC",
            suite: Suite::Manager,
            title: "all that the manager asked for is within deploy/rbac.yaml, and nothing was refused",
            left_out: "",
            smoke: true,
            nodes: 1,
            limit: minutes(2),
            body: |stage| Box::pin(async move { rbac::within_what_ships(&stage) }),
        },
    ];
    cases
        .into_iter()
        .chain(operations::all())
        .chain(rescue::all())
        .chain(wal::all())
        .chain(relief::all())
        .collect()
}
