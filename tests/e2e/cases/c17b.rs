//! C17: the annotation by which a kubelet is asked to look at once, with the permission to write it and without.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Reason, Urgency};
use csm_testkit::lab::SYNC_FREQUENCY;
use csm_units::Bytes;
use jiff::Timestamp;
use serde_json::json;

use crate::cluster::Cluster;
use crate::filling::Breach;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::Stage;
use crate::timeline::seconds;
use crate::volume::Volume;

/// As kubelets have it where nobody says otherwise.
const KUBERNETES_DEFAULT: &str = "1m0s";
/// Measured: a kubelet that is asked to looks at once, and is done within 1.4 s; with room for a busy machine.
const AT_ONCE: f64 = 10.0;

/// Kubelets come by as seldom as they do by default: an urgent growth is nudged where that is permitted, and grows all the same
/// where it is not.
pub async fn nudged(stage: Arc<Stage>) -> Result<()> {
    let urgent = json!({"criticalThreshold": 88, "maxActionsPerDay": 0});
    let expansion = json!({"percentage": 1, "minIncrementGi": 1, "maxSize": "4Gi", "cooldownMinutes": 0});
    stage
        .policy("default", json!({"expansion": expansion, "storage": {"emergencyGrow": urgent}}))
        .await?;
    let orders = Arc::new(stage.cluster("orders").create().await?);
    orders.insert(500).await?;
    stage.excuse("no figures from the kubelet");
    for node in &stage.lab.status().nodes {
        stage.lab.kubelet_syncs(node.number, KUBERNETES_DEFAULT).await?;
    }
    stage
        .decision_after(&orders, "Balanced", "BelowThresholds", Timestamp::now())
        .await?;

    let with = urgent_growth(&orders, Bytes::gib(2)).await?;
    let nudges = nudges(&stage)?;
    ensure!(nudges == [200], "the pod was annotated so: {nudges:?}");
    stage.manager.without_nudges(&stage.namespace).await?;
    let without = urgent_growth(&orders, Bytes::gib(3)).await?;
    let nudges = self::nudges(&stage)?;
    ensure!(nudges == [200, 403], "the pod was annotated so: {nudges:?}");
    println!("    filesystem grown after the controller was done: {with:.1} s with a nudge, {without:.1} s without the permission");
    ensure!(with < AT_ONCE, "nudged, and grown {with:.1} s after the controller");
    for node in &stage.lab.status().nodes {
        stage.lab.kubelet_syncs(node.number, SYNC_FREQUENCY).await?;
    }
    let expect = Expect {
        ceiling: Bytes::gib(4),
        ..Expect::grown(Bytes::gib(3), 2)
    };
    invariants::hold(&orders, &expect).await
}

/// Seconds from the end of the controller's work until the pod sees the filesystem grown.
async fn urgent_growth(orders: &Arc<Cluster>, to: Bytes) -> Result<f64> {
    let watch = GrowthWatch::start(orders, to).await?;
    let breach = Breach::now(Volume::Data);
    orders.ballast("orders-1", Some(91)).await?;
    let (event, timeline) = watch.finish(&breach).await?;
    ensure!(
        (event.spec.reason, event.spec.urgency()) == (Reason::CriticalThreshold, Urgency::Emergency),
        "{:?}",
        event.spec
    );
    let member = timeline.members.first().context("no PVC")?;
    let (done, grown) = member.controller_done.zip(member.filesystem_grown).context("not seen")?;
    Ok(seconds(done, grown))
}

/// What the API server answered to the manager's patches of pods.
fn nudges(stage: &Stage) -> Result<Vec<u16>> {
    let requests = stage.requests()?.into_iter();
    Ok(requests
        .filter(|e| e.verb == "patch" && e.resource == "pods")
        .map(|e| e.code)
        .collect())
}
