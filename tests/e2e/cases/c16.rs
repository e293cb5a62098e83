//! C16: what many Clusters do at once is limited, and so is how often the storage's provider lets one volume be changed.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::{BreakerScope, BreakerState, ClusterStoragePolicy, Growth, State, VolumeSizing, annotation};
use csm_testkit::csi::faults::Rpc;
use csm_tests::cli::Cli;
use csm_tests::{breakers, manager};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::api::Api;
use serde_json::json;

use crate::cluster::Cluster;
use crate::filling::Breach;
use crate::flight::Hold;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect, is};
use crate::stage::{SOON, Stage};
use crate::volume::Volume;
use csm_testkit::wait::within;

/// One resize at a time; the third Cluster that grows within an hour stops all; one change of a volume in a day.
const SETTINGS: &str = "
fleet: {concurrentResizes: 1, runawayShare: 1, runawayMinimum: 3}
providerLimits: {loop.csi.test: {maxActions: 1, period: 24h}}
";
const TO: Bytes = Bytes::gib(2);

/// A growth that is expected of a Cluster.
struct One {
    cluster: Arc<Cluster>,
    breach: Breach,
    watch: GrowthWatch,
}

impl One {
    /// Over its threshold by so much.
    async fn fill(cluster: &Arc<Cluster>, percent: u64) -> Result<Self> {
        let watch = GrowthWatch::start(cluster, TO).await?;
        let breach = Breach::now(Volume::Data);
        cluster.ballast(&format!("{}-1", cluster.name), Some(percent)).await?;
        Ok(Self {
            cluster: cluster.clone(),
            breach,
            watch,
        })
    }

    async fn held(&self, by: &str) -> Result<()> {
        self.cluster.stage.held(&self.cluster, by, &self.breach).await
    }

    async fn grown(self, held_by: Option<&str>) -> Result<Growth> {
        Ok(self.watch.finish_after(&self.breach, held_by).await?.0)
    }
}

/// The limit of the fleet, then the runaway stop, then the provider's limit.
pub async fn limits(stage: Arc<Stage>) -> Result<()> {
    stage.excuse("the circuit breaker of all Clusters");
    stage.manager.set(SETTINGS).await?;
    let fleet = format!("{}-fleet", stage.namespace);
    let policies: Api<ClusterStoragePolicy> = Api::all(stage.client.clone());
    let spec = json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}},
        "expansion": {"percentage": 1, "minIncrementGi": 1, "maxSize": "4Gi", "cooldownMinutes": 0},
    });
    stage.apply(policies.clone(), "ClusterStoragePolicy", &fleet, spec).await?;
    let (first, some, most, last) = tokio::try_join!(
        stage.cluster("first").create(),
        stage.cluster("some").create(),
        stage.cluster("most").create(),
        stage.cluster("last").create()
    )?;
    let [first, some, most, last] = [first, some, most, last].map(Arc::new);
    for cluster in [&first, &some, &most, &last] {
        cluster.insert(200).await?;
    }
    one_at_a_time(&stage, &first, &some, &most).await?;
    runaway(&stage, &last, &fleet, &policies).await?;
    let until = provider(&stage, &first).await?;
    println!("    ProviderLimit until {until}");
    for cluster in [&some, &most, &last] {
        let expect = Expect {
            ceiling: Bytes::gib(4),
            ..Expect::grown(TO, 1)
        };
        invariants::hold(cluster, &expect).await?;
    }
    let waits = Expect {
        ceiling: Bytes::gib(4),
        state: State::Blocked,
        conditions: &[("Blocked", true), ("Healthy", false)],
        ..Expect::grown(TO, 1)
    };
    invariants::hold(&first, &waits).await
}

/// While one is under way two wait; then the fuller one goes first.
async fn one_at_a_time(stage: &Arc<Stage>, first: &Arc<Cluster>, some: &Arc<Cluster>, most: &Arc<Cluster>) -> Result<()> {
    let controller = Hold::set(stage, Rpc::ControllerExpandVolume).await?;
    let first = One::fill(first, 87).await?;
    stage.reached("ControllerResizeInProgress", first.breach.at).await?;
    let (some, most) = tokio::try_join!(One::fill(some, 87), One::fill(most, 91))?;
    tokio::try_join!(some.held("FleetLimit"), most.held("FleetLimit"))?;
    controller.release().await?;
    let mut times = Vec::new();
    for (one, held_by) in [(first, None), (most, Some("FleetLimit")), (some, Some("FleetLimit"))] {
        let event = one.grown(held_by).await?;
        let ended = event
            .status
            .as_ref()
            .and_then(|status| status.completion_time.as_ref())
            .map(|at| at.0);
        times.push((event.name_any(), event.creation_timestamp().map(|at| at.0), ended));
    }
    for pair in times.windows(2) {
        ensure!(pair[0].2 <= pair[1].1, "one after the other, in this order: {times:?}");
    }
    Ok(())
}

/// Three have grown: the fourth waits until a person has looked.
async fn runaway(stage: &Arc<Stage>, last: &Arc<Cluster>, fleet: &str, policies: &Api<ClusterStoragePolicy>) -> Result<()> {
    let recorded = async |expected: &[(BreakerState, bool)]| {
        // It is looked at once a minute.
        within(SOON * 2, "the records of the breaker of all Clusters", async || {
            let changes = breakers::changes(&stage.client, manager::NAMESPACE, stage.began).await?;
            let expected = expected.iter().map(|(state, by_hand)| (BreakerScope::Global, *state, *by_hand));
            ensure!(changes.iter().copied().eq(expected), "{changes:?}");
            Ok(Some(()))
        })
        .await
    };
    recorded(&[(BreakerState::Open, false)]).await?;
    let last = One::fill(last, 87).await?;
    last.held("CircuitOpen").await?;
    let data = stage.sizing(&last.cluster, Volume::Data, "held", |_| true).await?;
    println!("    {}", data.last_decision.message);
    ensure!(
        data.last_decision.message.contains("3 of ") && data.last_decision.message.contains("grew within an hour"),
        "{}",
        data.last_decision.message
    );
    let open = stage.manager.metrics().await?;
    let open = open.value("cnpg_storage_manager_circuit_breaker_open", &[("cluster", "")]);
    ensure!(is(open, 1), "circuit_breaker_open of all Clusters is {open:?}");

    let person = Cli::new(&stage.lab.kubeconfig(), &stage.namespace);
    let (said, _) = person.ends(0, &["reset-breaker", "--global"])?;
    ensure!(said.contains("a reset is asked for"), "{said}");
    last.grown(Some("CircuitOpen")).await?;
    recorded(&[(BreakerState::Open, false), (BreakerState::Closed, true)]).await?;
    within(SOON, "the request is taken away", async || {
        let policy = policies.get(fleet).await?;
        Ok((!policy.annotations().contains_key(annotation::RESET_CIRCUIT_BREAKER)).then_some(()))
    })
    .await
}

/// It grew once today, and its provider allows no more. Returns until when.
async fn provider(stage: &Arc<Stage>, first: &Arc<Cluster>) -> Result<Timestamp> {
    let breach = Breach::now(Volume::Data);
    first.ballast("first-1", Some(87)).await?;
    stage.held(first, "ProviderLimit", &breach).await?;
    let events = stage.events_of("first", Volume::Data).await?;
    let began = events.first().and_then(|event| event.status.as_ref()?.start_time.as_ref());
    let until = began.context("it never began")?.0.checked_add(SignedDuration::from_hours(24))?;
    let told = |data: &VolumeSizing| {
        let at = data.next_action_at.as_ref();
        at.is_some_and(|at| at.0.duration_since(until).abs() < SignedDuration::from_secs(2))
    };
    let data = stage.sizing(first, Volume::Data, &format!("it may grow at {until}"), told).await?;
    println!("    {}", data.last_decision.message);
    Ok(until)
}
