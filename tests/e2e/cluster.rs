//! CloudNativePG's clusters, as small as they get, and rows in them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_testkit::lab::Df;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::stage::Stage;
use crate::wait::within;

/// PostgreSQL's container.
const CONTAINER: &str = "postgres";
/// Where the data volume is mounted.
pub const DATA: &str = "/var/lib/postgresql/data";
/// Two instances are made one after the other; measured: 37 s.
const HEALTHY: Duration = Duration::from_mins(4);

/// A cluster to be made.
pub struct Builder {
    stage: Arc<Stage>,
    name: String,
    instances: usize,
    class: &'static str,
    size: &'static str,
    labels: Value,
    affinity: Value,
}

/// What is known of the rows that were committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// How many.
    pub count: u64,
    /// MD5 over all of them, in their order.
    pub checksum: String,
}

/// Inserts the rows after `from`, up to `to`.
pub fn rows_sql(from: u64, to: u64) -> String {
    format!(
        "INSERT INTO e2e_rows SELECT i, repeat(md5(i::text), 240) FROM generate_series({}, {to}) i",
        from + 1
    )
}

/// A cluster.
pub struct Cluster {
    pub stage: Arc<Stage>,
    pub name: String,
    instances: Mutex<usize>,
    rows: Mutex<Rows>,
}

impl Builder {
    pub fn new(stage: Arc<Stage>, name: &str) -> Self {
        Self {
            stage,
            name: name.to_owned(),
            instances: 1,
            class: "loop",
            size: "1Gi",
            labels: json!({}),
            affinity: json!({}),
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

    /// Makes it, with a table, and waits until it is healthy. Data and WAL have a volume each: the data volume then holds
    /// nothing that comes and goes.
    pub async fn create(self) -> Result<Cluster> {
        let object = json!({
            "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
            "metadata": {"name": self.name, "labels": self.labels},
            "spec": {
                "instances": self.instances,
                "imageName": self.stage.lab.postgres_image(),
                "imagePullPolicy": "IfNotPresent",
                "storage": {"size": self.size, "storageClass": self.class},
                "walStorage": {"size": "1Gi", "storageClass": self.class},
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
        let cluster = Cluster {
            stage: self.stage,
            instances: Mutex::new(self.instances),
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
        // Plain: each row takes a page, and nothing is compressed.
        cluster
            .sql(
                "CREATE TABLE e2e_rows (id bigint PRIMARY KEY, filler text NOT NULL); ALTER TABLE e2e_rows ALTER filler SET STORAGE plain;",
            )
            .await?;
        Ok(cluster)
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

    /// Names of the PVCs of its data volume.
    pub fn claims_of_data(&self) -> Vec<String> {
        self.names()
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

    /// The data filesystem of an instance, as its pod sees it.
    pub async fn df(&self, instance: &str) -> Result<Df> {
        self.stage.lab.df(&self.stage.namespace, instance, CONTAINER, DATA).await
    }

    /// Counts the rows of an instance.
    pub async fn rows_of(&self, instance: &str) -> Result<Rows> {
        // Only sums are sorted, and in memory: a sort of whole rows would need as much room again.
        let sql = "SET work_mem = '64MB'; SELECT count(*), coalesce(md5(string_agg(sum, '' ORDER BY id)), '') \
                   FROM (SELECT id, md5(filler) AS sum FROM e2e_rows OFFSET 0) AS sums";
        let text = self.sql_on(instance, sql).await?;
        let (count, checksum) = text.split_once('|').with_context(|| format!("not a count and a sum: {text:?}"))?;
        Ok(Rows {
            count: count.parse()?,
            checksum: checksum.to_owned(),
        })
    }

    /// Writes a few rows.
    pub async fn insert(&self, count: u64) -> Result<()> {
        let from = self.rows().count;
        self.sql(&rows_sql(from, from + count)).await?;
        self.set_rows(self.rows_of(&self.primary().await?).await?);
        Ok(())
    }

    /// The rows that were committed last.
    pub fn rows(&self) -> Rows {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers what was committed.
    pub fn set_rows(&self, rows: Rows) {
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows;
    }
}
