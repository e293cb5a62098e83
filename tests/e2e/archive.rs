//! A cluster that archives its WAL to the lab's object store, by CloudNativePG's in-tree Barman, and what is really there.
//!
//! PostgreSQL's word that a segment is archived says only that a command returned 0: tests look at the objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_testkit::lab::S3;
use csm_testkit::s3::{Credentials, Fault};
use csm_testkit::wait::{until_it, within};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::stage::{SOON, Stage};

const SECRET: &str = "archive";
/// PostgreSQL's default; what is archived is not compressed here.
pub const SEGMENT: u64 = 16 << 20;
/// A minute until PostgreSQL tries again by itself, and a second for a segment; up to four where the machine is busy.
pub const DRAINED: Duration = Duration::from_mins(10);

/// A bucket of the test's own, called like its namespace.
pub struct Archive {
    stage: Arc<Stage>,
}

/// What PostgreSQL says of its archiver.
#[derive(Clone, Debug)]
pub struct Archiver {
    /// Attempts that failed, since the server's begin.
    pub failed: u64,
    /// The last attempt failed.
    pub failing: bool,
}

impl Archive {
    /// Makes the bucket, and the Secret of those who may use it.
    pub async fn new(stage: &Arc<Stage>) -> Result<Self> {
        stage.lab.s3()?.create(&stage.namespace)?;
        let archive = Self { stage: stage.clone() };
        archive.credentials(&Credentials::of_the_lab().secret_key).await?;
        Ok(archive)
    }

    /// Who archives proves himself with this key from now on; with no other than the lab's he is let in. CloudNativePG reads a Secret
    /// anew at once where that has its label for this.
    pub async fn credentials(&self, key: &str) -> Result<()> {
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "labels": {"cnpg.io/reload": "true"}},
            "stringData": {"id": Credentials::of_the_lab().access_key, "key": key},
        });
        let parameters = PatchParams::apply("e2e").force();
        let applied = self.stage.api::<Secret>().patch(SECRET, &parameters, &Patch::Apply(&object)).await;
        applied.map(drop).context("apply the Secret of the object store")
    }

    /// `spec.backup` of a Cluster.
    pub fn spec(&self) -> Value {
        let of_secret = |key: &str| json!({"name": SECRET, "key": key});
        json!({"barmanObjectStore": {
            "destinationPath": format!("s3://{}/", self.stage.namespace),
            "endpointURL": self.stage.lab.s3_endpoint(),
            "s3Credentials": {"accessKeyId": of_secret("id"), "secretAccessKey": of_secret("key")},
            "wal": {"maxParallel": 4},
        }})
    }

    /// From now on every call about the bucket ends like this.
    pub fn set(&self, fault: Fault) -> Result<()> {
        self.stage.lab.s3()?.set(&self.stage.namespace, fault)
    }

    /// The bucket is well again.
    pub fn repair(&self) -> Result<()> {
        self.stage.lab.s3()?.clear(&self.stage.namespace)
    }

    /// From now on nobody listens at the endpoint.
    pub async fn unserved(&self) -> Result<()> {
        self.stage.lab.stop(S3).await
    }

    /// From now on somebody does.
    pub async fn served(&self) -> Result<()> {
        self.stage.lab.start(S3).await
    }

    /// The WAL segments of a cluster that are in the bucket, and the size of each.
    pub fn segments(&self, cluster: &Cluster) -> Result<BTreeMap<String, u64>> {
        let of_cluster = format!("{}/wals/", cluster.name);
        let objects = self.stage.lab.s3()?.objects(&self.stage.namespace)?;
        let segments = objects.into_iter().filter(|object| object.key.starts_with(&of_cluster));
        let named = segments.filter_map(|object| Some((object.key.rsplit('/').next()?.to_owned(), object.size)));
        Ok(named.filter(|(name, _)| is_segment(name)).collect())
    }

    /// Waits until the archive has all that a cluster has ended: nothing waits, and each segment that PostgreSQL calls archived
    /// is in the bucket, whole, with none missing between the first and the last. Returns how many there are.
    pub async fn has_all(&self, cluster: &Cluster) -> Result<usize> {
        let what = format!("all of the WAL of {} is in the bucket", cluster.name);
        until_it(DRAINED, &what, async || {
            let marks = cluster.archive_marks().await?;
            let waiting: Vec<_> = marks.iter().filter(|(_, archived)| !**archived).map(|(name, _)| name).collect();
            ensure!(waiting.is_empty(), "{} segments wait, first {:?}", waiting.len(), waiting.first());
            let objects = self.segments(cluster)?;
            for name in marks.keys() {
                ensure!(objects.contains_key(name), "{name} is called archived, and is not in the bucket");
            }
            let cut = objects.iter().find(|(_, size)| **size != SEGMENT);
            ensure!(cut.is_none(), "{cut:?} is not a whole segment");
            without_gap(objects.keys())?;
            Ok(objects.len())
        })
        .await
    }
}

/// A segment's name, as that of a complete one: no `.partial`, `.backup` or `.history`.
fn is_segment(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
}

/// Segments of one timeline follow each other: 256 of 16 MiB in each log file of 4 GiB.
pub fn without_gap<'a>(names: impl Iterator<Item = &'a String>) -> Result<()> {
    let mut last: Option<(&str, u64)> = None;
    for name in names {
        let number = |range: std::ops::Range<usize>| {
            let digits = name.get(range).unwrap_or_default();
            u64::from_str_radix(digits, 16).with_context(|| format!("{name:?} is no segment"))
        };
        let (timeline, at) = (name.get(..8).unwrap_or_default(), number(8..16)? * 256 + number(16..24)?);
        if let Some((before, last)) = last {
            ensure!(
                before != timeline || at == last + 1,
                "there is a gap of {} segments before {name}",
                at.saturating_sub(last + 1)
            );
        }
        last = Some((timeline, at));
    }
    Ok(())
}

impl Cluster {
    /// The segments with a mark in the primary's archive status directory, and whether each is archived.
    pub async fn archive_marks(&self) -> Result<BTreeMap<String, bool>> {
        let text = self.sql("SELECT name FROM pg_ls_archive_statusdir()").await?;
        let marks = text.lines().filter_map(|line| {
            let (name, mark) = line.rsplit_once('.')?;
            is_segment(name).then(|| (name.to_owned(), mark == "done"))
        });
        Ok(marks.collect())
    }

    /// What PostgreSQL says of its archiver.
    pub async fn archiver(&self) -> Result<Archiver> {
        let sql =
            "SELECT failed_count, coalesce(last_failed_time > last_archived_time, last_failed_time IS NOT NULL) FROM pg_stat_archiver";
        let text = self.sql(sql).await?;
        let (failed, failing) = text.split_once('|').with_context(|| format!("not a count and a truth: {text:?}"))?;
        Ok(Archiver {
            failed: failed.parse()?,
            failing: failing == "t",
        })
    }

    /// Waits until the archive command was run anew twice, and failed: the first of these may have begun before.
    pub async fn fails_to_archive(&self) -> Result<()> {
        let before = self.archiver().await?.failed;
        within(DRAINED, "archiving fails", async || {
            // Who is told to read its settings anew looks for work, too; PostgreSQL by itself does so once a minute.
            self.sql("SELECT pg_reload_conf()").await?;
            let now = self.archiver().await?;
            ensure!(now.failing && now.failed >= before + 2, "{before} failures before, and {now:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Asks the operator for a base backup into the archive.
    pub async fn back_up(&self, name: &str) -> Result<()> {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup", "metadata": {"name": name},
            "spec": {"method": "barmanObjectStore", "cluster": {"name": self.name}},
        }))?;
        let made = self.backups().create(&PostParams::default(), &object).await;
        made.map(drop).with_context(|| format!("ask for the Backup {name}"))
    }

    /// Waits until a base backup has ended. Returns its phase.
    pub async fn backup_ended(&self, name: &str) -> Result<String> {
        within(DRAINED, &format!("the Backup {name} has ended"), async || {
            let status = &self.backups().get(name).await?.data["status"];
            let phase = status["phase"].as_str().unwrap_or_default();
            ensure!(matches!(phase, "completed" | "failed"), "{status}");
            Ok(Some(phase.to_owned()))
        })
        .await
    }

    fn backups(&self) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("postgresql.cnpg.io", "v1", "Backup"));
        Api::namespaced_with(self.stage.client.clone(), &self.stage.namespace, &kind)
    }

    /// Ends the segment that is written to.
    pub async fn switch_wal(&self) -> Result<()> {
        // Without anything in it a segment is not ended.
        self.sql("SELECT pg_logical_emit_message(false, 'e2e', 'x'); SELECT pg_switch_wal()")
            .await
            .map(drop)
    }

    /// What the operator says of archiving, in its condition.
    pub async fn says_it_archives(&self, wanted: bool) -> Result<()> {
        let wanted = if wanted { "True" } else { "False" };
        within(SOON, &format!("ContinuousArchiving is {wanted}"), async || {
            let status = &self.api().get(&self.name).await?.data["status"];
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let told: BTreeSet<_> = conditions
                .iter()
                .filter(|c| c["type"] == "ContinuousArchiving")
                .filter_map(|c| c["status"].as_str())
                .collect();
            ensure!(told.contains(wanted), "{told:?}");
            Ok(Some(()))
        })
        .await
    }
}
