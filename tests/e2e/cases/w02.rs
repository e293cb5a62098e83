//! W02: WAL that a slot, a standby or a base backup needs, or that is not archived, stays: each alone, and all together.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::WalCleanupOutcome;
use csm_testkit::s3::Fault;
use csm_testkit::wait::within;
use csm_units::Bytes;

use crate::archive::Archive;
use crate::cluster::{Builder, Cluster};
use crate::invariants::{self, Expect};
use crate::relief::{REPLICATION, Wal, keeps_all};
use crate::stage::{SOON, Stage};
use crate::volume::Volume;

/// Written before something begins to need WAL, and after; in MiB.
const BEFORE: u64 = 64;
const AFTER: u64 = 96;
const SLOT: &str = "abandoned";
/// Where one that needed WAL is gone, and the next may need a little less.
const EITHER: [WalCleanupOutcome; 2] = [WalCleanupOutcome::Relieved, WalCleanupOutcome::NothingToFree];

/// Everything is kept by `wal_keep_size`, so that each relief has something that it may remove.
struct Scene {
    stage: Arc<Stage>,
    orders: Arc<Cluster>,
    archive: Archive,
    primary: String,
    standby: String,
}

/// One after the other, each released again; then all of them.
pub async fn needed(stage: Arc<Stage>) -> Result<()> {
    let (orders, archive) = keeps_all(&stage, Builder::without_slots).await?;
    // Who is stopped stays connected.
    orders.sets(&[("wal_sender_timeout", "0")]).await?;
    let primary = orders.primary().await?;
    let names = orders.names();
    let standby = names.iter().find(|name| **name != primary).context("no standby")?.clone();
    let scene = Scene {
        stage,
        orders,
        archive,
        primary,
        standby,
    };

    println!("    a slot that nobody reads");
    scene.begins().await?;
    scene.slot().await?;
    scene.holds(&[WalCleanupOutcome::Relieved], SLOT).await?;
    scene.drop_slot().await?;
    scene.released().await?;

    println!("    a standby that receives nothing");
    scene.begins().await?;
    let receiver = scene.standby_stands_still().await?;
    scene.holds(&[WalCleanupOutcome::Relieved], &scene.standby).await?;
    scene.standby_goes_on(&receiver).await?;
    scene.released().await?;

    println!("    a base backup that is running");
    scene.begins().await?;
    let backup = scene.backup().await?;
    scene.holds(&[WalCleanupOutcome::NotProved], "base backup").await?;
    scene.end_backup(&backup).await?;
    scene.released().await?;

    println!("    what is not archived");
    scene.begins().await?;
    scene.refuses().await?;
    scene.holds(&[WalCleanupOutcome::Relieved], "archive").await?;
    scene.archive.repair()?;
    scene.released().await?;

    println!("    all of them");
    scene.begins().await?;
    scene.slot().await?;
    let receiver = scene.standby_stands_still().await?;
    scene.refuses().await?;
    let backup = scene.backup().await?;
    let all = scene.orders.wal_now(&scene.primary).await?;
    scene.holds(&[WalCleanupOutcome::NotProved], "base backup").await?;
    let now = scene.orders.wal_now(&scene.primary).await?;
    ensure!(
        all.segments.is_subset(&now.segments),
        "{:?} are gone",
        all.segments.difference(&now.segments)
    );
    scene.end_backup(&backup).await?;
    // What they have in common is held still: from the slot on.
    scene.holds(&[WalCleanupOutcome::Relieved], SLOT).await?;
    scene.drop_slot().await?;
    scene.holds(&EITHER, &scene.standby).await?;
    scene.standby_goes_on(&receiver).await?;
    scene.holds(&EITHER, "archive").await?;
    scene.archive.repair()?;
    scene.released().await?;

    let at_rest = Expect::at_rest(Bytes::gib(1));
    invariants::hold_all(&scene.orders, &[at_rest.clone().of(Volume::Wal), at_rest]).await
}

impl Scene {
    /// WAL that nobody needs lies there.
    async fn begins(&self) -> Result<()> {
        self.orders.write_wal(&self.primary, BEFORE).await?;
        self.orders.switch_wal().await?;
        self.archive.has_all(&self.orders).await?;
        self.caught_up().await
    }

    /// WAL is written which somebody needs now. A relief leaves it, says who needs it, and removes nothing else either that PostgreSQL
    /// calls needed.
    async fn holds(&self, outcomes: &[WalCleanupOutcome], who: &str) -> Result<()> {
        self.orders.write_wal(&self.primary, AFTER).await?;
        self.orders.switch_wal().await?;
        let before = self.orders.wal_now(&self.primary).await?;
        let relief = self.stage.relief(&self.orders, &self.primary, false).await?;
        let after = self.orders.wal_now(&self.primary).await?;
        ensure!(
            outcomes.contains(&relief.outcome),
            "{outcomes:?} were expected: {:#?}",
            relief.record
        );
        relief.names(who)?;
        let gone = relief.removed_only_what_nobody_needs(&before, &after, Some(&self.bucket()?))?;
        let kept = kept(&before, &after);
        println!(
            "    {gone} segments are gone, {kept} that are needed from {} on are there",
            before.needed
        );
        ensure!(kept >= usize::try_from(AFTER / 16)?, "only {kept} were needed: {before:?}");
        let freed = relief.outcome == WalCleanupOutcome::Relieved;
        ensure!((gone > 0) == freed, "{}, and {gone} are gone", relief.outcome);
        Ok(())
    }

    /// Nobody needs it any more: it goes, all but the newest.
    async fn released(&self) -> Result<()> {
        self.archive.has_all(&self.orders).await?;
        self.caught_up().await?;
        let before = self.orders.wal_now(&self.primary).await?;
        let relief = self.stage.relief(&self.orders, &self.primary, false).await?;
        let after = self.orders.wal_now(&self.primary).await?;
        relief.is(WalCleanupOutcome::Relieved)?;
        let gone = relief.removed_only_what_nobody_needs(&before, &after, Some(&self.bucket()?))?;
        println!("    released: {gone} segments are gone, {} are left", after.segments.len());
        ensure!(after.segments.len() <= 4, "{after:?}");
        // Its standby keeps as much, and has a volume of its own.
        self.orders.sql_on(&self.standby, "CHECKPOINT").await?;
        let relief = self.stage.relief(&self.orders, &self.standby, false).await?;
        relief.is(WalCleanupOutcome::Relieved)?;
        self.orders.is_sound(&self.archive).await
    }

    fn bucket(&self) -> Result<BTreeSet<String>> {
        Ok(self.archive.segments(&self.orders)?.into_keys().collect())
    }

    async fn caught_up(&self) -> Result<()> {
        within(SOON, "the standby has all WAL", async || {
            let sql = "SELECT pg_current_wal_flush_lsn() - min(flush_lsn) FROM pg_stat_replication";
            let behind = self.orders.sql(sql).await?;
            ensure!(behind == "0", "{behind} bytes behind");
            Ok(Some(()))
        })
        .await
    }

    async fn slot(&self) -> Result<()> {
        let sql = format!("SELECT pg_create_physical_replication_slot('{SLOT}', true)");
        self.orders.sql(&sql).await.map(drop)
    }

    async fn drop_slot(&self) -> Result<()> {
        self.orders
            .sql(&format!("SELECT pg_drop_replication_slot('{SLOT}')"))
            .await
            .map(drop)
    }

    /// The process that receives WAL is stopped; its connection stays. Returns its number.
    async fn standby_stands_still(&self) -> Result<String> {
        let receiver = self.orders.sql_on(&self.standby, "SELECT pid FROM pg_stat_wal_receiver").await?;
        self.orders
            .exec(&self.standby, &["sh", "-c", "kill -STOP \"$0\"", &receiver])
            .await?;
        Ok(receiver)
    }

    async fn standby_goes_on(&self, receiver: &str) -> Result<()> {
        self.orders
            .exec(&self.standby, &["sh", "-c", "kill -CONT \"$0\"", receiver])
            .await?;
        self.caught_up().await
    }

    async fn refuses(&self) -> Result<()> {
        self.archive.set(Fault::AccessDenied)?;
        self.orders.switch_wal().await?;
        self.orders.fails_to_archive().await
    }

    /// One that takes for ever. Returns the process of the server that serves it.
    async fn backup(&self) -> Result<String> {
        let folder = self.orders.sql("SELECT setting FROM pg_config WHERE name = 'BINDIR'").await?;
        let script = format!("nohup {folder}/pg_basebackup -d '{REPLICATION}' -D - -F tar -X none -c fast -r 32k >/dev/null 2>&1 &");
        self.orders.exec(&self.primary, &["sh", "-c", &script]).await?;
        within(SOON, "a base backup is running", async || {
            let sql = "SELECT pid FROM pg_stat_progress_basebackup WHERE phase = 'streaming database files'";
            let pid = self.orders.sql_on(&self.primary, sql).await?;
            Ok((!pid.is_empty()).then_some(pid))
        })
        .await
    }

    async fn end_backup(&self, pid: &str) -> Result<()> {
        self.orders
            .sql_on(&self.primary, &format!("SELECT pg_terminate_backend({pid})"))
            .await?;
        within(SOON, "no base backup is running", async || {
            let running = self
                .orders
                .sql_on(&self.primary, "SELECT count(*) FROM pg_stat_progress_basebackup")
                .await?;
            Ok((running == "0").then_some(()))
        })
        .await
    }
}

/// How many segments were needed before, and are there after.
fn kept(before: &Wal, after: &Wal) -> usize {
    let needed = before.segments.iter().filter(|name| **name >= before.needed);
    needed.filter(|name| after.segments.contains(*name)).count()
}
