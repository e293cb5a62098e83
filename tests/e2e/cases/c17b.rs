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
use crate::kubelet::KUBERNETES_DEFAULT;
use crate::stage::Stage;
use crate::timeline::{Member, seconds};
use crate::volume::Volume;

/// Measured: a kubelet that is asked to looks at once, and is done within 1.4 s of the controller; with room for a busy machine.
const AT_ONCE: f64 = 3.0;
/// From the annotation until the kubelet has told that the filesystem has grown.
const AFTER_THE_NUDGE: f64 = 2.0;

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
    stage.kubelets_sync(KUBERNETES_DEFAULT).await?;
    stage
        .decision_after(&orders, "Balanced", "BelowThresholds", Timestamp::now())
        .await?;

    let with = urgent_growth(&orders, Bytes::gib(2)).await?;
    let nudges = stage.nudges()?;
    let [nudge] = nudges.as_slice() else {
        anyhow::bail!("one growth, and these annotations: {nudges:?}")
    };
    ensure!((nudge.code, nudge.pod.as_str()) == (200, "orders-1"), "{nudge:?}");
    let told = with.filesystem_told.context("the kubelet never told of the filesystem")?;
    let took = seconds(nudge.at, told);
    println!("    annotated, and the kubelet tells that the filesystem has grown {took:.3} s later");
    ensure!(
        (0.0..AFTER_THE_NUDGE).contains(&took),
        "annotated at {}, and grown {took:.3} s later",
        nudge.at
    );
    stage.manager.may_not_patch("pods", &stage.namespace).await?;
    let without = urgent_growth(&orders, Bytes::gib(3)).await?;
    let nudges: Vec<u16> = stage.nudges()?.iter().map(|nudge| nudge.code).collect();
    ensure!(nudges == [200, 403], "the pod was annotated so: {nudges:?}");
    let (with, without) = (until_grown(&with)?, until_grown(&without)?);
    println!("    filesystem grown after the controller was done: {with:.1} s with a nudge, {without:.1} s without the permission");
    ensure!(with < AT_ONCE, "nudged, and grown {with:.1} s after the controller");
    stage.kubelets_sync(SYNC_FREQUENCY).await?;
    let expect = Expect {
        ceiling: Bytes::gib(4),
        ..Expect::grown(Bytes::gib(3), 2)
    };
    invariants::hold(&orders, &expect).await
}

/// A growth of the one PVC, and what happened to it.
async fn urgent_growth(orders: &Arc<Cluster>, to: Bytes) -> Result<Member> {
    let watch = GrowthWatch::start(orders, to).await?;
    let breach = Breach::now(Volume::Data);
    orders.ballast("orders-1", Some(91)).await?;
    let (event, timeline) = watch.finish(&breach).await?;
    ensure!(
        (event.spec.reason, event.spec.urgency()) == (Reason::CriticalThreshold, Urgency::Emergency),
        "{:?}",
        event.spec
    );
    timeline.members.into_iter().next().context("no PVC")
}

/// Seconds from the end of the controller's work until the pod sees the filesystem grown.
fn until_grown(member: &Member) -> Result<f64> {
    let (done, grown) = member.controller_done.zip(member.filesystem_grown).context("not seen")?;
    Ok(seconds(done, grown))
}
