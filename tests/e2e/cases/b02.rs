//! B02: the floor. What the Cluster asks for too little is raised to `request`; a new Cluster and a new instance are born with it.

use std::sync::Arc;

use anyhow::{Result, ensure};
use csm_api::{Growth, Phase, Reason};
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
    let orders = stage.cluster("orders").create().await?;
    stage.policy("default", json!({"storage": target})).await?;
    let to = Bytes::mib(1536);
    let floor = ended(&stage, 1).await?;
    ensure!(
        (floor.spec.reason, floor.spec.expansion.requested_size) == (Reason::RequestFloor, to),
        "{:?}",
        floor.spec
    );
    orders.insert(1000).await?;

    // CloudNativePG asks for the Cluster's size; admission raises it.
    orders.scale(2).await?;
    let born = stage.cluster("born").create().await?;
    invariants::hold(&born, &Expect::at_rest(to)).await?;
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
            // The policy may have come before the first figures.
            seen_before: false,
            ..Expect::grown(to, 1)
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
