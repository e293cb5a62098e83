//! A manager whose wall clock is an hour off. Leases, time-outs and back-offs go by the monotonic clock; budgets, cooldowns
//! and the age of figures by the wall clock.
//!
//! An hour ahead, figures are an hour old: nothing new is begun. An hour behind, they come from the future, which counts as
//! now; what was begun by the right clock was begun in the future, and its cooldown goes on. So nothing is done twice either
//! way; what was begun is ended.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use csm_api::Reason;
use csm_testkit::faketime::{Clock, Step};
use csm_tests::proxy::Fault;
use csm_tests::until;
use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use crate::duel::Duel;

const HOUR: Duration = Duration::from_hours(1);

/// Waits until the leader's clock is seen to be off by this many seconds: its lease says so.
async fn is_off(duel: &Duel, seconds: i64) -> anyhow::Result<()> {
    let leases: Api<Lease> = Api::namespaced(duel.stage.sim.client(), csm_tests::manager::NAMESPACE);
    let name = format!("test-{}", duel.stage.namespace);
    until("the lease tells of the wrong clock", || async {
        let renewed = leases.get(&name).await?.spec.and_then(|s| s.renew_time);
        let off = renewed.map(|t| t.0.as_second() - Timestamp::now().as_second());
        Ok(off.filter(|off| (off - seconds).abs() < 60).map(|_| ()))
    })
    .await
}

/// The leader's clock steps at its first patch of a PVC.
async fn steps(step: Step, seconds: i64) -> anyhow::Result<()> {
    let clock = Clock::new()?;
    let mut duel = Duel::start_in("clock", &clock.environment()).await?;
    duel.first.at("PATCH persistentvolumeclaims", 1, Fault::Meanwhile);
    duel.breach()?;
    let request = duel.first.turn().await?;
    clock.step(step)?;
    drop(request);
    is_off(&duel, seconds).await?;
    let ended = |e: &csm_api::Growth| csm_tests::phase(e) == Some(csm_api::Phase::Completed);
    let event = duel.stage.event("orders", "what was begun is ended", ended).await;
    let event = event.with_context(|| duel.first.manager.tail())?;
    let status = event.status.unwrap_or_default();
    ensure!(status.pvc_statuses.len() == 3, "{status:?}");

    // Over the threshold again, within the cooldown by the right clock.
    duel.orders.fill("orders-1", 0.9)?;
    let expected = if seconds > 0 { Reason::StaleObservation } else { Reason::Cooldown };
    let held = |d: &csm_api::VolumeSizing| d.last_decision.reason == expected;
    let data = duel.stage.data_status("orders", "held with the wrong clock", held).await;
    data.with_context(|| duel.first.manager.tail())?;
    clock.step(Step::Right)?;
    is_off(&duel, 0).await?;
    // Figures count again once they are newer than the end of the resize, which may have been recorded an hour ahead.
    let held = |d: &csm_api::VolumeSizing| matches!(d.last_decision.reason, Reason::Cooldown | Reason::StaleObservation);
    let data = duel.stage.data_status("orders", "held with the right clock", held).await;
    data.with_context(|| duel.first.manager.tail())?;
    // Nobody lost the lease for it.
    duel.nothing_is_lost_or_doubled(0).await
}

/// The leader dies with a wrong clock, in the middle of its work; its successor's clock is right.
async fn dies(step: Step, seconds: i64) -> anyhow::Result<()> {
    let clock = Clock::new()?;
    let mut duel = Duel::start_in("heir", &clock.environment()).await?;
    duel.first.at("PATCH persistentvolumeclaims", 2, Fault::Meanwhile);
    duel.breach()?;
    let request = duel.first.turn().await?;
    clock.step(step)?;
    is_off(&duel, seconds).await?;
    duel.first.manager.kill()?;
    drop(request);
    duel.is_done().await?;
    duel.nothing_is_lost_or_doubled(1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_steps_by_an_hour_loses_and_doubles_nothing() -> anyhow::Result<()> {
    let cases = [(Step::Ahead(HOUR), 3600), (Step::Behind(HOUR), -3600)];
    let runs = cases.map(|(step, seconds)| async move { steps(step, seconds).await.with_context(|| format!("{step:?}")) });
    try_join_all(runs).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_with_the_right_clock_goes_on_with_the_work_of_one_with_a_wrong_clock() -> anyhow::Result<()> {
    let cases = [(Step::Ahead(HOUR), 3600), (Step::Behind(HOUR), -3600)];
    let runs = cases.map(|(step, seconds)| async move { dies(step, seconds).await.with_context(|| format!("{step:?}")) });
    try_join_all(runs).await.map(|_| ())
}
