//! C04: settings of all ranks, field by field; exclusion; pause and pause-until; a dry run changes nothing.

use std::sync::Arc;

use anyhow::{Result, ensure};
use csm_api::{ClusterStoragePolicy, PostgresStorage, State};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use kube::api::Api;
use serde_json::json;

use crate::cluster::Cluster;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::Stage;

const PAUSED: &str = "storage.cnpg.supporttools.io/paused";
const PAUSE_UNTIL: &str = "storage.cnpg.supporttools.io/pause-until";

/// What the namespace default says.
fn namespace_default(dry_run: bool) -> serde_json::Value {
    json!({
        "excludeClusters": [{"name": "three"}],
        "dryRun": dry_run,
        "thresholds": {"warning": 20, "critical": 30, "expansion": 50},
        "expansion": {"percentage": 100},
    })
}

/// Three clusters: `one` has settings of all ranks, `two` those of its namespace and of the platform, `three` is excluded.
pub async fn ranks_pause_and_dry_run(stage: Arc<Stage>) -> Result<()> {
    let platform = format!("{}-platform", stage.namespace);
    let spec = json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}},
        "excludeClusters": [{"name": "three", "namespace": stage.namespace}],
        "expansion": {"percentage": 300, "minIncrementGi": 1, "maxSize": "5Gi", "cooldownMinutes": 0},
    });
    let policies: Api<ClusterStoragePolicy> = Api::all(stage.client.clone());
    stage.apply(policies, "ClusterStoragePolicy", &platform, spec).await?;
    stage.policy("default", namespace_default(false)).await?;
    let gold = json!({"selector": {"matchLabels": {"tier": "gold"}}, "expansion": {"percentage": 200}});
    stage.policy("gold", gold).await?;
    let own = json!({"thresholds": {"expansion": 40}});
    stage.apply(stage.api::<PostgresStorage>(), "PostgresStorage", "one", own).await?;
    let (one, two, three) = tokio::try_join!(
        stage.cluster("one").labels(json!({"tier": "gold"})).create(),
        stage.cluster("two").create(),
        stage.cluster("three").create()
    )?;
    let (one, two) = (Arc::new(one), Arc::new(two));

    // Threshold of its own object, percentage of the selected policy, the rest of the platform's.
    let watch = GrowthWatch::start(&one, Bytes::gib(3)).await?;
    let breach = one.fill(40).await?;
    watch.finish(&breach).await?;
    let ranks = [
        ("PostgresStorage", "one"),
        ("StoragePolicy", "gold"),
        ("StoragePolicy", "default"),
        ("ClusterStoragePolicy", platform.as_str()),
    ];
    let what = "the status names all four objects, the most specific first";
    stage
        .status(&one, what, |s| {
            s.policies.iter().map(|p| (p.kind.as_str(), p.name.as_str())).eq(ranks)
        })
        .await?;
    // The same fill means nothing for one whose threshold is 50, and that grows by 100 %.
    let below = two.fill(40).await?;
    stage.no_patch(&two, "Balanced", "BelowThresholds", &below).await?;
    let watch = GrowthWatch::start(&two, Bytes::gib(2)).await?;
    let breach = two.fill(50).await?;
    watch.finish(&breach).await?;
    excluded(&stage, &three).await?;
    dry_run(&stage, &two).await?;
    paused(&stage, &one).await?;

    invariants::hold(&one, &Expect::grown(Bytes::gib(5), 2)).await?;
    let grown = Expect {
        ceiling: Bytes::gib(5),
        ..Expect::grown(Bytes::gib(4), 2)
    };
    invariants::hold(&two, &grown).await?;
    let untouched = Expect {
        state: State::Unmanaged,
        managed: false,
        ..Expect::at_rest(Bytes::gib(1))
    };
    invariants::hold(&three, &untouched).await
}

/// Excluded by every policy: full, and nothing of ours on it.
async fn excluded(stage: &Stage, three: &Cluster) -> Result<()> {
    let breach = three.fill(50).await?;
    stage.no_patch(three, "Hold", "NoPolicy", &breach).await?;
    let annotations = three.annotations().await?;
    ensure!(annotations.is_empty(), "it is excluded, and annotated: {annotations:?}");
    ensure!(stage.notes("three").await?.is_empty(), "{:?}", stage.notes("three").await?);
    Ok(())
}

/// A dry run decides, and changes nothing; when it ends, what was decided is done.
async fn dry_run(stage: &Stage, two: &Arc<Cluster>) -> Result<()> {
    stage.policy("default", namespace_default(true)).await?;
    let (events, annotations) = (stage.events("two").await?.len(), two.annotations().await?);
    let watch = GrowthWatch::start(two, Bytes::gib(4)).await?;
    let breach = two.fill(50).await?;
    stage.held(two, "DryRun", &breach).await?;
    stage.status(two, "its state is DryRun", |s| s.state == Some(State::DryRun)).await?;
    ensure!(
        stage.events("two").await?.len() == events,
        "a dry run left a record: {:?}",
        stage.events("two").await?
    );
    ensure!(
        two.annotations().await? == annotations,
        "a dry run wrote annotations: {:?}",
        two.annotations().await?
    );
    stage.policy("default", namespace_default(false)).await?;
    watch.finish_after(&breach, Some("DryRun")).await?;
    Ok(())
}

/// A pause holds until it is over, and then no longer, by itself.
async fn paused(stage: &Stage, one: &Arc<Cluster>) -> Result<()> {
    one.annotate(PAUSED, Some("true")).await?;
    // 200 % of 3 GiB is more than the platform allows.
    let watch = GrowthWatch::start(one, Bytes::gib(5)).await?;
    let breach = one.fill(40).await?;
    stage.held(one, "Paused", &breach).await?;
    stage.status(one, "its state is Paused", |s| s.state == Some(State::Paused)).await?;
    let until = Timestamp::now().checked_add(SignedDuration::from_secs(15))?;
    let text = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    one.annotate(PAUSE_UNTIL, Some(&text)).await?;
    let (_, timeline) = watch.finish_after(&breach, Some("Paused")).await?;
    let late = timeline.decided.map(|at| at.duration_since(until));
    // The annotation has whole seconds.
    let by_itself = late.is_some_and(|late| late > SignedDuration::from_secs(-1) && late < SignedDuration::from_secs(15));
    ensure!(by_itself, "paused until {until}, and grown {late:?} after");
    Ok(())
}
