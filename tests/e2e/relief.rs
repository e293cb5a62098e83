//! Relief of WAL on real PostgreSQL: what is asked for, what came of it, and what PostgreSQL itself says has to stay.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_api::{EventType, Phase, StorageEvent, Trigger, WalCleanupOutcome, WalCleanupStatus};
use csm_testkit::lab::shipped::NAME;
use csm_testkit::manifest;
use csm_testkit::wait::within;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};

use crate::archive::{Archive, SEGMENT, without_gap};
use crate::cluster::{Builder, Cluster};
use crate::stage::Stage;
use crate::volume::Volume;

/// A relief reads, makes a checkpoint, reads again, lists, reads, removes and reads.
const RELIEF: Duration = Duration::from_mins(3);

/// How a standby connects, from within an instance: nobody else may replicate.
pub const REPLICATION: &str = "host=127.0.0.1 user=streaming_replica sslmode=require sslcert=/controller/certificates/streaming_replica.crt \
     sslkey=/controller/certificates/streaming_replica.key";

/// A relief that has ended.
#[derive(Clone, Debug)]
pub struct Relief {
    pub record: StorageEvent,
    /// What it found and did.
    pub found: WalCleanupStatus,
    /// How it ended.
    pub outcome: WalCleanupOutcome,
    /// In words.
    pub message: String,
}

/// WAL of an instance at a moment, by what PostgreSQL says.
#[derive(Clone, Debug)]
pub struct Wal {
    /// The segments in `pg_wal`, those made in advance aside.
    pub segments: BTreeSet<String>,
    /// The first segment that somebody needs: a slot, a standby, the archive. Who needs nothing yet needs the newest.
    pub needed: String,
    /// The first one that recovery from a crash needs; that moves with each checkpoint.
    pub redo: String,
}

impl Stage {
    /// Has the manager relieve WAL, with the permission for that and the setting, as the manual says.
    pub async fn relieves_wal(&self) -> Result<()> {
        let text = std::fs::read_to_string(csm_tests::root().join("deploy/wal-cleanup.yaml"))?;
        manifest::apply(&self.client, manifest::documents(&text)?, NAME).await?;
        self.manager.set("walRelief: true").await
    }

    /// The reliefs of a cluster, oldest first.
    pub async fn reliefs(&self, cluster: &Cluster) -> Result<Vec<StorageEvent>> {
        let events = self.api::<StorageEvent>().list(&ListParams::default()).await?.items;
        let of_cluster = |event: &StorageEvent| {
            let of = event.spec.cluster_ref.as_ref().is_some_and(|of| of.name == cluster.name);
            of && event.spec.event_type == EventType::WalCleanup
        };
        let mut events: Vec<StorageEvent> = events.into_iter().filter(of_cluster).collect();
        events.sort_by_key(|event| (event.creation_timestamp().map(|at| at.0), event.name_any()));
        Ok(events)
    }

    /// Asks for a relief as a person does, and waits for its end.
    pub async fn relief(&self, cluster: &Cluster, instance: &str, dry_run: bool) -> Result<Relief> {
        let name = self.ask_for_relief(cluster, instance, dry_run).await?;
        self.relief_ended(&name, RELIEF).await
    }

    /// Asks for a relief as a person does. Returns the name of its record.
    pub async fn ask_for_relief(&self, cluster: &Cluster, instance: &str, dry_run: bool) -> Result<String> {
        let uid = cluster.api().get(&cluster.name).await?.uid().context("a Cluster without a UID")?;
        let record: StorageEvent = serde_json::from_value(json!({
            "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "StorageEvent",
            "metadata": {"generateName": format!("{}-relief-", cluster.name), "labels": {"cnpg.supporttools.io/cluster": cluster.name}},
            "spec": {
                "clusterRef": {"name": cluster.name, "uid": uid}, "eventType": "wal-cleanup", "trigger": "manual",
                "volume": {"role": "wal"}, "reason": "UsageThreshold", "message": "asked for by a test",
                "walCleanup": {"instance": instance, "dryRun": dry_run, "retainCount": 1},
            },
        }))?;
        let made = self.api::<StorageEvent>().create(&PostParams::default(), &record).await;
        Ok(made.context("ask for a relief")?.name_any())
    }

    /// Waits until a relief has ended.
    pub async fn relief_ended(&self, name: &str, patience: Duration) -> Result<Relief> {
        let ended = within(patience, &format!("the relief {name} has ended"), async || {
            let event = self.api::<StorageEvent>().get(name).await?;
            let phase = event.status.as_ref().and_then(|status| status.phase);
            ensure!(phase.is_some_and(Phase::is_end), "{:?}", event.status);
            Ok(Some(event))
        })
        .await?;
        Relief::of(ended)
    }

    /// Waits until the manager has begun a relief of an instance by itself, beside those that are known, and that has ended.
    pub async fn relief_by_itself(&self, cluster: &Cluster, instance: &str, known: usize, patience: Duration) -> Result<Relief> {
        let name = within(patience, &format!("WAL of {instance} is relieved"), async || {
            let of_instance = |event: &StorageEvent| event.spec.wal_cleanup.as_ref().is_some_and(|asked| asked.instance == instance);
            let mut reliefs = self.reliefs(cluster).await?;
            reliefs.retain(of_instance);
            ensure!(reliefs.len() > known, "{known} reliefs, as before");
            let new = reliefs.get(known).context("it is gone")?;
            ensure!(new.spec.trigger == Trigger::Emergency, "somebody else asked for {}", new.name_any());
            Ok(Some(new.name_any()))
        })
        .await?;
        self.relief_ended(&name, RELIEF).await
    }
}

/// A cluster of two whose WAL all stays, since `wal_keep_size` keeps it and no checkpoint comes by itself: each relief has something
/// that it may remove.
pub async fn keeps_all(stage: &Arc<Stage>, adapt: impl FnOnce(Builder) -> Builder) -> Result<(Arc<Cluster>, Archive)> {
    stage.relieves_wal().await?;
    stage
        .policy(
            "default",
            json!({"expansion": {"maxSize": "2Gi"}, "walCleanup": {"retainCount": 1}}),
        )
        .await?;
    let archive = Archive::new(stage).await?;
    let orders = adapt(stage.cluster("orders").instances(2).archives(&archive));
    let orders = Arc::new(orders.create().await?);
    orders.insert(500).await?;
    orders.sets(&[("wal_keep_size", "8GB"), ("checkpoint_timeout", "1h")]).await?;
    Ok((orders, archive))
}

/// Takes the permission away again; who has none is not asked.
pub async fn withdraw_permission(client: &kube::Client) -> Result<()> {
    const NAME: &str = "cnpg-storage-manager-wal-cleanup";
    let gone = |result: kube::Result<()>| match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.context("withdraw the permission to relieve WAL"),
    };
    let parameters = kube::api::DeleteParams::default();
    gone(
        Api::<ClusterRoleBinding>::all(client.clone())
            .delete(NAME, &parameters)
            .await
            .map(drop),
    )?;
    gone(Api::<ClusterRole>::all(client.clone()).delete(NAME, &parameters).await.map(drop))
}

impl Relief {
    fn of(record: StorageEvent) -> Result<Self> {
        let status = record.status.clone().unwrap_or_default();
        let message = status.conditions.first().map(|c| c.message.clone()).unwrap_or_default();
        let found = status.wal_cleanup.with_context(|| format!("refused: {message}"))?;
        let outcome = found.outcome.with_context(|| format!("no outcome: {found:?}"))?;
        println!("    {}: {outcome}: {message}", record.name_any());
        Ok(Self {
            record,
            found,
            outcome,
            message,
        })
    }

    /// It ended so.
    pub fn is(&self, outcome: WalCleanupOutcome) -> Result<&Self> {
        ensure!(self.outcome == outcome, "{outcome} was expected: {:#?}", self.record);
        Ok(self)
    }

    /// Whatever it removed, it said, and was in the list before; and nothing that PostgreSQL calls needed is gone. Those that
    /// PostgreSQL removed itself at the checkpoint are held against the same. Returns how many segments are gone.
    pub fn removed_only_what_nobody_needs(&self, before: &Wal, after: &Wal, archive: Option<&BTreeSet<String>>) -> Result<usize> {
        let gone: BTreeSet<&String> = before.segments.difference(&after.segments).collect();
        let stays = before.needed.as_str().min(&after.redo);
        let needed = gone.iter().find(|name| name.as_str() >= stays);
        ensure!(
            needed.is_none(),
            "{needed:?} is gone, and {stays} and all after it are needed: {:#?}",
            self.record
        );
        if let Some(archive) = archive {
            let lost = gone.iter().find(|name| !archive.contains(**name));
            ensure!(lost.is_none(), "{lost:?} is gone, and not in the bucket");
        }
        let listed = self.found.dry_run.as_ref();
        let removed = usize::try_from(self.found.files_removed.unwrap_or(0))?;
        let may_go = usize::try_from(listed.map_or(0, |listed| listed.count))?;
        ensure!(
            removed <= may_go && removed <= gone.len(),
            "{removed} removed, {may_go} listed, {} gone",
            gone.len()
        );
        if let (true, Some(last)) = (removed > 0, listed.and_then(|listed| listed.last.as_ref())) {
            ensure!(last.as_str() < stays, "{last} was listed, and from {stays} on all is needed");
            let cutoff = &self.found.proof.as_ref().context("removed without a proof")?.cutoff;
            ensure!(last < cutoff && cutoff.as_str() <= stays, "the cutoff {cutoff} is above {stays}");
        }
        Ok(gone.len())
    }

    /// Who held WAL before anything was changed, and after it.
    pub fn names(&self, who: &str) -> Result<&Self> {
        let bounds = self.found.holders.iter().chain(&self.found.still_held_by);
        let said = bounds.map(|bound| bound.message.as_str()).chain([self.message.as_str()]);
        ensure!(
            said.clone().any(|text| text.contains(who)),
            "nobody names {who}: {:#?}",
            said.collect::<Vec<_>>()
        );
        Ok(self)
    }
}

impl Cluster {
    /// What PostgreSQL says of the WAL of a primary.
    pub async fn wal_now(&self, instance: &str) -> Result<Wal> {
        // All positions are of this timeline; a position at the end of a segment is the begin of the next one.
        let sql = "WITH needed(lsn) AS ( \
             SELECT restart_lsn FROM pg_replication_slots WHERE wal_status IS DISTINCT FROM 'lost' \
             UNION ALL SELECT flush_lsn FROM pg_stat_replication WHERE state <> 'backup'), \
             names(name) AS ( \
             SELECT pg_walfile_name(lsn + 1) FROM needed WHERE lsn IS NOT NULL \
             UNION ALL SELECT left(name, 24) FROM pg_ls_archive_statusdir() WHERE name ~ '^[0-9A-F]{24}.ready$') \
             SELECT coalesce(min(name), pg_walfile_name(pg_current_wal_insert_lsn() + 1)), pg_walfile_name(pg_current_wal_insert_lsn() + 1), \
             (SELECT redo_wal_file FROM pg_control_checkpoint()), \
             (SELECT string_agg(name, ',') FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$') FROM names";
        let text = self.sql_on(instance, sql).await?;
        let [needed, current, redo, files] = text.split('|').collect::<Vec<_>>()[..] else {
            anyhow::bail!("not four columns: {text:?}");
        };
        Ok(Wal {
            segments: files.split(',').filter(|name| *name <= current).map(str::to_owned).collect(),
            needed: needed.to_owned(),
            redo: redo.to_owned(),
        })
    }

    /// After a relief all goes on: the standbys follow, the archive has all, and what is left of the WAL can be read
    /// from its first segment to its last, without a gap.
    pub async fn is_sound(self: &Arc<Self>, archive: &Archive) -> Result<()> {
        self.insert(50).await?;
        self.replicated().await?;
        self.switch_wal().await?;
        archive.has_all(self).await?;
        for instance in self.names() {
            self.wal_is_whole(&instance).await.with_context(|| format!("WAL of {instance}"))?;
        }
        Ok(())
    }

    /// `pg_waldump` reads all completed segments of an instance, and none is missing between them.
    async fn wal_is_whole(&self, instance: &str) -> Result<()> {
        const FOLDER: &str = "/var/lib/postgresql/data/pgdata/pg_wal";
        let files = self
            .sql_on(instance, "SELECT name FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' ORDER BY 1")
            .await?;
        let position = "SELECT timeline_id FROM pg_control_checkpoint()";
        let timeline = format!("{:08X}", self.sql_on(instance, position).await?.parse::<u32>()?);
        let end = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END";
        let end = self.sql_on(instance, end).await?;
        let (high, low) = end.split_once('/').with_context(|| format!("{end:?} is no position"))?;
        let low = u64::from_str_radix(low, 16)? / SEGMENT;
        let current = format!("{timeline}{:08X}{low:08X}", u32::from_str_radix(high, 16)?);
        let complete: Vec<String> = files
            .lines()
            .filter(|name| **name < *current && name.starts_with(&timeline))
            .map(str::to_owned)
            .collect();
        without_gap(complete.iter())?;
        let (Some(first), Some(last)) = (complete.first(), complete.last()) else {
            return Ok(());
        };
        self.server_program(instance, "pg_waldump", &["-q", "-p", FOLDER, first, last])
            .await?;
        println!("    {instance}: {} complete segments read, {first} to {last}", complete.len());
        Ok(())
    }

    /// Runs a program that lies beside the server's own, and returns what it prints.
    pub async fn server_program(&self, instance: &str, program: &str, arguments: &[&str]) -> Result<String> {
        let folder = self.sql_on(instance, "SELECT setting FROM pg_config WHERE name = 'BINDIR'").await?;
        let program = format!("{folder}/{program}");
        let command: Vec<&str> = [program.as_str()].into_iter().chain(arguments.iter().copied()).collect();
        self.exec(instance, &command).await
    }

    /// Changes settings of PostgreSQL that need no restart, and waits until all instances have them.
    pub async fn sets(&self, parameters: &[(&str, &str)]) -> Result<()> {
        let patch: serde_json::Map<String, Value> = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect();
        self.merge(json!({"spec": {"postgresql": {"parameters": patch}}})).await?;
        for instance in self.names() {
            for (name, value) in parameters {
                within(crate::stage::SOON, &format!("{instance} has {name} = {value}"), async || {
                    let now = self.sql_on(&instance, &format!("SHOW {name}")).await?;
                    ensure!(now == *value, "it is {now}");
                    Ok(Some(()))
                })
                .await?;
            }
        }
        Ok(())
    }

    /// How many bytes the WAL volume of an instance has in use.
    pub async fn wal_used(&self, instance: &str) -> Result<u64> {
        Ok(self.df_of(instance, Volume::Wal).await?.used())
    }
}
