//! A leader that stands still beyond its lease (SIGSTOP: a machine that swaps, a virtual machine that is moved), and goes on
//! in the middle of its successor's work.

use anyhow::Context as _;
use csm_tests::proxy::Fault;
use futures::future::try_join_all;

use crate::duel::Duel;

/// The leader is stopped at its first request of one kind, and goes on at its successor's first one of another.
async fn stands_still(stops_at: &str, goes_on_at: &str) -> anyhow::Result<()> {
    let mut duel = Duel::start("still").await?;
    duel.first.at(stops_at, 1, Fault::Meanwhile);
    duel.breach()?;
    let request = duel.first.turn().await?;
    duel.first.stop().await?;
    // The request is on its way, and is applied.
    drop(request);
    duel.second.at(goes_on_at, 1, Fault::Meanwhile);
    let request = duel.second.turn().await?;
    duel.first.go_on();
    duel.first.has_given_up().await?;
    drop(request);
    duel.is_done().await?;
    duel.nothing_is_lost_or_doubled(1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stood_still_writes_no_more() -> anyhow::Result<()> {
    let cases = [
        // Between its look at the ledger and the record.
        ("LIST storageevents of a cluster", "POST storageevents"),
        ("POST storageevents", "PATCH storageevents/status"),
        ("PATCH storageevents/status", "PATCH persistentvolumeclaims"),
        ("PATCH persistentvolumeclaims", "PATCH persistentvolumeclaims"),
        ("PATCH persistentvolumeclaims", "PATCH storageevents/status"),
        ("PATCH clusters", "PATCH postgresstorages/status"),
    ];
    let runs = cases.map(|(stops, goes_on)| async move {
        let told = format!("stopped at {stops}, going on at its successor's {goes_on}");
        stands_still(stops, goes_on).await.context(told)
    });
    try_join_all(runs).await.map(|_| ())
}
