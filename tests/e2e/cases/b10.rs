//! B10: the manager is killed while a growth is in flight. It goes on where it was, and nothing is done twice.

use std::sync::Arc;

use anyhow::{Result, ensure};
use csm_testkit::csi::faults::{Action, Fault, Rpc, Scope};
use csm_units::Bytes;
use serde_json::json;

use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::{SOON, Stage};
use csm_testkit::wait::within;

/// The call of the driver does not return until the fault is cleared.
fn hang(stage: &Stage, rpc: Rpc) -> Fault {
    Fault {
        name: format!("{}-{rpc:?}", stage.namespace),
        scope: Scope::claim(format!("{}/", stage.namespace)),
        action: Action::Hang { rpc },
    }
}

/// Killed twice: while the driver's controller works on the first PVC, and while the node does.
pub async fn killed_while_in_flight(stage: Arc<Stage>) -> Result<()> {
    stage
        .policy(
            "default",
            json!({"expansion": {"minIncrementGi": 1, "maxSize": "4Gi", "cooldownMinutes": 30}}),
        )
        .await?;
    let orders = Arc::new(stage.cluster("orders").instances(2).create().await?);
    let faults = stage.lab.csi_faults();
    let (controller, node) = (hang(&stage, Rpc::ControllerExpandVolume), hang(&stage, Rpc::NodeExpandVolume));
    faults.set(controller.clone()).await?;
    faults.set(node.clone()).await?;

    let to = Bytes::gib(2);
    let watch = GrowthWatch::start(&orders, to).await?;
    let breach = orders.fill(85).await?;
    let reached = async |what: &str, status: &str| {
        within(SOON, what, async || {
            let seen = stage.journal.all();
            Ok(seen
                .into_iter()
                .rev()
                .find(|s| s.expansion.as_deref() == Some(status))
                .map(|s| s.name))
        })
        .await
    };
    let first = reached("the driver's controller works on a PVC", "ControllerResizeInProgress").await?;
    stage.manager.kill().await?;
    stage.manager.leads().await?;
    faults.clear(&controller.name).await?;
    let second = reached("the node works on the PVC", "NodeResizeInProgress").await?;
    ensure!(first == second, "{second} is being resized while {first} is not done");
    stage.manager.kill().await?;
    stage.manager.leads().await?;
    ensure!(stage.patches()?.len() == 1, "one PVC at a time: {:?}", stage.patches()?);
    faults.clear(&node.name).await?;

    watch.finish(&breach).await?;
    // The counters of a process begin at nothing.
    invariants::hold(
        &orders,
        &Expect {
            ceiling: Bytes::gib(4),
            counted: false,
            ..Expect::grown(to, 1)
        },
    )
    .await
}
