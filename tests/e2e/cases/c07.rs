//! C07: an expansion that is slow, that fails for ever, that the storage cannot do, wholly or at all, and a node whose resize
//! never finishes. Each is said, what the driver refuses with its words; nothing is done twice, and no pod is touched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Growth, Phase, PvcPhase, Reason, State, StorageEvent, Verdict, VolumeSizing};
use csm_testkit::csi::faults::{Action, Code, Fault, Rpc, Scope};
use csm_units::Bytes;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::json;

use crate::cluster::Cluster;
use crate::filling::Breach;
use crate::growth::{GrowthWatch, filesystem_of};
use crate::invariants::{self, Expect, is};
use crate::stage::{GROWTH, SOON, Stage};
use crate::volume::Volume;
use csm_testkit::wait::within;

/// What the driver says when it fails for ever.
const WORDS: &str = "the array is in maintenance until further notice";
/// A resize without progress for ten minutes is stuck; with room for the look that finds it so.
const STUCK: Duration = Duration::from_mins(11);
const TO: Bytes = Bytes::gib(2);
/// What the storage of one can have at most.
const POSSIBLE: Bytes = Bytes::mib(1536);
/// What is asked for where nothing is possible: what is wanted, then thrice half the way back to what there is.
const IMPOSSIBLE: [Bytes; 4] = [TO, POSSIBLE, Bytes::mib(1280), Bytes::mib(1152)];
/// What is said of a volume that a node does not get done with, by Kubernetes' word for it: there are no words of the driver.
const ON_THE_NODE: &str = "the node is growing the filesystem";

/// A cluster of one instance whose growth meets a fault.
struct Patient {
    stage: Arc<Stage>,
    cluster: Arc<Cluster>,
    pods: BTreeMap<String, (String, i32)>,
    breach: Breach,
}

impl Patient {
    async fn new(stage: &Arc<Stage>, name: &'static str, actions: Vec<Action>) -> Result<Self> {
        let cluster = Arc::new(stage.cluster(name).create().await?);
        cluster.insert(500).await?;
        for (number, action) in actions.into_iter().enumerate() {
            let fault = Fault {
                name: format!("{}-{name}-{number}", stage.namespace),
                scope: Scope::claim(format!("{}/{name}-1", stage.namespace)),
                action,
            };
            stage.lab.csi_faults().set(fault).await?;
        }
        let mut pods = BTreeMap::new();
        for instance in cluster.names() {
            pods.insert(instance.clone(), cluster.pod_of(&instance).await?);
        }
        Ok(Self {
            stage: stage.clone(),
            cluster,
            pods,
            breach: Breach::now(Volume::Data),
        })
    }

    /// Over its threshold.
    async fn fill(&mut self) -> Result<()> {
        self.breach = Breach::now(Volume::Data);
        self.cluster.ballast(&format!("{}-1", self.cluster.name), Some(87)).await
    }

    /// The storage is well again.
    async fn heal(&self) -> Result<()> {
        let faults = self.stage.lab.csi_faults();
        let mine = format!("{}-{}-", self.stage.namespace, self.cluster.name);
        for fault in faults.list().await? {
            if fault.name.starts_with(&mine) {
                faults.clear(&fault.name).await?;
            }
        }
        Ok(())
    }

    async fn event(&self) -> Result<Growth> {
        let events = self.stage.events_of(&self.cluster.name, Volume::Data).await?;
        events.into_iter().next().context("there is no operation")
    }

    /// Waits until the PVC of the first operation is in this phase.
    async fn reaches(&self, phase: PvcPhase) -> Result<()> {
        let what = format!("the growth of {} is {phase:?}", self.cluster.name);
        within(SOON, &what, async || {
            let status = self.event().await?.status.unwrap_or_default();
            ensure!(status.pvc_statuses.iter().any(|pvc| pvc.phase == phase), "{status:?}");
            Ok(Some(()))
        })
        .await
    }

    async fn decided(&self, patience: Duration, what: &str, done: impl Fn(&VolumeSizing) -> bool) -> Result<VolumeSizing> {
        let what = format!("{}: {what}", self.cluster.name);
        within(patience, &what, async || {
            let status = self.stage.storage(&self.cluster.name).await?.and_then(|storage| storage.status);
            let data = status.and_then(|status| status.storage_sizing).and_then(|sizing| sizing.data);
            let data = data.context("not in the status")?;
            ensure!(done(&data), "{data:?}");
            Ok(Some(data))
        })
        .await
    }

    /// An alert about the volume is due.
    async fn alerted(&self, alert: &'static str) -> Result<()> {
        self.alert_is(alert, true).await
    }

    /// An alert about the volume is due, or is not.
    async fn alert_is(&self, alert: &'static str, due: bool) -> Result<()> {
        let labels = [
            ("namespace", self.stage.namespace.as_str()),
            ("cluster", self.cluster.name.as_str()),
            ("type", alert),
            ("volume", "data"),
        ];
        within(
            SOON,
            &format!("the alert {alert} of {} is due: {due}", self.cluster.name),
            async || {
                let metrics = self.stage.manager.metrics().await?;
                let value = metrics.value("cnpg_storage_manager_alert_active", &labels);
                ensure!(is(value.or(Some(0.0)), u64::from(due)), "the alert is {value:?}");
                Ok(Some(()))
            },
        )
        .await
    }

    /// The Cluster has the Event, once, with these words.
    async fn told(&self, note: &str, words: &str) -> Result<()> {
        within(SOON, &format!("the Event {note} of {}", self.cluster.name), async || {
            let notes = self.stage.notes(&self.cluster.name).await?;
            let told = notes.iter().filter(|(reason, said)| reason == note && said.contains(words)).count();
            ensure!(told == 1, "{note} with {words:?} was told {told} times: {notes:?}");
            Ok(Some(()))
        })
        .await
    }

    /// No progress for ten minutes: said, alerted, and waited for.
    async fn is_stuck(&self, words: &str) -> Result<()> {
        let stuck = |data: &VolumeSizing| {
            let decision = &data.last_decision;
            decision.verdict == Verdict::Hold && decision.reason == Reason::ResizeStuck && data.state == State::Blocked
        };
        let data = self.decided(STUCK, "its resize is stuck", stuck).await?;
        println!("    {}: {}", self.cluster.name, data.last_decision.message);
        ensure!(data.last_decision.message.contains(words), "{}", data.last_decision.message);
        self.alerted("resize-stuck").await?;
        self.told("AutoResizeStuck", words).await?;
        self.stage.keep(self.breach.held(&self.cluster.name, "ResizeStuck"));
        self.untouched(1).await
    }

    /// Its PVC was asked to have these sizes, in this order, and the API server took each.
    async fn asked_for(&self, sizes: &[Bytes]) -> Result<()> {
        let claims = self.cluster.claims_of(Volume::Data);
        let patches = self.stage.patches()?.into_iter().filter(|patch| claims.contains(&patch.pvc));
        let asked: Vec<_> = patches.map(|patch| (patch.to, patch.code)).collect();
        let wanted: Vec<_> = sizes.iter().map(|size| (Some(*size), 200)).collect();
        ensure!(asked == wanted, "{} was asked for {asked:?}", self.cluster.name);
        self.untouched(sizes.len()).await
    }

    /// So many patches of its PVC, and its pods are those that they were.
    async fn untouched(&self, patches: usize) -> Result<()> {
        for (instance, before) in &self.pods {
            let now = self.cluster.pod_of(instance).await?;
            ensure!(now == *before, "the pod of {instance} was {before:?}, and is {now:?}");
        }
        let claims = self.cluster.claims_of(Volume::Data);
        let patched = self.stage.patches()?.into_iter().filter(|patch| claims.contains(&patch.pvc));
        let patched: Vec<_> = patched.collect();
        ensure!(patched.len() == patches, "{} was patched: {patched:?}", self.cluster.name);
        Ok(())
    }

    /// The storage is well again: the same operation ends well.
    async fn completes(&self, watch: GrowthWatch) -> Result<()> {
        self.heal().await?;
        watch.finish_after(&self.breach, Some("ResizeStuck")).await?;
        self.untouched(1).await?;
        invariants::hold(&self.cluster, &Expect::grown(TO, 1)).await
    }
}

/// All at once, each in a cluster of its own: ten minutes are the same for all.
pub async fn storage_fails(stage: Arc<Stage>) -> Result<()> {
    let expansion = json!({"percentage": 1, "minIncrementGi": 1, "maxSize": TO, "cooldownMinutes": 0});
    stage.policy("default", json!({"expansion": expansion})).await?;
    stage.excuse("expansion failed");
    let delay = |rpc, seconds| Action::Delay { rpc, seconds };
    let fail = Action::Fail {
        rpc: Rpc::ControllerExpandVolume,
        code: Code::Internal,
        message: WORDS.to_owned(),
        times: None,
    };
    let largest = |size: Bytes| Action::LargestSize { bytes: size.get() };
    let hang = Action::Hang {
        rpc: Rpc::NodeExpandVolume,
    };
    // external-resizer gives a call 10 s here; a slower one is begun again.
    let slowly = vec![delay(Rpc::ControllerExpandVolume, 7.0), delay(Rpc::NodeExpandVolume, 20.0)];
    let (mut slow, mut endless, mut infeasible, mut impossible, mut node) = tokio::try_join!(
        Patient::new(&stage, "slow", slowly),
        Patient::new(&stage, "endless", vec![fail]),
        Patient::new(&stage, "infeasible", vec![largest(POSSIBLE)]),
        Patient::new(&stage, "impossible", vec![largest(Bytes::gib(1))]),
        Patient::new(&stage, "node", vec![hang])
    )?;
    let watches = (
        GrowthWatch::start(&slow.cluster, TO).await?,
        GrowthWatch::start(&endless.cluster, TO).await?,
        GrowthWatch::start(&node.cluster, TO).await?,
    );
    tokio::try_join!(slow.fill(), endless.fill(), infeasible.fill(), impossible.fill(), node.fill())?;

    tokio::try_join!(
        waits(&slow, watches.0),
        fails(&infeasible, POSSIBLE, SOON),
        fails(&impossible, Bytes::gib(1), GROWTH),
        node.reaches(PvcPhase::WaitingForNode)
    )?;
    tokio::try_join!(steps_back(&infeasible), gives_up(&impossible))?;
    endless.reaches(PvcPhase::ControllerResizing).await?;
    tokio::try_join!(endless.is_stuck(WORDS), node.is_stuck(ON_THE_NODE))?;
    infeasible.untouched(2).await?;
    // Ten minutes later, after retries were due, it is as it was left.
    gives_up(&impossible).await?;
    invariants::rows(&impossible.cluster).await?;
    tokio::try_join!(endless.completes(watches.1), node.completes(watches.2), possible_again(&infeasible))?;
    Ok(())
}

/// Slow is not stuck: the state in between is shown, and the end is waited for.
async fn waits(slow: &Patient, watch: GrowthWatch) -> Result<()> {
    slow.reaches(PvcPhase::ControllerResizing).await?;
    let resizing = |data: &VolumeSizing| data.state == State::Resizing && data.target_size == Some(TO);
    slow.decided(SOON, "it is resizing", resizing).await?;
    slow.reaches(PvcPhase::WaitingForNode).await?;
    watch.finish(&slow.breach).await?;
    slow.untouched(1).await?;
    invariants::hold(&slow.cluster, &Expect::grown(TO, 1)).await
}

/// What the storage cannot do is a failure, with the driver's words, which name the largest size that it can.
async fn fails(infeasible: &Patient, largest: Bytes, patience: Duration) -> Result<()> {
    let name = &infeasible.cluster.name;
    let words = &largest.get().to_string();
    let event = within(patience, "the growth is infeasible", async || {
        let event = infeasible.event().await?;
        Ok(Some(event).filter(|event| csm_tests::phase(event) == Some(Phase::Failed)))
    })
    .await?;
    let condition = event
        .status
        .context("no status")?
        .conditions
        .into_iter()
        .next()
        .context("no condition")?;
    println!("    {name}: {}: {}", condition.reason, condition.message);
    ensure!(
        condition.reason == "Infeasible" && condition.message.contains(words),
        "{condition:?}"
    );
    infeasible.told("AutoResizeInfeasible", words).await?;
    infeasible.stage.keep(infeasible.breach.held(name, "Infeasible"));
    Ok(())
}

/// Nothing is possible, not even half the way back three times: the PVC goes on asking for what its storage cannot give, which
/// is alerted for as long as that is so, and nothing else is begun.
async fn gives_up(impossible: &Patient) -> Result<()> {
    impossible.alerted("resize-infeasible").await?;
    let status = impossible.event().await?.status.context("no status")?;
    let pvc = status.pvc_statuses.first().context("no PVC")?;
    let halvings = pvc.recovery.as_ref().map(|recovery| recovery.halvings);
    ensure!(
        (pvc.phase, halvings, pvc.learned_ceiling) == (PvcPhase::Failed, Some(3), Some(Bytes::gib(1))),
        "{pvc:?}"
    );
    // The driver is asked again from time to time, and refuses again.
    within(SOON, "its PVC says that it is infeasible", async || {
        let seen = impossible.stage.journal.all();
        let last = seen.iter().rev().find(|seen| seen.name == pvc.name).context("never seen")?;
        ensure!(
            last.expansion.as_deref() == Some("ControllerResizeInfeasible") && last.capacity == Some(Bytes::gib(1)),
            "{last:?}"
        );
        Ok(Some(()))
    })
    .await?;
    let waits = |data: &VolumeSizing| {
        let decision = &data.last_decision;
        let reasons = [Reason::ResizeInProgress, Reason::ResizeStuck];
        data.limit == Some(Bytes::gib(1)) && decision.verdict == Verdict::Hold && reasons.contains(&decision.reason)
    };
    let data = impossible.decided(SOON, "nothing more is begun", waits).await?;
    println!("    impossible: {}", data.last_decision.message);
    impossible.asked_for(&IMPOSSIBLE).await
}

/// Half the way between what it has and what failed is what the storage can do: the request goes back to it, the volume grows to
/// it, and no more is asked for.
async fn steps_back(infeasible: &Patient) -> Result<()> {
    let cluster = &infeasible.cluster;
    let event = infeasible.event().await?;
    let status = event.status.context("no status")?;
    let pvc = status.pvc_statuses.first().context("no PVC")?;
    ensure!(pvc.learned_ceiling == Some(POSSIBLE), "{pvc:?}");
    within(GROWTH, &format!("it has {POSSIBLE}"), async || {
        let df = cluster.df("infeasible-1").await?;
        ensure!(df.total >= filesystem_of(POSSIBLE), "{df:?}");
        Ok(Some(()))
    })
    .await?;
    infeasible.asked_for(&[TO, POSSIBLE]).await?;
    let at_rest = |data: &VolumeSizing| data.effective_size == POSSIBLE && data.state == State::Balanced && data.limit == Some(POSSIBLE);
    infeasible.decided(SOON, "it rests at what is possible", at_rest).await?;
    learned(infeasible).await
}

/// Full again, it is known to be at its limit, and nothing is tried.
async fn learned(infeasible: &Patient) -> Result<()> {
    let full = Breach::now(Volume::Data);
    infeasible.cluster.ballast("infeasible-1", Some(87)).await?;
    infeasible.stage.held(&infeasible.cluster, "AtLimit", &full).await?;
    let data = infeasible
        .decided(SOON, "it is at its limit", |data| data.state == State::AtLimit)
        .await?;
    println!("    infeasible: {}", data.last_decision.message);
    ensure!(
        data.last_decision.message.contains("the largest size that the storage has allowed"),
        "{}",
        data.last_decision.message
    );
    infeasible.alerted("at-limit").await?;
    // It asks for nothing that its storage cannot give.
    infeasible.alert_is("resize-infeasible", false).await?;
    infeasible.untouched(2).await?;
    let expect = Expect {
        ceiling: TO,
        state: State::AtLimit,
        conditions: &[("Blocked", true), ("Healthy", false)],
        failed: 1,
        ..Expect::at_rest(POSSIBLE)
    };
    invariants::hold(&infeasible.cluster, &expect).await
}

/// The storage can do it after all, which nothing tells: the ceiling is kept. A person who knows it deletes the record.
async fn possible_again(infeasible: &Patient) -> Result<()> {
    infeasible.heal().await?;
    let (stage, cluster) = (&infeasible.stage, &infeasible.cluster);
    stage.no_patch(cluster, "Hold", "AtLimit", &Breach::now(Volume::Data)).await?;
    infeasible.untouched(2).await?;
    let record = infeasible.event().await?.name_any();
    stage.api::<StorageEvent>().delete(&record, &DeleteParams::default()).await?;
    within(GROWTH, "what was infeasible has grown", async || {
        let df = cluster.df("infeasible-1").await?;
        ensure!(df.total >= filesystem_of(TO), "{df:?}");
        Ok(Some(()))
    })
    .await?;
    infeasible
        .decided(GROWTH, "nothing is left to be done", |data| {
            data.effective_size == TO && data.state == State::Balanced
        })
        .await?;
    infeasible.asked_for(&[TO, POSSIBLE, TO]).await?;
    let expect = Expect {
        forgotten: 2,
        // The failure is counted, and its record is gone.
        counted: false,
        ..Expect::grown(TO, 1)
    };
    invariants::hold(cluster, &expect).await
}
