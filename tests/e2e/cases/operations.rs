//! What people and failures do while growth is under way; and the same with one, two and three instances.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::{a17, b03, b05, b07, b10, b11, b12, b13, b14, b15, b16, b21, c05, c07, c08, c09, c15, c16, c17a, c17b};
use crate::course::{self, Course};
use crate::runner::{Body, Case, Suite};
use crate::stage::Stage;

/// A test of these suites: few are smoke tests, and most need one node.
const fn case(id: &'static str, title: &'static str, limit: Duration, body: Body) -> Case {
    Case::of(Suite::Operations, id, title, limit, body)
}

/// All of them, in the order in which they run.
pub fn all() -> Vec<Case> {
    let minutes = Duration::from_mins;
    vec![
        Case {
            smoke: true,
            ..case(
                "B10",
                "killed (SIGKILL) while the controller and then while the node works on a growth: one operation, complete",
                minutes(10),
                |stage| Box::pin(killed(stage, 2)),
            )
        },
        case(
            "B11",
            "a person deletes the primary's pod while a growth is in flight: one operation, complete, on the new primary too",
            minutes(8),
            |stage| Box::pin(primary_deleted(stage, 2)),
        ),
        case(
            "B12",
            "switchover, then failover, each while a growth is in flight",
            minutes(12),
            |stage| Box::pin(other_primary(stage, 2)),
        ),
        case(
            "B13",
            "targetBuffer, limit, CloudNativePG's own size and the instances changed while a growth is in flight",
            minutes(15),
            |stage| Box::pin(b13::changed_in_flight(stage, 2)),
        ),
        Case {
            nodes: 2,
            ..case(
                "B14",
                "the primary's node cordoned and drained while a growth is in flight; back again: converges",
                minutes(12),
                |stage| Box::pin(b14::node_drained(stage)),
            )
        },
        Case {
            left_out: "a Backup of CloudNativePG: these are taken with pg_basebackup",
            ..case(
                "B15",
                "base backups that begin before and during a growth are whole, and hold nothing up",
                minutes(10),
                |stage| Box::pin(b15::backup_while_in_flight(stage)),
            )
        },
        case(
            "B16",
            "an instance more during a growth, and one after it: both end at the volume's size",
            minutes(12),
            |stage| Box::pin(scaled_up(stage, 2)),
        ),
        case(
            "B05",
            "a replica after a growth is born at the volume's size; one that is born without the webhook is caught up",
            minutes(10),
            |stage| Box::pin(b05::born_at_size(stage)),
        ),
        case(
            "A17a+B01",
            "every refusal of the schema, in the words that kubectl shows",
            minutes(4),
            |stage| Box::pin(a17::refused_by_kubectl(stage)),
        ),
        case(
            "A17b",
            "what only the webhook can see, refused or warned about, in the words that kubectl shows",
            minutes(8),
            |stage| Box::pin(a17::judged_by_the_webhook(stage)),
        ),
        case(
            "C05",
            "two policies of one rank raced past admission: both conflict, and the Cluster is held; the later one is refused where it is seen",
            minutes(6),
            |stage| Box::pin(c05::both_conflict(stage)),
        ),
        case(
            "C08",
            "a quota refuses a growth, and is named; raised, the volume grows",
            minutes(6),
            |stage| Box::pin(c08::quota_refuses(stage)),
        ),
        case(
            "B21",
            "the third growth of a day is held; an emergency passes the limit by a quarter; cnpg_dynamic_storage_* throughout",
            minutes(10),
            |stage| Box::pin(b21::budget_and_quarter(stage)),
        ),
        case(
            "C15",
            "two replicas of the manager; the leader killed, paused beyond its lease, partitioned: one writer at any time",
            minutes(12),
            |stage| Box::pin(c15::one_writer(stage)),
        ),
        case(
            "C09",
            "failures open the breaker: alerts go on, a restart changes nothing, one tries when half open, a person resets it",
            minutes(14),
            |stage| Box::pin(c09::opens_tries_and_is_reset(stage)),
        ),
        case(
            "C16",
            "one resize at a time in the fleet, a stop when too many grow within an hour, and the provider's limit",
            minutes(14),
            |stage| Box::pin(c16::limits(stage)),
        ),
        case(
            "C17a",
            "the plugin's expand, pause with its end, and resume; the size in the Cluster's spec follows",
            minutes(12),
            |stage| Box::pin(c17a::levers(stage)),
        ),
        case(
            "C17b",
            "kubelets that come by once a minute: an urgent growth is nudged, and grows without the permission too",
            minutes(10),
            |stage| Box::pin(c17b::nudged(stage)),
        ),
        case(
            "C07",
            "an expansion that is slow, fails for ever, is infeasible and stepped back from, is impossible, a node that never finishes: said, no pod touched",
            minutes(20),
            |stage| Box::pin(c07::storage_fails(stage)),
        ),
    ]
    .into_iter()
    .chain(with_instances())
    .collect()
}

/// B18 to B20: what two instances show above, with one and with three; with three, each PVC is patched once a growth.
fn with_instances() -> impl Iterator<Item = Case> {
    let minutes = Duration::from_mins;
    let cases = [
        case("B03+B18", "one instance: three growths towards a buffer", minutes(12), |stage| {
            Box::pin(b03::buffer_and_limit(stage, 1))
        }),
        case(
            "B08+B10+B11+B16+B18",
            "one instance: an emergency outside the window; manager killed, primary deleted, instances added in flight",
            minutes(15),
            |stage| Box::pin(in_turn(stage, 1)),
        ),
        case(
            "B13+B18",
            "one instance: what is asked for changes in flight",
            minutes(15),
            |stage| Box::pin(b13::changed_in_flight(stage, 1)),
        ),
        case("B08+B19", "two instances: an emergency outside the window", minutes(8), |stage| {
            Box::pin(emergency(stage, 2))
        }),
        case("B03+B20", "three instances: three growths towards a buffer", minutes(15), |stage| {
            Box::pin(b03::buffer_and_limit(stage, 3))
        }),
        case(
            "B08+B10+B11+B12+B16+B20",
            "three instances: an emergency outside the window; manager killed, primary deleted and changed, instances added in flight",
            minutes(25),
            |stage| Box::pin(in_turn(stage, 3)),
        ),
        case(
            "B13+B20",
            "three instances: what is asked for changes in flight",
            minutes(20),
            |stage| Box::pin(b13::changed_in_flight(stage, 3)),
        ),
    ];
    cases.into_iter().map(|case| Case {
        suite: Suite::Instances,
        ..case
    })
}

/// One growth after the other of one cluster, each with something else that happens to it.
async fn in_turn(stage: Arc<Stage>, instances: usize) -> Result<()> {
    let mut course = Course::new(&stage, instances).await?;
    b07::critical_outside_the_window(&mut course).await?;
    stage.policy("default", course::policy()).await?;
    b10::killed_while_in_flight(&mut course).await?;
    b11::primary_deleted(&mut course).await?;
    if instances > 1 {
        b12::switched_over(&mut course).await?;
        b12::failed_over(&mut course).await?;
    }
    b16::scaled_up(&mut course).await?;
    course.hold().await
}

async fn emergency(stage: Arc<Stage>, instances: usize) -> Result<()> {
    let mut course = Course::new(&stage, instances).await?;
    b07::critical_outside_the_window(&mut course).await?;
    course.hold().await
}

async fn killed(stage: Arc<Stage>, instances: usize) -> Result<()> {
    let mut course = Course::new(&stage, instances).await?;
    b10::killed_while_in_flight(&mut course).await?;
    course.hold().await
}

async fn primary_deleted(stage: Arc<Stage>, instances: usize) -> Result<()> {
    let mut course = Course::new(&stage, instances).await?;
    b11::primary_deleted(&mut course).await?;
    course.hold().await
}

async fn other_primary(stage: Arc<Stage>, instances: usize) -> Result<()> {
    let mut course = Course::new(&stage, instances).await?;
    b12::switched_over(&mut course).await?;
    b12::failed_over(&mut course).await?;
    course.hold().await
}

async fn scaled_up(stage: Arc<Stage>, instances: usize) -> Result<()> {
    let mut course = Course::new(&stage, instances).await?;
    b16::scaled_up(&mut course).await?;
    course.hold().await
}
