//! What the manager's state costs: an index filled with a fleet as the watches fill it, and every Cluster reported once.
//! Prints resident memory after each step. `cargo run --release --example memory [CLUSTERS]`.

use std::sync::Arc;

use anyhow::Context as _;
use cnpg_storage_manager::report::{ClusterReport, metrics::Metrics, status::status};
use csm_api::{PostgresStorage, Settings};
use csm_core::world::{ClusterKey, Observation};
use csm_gather::index::{Index, Sample};
use csm_gather::views::{ClassView, ClusterView, PodObject, PodView};
use csm_gather::world::{VolumeSettings, world};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// As in the manager.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Instances of a Cluster, each with a data and a WAL volume.
const INSTANCES: usize = 3;

fn read<T: serde::de::DeserializeOwned>(value: Value) -> anyhow::Result<T> {
    // Through text, as from the API server: what capacity strings have matters here.
    Ok(serde_json::from_str(&value.to_string())?)
}

fn uid(kind: u32, i: usize, k: usize) -> String {
    format!("{kind:08x}-{k:04x}-4{:03x}-8a5b-{i:012x}", i % 4096)
}

/// Resident memory in bytes: proc(5), VmRSS of status.
fn resident() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
}

fn main() -> anyhow::Result<()> {
    let clusters: u32 = std::env::args().nth(1).map_or(Ok(10_000), |n| n.parse())?;
    let fleet = usize::try_from(clusters)?;
    let now = Timestamp::now();
    let first = resident()?;
    let mut last = first;
    let mut step = |what: &str| -> anyhow::Result<()> {
        let here = resident()?;
        println!(
            "{what:<24} {:>8.0} bytes a cluster, {:>7.1} MiB in all",
            (here - last) / f64::from(clusters),
            (here - first) / 1_048_576.0
        );
        last = here;
        Ok(())
    };
    let key = |i: usize| ClusterKey::new(format!("team-{}", i % 20), format!("pg-{i}"));
    let mut index = Index::new(Settings::default());
    index.put_class(
        "fast",
        Some(ClassView {
            provisioner: Arc::from("csi.example.com"),
            expandable: true,
        }),
    );
    let policy = json!({"metadata": {"name": "fleet", "generation": 1}, "spec": {"expansion": {"maxSize": "100Gi"}}});
    index.put_cluster_policy(&read(policy)?);
    for i in 0..fleet {
        let key = key(i);
        let cluster = json!({
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid(1, i, 0), "resourceVersion": format!("{}", 1000 + i),
                "labels": {"app.kubernetes.io/name": "postgres", "tier": "prod"},
                "annotations": {"storage.cnpg.supporttools.io/managed": "true"}},
            "spec": {"instances": INSTANCES, "storage": {"size": "10Gi"}, "walStorage": {"size": "4Gi"}},
            "status": {"currentPrimary": format!("{}-1", key.name)},
        });
        index.put_cluster(&key, Some(ClusterView::of(&read(cluster)?)));
    }
    step("clusters")?;
    for i in 0..fleet {
        let key = key(i);
        for k in 0..INSTANCES {
            let instance = format!("{}-{}", key.name, k + 1);
            for (role, suffix, size) in [("PG_DATA", "", "10Gi"), ("PG_WAL", "-wal", "4Gi")] {
                let pvc = json!({
                    "metadata": {"name": format!("{instance}{suffix}"), "namespace": key.namespace, "uid": uid(2, i, k * 2 + suffix.len().min(1)),
                        "resourceVersion": format!("{}", 2000 + i),
                        "labels": {"cnpg.io/cluster": key.name, "cnpg.io/instanceName": instance, "cnpg.io/pvcRole": role}},
                    "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": size}}},
                    "status": {"phase": "Bound", "capacity": {"storage": size}},
                });
                index.put_pvc(&read(pvc)?, now);
            }
        }
    }
    step("PVCs")?;
    for i in 0..fleet {
        let key = key(i);
        for k in 0..INSTANCES {
            let instance = format!("{}-{}", key.name, k + 1);
            let pod = json!({
                "metadata": {"name": instance, "namespace": key.namespace, "uid": uid(3, i, k), "resourceVersion": format!("{}", 3000 + i),
                    "labels": {"cnpg.io/cluster": key.name, "cnpg.io/instanceName": instance}},
                "spec": {"nodeName": format!("node-{}", (i / 10 * INSTANCES + k) % (fleet / 5).max(3))},
                "status": {"containerStatuses": [{"state": {"running": {}}}]},
            });
            let pod: PodObject = read(pod)?;
            index.put_pod(&key.namespace, &instance, PodView::of(&pod).context("a pod of an instance")?);
        }
    }
    step("pods")?;
    let round = |index: &mut Index, at: Timestamp, minute: u64| {
        for i in 0..fleet {
            let key = key(i);
            let names = (0..INSTANCES).flat_map(|k| [format!("{}-{}", key.name, k + 1), format!("{}-{}-wal", key.name, k + 1)]);
            let names: Vec<_> = names.collect();
            let samples = names.iter().zip(1_u64..).map(|(name, n)| {
                // Databases grow by some hundred KiB a minute, and by whole blocks.
                let grown = Bytes::new(4096 * (minute * (20 + n * 11) + (minute * n * 7919) % 97));
                let used = Bytes::mib(5000).saturating_add(grown);
                let observation = Observation {
                    used,
                    available: Bytes::mib(10_000).saturating_sub(used),
                    capacity: Bytes::mib(10_000),
                    inodes: None,
                    at,
                };
                ((&*key.namespace, name.as_str()), Sample { observation, twin: false })
            });
            index.put_samples(samples, SignedDuration::from_mins(5));
        }
    };
    round(&mut index, now, 0);
    step("samples")?;
    let settings = VolumeSettings::default();
    let metrics = Metrics::default();
    for i in 0..fleet {
        let key = key(i);
        let snapshot = index.snapshot(&key).context("a snapshot")?;
        let world = world(&snapshot, &settings, now);
        let plan = csm_core::plan::plan(&world, now);
        let storage = json!({
            "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "PostgresStorage",
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid(4, i, 0), "resourceVersion": format!("{}", 4000 + i), "generation": 1,
                "creationTimestamp": "2026-03-01T10:00:00Z",
                "ownerReferences": [{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": key.name, "uid": uid(1, i, 0)}]},
            "spec": {},
            "status": status(&snapshot, &world, &plan, &[], now),
        });
        let storage: PostgresStorage = read(storage)?;
        index.put_storage(storage);
        metrics.report(snapshot.key.clone(), ClusterReport::new(&world, &plan, std::iter::empty(), now));
    }
    step("storages and reports")?;
    for i in 0..fleet {
        let snapshot = index.snapshot(&key(i)).context("a snapshot")?;
        anyhow::ensure!(
            snapshot.pvcs.iter().filter(|pvc| pvc.sample.is_some()).count() == 2 * INSTANCES,
            "a sample of each PVC"
        );
    }
    step("settings")?;
    for minute in 1..=90_u64 {
        round(&mut index, now + SignedDuration::from_mins(i64::try_from(minute)?), minute);
    }
    step("an hour of samples")?;
    println!("{:.0} KiB a cluster", (last - first) / f64::from(clusters) / 1024.0);
    Ok(())
}
