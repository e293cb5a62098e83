//! One run: a cluster, a breach, faults, calm; and then all must be as if nothing had happened.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use csm_api::{Phase, Role, State};
use csm_testkit::controlplane::AuditMark;
use csm_testkit::resizer::{Code, ResizeFault};
use csm_testkit::scenario::{SimCluster, SimVolume};
use csm_testkit::wait::Patience;
use csm_tests::journal::Journal;
use csm_tests::proxy::{Proxy, Seen};
use csm_tests::{Stage, phase};
use csm_units::Bytes;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{Api, DeleteParams};

use crate::keeper::Keeper;
use crate::scenario::{Person, Scenario, StorageFault};
use crate::verify;

/// The cluster's name.
pub const CLUSTER: &str = "orders";
/// Annotation of a person who stops everything.
const PAUSED: &str = "storage.cnpg.supporttools.io/paused";
/// Faults stop after so long, whether all of them came or not.
const STORM: Duration = Duration::from_secs(40);
/// After that, all must be well within so much more: a refused growth is tried again after a minute, and a busy machine
/// answers slowly.
const CALM: Duration = Duration::from_mins(4);
/// How often a run is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// The API server is asked at least so often, also where the manager has written nothing.
const ASK: Duration = Duration::from_secs(2);

/// What a run that went well was like.
pub struct Outcome {
    /// Every request, with what was done to it.
    pub seen: Vec<Seen>,
    /// How often the manager was started.
    pub starts: usize,
    /// How long it took.
    pub took: Duration,
}

pub struct Run {
    pub scenario: Scenario,
    pub stage: Stage,
    pub cluster: SimCluster,
    pub proxy: Proxy,
    pub keeper: Keeper,
    pub journal: Journal,
    pub mark: AuditMark,
    /// Whether the person came to act.
    pub acted: bool,
    filled: bool,
}

/// Carries out the run of a seed.
///
/// # Errors
/// Everything that was found wrong, with all that is needed to see why.
pub async fn run(seed: u64) -> Result<Outcome> {
    let start = Instant::now();
    let scenario = Scenario::of(seed);
    let told = scenario.to_string();
    let mut run = Run::prepare(scenario).await.with_context(|| told.clone())?;
    let result = run.carry_out().await;
    let outcome = match result {
        Ok(()) => Ok(Outcome {
            seen: run.proxy.seen(),
            starts: run.keeper.logs().len(),
            took: start.elapsed(),
        }),
        Err(error) => Err(anyhow::anyhow!("{}", verify::report(&run, &told, &error).await)),
    };
    // What is left would be measured by all kubelets, for all other runs.
    let Run { cluster, .. } = run;
    cluster.delete().await?;
    outcome
}

impl Run {
    async fn prepare(scenario: Scenario) -> Result<Self> {
        let stage = Stage::new("chaos").await?;
        let proxy = Proxy::start(stage.sim.plane().kubeconfig()).await?;
        let journal = Journal::start(&stage.sim.plane().client().await?, &stage.namespace);
        let mark = stage.sim.plane().audit_mark().await?;
        let mut cluster = stage.sim.cluster(&stage.namespace, CLUSTER).instances(scenario.instances);
        cluster = cluster.data(&Scenario::size(Role::Data).to_string());
        if scenario.wal {
            cluster = cluster.wal(&Scenario::size(Role::Wal).to_string());
        }
        let cluster = cluster.create().await?;
        stage.policy("default", scenario.policy(false)).await?;
        proxy.arm(scenario.faults.iter().cloned());
        proxy.arm(scenario.person.iter().map(|(_, rule)| rule.clone()));
        let keeper = Keeper::start(&stage, &proxy).await?;
        Ok(Self {
            scenario,
            stage,
            cluster,
            proxy,
            keeper,
            journal,
            mark,
            acted: false,
            filled: false,
        })
    }

    async fn carry_out(&mut self) -> Result<()> {
        if let Some((fault, instance)) = self.scenario.storage {
            self.break_storage(fault, instance).await?;
        }
        if self.scenario.early {
            self.fill()?;
        }
        self.watch("a storm, and then calm", STORM, true).await?;
        self.proxy.calm();
        self.repair().await?;
        if !self
            .watch("all is as it should be, after the faults have stopped", CALM, false)
            .await?
        {
            bail!("not within {} s: all is as it should be", CALM.as_secs());
        }
        if self.scenario.hand_over {
            self.keeper.hand_over(&self.proxy).await?;
            self.next_finds_nothing_to_do().await?;
        }
        self.keeper.stop().await?;
        verify::verify(self).await
    }

    /// Looks on until all has ended, or `patience` does. Returns whether it has.
    async fn watch(&mut self, what: &str, patience: Duration, storm: bool) -> Result<bool> {
        let mut patience = Patience::new(LOOK, patience);
        let (mut written, mut asked) = (usize::MAX, Instant::now());
        loop {
            self.keeper.keep(&self.proxy).context(what.to_owned())?;
            if let Some(waiting) = self.proxy.waits() {
                self.person_acts().await?;
                drop(waiting);
            }
            let now = self.proxy.writes();
            if now != written || asked.elapsed() > ASK {
                (written, asked) = (now, Instant::now());
                if !self.filled && self.begins().await? {
                    self.fill()?;
                }
                if self.has_ended().await? || (storm && self.is_held().await?) {
                    return Ok(true);
                }
            }
            if patience.pause(()).await.is_err() {
                return Ok(false);
            }
        }
    }

    /// All volumes that are to be full are so from now.
    fn fill(&mut self) -> Result<()> {
        self.filled = true;
        for breach in &self.scenario.breaches {
            self.volume(breach.role, breach.instance)
                .set_used(self.scenario.used(breach.role))?;
        }
        Ok(())
    }

    /// The PVC of an instance.
    pub fn volume(&self, role: Role, instance: usize) -> SimVolume {
        let name = format!("{CLUSTER}-{instance}");
        if role == Role::Wal {
            self.cluster.wal(&name)
        } else {
            self.cluster.data(&name)
        }
    }

    /// The roles that its volumes have.
    pub fn roles(&self) -> Vec<Role> {
        [Role::Data, Role::Wal]
            .into_iter()
            .filter(|r| *r == Role::Data || self.scenario.wal)
            .collect()
    }

    /// Whether all volumes are known to be well, before anything happens.
    async fn begins(&self) -> Result<bool> {
        let sizing = self.stage.storage(CLUSTER).await?.and_then(|s| s.status?.storage_sizing);
        let balanced = |s: Option<csm_api::VolumeSizing>| s.is_some_and(|s| s.state == State::Balanced);
        Ok(sizing.is_some_and(|s| balanced(s.data) && (!self.scenario.wal || balanced(s.wal))))
    }

    /// Whether every operation has ended, all members have grown to one size, and the status says so.
    async fn has_ended(&self) -> Result<bool> {
        let events = self.stage.events(CLUSTER).await?;
        if !self.filled || !events.iter().all(|e| matches!(phase(e), Some(Phase::Completed | Phase::Failed))) {
            return Ok(false);
        }
        let Some(sizing) = self.stage.storage(CLUSTER).await?.and_then(|s| s.status?.storage_sizing) else {
            return Ok(false);
        };
        for breach in &self.scenario.breaches {
            let told = if breach.role == Role::Wal { &sizing.wal } else { &sizing.data };
            let Some(told) = told else { return Ok(false) };
            let sizes: BTreeSet<Bytes> = told.actual_sizes.values().copied().collect();
            let grown = told.effective_size > Scenario::size(breach.role);
            if told.state != State::Balanced || told.target_size.is_some() || !grown || sizes.len() != 1 {
                return Ok(false);
            }
        }
        let annotations = self.cluster.object().await?.metadata.annotations.unwrap_or_default();
        Ok(!annotations.contains_key(csm_api::annotation::TARGET_SIZE))
    }

    /// Whether nothing more happens before a person takes back what holds it.
    async fn is_held(&self) -> Result<bool> {
        let waits = self.acted && matches!(self.scenario.person, Some((Person::Pause | Person::LowerLimit, _)));
        let refused = matches!(self.scenario.storage, Some((StorageFault::Quota, _)));
        if !waits && !refused {
            return Ok(false);
        }
        let events = self.stage.events(CLUSTER).await?;
        let ended = events.iter().all(|e| matches!(phase(e), Some(Phase::Completed | Phase::Failed)));
        let sizing = self.stage.storage(CLUSTER).await?.and_then(|s| s.status?.storage_sizing);
        let held = |s: &Option<csm_api::VolumeSizing>| {
            s.as_ref()
                .is_some_and(|s| matches!(s.state, State::Paused | State::AtLimit | State::Blocked | State::Emergency))
        };
        Ok(ended && (!events.is_empty() || waits) && sizing.is_some_and(|s| held(&s.data) || held(&s.wal)))
    }

    async fn person_acts(&mut self) -> Result<()> {
        self.acted = true;
        match self.scenario.person {
            Some((Person::Pause, _)) => self.cluster.annotate(PAUSED, Some("true")).await,
            Some((Person::LowerLimit, _)) => self.stage.policy("default", self.scenario.policy(true)).await.map(|_| ()),
            Some((Person::RaiseRequest, _)) => {
                let breach = self.scenario.breaches.first().context("a breach")?;
                let volume = self.volume(breach.role, self.scenario.instances);
                volume.patch_request(Scenario::raised(breach.role)).await
            }
            None => Ok(()),
        }
    }

    async fn break_storage(&self, fault: StorageFault, instance: usize) -> Result<()> {
        let again = |times, name: &str| (Code::Unavailable, format!("the {name} is busy"), times);
        let fault = match fault {
            StorageFault::HangController => ResizeFault::HangController,
            StorageFault::HangNode => ResizeFault::HangNode,
            StorageFault::FailController(times) => {
                let (code, message, times) = again(times, "controller");
                ResizeFault::FailController { code, message, times }
            }
            StorageFault::FailNode(times) => {
                let (code, message, times) = again(times, "node");
                ResizeFault::FailNode { code, message, times }
            }
            StorageFault::Quota => {
                // What is there, and not enough for anything more.
                let there: u64 = self.roles().iter().map(|r| Scenario::size(*r).get()).sum();
                let hard = Bytes::new(there * self.scenario.instances as u64).to_string();
                let hard = [("requests.storage", hard.as_str())];
                return self.stage.sim.resource_quota(&self.stage.namespace, "small", &hard).await;
            }
        };
        for breach in &self.scenario.breaches {
            self.volume(breach.role, instance).resize_fault(fault.clone());
        }
        Ok(())
    }

    /// Faults of storage stop, and a person takes back what holds a growth.
    async fn repair(&self) -> Result<()> {
        match self.scenario.storage {
            Some((StorageFault::Quota, _)) => {
                let quotas: Api<ResourceQuota> = self.stage.api();
                quotas.delete("small", &DeleteParams::default()).await?;
            }
            Some((_, instance)) => {
                for breach in &self.scenario.breaches {
                    self.volume(breach.role, instance).resize_fault(ResizeFault::None);
                }
            }
            None => {}
        }
        match self.scenario.person {
            Some((Person::Pause, _)) => self.cluster.annotate(PAUSED, None).await?,
            Some((Person::LowerLimit, _)) => {
                self.stage.policy("default", self.scenario.policy(false)).await?;
            }
            Some((Person::RaiseRequest, _)) | None => {}
        }
        Ok(())
    }

    /// Waits until the manager that took over has decided on every volume, from figures of its own.
    async fn next_finds_nothing_to_do(&mut self) -> Result<()> {
        let mut patience = Patience::new(LOOK, CALM);
        let namespace = format!("namespace=\"{}\"", self.stage.namespace);
        loop {
            self.keeper.keep(&self.proxy)?;
            let mut all = true;
            for role in self.roles() {
                let volume = format!("volume=\"{role}\"");
                let labels = [namespace.as_str(), volume.as_str(), "verdict=\"Balanced\""];
                all &= self.keeper.says("cnpg_storage_manager_decision", &labels, 1.0).await;
            }
            if all {
                return Ok(());
            }
            if patience.pause(()).await.is_err() {
                break;
            }
        }
        let said = self.keeper.metrics().await?;
        let decisions: Vec<&str> = said.lines().filter(|line| line.contains("_decision{")).collect();
        bail!("the manager that took over does not say that all volumes are balanced: {decisions:?}")
    }
}
