//! A manager that the API server cannot be reached from, while the other one can.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use csm_tests::proxy::{Fault, Link};
use csm_tests::{until, writers};
use futures::future::try_join_all;

use crate::duel::{Duel, LEASE};

/// Requests for a lease in twice its duration, at one each half second, and some for a slow machine.
const RENEWALS: usize = 20;

/// The leader is cut off at its first request of a kind; what it asked for then is applied.
async fn leader_cut_off(link: Link, at: &str) -> anyhow::Result<()> {
    let mut duel = Duel::start("cut-off").await?;
    duel.first.at(at, 1, Fault::Meanwhile);
    duel.breach()?;
    let request = duel.first.turn().await?;
    duel.first.proxy.link(link);
    drop(request);
    // Before its lease can pass on, it stops by itself.
    duel.first.has_given_up().await?;
    duel.second.leads().await?;
    duel.first.proxy.link(Link::Up);
    duel.is_done().await?;
    duel.nothing_is_lost_or_doubled(1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_stops_before_another_begins() -> anyhow::Result<()> {
    let cases = [
        (Link::Hang, "PATCH persistentvolumeclaims"),
        (Link::Refuse, "PATCH persistentvolumeclaims"),
        (Link::Hang, "POST storageevents"),
        (Link::Refuse, "PATCH storageevents/status"),
    ];
    let runs = cases.map(|(link, at)| async move { leader_cut_off(link, at).await.with_context(|| format!("{link:?} at {at}")) });
    try_join_all(runs).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_stands_by_and_is_cut_off_takes_nothing_over() -> anyhow::Result<()> {
    for link in [Link::Hang, Link::Refuse] {
        let duel = Duel::start("blind").await?;
        duel.second.proxy.link(link);
        let renewals = || duel.first.proxy.seen().iter().filter(|s| s.asked.kind == "PUT leases").count();
        let before = renewals();
        until("the leader has renewed its lease for more than twice its duration", || async {
            Ok((renewals() > before + RENEWALS).then_some(()))
        })
        .await?;
        duel.second.proxy.link(Link::Up);
        // What it knew of the lease is older than the lease's duration; it must look twice before it acts on it.
        let looks = || duel.second.proxy.seen().iter().filter(|s| s.asked.kind == "GET leases").count();
        let before = looks();
        until("it has looked at the lease again", || async {
            Ok((looks() > before + 4).then_some(()))
        })
        .await?;
        duel.breach()?;
        duel.is_done().await?;
        duel.nothing_is_lost_or_doubled(0).await.with_context(|| format!("{link:?}"))?;
    }
    Ok(())
}

/// What the leader had sent comes to the API server when its successor has long gone on.
async fn comes_late(kind: &str) -> anyhow::Result<()> {
    let mut duel = Duel::start("late").await?;
    duel.first.at(kind, 1, Fault::Stray);
    duel.breach()?;
    let request = duel.first.turn().await?;
    duel.first.proxy.link(Link::Hang);
    duel.first.has_given_up().await?;
    duel.is_done().await?;
    drop(request);
    let arrived = || {
        let mut seen = duel.first.proxy.seen().into_iter();
        seen.find(|s| s.fault == Some(Fault::Stray)).and_then(|s| s.code)
    };
    let code = until("the late request is answered", || async { Ok(arrived()) }).await?;
    let expected = if kind == "POST storageevents" { 201 } else { 409 };
    ensure!(code == expected, "what rests on a version that is gone is refused: {code}");
    if expected == 201 {
        return duel.one_has_nothing_to_do().await;
    }
    let audit = writers::audit(&duel.stage, duel.mark).await?;
    let gaps = writers::take_overs(&audit);
    ensure!(gaps.iter().all(|gap| *gap <= LEASE + crate::duel::GRACE), "{gaps:?}");
    duel.nothing_is_lost_or_doubled(1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_comes_late_changes_nothing() -> anyhow::Result<()> {
    let cases = ["PATCH persistentvolumeclaims", "PATCH storageevents/status", "POST storageevents"];
    let runs = cases.map(|kind| async move { comes_late(kind).await.with_context(|| kind.to_owned()) });
    tokio::time::timeout(Duration::from_mins(5), try_join_all(runs)).await?.map(|_| ())
}
