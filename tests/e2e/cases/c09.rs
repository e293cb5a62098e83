//! C09: growths that fail in a row open the breaker. Alerts go on, a restart changes nothing, one growth tries when it is half
//! open, and a person can close it.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::BreakerScope::PerCluster;
use csm_api::BreakerState::{Closed, Open};
use csm_api::{BreakerState, CircuitBreakerStatus, ConditionStatus, Phase, Reason, Verdict, VolumeSizing, annotation};
use csm_tests::breakers;
use csm_units::Bytes;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::c08::quota;
use crate::cluster::Cluster;
use crate::filling::Breach;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect, is};
use crate::stage::{SOON, Stage};
use crate::volume::Volume;
use csm_testkit::wait::within;

/// Longer than the test, and as short as can be.
const LONG: i64 = 60;
const SHORT: i64 = 1;

/// All of these grow by a GiB. A growth that was refused is tried again at once when a setting has changed.
fn policy(percentage: u64, reset_minutes: i64) -> Value {
    json!({
        "expansion": {"percentage": percentage, "minIncrementGi": 1, "maxSize": "4Gi", "cooldownMinutes": 0},
        "circuitBreaker": {"maxFailures": 2, "resetMinutes": reset_minutes},
    })
}

struct Patient {
    stage: Arc<Stage>,
    orders: Arc<Cluster>,
}

impl Patient {
    /// Waits until so many growths have failed in all.
    async fn failed(&self, count: usize) -> Result<()> {
        within(SOON, &format!("{count} growths have failed"), async || {
            let events = self.stage.events("orders").await?;
            let failed = events.iter().filter(|event| csm_tests::phase(event) == Some(Phase::Failed)).count();
            ensure!(failed <= count, "{failed} growths have failed");
            Ok((failed == count).then_some(()))
        })
        .await
    }

    async fn breaker(&self, state: BreakerState, failures: i32) -> Result<CircuitBreakerStatus> {
        let is_it = |breaker: &CircuitBreakerStatus| (breaker.state, breaker.failures) == (state, failures);
        let what = format!("the breaker is {state} after {failures} failures");
        let done = |status: &csm_api::PostgresStorageStatus| status.circuit_breaker.as_ref().is_some_and(is_it);
        let status = self.stage.status(&self.orders, &what, done).await?;
        status.circuit_breaker.context("no breaker")
    }

    /// The open breaker holds what is wanted, also on figures from after this: the decision does not change, nor its time.
    async fn is_held_after(&self, asked: &Breach) -> Result<()> {
        let holds = |sizing: &VolumeSizing| {
            let decision = &sizing.last_decision;
            (decision.verdict, decision.reason) == (Verdict::Hold, Reason::CircuitOpen) && decision.wanted.is_some()
        };
        self.stage.sizing(&self.orders, asked.volume, "held by the breaker", holds).await?;
        self.stage.no_patch(&self.orders, "Hold", "CircuitOpen", asked).await
    }

    /// Waits until an alert of the Cluster is due.
    async fn alerted(&self, kind: &str) -> Result<()> {
        let labels = [
            ("namespace", self.stage.namespace.as_str()),
            ("cluster", "orders"),
            ("type", kind),
            ("severity", "critical"),
        ];
        within(SOON, &format!("the alert {kind} is due"), async || {
            let metrics = self.stage.manager.metrics().await?;
            Ok(is(metrics.value("cnpg_storage_manager_alert_active", &labels), 1).then_some(()))
        })
        .await
    }

    /// What is recorded of the breaker: what it became, and whether a person was it; each is told by an Event.
    async fn recorded(&self, expected: &[(BreakerState, bool)]) -> Result<()> {
        let expected: Vec<_> = expected.iter().map(|(state, by_hand)| (PerCluster, *state, *by_hand)).collect();
        within(SOON, "the records and Events of the breaker", async || {
            let changes = breakers::changes(&self.stage.client, &self.stage.namespace, self.stage.began).await?;
            ensure!(changes == expected, "{changes:?} instead of {expected:?}");
            let notes = self.stage.notes("orders").await?;
            for (state, reason) in [(Open, "CircuitBreakerOpened"), (Closed, "CircuitBreakerClosed")] {
                let wanted = expected.iter().filter(|(_, is, _)| *is == state).count();
                let told = notes.iter().filter(|(name, _)| name == reason).count();
                ensure!(told == wanted, "{told} Events {reason} instead of {wanted}: {notes:?}");
            }
            Ok(Some(()))
        })
        .await
    }
}

/// Opens, is held, restarts, tries and fails, tries and succeeds; opens again, and is reset.
pub async fn opens_tries_and_is_reset(stage: Arc<Stage>) -> Result<()> {
    for words in ["the API server refused to grow the PVC", "expansion failed", "the circuit breaker"] {
        stage.excuse(words);
    }
    stage.policy("default", policy(1, LONG)).await?;
    let orders = Arc::new(stage.cluster("orders").create().await?);
    orders.insert(500).await?;
    // Data and WAL have 2 GiB: there is room for no more.
    quota(&stage, "2148Mi").await?;
    let patient = Patient {
        stage: stage.clone(),
        orders: orders.clone(),
    };

    let breach = Breach::now(Volume::Data);
    orders.ballast("orders-1", Some(87)).await?;
    patient.failed(1).await?;
    stage.policy("default", policy(2, LONG)).await?;
    patient.failed(2).await?;
    let opened = patient.breaker(Open, 2).await?;
    let (since, until) = opened.opened_at.clone().zip(opened.resets_at).context("without times")?;
    ensure!(
        until.0.duration_since(since.0) == SignedDuration::from_mins(LONG),
        "open from {since:?} to {until:?}"
    );
    patient.recorded(&[(Open, false)]).await?;
    // What is asked for next would be tried at once.
    let asked = Breach::now(Volume::Data);
    stage.policy("default", policy(3, LONG)).await?;
    patient.is_held_after(&asked).await?;
    alerts_go_on(&patient).await?;

    stage.manager.kill().await?;
    stage.manager.leads().await?;
    stage.no_patch(&orders, "Hold", "CircuitOpen", &Breach::now(Volume::Data)).await?;
    let found = patient.breaker(Open, 2).await?;
    ensure!(
        found.opened_at == Some(since),
        "open since {:?} for the next manager",
        found.opened_at
    );
    patient.alerted("circuit-open").await?;
    patient.failed(2).await?;
    patient.recorded(&[(Open, false)]).await?;

    // Half open, a growth tries: it fails, and it is open anew. The next one finds room.
    stage.policy("default", policy(3, SHORT)).await?;
    patient.failed(3).await?;
    patient.breaker(Open, 3).await?;
    patient.recorded(&[(Open, false), (Open, false)]).await?;
    let watch = GrowthWatch::start(&orders, Bytes::gib(2)).await?;
    quota(&stage, "3172Mi").await?;
    let again = patient.breaker(Open, 3).await?.resets_at.context("when it is tried")?.0;
    let (_, timeline) = watch.finish_after(&breach, Some("CircuitOpen")).await?;
    let decided = timeline.decided.context("no decision")?;
    ensure!(decided >= again, "half open at {again}, and tried at {decided}");
    patient.breaker(Closed, 0).await?;
    patient.recorded(&[(Open, false), (Open, false), (Closed, false)]).await?;

    // Open once more: a person does not want to wait.
    stage.policy("default", policy(3, LONG)).await?;
    let breach = Breach::now(Volume::Data);
    orders.ballast("orders-1", Some(87)).await?;
    patient.failed(4).await?;
    stage.policy("default", policy(4, LONG)).await?;
    patient.failed(5).await?;
    patient.breaker(Open, 2).await?;
    let watch = GrowthWatch::start(&orders, Bytes::gib(3)).await?;
    let asked = Breach::now(Volume::Data);
    quota(&stage, "5Gi").await?;
    patient.is_held_after(&asked).await?;
    // The plugin sets the annotation.
    let (said, _) = stage.editor().await?.ends(0, &["reset-breaker", "orders"])?;
    ensure!(said.contains("a reset is asked for"), "{said}");
    watch.finish_after(&breach, Some("CircuitOpen")).await?;
    patient.breaker(Closed, 0).await?;
    let history = [(Open, false), (Open, false), (Closed, false), (Open, false), (Closed, true)];
    patient.recorded(&history).await?;
    let left = orders.annotations().await?;
    ensure!(
        left.iter().all(|(name, _)| name != annotation::RESET_CIRCUIT_BREAKER),
        "the request is still there: {left:?}"
    );
    let expect = Expect {
        ceiling: Bytes::gib(4),
        failed: 5,
        refused: 5,
        // The counters of a process begin at nothing.
        counted: false,
        ..Expect::grown(Bytes::gib(3), 2)
    };
    invariants::hold(&orders, &expect).await
}

/// Of the breaker, of what was wrong before, and of what becomes wrong now.
async fn alerts_go_on(patient: &Patient) -> Result<()> {
    let stage = &patient.stage;
    patient.alerted("circuit-open").await?;
    patient.alerted("storage-critical").await?;
    patient.orders.ballast("orders-1", Some(92)).await?;
    patient.alerted("storage-emergency").await?;
    let namespace = [("namespace", stage.namespace.as_str()), ("cluster", "orders")];
    let open = stage.manager.metrics().await?;
    let open = open.value("cnpg_storage_manager_circuit_breaker_open", &namespace);
    ensure!(is(open, 1), "circuit_breaker_open is {open:?}");
    let status = stage
        .storage("orders")
        .await?
        .and_then(|storage| storage.status)
        .unwrap_or_default();
    let condition = status.conditions.iter().find(|c| c.type_ == "CircuitOpen");
    ensure!(
        condition.is_some_and(|c| c.status == ConditionStatus::True && c.message.contains("failed in a row: 2")),
        "{condition:?}"
    );
    let data = status.storage_sizing.and_then(|sizing| sizing.data).context("no data volume")?;
    println!("    {}", data.last_decision.message);
    for words in ["2 growths failed in a row", annotation::RESET_CIRCUIT_BREAKER] {
        ensure!(data.last_decision.message.contains(words), "{}", data.last_decision.message);
    }
    Ok(())
}
