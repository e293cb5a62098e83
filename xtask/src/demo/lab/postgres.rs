//! CloudNativePG's clusters, and rows that pgbench writes into them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use csm_testkit::lab::{Df, Lab};
use csm_testkit::wait::within;
use csm_units::Bytes;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::json;

use crate::demo::story::Part;

/// PostgreSQL's container.
const CONTAINER: &str = "postgres";
/// Where the data volume is mounted.
const DATA: &str = "/var/lib/postgresql/data";
/// Instances are made one after the other; measured: 37 s for two.
const HEALTHY: Duration = Duration::from_mins(6);
/// What `pgbench -i` writes for a scale of one: 100 000 accounts, and their primary key (pgbench's documentation, and
/// measured).
const SCALE: Bytes = Bytes::mib(15);
/// What one row of pgbench_history takes: 24 bytes of header, 47 of columns, 4 of line pointer, aligned to 8.
const ROW: u64 = 76;
/// Transactions a second of the load.
const TRANSACTIONS: u64 = 5;
/// The load ends by itself, whatever becomes of us.
const LOAD_SECONDS: &str = "300";

/// The Cluster object of a part. Data and WAL have a volume each: the data volume then holds nothing that comes and goes.
pub async fn create(lab: &Lab, client: &Client, namespace: &str, part: &Part) -> Result<()> {
    let object = json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
        "metadata": {"name": part.name},
        "spec": {
            "instances": part.instances,
            "imageName": lab.postgres_image(),
            "imagePullPolicy": "IfNotPresent",
            "storage": {"size": part.size.to_string(), "storageClass": "loop"},
            "walStorage": {"size": "1Gi", "storageClass": "loop"},
            "smartShutdownTimeout": 1, "stopDelay": 30,
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
            "postgresql": {"parameters": {
                "shared_buffers": "64MB", "max_wal_size": "128MB", "min_wal_size": "80MB", "wal_keep_size": "64MB",
                "checkpoint_timeout": "30s",
            }},
        },
    });
    let api = clusters(client, namespace);
    api.patch(part.name, &PatchParams::apply("demo"), &Patch::Apply(&object))
        .await
        .with_context(|| format!("apply the Cluster {}", part.name))?;
    Ok(())
}

/// Waits until CloudNativePG calls it healthy, with all instances.
pub async fn healthy(client: &Client, namespace: &str, part: &Part) -> Result<()> {
    let api = clusters(client, namespace);
    within(HEALTHY, "the clusters are healthy", async || {
        let status = &api.get(part.name).await?.data["status"];
        let healthy = status["phase"] == "Cluster in healthy state" && status["readyInstances"] == part.instances;
        Ok(healthy.then_some(()))
    })
    .await
}

fn clusters(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("postgresql.cnpg.io", "v1", "Cluster"));
    Api::namespaced_with(client.clone(), namespace, &kind)
}

/// The primary of a new cluster.
fn primary(part: &Part) -> String {
    format!("{}-1", part.name)
}

/// The data filesystem of an instance, as its pod sees it.
pub async fn df(lab: &Lab, namespace: &str, instance: &str) -> Result<Df> {
    lab.df(namespace, instance, CONTAINER, DATA).await
}

async fn run(lab: &Lab, namespace: &str, instance: &str, command: &[&str]) -> Result<()> {
    let output = lab.exec(namespace, instance, CONTAINER, command).await?;
    let what = command.first().copied().unwrap_or_default();
    ensure!(output.code == 0, "{what} in {namespace}/{instance}: {}", output.stderr.trim());
    Ok(())
}

/// Writes pgbench's tables, so large that the data volume is as full as the part wants it at first.
pub async fn prefill(lab: &Lab, namespace: &str, part: &Part) -> Result<()> {
    let primary = primary(part);
    let df = df(lab, namespace, &primary).await?;
    let wanted = Bytes::new(df.used() + df.available).mul_div(u64::from(part.used), 100);
    let missing = wanted.saturating_sub(Bytes::new(df.used()));
    let scale = (missing.get() / SCALE.get()).max(1).to_string();
    // Drop, tables, generate, primary keys; a vacuum would change nothing.
    let command = ["pgbench", "-i", "-I", "dtgp", "-q", "-s", &scale, "-U", "postgres", "app"];
    run(lab, namespace, &primary, &command).await
}

/// Lets pgbench insert rows at the part's rate, until this is dropped.
pub async fn load(lab: &Lab, namespace: &str, part: &Part) -> Result<()> {
    let rows = part.rate.get() / TRANSACTIONS / ROW;
    let script = format!(
        "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime, filler) SELECT 1, 1, i, i, now(), 'demo' FROM generate_series(1, {rows}) i;"
    );
    // The container's own filesystem is read-only.
    let shell = "printf %s \"$1\" > /dev/shm/demo.sql && exec pgbench -n -f /dev/shm/demo.sql -R \"$2\" -T \"$3\" -U postgres app";
    let rate = TRANSACTIONS.to_string();
    run(
        lab,
        namespace,
        &primary(part),
        &["sh", "-c", shell, "sh", &script, &rate, LOAD_SECONDS],
    )
    .await
}
