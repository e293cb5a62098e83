//! CloudNativePG's clusters, as small as they get, and rows in them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use csm_testkit::lab::Df;
use csm_units::Bytes;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::archive::Archive;
use crate::stage::Stage;
use crate::volume::Volume;
use csm_testkit::wait::within;

/// PostgreSQL's container.
const CONTAINER: &str = "postgres";
/// Two instances are made one after the other; measured: 37 s.
pub const HEALTHY: Duration = Duration::from_mins(4);

/// A cluster to be made.
pub struct Builder {
    stage: Arc<Stage>,
    name: String,
    instances: usize,
    class: &'static str,
    sizes: BTreeMap<Volume, &'static str>,
    labels: Value,
    affinity: Value,
    backup: Option<Value>,
    /// Of the Cluster's `spec`, beside all else.
    more: Value,
    /// It is made of a backup, and has the tables of that.
    recovered: bool,
}

/// What is known of the rows that were committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// How many.
    pub count: u64,
    /// MD5 over all of them, in their order.
    pub checksum: String,
}

/// Inserts the rows after `from`, up to `to`, into the table of a volume.
pub fn rows_sql(volume: Volume, from: u64, to: u64) -> String {
    let table = volume.table();
    format!(
        "INSERT INTO {table} SELECT i, repeat(md5(i::text), 240) FROM generate_series({}, {to}) i",
        from + 1
    )
}

/// A cluster.
pub struct Cluster {
    pub stage: Arc<Stage>,
    pub name: String,
    instances: Mutex<usize>,
    /// Its volumes, and the size that each was made with.
    sizes: BTreeMap<Volume, Bytes>,
    rows: Mutex<BTreeMap<Volume, Rows>>,
}

impl Builder {
    pub fn new(stage: Arc<Stage>, name: &str) -> Self {
        Self {
            stage,
            name: name.to_owned(),
            instances: 1,
            class: "loop",
            sizes: BTreeMap::from([(Volume::Data, "1Gi"), (Volume::Wal, "1Gi")]),
            labels: json!({}),
            affinity: json!({}),
            backup: None,
            more: json!({}),
            recovered: false,
        }
    }

    pub fn instances(mut self, count: usize) -> Self {
        self.instances = count;
        self
    }

    /// The storage class: `loop`, `loop-fixed`, `hostdir`.
    pub fn class(mut self, class: &'static str) -> Self {
        self.class = class;
        self
    }

    /// The size of the data volume.
    pub fn size(mut self, size: &'static str) -> Self {
        self.sizes.insert(Volume::Data, size);
        self
    }

    /// Data and WAL on one volume.
    pub fn single_volume(mut self) -> Self {
        self.sizes.remove(&Volume::Wal);
        self
    }

    /// A tablespace of 1 GiB, with a table in it.
    pub fn tablespace(mut self, name: &'static str) -> Self {
        self.sizes.insert(Volume::Tablespace(name), "1Gi");
        self
    }

    pub fn labels(mut self, labels: Value) -> Self {
        self.labels = labels;
        self
    }

    /// Runs on one node, and stays when that is lost.
    pub fn on(mut self, node: &str) -> Self {
        let stays = |key: &str| json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": "NoExecute"});
        self.affinity = json!({
            "nodeSelector": {"kubernetes.io/hostname": node},
            "tolerations": [stays("unreachable"), stays("not-ready")],
        });
        self
    }

    /// Its WAL goes to an archive.
    pub fn archives(mut self, to: &Archive) -> Self {
        self.backup = Some(to.spec());
        self
    }

    /// Standbys have no replication slots of their own.
    pub fn without_slots(mut self) -> Self {
        self.more["replicationSlots"] = json!({"highAvailability": {"enabled": false}});
        self
    }

    /// It is made of the base backup and the WAL of another cluster, up to a moment.
    pub fn recovered(mut self, from: &Cluster, archive: &Archive, until: &str) -> Self {
        let mut source = archive.spec();
        source["name"] = from.name.as_str().into();
        self.more["externalClusters"] = json!([source]);
        self.more["bootstrap"] = json!({"recovery": {"source": from.name, "recoveryTarget": {"targetTime": until}}});
        self.recovered = true;
        self
    }

    /// Makes it, with a table on each volume, and waits until it is healthy. Unless said otherwise, data and WAL have a
    /// volume each: the data volume then holds nothing that comes and goes.
    pub async fn create(self) -> Result<Cluster> {
        let object = self.object();
        let (mut sizes, recovered) = (BTreeMap::new(), self.recovered);
        for (volume, size) in self.sizes {
            sizes.insert(volume, size.parse().with_context(|| format!("the size of {volume}"))?);
        }
        let cluster = Cluster {
            stage: self.stage,
            instances: Mutex::new(self.instances),
            sizes,
            rows: Mutex::default(),
            name: self.name,
        };
        let parameters = PatchParams::apply("e2e");
        cluster
            .api()
            .patch(&cluster.name, &parameters, &Patch::Apply(&object))
            .await
            .context("apply the Cluster")?;
        cluster.healthy().await?;
        for volume in cluster.volumes().filter(|volume| *volume != Volume::Wal && !recovered) {
            cluster.create_table(volume).await?;
        }
        Ok(cluster)
    }

    fn object(&self) -> Value {
        let storage = |volume: Volume| json!({"size": self.sizes.get(&volume), "storageClass": self.class});
        let tablespaces: Vec<Value> = self
            .sizes
            .keys()
            .filter_map(|volume| Some(json!({"name": volume.tablespace()?, "storage": storage(*volume)})))
            .collect();
        let mut object = json!({
            "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
            "metadata": {"name": self.name, "labels": self.labels},
            "spec": {
                "instances": self.instances,
                "imageName": self.stage.lab.postgres_image(),
                "imagePullPolicy": "IfNotPresent",
                "storage": storage(Volume::Data),
                "enableSuperuserAccess": true,
                "smartShutdownTimeout": 1, "stopDelay": 30,
                "affinity": self.affinity,
                "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
                "postgresql": {"parameters": {
                    "shared_buffers": "64MB", "max_wal_size": "128MB", "min_wal_size": "80MB", "wal_keep_size": "64MB",
                    "checkpoint_timeout": "30s",
                }},
            },
        });
        if self.sizes.contains_key(&Volume::Wal) {
            object["spec"]["walStorage"] = storage(Volume::Wal);
        }
        if let Some(backup) = &self.backup {
            object["spec"]["backup"] = backup.clone();
        }
        for (field, value) in self.more.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        if !tablespaces.is_empty() {
            object["spec"]["tablespaces"] = tablespaces.into();
        }
        object
    }
}

impl Cluster {
    pub fn api(&self) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("postgresql.cnpg.io", "v1", "Cluster"));
        Api::namespaced_with(self.stage.client.clone(), &self.stage.namespace, &kind)
    }

    /// How many instances it should have.
    pub fn instances(&self) -> usize {
        *self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names of its instances; these are the names of pods and of data PVCs too.
    pub fn names(&self) -> Vec<String> {
        (1..=self.instances()).map(|number| format!("{}-{number}", self.name)).collect()
    }

    /// Its volumes.
    pub fn volumes(&self) -> impl Iterator<Item = Volume> {
        self.sizes.keys().copied()
    }

    /// The size that a volume was made with.
    pub fn first_size(&self, volume: Volume) -> Option<Bytes> {
        self.sizes.get(&volume).copied()
    }

    /// Names of the PVCs of a volume.
    pub fn claims_of(&self, volume: Volume) -> Vec<String> {
        self.names().iter().map(|instance| volume.claim(instance)).collect()
    }

    /// Merges something into the Cluster, as a person would.
    pub async fn merge(&self, patch: Value) -> Result<()> {
        let patched = self.api().patch(&self.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.with_context(|| format!("patch the Cluster {}: {patch}", self.name))?;
        Ok(())
    }

    /// Sets or (with `None`) removes an annotation.
    pub async fn annotate(&self, name: &str, value: Option<&str>) -> Result<()> {
        self.merge(json!({"metadata": {"annotations": {name: value}}})).await
    }

    /// The annotations of ours on it.
    pub async fn annotations(&self) -> Result<Vec<(String, String)>> {
        let annotations = self.api().get(&self.name).await?.metadata.annotations.unwrap_or_default();
        Ok(annotations
            .into_iter()
            .filter(|(key, _)| key.starts_with("storage.cnpg.supporttools.io/"))
            .collect())
    }

    /// Changes the number of instances, and waits until all are there.
    pub async fn scale(&self, instances: usize) -> Result<()> {
        self.merge(json!({"spec": {"instances": instances}})).await?;
        *self.instances.lock().unwrap_or_else(PoisonError::into_inner) = instances;
        self.healthy().await
    }

    /// Waits until CloudNativePG calls it healthy, with all instances.
    pub async fn healthy(&self) -> Result<()> {
        let wanted = self.instances();
        within(HEALTHY, &format!("{} is healthy with {wanted} instances", self.name), async || {
            let status = &self.api().get(&self.name).await?.data["status"];
            let healthy =
                status["phase"] == "Cluster in healthy state" && status["readyInstances"] == wanted && status["instances"] == wanted;
            Ok(healthy.then_some(()))
        })
        .await
    }

    /// The primary's name.
    pub async fn primary(&self) -> Result<String> {
        let cluster = self.api().get(&self.name).await?;
        let primary = cluster.data["status"]["currentPrimary"].as_str();
        Ok(primary.with_context(|| format!("{} has no primary", self.name))?.to_owned())
    }

    /// Runs SQL on the primary.
    pub async fn sql(&self, sql: &str) -> Result<String> {
        self.sql_on(&self.primary().await?, sql).await
    }

    /// Runs SQL on an instance, and returns what it prints.
    pub async fn sql_on(&self, instance: &str, sql: &str) -> Result<String> {
        let command = ["psql", "-U", "postgres", "-d", "app", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql];
        let output = self.stage.lab.exec(&self.stage.namespace, instance, CONTAINER, &command).await?;
        ensure!(output.code == 0, "{instance}: {sql}: {}", output.stderr.trim());
        Ok(output.stdout.trim().to_owned())
    }

    /// Runs a command in PostgreSQL's container of an instance, and returns what it prints.
    pub async fn exec(&self, instance: &str, command: &[&str]) -> Result<String> {
        let output = self.stage.lab.exec(&self.stage.namespace, instance, CONTAINER, command).await?;
        ensure!(output.code == 0, "{instance}: {command:?}: {}", output.stderr.trim());
        Ok(output.stdout)
    }

    /// The data filesystem of an instance, as its pod sees it.
    pub async fn df(&self, instance: &str) -> Result<Df> {
        self.df_of(instance, Volume::Data).await
    }

    /// The filesystem of an instance's part of a volume, as its pod sees it.
    pub async fn df_of(&self, instance: &str, volume: Volume) -> Result<Df> {
        self.stage.lab.df(&self.stage.namespace, instance, CONTAINER, &volume.path()).await
    }

    async fn create_table(&self, volume: Volume) -> Result<()> {
        let place = match volume {
            Volume::Data => String::new(),
            Volume::Wal => bail!("there are no tables on a WAL volume"),
            Volume::Tablespace(name) => {
                // The operator makes it once the primary is up.
                within(HEALTHY, &format!("{} has the tablespace {name}", self.name), async || {
                    let sql = format!("SELECT count(*) FROM pg_tablespace WHERE spcname = '{name}'");
                    Ok((self.sql(&sql).await? == "1").then_some(()))
                })
                .await?;
                format!(" TABLESPACE {name}")
            }
        };
        let table = volume.table();
        // Plain: each row takes a page, and nothing is compressed. Without an index: all of it is where the table is.
        self.sql(&format!(
            "CREATE TABLE {table} (id bigint NOT NULL, filler text NOT NULL){place}; ALTER TABLE {table} ALTER filler SET STORAGE plain;"
        ))
        .await?;
        Ok(())
    }

    /// Counts the rows of a volume on an instance.
    pub async fn rows_of(&self, instance: &str, volume: Volume) -> Result<Rows> {
        let table = volume.table();
        // Only sums are sorted, and in memory: a sort of whole rows would need as much room again.
        let sql = format!(
            "SET work_mem = '64MB'; SELECT count(*), coalesce(md5(string_agg(sum, '' ORDER BY id)), '') \
             FROM (SELECT id, md5(filler) AS sum FROM {table} OFFSET 0) AS sums"
        );
        let text = self.sql_on(instance, &sql).await?;
        let (count, checksum) = text.split_once('|').with_context(|| format!("not a count and a sum: {text:?}"))?;
        Ok(Rows {
            count: count.parse()?,
            checksum: checksum.to_owned(),
        })
    }

    /// Writes a few rows.
    pub async fn insert(&self, count: u64) -> Result<()> {
        let from = self.rows(Volume::Data).count;
        self.sql(&rows_sql(Volume::Data, from, from + count)).await?;
        self.remember(Volume::Data).await.map(drop)
    }

    /// The rows of a volume that were committed last.
    pub fn rows(&self, volume: Volume) -> Rows {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.get(&volume).cloned().unwrap_or_default()
    }

    /// So many rows are committed; their checksum is found by [`Self::remember`].
    pub fn committed(&self, volume: Volume, count: u64) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.entry(volume).or_default().count = count;
    }

    /// Remembers what the primary has of a volume.
    pub async fn remember(&self, volume: Volume) -> Result<Rows> {
        let rows = self.rows_of(&self.primary().await?, volume).await?;
        self.rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(volume, rows.clone());
        Ok(rows)
    }
}
