//! D05: a data volume full beside a WAL volume of its own. CloudNativePG does not see it, and the container ends with code 0.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Reason, Urgency, Verdict};
use csm_testkit::manifest;
use csm_testkit::wait::within;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::d01::{CEILING, TO, policy};
use crate::cluster::{Cluster, rows_sql};
use crate::filling::Breach;
use crate::flight::Hold;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect, is};
use crate::outage::{BACK, Outage};
use crate::stage::{SOON, Stage};
use crate::timeline::seconds;
use crate::volume::Volume;

/// So many rows at a time; they need new blocks.
const MORE: u64 = 2000;

/// A cluster of one instance, of which there are figures.
async fn cluster(stage: &Arc<Stage>) -> Result<Arc<Cluster>> {
    stage.policy("default", policy()).await?;
    let orders = Arc::new(stage.cluster("orders").create().await?);
    orders.insert(500).await?;
    stage.observed(&orders, Volume::Data, Timestamp::now()).await?;
    Ok(orders)
}

/// Fills its data volume, so that PostgreSQL cannot extend a file.
async fn fill(orders: &Arc<Cluster>) -> Result<(Outage, Breach)> {
    // The next one is 30 s away.
    orders.sql("CHECKPOINT").await?;
    let mut outage = Outage::new(orders, Volume::Data).await?;
    outage.fill("orders-1").await?;
    let refused = within(SOON, "PostgreSQL cannot extend a file", async || {
        Ok(write(orders).await.err().map(|error| format!("{error:#}")))
    })
    .await?;
    let breach = Breach::now(Volume::Data);
    println!("    {refused}; CloudNativePG: {}", orders.phase().await?);
    ensure!(refused.contains("No space left on device"), "{refused}");
    Ok((outage, breach))
}

/// Commits rows, without a look at all of them.
async fn write(orders: &Cluster) -> Result<()> {
    let from = orders.rows(Volume::Data).count;
    orders.sql(&rows_sql(Volume::Data, from, from + MORE)).await?;
    orders.committed(Volume::Data, from + MORE);
    Ok(())
}

/// All that was committed is there, what was refused can be written, and all tell one story.
async fn well(orders: &Cluster, expect: &Expect) -> Result<()> {
    let committed = orders.rows(Volume::Data).count;
    let rows = orders.remember(Volume::Data).await?;
    ensure!(
        rows.count == committed,
        "{committed} rows were committed, and {} are there",
        rows.count
    );
    orders.insert(MORE).await?;
    invariants::hold(orders, expect).await
}

fn grown() -> Expect {
    Expect {
        ceiling: CEILING,
        ..Expect::grown(TO, 1)
    }
}

/// Kubelets have figures: PostgreSQL refuses writes until its next checkpoint, and its volume has grown before.
pub async fn with_figures(stage: Arc<Stage>) -> Result<()> {
    let orders = cluster(&stage).await?;
    let (_, restarts) = orders.pod_of("orders-1").await?;
    let watch = GrowthWatch::start(&orders, TO).await?;
    let (outage, breach) = fill(&orders).await?;
    let writes = within(BACK, "PostgreSQL writes again", async || {
        Ok(write(&orders).await.is_ok().then(Timestamp::now))
    });
    let ((event, _), writes) = tokio::try_join!(watch.finish(&breach), writes)?;
    println!("    {:?}, {:?}: {}", event.spec.reason, event.spec.urgency(), event.spec.message);
    println!(
        "    PostgreSQL writes again {:.1} s after the first refusal; CloudNativePG: {}",
        seconds(breach.at, writes),
        orders.phase().await?
    );
    ensure!(event.spec.reason == Reason::UsageThreshold, "{:?}", event.spec);
    orders.healthy().await?;
    let ended = outage.end_of("orders-1").await?;
    ensure!(ended.is_none(), "its container has ended: {ended:?}");
    let (_, now) = orders.pod_of("orders-1").await?;
    ensure!(
        now == restarts,
        "its container was started {restarts} times again, and {now} times now"
    );
    orders.free_the_last_block("orders-1", Volume::Data).await?;
    well(&orders, &grown()).await
}

/// Kubelets have no figures of the volumes. The log of the container that ended tells; until it may be read, what is not
/// known is said.
pub async fn without_figures(stage: Arc<Stage>, granted: bool) -> Result<()> {
    stage.manager.set("podLogs: true").await?;
    if granted {
        grant_logs(&stage).await?;
    }
    let orders = cluster(&stage).await?;
    let figures = Hold::no_figures(&stage).await?;
    let watch = GrowthWatch::start(&orders, TO).await?.patient(BACK);
    let (mut outage, breach) = fill(&orders).await?;
    let ended = outage
        .stops("orders-1", 0, async || orders.sql("CHECKPOINT").await.map(drop))
        .await?;
    println!(
        "    it ended {:+.1} s; CloudNativePG: {}",
        seconds(breach.at, ended.at),
        orders.phase().await?
    );
    if !granted {
        not_known(&orders, &outage, "its log may not be read (get on pods/log is denied)").await?;
        grant_logs(&stage).await?;
        println!(
            "    its log may be read {:+.1} s after its first end",
            seconds(ended.at, Timestamp::now())
        );
    }
    let back = async {
        let back = outage.back().await?;
        // Of a pod that runs, the filesystem is to be seen: until there are figures, nothing more is done.
        figures.release().await?;
        Ok(back)
    };
    let ((event, took), back) = tokio::try_join!(watch.finish(&breach), back)?;
    println!("    {}", event.spec.message);
    ensure!(
        (event.spec.reason, event.spec.urgency()) == (Reason::DiskFull, Urgency::Rescue)
            && event.spec.message.contains("No space left on device"),
        "{:?}",
        event.spec
    );
    outage.over(&event, &took, &back).await?;
    well(&orders, &grown()).await
}

/// As it ships, the manager reads no logs, and there are no figures: it says what it does not know, and a person does what
/// docs/rescue.md says.
pub async fn by_hand(stage: Arc<Stage>) -> Result<()> {
    let orders = cluster(&stage).await?;
    let figures = Hold::no_figures(&stage).await?;
    let (mut outage, breach) = fill(&orders).await?;
    let ended = outage
        .stops("orders-1", 0, async || orders.sql("CHECKPOINT").await.map(drop))
        .await?;
    not_known(&orders, &outage, "the manager is not set to read its log (podLogs)").await?;
    let request = json!({"spec": {"resources": {"requests": {"storage": TO}}}});
    let claims = stage.api::<PersistentVolumeClaim>();
    claims.patch("orders-1", &PatchParams::default(), &Patch::Merge(&request)).await?;
    let patched = Timestamp::now();
    let back = outage.back().await?;
    let back = back.values().copied().max().context("it did not stop")?;
    println!(
        "  {}: ended {}; patched by hand {:+.1} s, PostgreSQL is back {:+.1} s",
        stage.namespace,
        ended.at.strftime("%T"),
        seconds(ended.at, patched),
        seconds(ended.at, back)
    );
    stage.keep(breach.held("orders", "what is not known"));
    figures.release().await?;
    orders.free_the_last_block("orders-1", Volume::Data).await?;
    orders.healthy().await?;
    well(&orders, &Expect::at_rest(TO)).await
}

/// It ends again and again with code 0, and nobody can tell why: said as that, with what is not known, and nothing is patched.
async fn not_known(orders: &Arc<Cluster>, outage: &Outage, unknown: &str) -> Result<()> {
    let stage = &orders.stage;
    let data = stage
        .sizing(orders, Volume::Data, "what is not known is said", |data| {
            data.last_decision.message.contains(unknown)
        })
        .await?;
    let (_, restarts) = orders.pod_of("orders-1").await?;
    let end = outage.end_of("orders-1").await?;
    println!(
        "    after {restarts} restarts, the last end {end:?}; CloudNativePG: {}",
        orders.phase().await?
    );
    let decision = &data.last_decision;
    println!("    {:?} for {}: {}", decision.verdict, decision.reason, decision.message);
    ensure!(
        decision.message.contains("orders-1 is down, perhaps for its data being full")
            && !matches!(decision.verdict, Verdict::Rescue | Verdict::Grow),
        "{decision:?}"
    );
    let status = stage
        .storage("orders")
        .await?
        .and_then(|storage| storage.status)
        .context("no status")?;
    for condition in status
        .conditions
        .iter()
        .filter(|c| ["Healthy", "MetricsFresh"].contains(&c.type_.as_str()))
    {
        println!(
            "    {}: {:?}, {}: {}",
            condition.type_, condition.status, condition.reason, condition.message
        );
    }
    let labels = [
        ("namespace", stage.namespace.as_str()),
        ("cluster", "orders"),
        ("volume", "data"),
        ("type", "metrics-lost"),
    ];
    within(SOON, "the alert metrics-lost is due", async || {
        let value = stage.manager.metrics().await?.value("cnpg_storage_manager_alert_active", &labels);
        Ok(is(value, 1).then_some(()))
    })
    .await?;
    let patches = stage.patches()?;
    ensure!(patches.is_empty(), "it is not known, and patched: {patches:?}");
    Ok(())
}

/// What `deploy/pod-logs.yaml` grants, for this namespace.
async fn grant_logs(stage: &Stage) -> Result<()> {
    let file = csm_tests::root().join("deploy/pod-logs.yaml");
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    for mut object in manifest::documents(&text)? {
        let kind = object["kind"]
            .as_str()
            .and_then(|kind| kind.strip_prefix("Cluster"))
            .map(str::to_owned);
        let kind = kind.with_context(|| format!("{} is for all namespaces: {object}", file.display()))?;
        object["kind"] = kind.as_str().into();
        let created = if kind == "Role" {
            let role: Role = serde_json::from_value(object)?;
            stage.api().create(&PostParams::default(), &role).await.map(drop)
        } else {
            object["roleRef"]["kind"] = "Role".into();
            let binding: RoleBinding = serde_json::from_value(object)?;
            stage.api().create(&PostParams::default(), &binding).await.map(drop)
        };
        created.with_context(|| format!("create the {kind}"))?;
    }
    Ok(())
}
