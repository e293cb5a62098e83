//! D01: data and WAL on one volume, filled until PostgreSQL stops. It comes back by itself; nobody deletes its pod.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Phase, Reason, Urgency};
use csm_testkit::wait::within;
use csm_units::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Api;
use serde_json::json;

use crate::cluster::Cluster;
use crate::filling::Breach;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::{SOON, Stage};
use crate::timeline::seconds;
use crate::volume::Volume;

/// CloudNativePG's instance manager ends with it where there is no room for two WAL segments.
const NO_ROOM_FOR_WAL: i32 = 4;
/// A container that ended may wait for as long as the kubelet's longest back-off before it is started again.
const BACK: Duration = Duration::from_mins(8);

/// One instance, full to the last block.
pub async fn comes_back(stage: Arc<Stage>) -> Result<()> {
    stage
        .policy(
            "default",
            json!({"expansion": {"percentage": 100, "minIncrementGi": 1, "maxSize": "4Gi"}}),
        )
        .await?;
    let single = Arc::new(stage.cluster("single").single_volume().create().await?);
    single.insert(500).await?;
    let before = pod(&stage).await?;
    let to = Bytes::gib(2);
    let watch = GrowthWatch::start(&single, to).await?;

    // At once, so that no figures come in between; then PostgreSQL wants a new WAL segment, and there is no room.
    fill_to_the_last_block(&single).await?;
    let breach = Breach::now(Volume::Data);
    let ended = within(SOON, "PostgreSQL has stopped for lack of room", async || {
        let refused = single.sql("SELECT pg_switch_wal(); CHECKPOINT").await.is_err();
        let ended = postgres(&pod(&stage).await?).and_then(|status| ended_at(&status));
        Ok(ended.filter(|_| refused))
    });
    let ended = ended.await?;

    let (event, _) = watch.finish(&breach).await?;
    ensure!(
        (event.spec.reason, event.spec.urgency(), event.spec.rescue) == (Reason::DiskFull, Urgency::Rescue, true),
        "{:?}",
        event.spec
    );
    let back = within(BACK, "PostgreSQL accepts writes again", async || {
        Ok(single.sql("SELECT pg_switch_wal()").await.is_ok().then(Timestamp::now))
    });
    let back = back.await?;
    single.exec("single-1", &["rm", "-f", BALLAST, &format!("{BALLAST}-too")]).await?;
    single.insert(10).await?;
    single.healthy().await?;

    let patched = stage.patches()?.first().context("nothing was patched")?.at;
    let status = event.status.as_ref().context("a status")?;
    let grown = status.completion_time.as_ref().context("its end")?.0;
    ensure!(csm_tests::phase(&event) == Some(Phase::Completed), "{status:?}");
    println!(
        "  D01: the container ended; patch accepted {:+.1} s, verified {:+.1} s, PostgreSQL writes {:+.1} s",
        seconds(ended, patched),
        seconds(ended, grown),
        seconds(ended, back)
    );
    let after = pod(&stage).await?;
    ensure!(before.metadata.uid == after.metadata.uid, "the pod is another one");
    let deleted = stage
        .requests()?
        .into_iter()
        .filter(|entry| entry.verb.starts_with("delete"))
        .count();
    ensure!(deleted == 0, "the manager deleted {deleted} objects");
    let notes = stage.notes("single").await?;
    ensure!(notes.iter().any(|(reason, _)| reason == "StorageRescue"), "{notes:?}");
    invariants::hold(
        &single,
        &Expect {
            ceiling: Bytes::gib(4),
            ..Expect::grown(to, 1)
        },
    )
    .await
}

const BALLAST: &str = "/var/lib/postgresql/data/ballast-to-the-last-block";

/// Takes every block that is free.
async fn fill_to_the_last_block(cluster: &Cluster) -> Result<()> {
    // A filesystem keeps some of what it calls available for itself: most of it at once, and the rest as it comes.
    let most = cluster.df("single-1").await?.available * 95 / 100;
    cluster.exec("single-1", &["fallocate", "-l", &most.to_string(), BALLAST]).await?;
    let rest = format!("dd if=/dev/zero bs=64k of={BALLAST}-too || true");
    cluster.exec("single-1", &["sh", "-c", &rest]).await?;
    Ok(())
}

async fn pod(stage: &Stage) -> Result<Pod> {
    let pods: Api<Pod> = stage.api();
    pods.get("single-1").await.context("read the pod single-1")
}

fn postgres(pod: &Pod) -> Option<ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == "postgres").cloned()
}

/// When it ended for lack of room.
fn ended_at(status: &ContainerStatus) -> Option<Timestamp> {
    let states = [status.state.as_ref(), status.last_state.as_ref()];
    let ended = states.into_iter().flatten().find_map(|state| state.terminated.as_ref())?;
    (ended.exit_code == NO_ROOM_FOR_WAL).then_some(ended.finished_at.as_ref()?.0)
}
