//! Two managers for one Cluster, each with a proxy of its own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Growth, Phase, State};
use csm_testkit::controlplane::AuditMark;
use csm_testkit::process::ProcessId;
use csm_testkit::scenario::SimCluster;
use csm_testkit::wait::within;
use csm_tests::manager::{Manager, kubeconfig};
use csm_tests::proxy::{At, Fault, OF_A_CLUSTER, Proxy, Rule};
use csm_tests::{Stage, counted_operations, phase, until, writers};
use csm_units::Bytes;
use jiff::SignedDuration;
use rustix::process::Signal;
use serde_json::json;
use tempfile::NamedTempFile;

/// How long others wait for a silent leader: `Manager` starts them so.
pub const LEASE: SignedDuration = SignedDuration::from_secs(6);
/// Within so much more than that, another has taken over.
pub const GRACE: SignedDuration = SignedDuration::from_secs(5);
/// Instances of the Cluster, one patched after the other.
const INSTANCES: usize = 3;
/// How soon one that lost its lease must have ended.
const GIVES_UP: Duration = Duration::from_mins(1);

/// How soon a process stands still.
const STOPS: Duration = Duration::from_secs(2);

/// One of the two.
pub struct Side {
    pub manager: Manager,
    pub proxy: Proxy,
    process: ProcessId,
    _kubeconfig: NamedTempFile,
}

impl Side {
    async fn start(stage: &Stage, name: &str, environment: &[(&str, PathBuf)]) -> Result<Self> {
        let proxy = Proxy::start(stage.sim.plane().kubeconfig()).await?;
        let through = proxy.kubeconfig(&kubeconfig(&stage.sim).await?)?;
        let manager = Manager::spawn_in(&stage.sim, through.path(), &[&stage.namespace], &[], environment)?;
        let process = ProcessId::of(manager.pid())?;
        proxy.serves(process, name);
        Ok(Self {
            manager,
            proxy,
            process,
            _kubeconfig: through,
        })
    }

    /// SIGSTOP: it does nothing more, and does not know. Returns when that is so.
    pub async fn stop(&self) -> Result<()> {
        self.process.signal(Signal::STOP);
        within(STOPS, "it stands still", async || Ok(self.process.stands_still().then_some(()))).await
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.process.signal(Signal::CONT);
    }

    /// At the n-th request of this kind from now, the test has its turn: see [`Proxy::meanwhile`].
    pub fn at(&self, kind: &str, nth: u32, fault: Fault) {
        let at = if kind.ends_with(OF_A_CLUSTER) {
            At::Signature(kind.to_owned())
        } else {
            At::Kind(kind.to_owned())
        };
        self.proxy.arm([Rule { at, nth, fault }]);
    }

    /// Waits for that request. It goes on when what is returned is dropped.
    pub async fn turn(&mut self) -> Result<tokio::sync::oneshot::Sender<()>> {
        let turn = tokio::time::timeout(csm_tests::wait::PATIENCE, self.proxy.meanwhile()).await;
        turn.ok()
            .flatten()
            .with_context(|| format!("the request never came\n{}", self.manager.tail()))
    }

    /// Waits until it has ended by itself: one that lost its lease starts anew, with clean caches.
    pub async fn has_given_up(&mut self) -> Result<()> {
        let manager = &mut self.manager;
        let ended = within(GIVES_UP, "it has ended", async || Ok((!manager.is_alive()).then_some(()))).await;
        ensure!(ended.is_ok(), "it lost its lease and goes on\n{}", manager.tail());
        ensure!(
            manager.log().contains("lost the lease"),
            "it ended for another reason\n{}",
            manager.tail()
        );
        Ok(())
    }

    /// Waits until it leads.
    pub async fn leads(&self) -> Result<()> {
        self.manager.leads().await
    }
}

/// The two, and what they see to.
pub struct Duel {
    pub stage: Stage,
    pub orders: SimCluster,
    /// The one that leads first.
    pub first: Side,
    pub second: Side,
    pub mark: AuditMark,
}

impl Duel {
    /// Starts them one after the other; all is well so far.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_in(name, &[]).await
    }

    /// The same, with variables of the first one's environment.
    pub async fn start_in(name: &str, environment: &[(&str, PathBuf)]) -> Result<Self> {
        let stage = Stage::new(name).await?;
        let mark = stage.sim.plane().audit_mark().await?;
        let orders = stage.sim.cluster(&stage.namespace, "orders").instances(INSTANCES).data("10Gi");
        let orders = orders.create().await?;
        stage.policy("default", json!({"expansion": {"maxSize": "100Gi"}})).await?;
        let first = Side::start(&stage, "first", environment).await?;
        first.leads().await?;
        let second = Side::start(&stage, "second", &[]).await?;
        stage
            .data_status("orders", "balanced", |d| d.state == State::Balanced)
            .await
            .with_context(|| first.manager.tail())?;
        until("the second stands by", || async {
            Ok(second.manager.log().contains("standing by").then_some(()))
        })
        .await?;
        Ok(Self {
            stage,
            orders,
            first,
            second,
            mark,
        })
    }

    /// A volume passes its threshold.
    pub fn breach(&self) -> Result<()> {
        self.orders.fill("orders-1", 0.87)
    }

    /// Waits until the operation has ended and the status says so.
    pub async fn is_done(&self) -> Result<Growth> {
        let logs = || format!("first:\n{}\nsecond:\n{}", self.first.manager.tail(), self.second.manager.tail());
        let ended = |e: &Growth| phase(e) == Some(Phase::Completed);
        let event = self
            .stage
            .event("orders", "the operation is complete", ended)
            .await
            .with_context(logs)?;
        let told = |d: &csm_api::VolumeSizing| d.state == State::Balanced && d.effective_size == Bytes::gib(15);
        self.stage
            .data_status("orders", "the status says so", told)
            .await
            .with_context(logs)?;
        Ok(event)
    }

    /// A record that came late is ended without a patch, and counts for nothing.
    pub async fn one_has_nothing_to_do(&self) -> Result<()> {
        let events = until("both records have ended", || async {
            let events = self.stage.events("orders").await?;
            Ok((events.len() == 2 && events.iter().all(|e| phase(e) == Some(Phase::Completed))).then_some(events))
        })
        .await?;
        let patched = |e: &&Growth| e.status.iter().flat_map(|s| &s.pvc_statuses).any(|p| p.patched_at.is_some());
        let counted = events.iter().filter(patched).count();
        ensure!(counted == 1, "one of the two patched anything: {events:?}");
        let counts = |d: &csm_api::VolumeSizing| d.state == State::Balanced && counted_operations(d) == 1;
        self.stage.data_status("orders", "one operation is counted", counts).await?;
        let audit = writers::audit(&self.stage, self.mark).await?;
        let mut grown: Vec<_> = audit.iter().filter_map(writers::grown).map(|(name, _)| name).collect();
        grown.sort();
        ensure!(grown.windows(2).all(|two| two[0] != two[1]), "no PVC is patched twice: {grown:?}");
        Ok(())
    }

    /// One operation, each PVC patched once, all of one size; never two writers, and where `passed` is said, so many
    /// take-overs, each in time.
    pub async fn nothing_is_lost_or_doubled(&self, passed: usize) -> Result<()> {
        let events = self.stage.events("orders").await?;
        let told: Vec<_> = events.iter().map(|e| (e.metadata.name.clone(), phase(e))).collect();
        ensure!(
            events.len() == 1 && phase(&events[0]) == Some(Phase::Completed),
            "one operation, complete: {told:?}"
        );
        let data = self.stage.data_status("orders", "a status", |_| true).await?;
        let counted = counted_operations(&data);
        ensure!(counted == 1, "one operation is counted, not {counted}");
        let audit = writers::audit(&self.stage, self.mark).await?;
        let mut grown: Vec<_> = audit.iter().filter_map(writers::grown).collect();
        grown.sort();
        let once: Vec<_> = (1..=INSTANCES).map(|n| (format!("orders-{n}"), Bytes::gib(15))).collect();
        let unclear: Vec<_> = audit.iter().filter_map(writers::may_have_grown).collect();
        let right = once.iter().all(|pvc| grown.contains(pvc) || unclear.contains(pvc));
        ensure!(
            right && grown.len() <= once.len() && grown.iter().all(|pvc| once.contains(pvc)),
            "each PVC is patched once: {grown:?}"
        );
        ensure!(grown.windows(2).all(|two| two[0] != two[1]), "no PVC is patched twice: {grown:?}");
        for instance in self.orders.instances() {
            ensure!(
                self.orders.data(&instance).capacity().await? == Bytes::gib(15),
                "{instance} has grown"
            );
        }
        let overlaps = writers::overlaps(&audit);
        ensure!(overlaps.is_empty(), "two writers:\n{}", overlaps.join("\n"));
        let gaps = writers::take_overs(&audit);
        println!("{}: take-overs {gaps:?}", self.stage.namespace);
        ensure!(gaps.len() == passed, "{passed} take-overs: {gaps:?}");
        ensure!(
            gaps.iter().all(|gap| *gap <= LEASE + GRACE),
            "each within {LEASE} + {GRACE}: {gaps:?}"
        );
        Ok(())
    }
}
