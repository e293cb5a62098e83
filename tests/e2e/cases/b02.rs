//! B02: the floor. What the Cluster asks for too little is raised to `request`, and so is each new instance.

use std::sync::Arc;

use anyhow::{Result, ensure};
use csm_api::{Growth, Phase, Reason, Trigger};
use csm_units::Bytes;
use serde_json::json;

use crate::growth::filesystem_of;
use crate::invariants::{self, Expect};
use crate::stage::{GROWTH, Stage};
use crate::volume::Volume;
use csm_testkit::wait::within;

/// The Cluster asks for 1 GiB, the policy for 1.5 GiB.
pub async fn floor(stage: Arc<Stage>) -> Result<()> {
    let target = json!({"request": "1536Mi", "limit": "4Gi"});
    stage.policy("default", json!({"storage": target})).await?;
    let orders = stage.cluster("orders").create().await?;
    let to = Bytes::mib(1536);
    let floor = ended(&stage, 1).await?;
    ensure!(
        (floor.spec.reason, floor.spec.expansion.requested_size) == (Reason::RequestFloor, to),
        "{:?}",
        floor.spec
    );
    orders.insert(1000).await?;

    // CloudNativePG makes its PVC at the Cluster's size.
    orders.scale(2).await?;
    let catch_up = ended(&stage, 2).await?;
    let caught_up: Vec<&str> = catch_up.spec.expansion.affected_pvcs.iter().map(|pvc| pvc.name.as_str()).collect();
    ensure!(
        catch_up.spec.trigger == Trigger::CatchUp && caught_up == ["orders-2"],
        "{:?}",
        catch_up.spec
    );
    for name in orders.names() {
        within(GROWTH, &format!("df of {name} shows {to}"), async || {
            let df = orders.df(&name).await?;
            ensure!(df.total >= filesystem_of(to), "{df:?}");
            Ok(Some(()))
        })
        .await?;
    }
    invariants::hold(
        &orders,
        &Expect {
            ceiling: Bytes::gib(4),
            // A PVC that was just made: it grows before anybody has mounted it.
            seen_before: false,
            ..Expect::grown(to, 2)
        },
    )
    .await
}

/// The operation of this number, once it is complete.
async fn ended(stage: &Stage, number: usize) -> Result<Growth> {
    within(GROWTH, &format!("operation {number} is complete"), async || {
        let events = stage.events_of("orders", Volume::Data).await?;
        let event = events.into_iter().nth(number - 1);
        Ok(event.filter(|event| csm_tests::phase(event) == Some(Phase::Completed)))
    })
    .await
}
