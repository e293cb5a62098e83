//! How long the manager's webhooks take to answer, by its own histogram.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use csm_testkit::scenario::Sim;
use csm_testkit::{manifest, webhooks};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::generated::root;

/// PVCs that are tried; of so many, ten may take longer than the 99th percentile.
const PVCS: usize = 1000;
/// Policies for the whole fleet that are tried: each is held against every Cluster.
const POLICIES: usize = 200;
/// What 99 of 100 answers stay below.
const GOAL: f64 = 0.010;
/// The webhook is called a moment after its configuration was written.
const PATIENCE: Duration = Duration::from_mins(1);
const NAMESPACE: &str = "cnpg-storage-manager";

/// The webhooks of one manager.
pub struct Webhooks {
    admin: SocketAddr,
    port: u16,
}

/// 99 of 100 answers took no longer, in seconds: the bound of a bucket.
pub struct Answers {
    pub pvcs: f64,
    pub policies: f64,
}

fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Webhooks {
    /// Has the API server call a manager that is about to be started.
    pub async fn install(sim: &Sim) -> anyhow::Result<Self> {
        let (admin, port) = (free()?, free()?.port());
        let text = std::fs::read_to_string(root().join("deploy/webhook.yaml"))?;
        // A call that fails is seen.
        let objects = webhooks::calling(&text, &[port], |webhook| webhook["failurePolicy"] = "Fail".into())?;
        manifest::apply(&sim.client(), objects, NAMESPACE).await?;
        Ok(Self { admin, port })
    }

    /// What the manager is to be told.
    pub fn arguments(&self) -> Vec<String> {
        let Self { admin, port } = self;
        let text = format!("--admin-address={admin} --webhook --webhook-port={port} --webhook-names=127.0.0.1");
        text.split(' ').map(str::to_owned).collect()
    }

    /// Has PVCs of new replicas, and policies for all Clusters, admitted one after the other.
    pub async fn measure(&self, sim: &Sim) -> anyhow::Result<Answers> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("postgresql.cnpg.io", "v1", "Cluster"));
        let clusters: Api<DynamicObject> = Api::all_with(sim.client(), &kind);
        let clusters = clusters.list(&ListParams::default()).await?.items;
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let start = Instant::now();
        for cluster in clusters.iter().cycle().take(PVCS) {
            let pvcs: Api<PersistentVolumeClaim> = Api::namespaced(sim.client(), &cluster.namespace().unwrap_or_default());
            let pvc = newborn(cluster)?;
            let born = loop {
                match pvcs.create(&dry, &pvc).await {
                    Ok(born) => break born,
                    Err(error) => ensure!(start.elapsed() < PATIENCE, "a PVC cannot be made: {error}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            let requests = born.spec.and_then(|spec| spec.resources?.requests);
            let size = requests.and_then(|mut requests| requests.remove("storage"));
            ensure!(
                size.is_some_and(|size| size.0 == "10Gi"),
                "{} is not born with the size of its volume",
                pvc.name_any()
            );
        }
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("cnpg.supporttools.io", "v1alpha1", "ClusterStoragePolicy"));
        let policies: Api<DynamicObject> = Api::all_with(sim.client(), &kind);
        let every = json!({"matchExpressions": [{"key": "cnpg.io/cluster", "operator": "Exists"}]});
        let spec = json!({"spec": {"selector": every, "expansion": {"maxSize": "200Gi"}}});
        let policy = DynamicObject::new("tried", &kind).data(spec);
        for _ in 0..POLICIES {
            policies.create(&dry, &policy).await.context("try a policy for all clusters")?;
        }
        let metrics = self.metrics()?;
        let answers = Answers {
            pvcs: percentile(&metrics, "pvcs")?,
            policies: percentile(&metrics, "policies")?,
        };
        let Answers { pvcs, policies } = answers;
        ensure!(
            pvcs <= GOAL && policies <= GOAL,
            "99 of 100 webhook answers take up to {pvcs} s (pvcs), {policies} s (policies)"
        );
        Ok(answers)
    }

    fn metrics(&self) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }
}

/// The PVC of one more instance, at the size that the Cluster had before it was grown.
fn newborn(cluster: &DynamicObject) -> anyhow::Result<PersistentVolumeClaim> {
    let name = cluster.name_any();
    let instance = format!("{name}-9");
    let pvc = json!({
        "metadata": {
            "name": instance,
            "labels": {"cnpg.io/cluster": name, "cnpg.io/instanceName": instance, "cnpg.io/pvcRole": "PG_DATA"},
            "ownerReferences": [{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": name, "uid": cluster.uid().context("a UID")?}],
        },
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}},
    });
    Ok(serde_json::from_value(pvc)?)
}

/// The least bound of a bucket that 99 of 100 answers of a webhook are within.
fn percentile(metrics: &str, webhook: &str) -> anyhow::Result<f64> {
    let label = format!("webhook=\"{webhook}\"");
    let of_webhook = |line: &&str| line.starts_with("cnpg_storage_manager_webhook_duration_seconds_bucket{") && line.contains(&label);
    let bucket = |line: &str| -> Option<(f64, f64)> {
        let bound = line.split("le=\"").nth(1)?.split('"').next()?;
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
        Some((bound, line.rsplit(' ').next()?.parse().ok()?))
    };
    let buckets: Vec<(f64, f64)> = metrics.lines().filter(of_webhook).filter_map(bucket).collect();
    let all = buckets
        .last()
        .map(|(_, count)| *count)
        .context("the manager has no histogram of its webhooks")?;
    let within = buckets.iter().find(|(_, count)| *count >= all * 0.99);
    within.map(|(bound, _)| *bound).context("the histogram is empty")
}
