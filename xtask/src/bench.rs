//! `bench`: decisions a second, how fast a year is simulated, what the manager costs for simulated fleets, and how fast its webhooks answer. Figures of one run are compared with each
//! other: machines differ, and this one may be busy.

mod webhook;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use csm_testkit::process::{Command, Process};
use csm_testkit::scenario::{Sim, SimOptions};

use self::webhook::{Answers, Webhooks};
use crate::check::{cargo, run};
use crate::generated::root;

/// What to measure.
#[derive(clap::Args)]
pub struct BenchArgs {
    /// Clusters of the fleets, one fleet after the other; each Cluster has 3 instances with 2 volumes.
    #[arg(long, value_delimiter = ',', default_value = "100,1000")]
    clusters: Vec<usize>,
    /// How many seconds the manager is watched at rest.
    #[arg(long, default_value_t = 120)]
    rest: u64,
    /// Measures this manager, and builds none.
    #[arg(long)]
    manager: Option<PathBuf>,
}

/// Clusters on a simulated node, so that a kubelet's answer has a realistic size: 30 pods.
const CLUSTERS_PER_NODE: usize = 10;
/// Longest wait until every status is written, for a Cluster: a busy machine may take long.
const SETTLE: Duration = Duration::from_millis(500);

/// What the manager cost for one fleet.
struct Cost {
    clusters: usize,
    settled: Duration,
    /// Resident at rest, of it anonymous (heap and stacks; the rest is the program itself), and the most so far.
    resident_kib: u64,
    anonymous_kib: u64,
    peak_kib: u64,
    cpu_percent: f64,
    requests_a_minute: f64,
    reads_a_minute: f64,
    answers: Answers,
}

/// Prints all figures.
pub async fn bench(args: &BenchArgs) -> anyhow::Result<()> {
    let binary = if let Some(binary) = &args.manager {
        binary.clone()
    } else {
        for example in ["decisions", "year"] {
            run(cargo().args(["run", "--release", "--quiet", "--package", "csm-core", "--example", example]))?;
        }
        run(cargo().args(["build", "--release", "--package", "cnpg-storage-manager"]))?;
        root().join("target/release/cnpg-storage-manager")
    };
    let mut costs: Vec<Cost> = Vec::new();
    for clusters in &args.clusters {
        costs.push(
            fleet(&binary, *clusters, Duration::from_secs(args.rest))
                .await
                .with_context(|| format!("the fleet of {clusters} clusters"))?,
        );
    }
    println!(
        "\n{:>9} {:>7} {:>12} {:>13} {:>13} {:>13} {:>15} {:>15}",
        "clusters", "PVCs", "settled in", "resident", "anonymous", "peak", "CPU at rest", "API requests"
    );
    for cost in &costs {
        println!(
            "{:>9} {:>7} {:>10.1} s {:>9.1} MiB {:>9.1} MiB {:>9.1} MiB {:>10.2} % core {:>8.1} /min ({:.1} of them reads)",
            cost.clusters,
            cost.clusters * 6,
            cost.settled.as_secs_f64(),
            to_mib(cost.resident_kib),
            to_mib(cost.anonymous_kib),
            to_mib(cost.peak_kib),
            cost.cpu_percent,
            cost.requests_a_minute,
            cost.reads_a_minute,
        );
    }
    for Cost { clusters, answers, .. } in &costs {
        println!(
            "{clusters:>9} clusters: 99 of 100 webhook answers within {:.2} ms on PVCs, {:.2} ms on policies that match all of them",
            answers.pvcs * 1000.0,
            answers.policies * 1000.0
        );
    }
    if let [small, large] = costs.as_slice() {
        let times = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        let growth = times(large.clusters) / times(small.clusters);
        println!(
            "\n{growth:.0} times the clusters cost {:.1} times the memory and {:.1} times the CPU",
            to_mib(large.resident_kib) / to_mib(small.resident_kib),
            large.cpu_percent / small.cpu_percent.max(0.01)
        );
        let each = (to_mib(large.resident_kib) - to_mib(small.resident_kib)) * 1024.0 / times(large.clusters - small.clusters);
        println!(
            "each cluster costs {each:.1} KiB; 10 000 clusters would be about {:.0} MiB",
            to_mib(small.resident_kib) + each * (10_000.0 - times(small.clusters)) / 1024.0
        );
    }
    Ok(())
}

fn to_mib(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}

async fn fleet(binary: &Path, clusters: usize, rest: Duration) -> anyhow::Result<Cost> {
    eprintln!("a fleet of {clusters} clusters: starting the API server and its nodes");
    let nodes = clusters.div_ceil(CLUSTERS_PER_NODE).max(3);
    let options = SimOptions {
        our_crds: true,
        nodes,
        ..SimOptions::default()
    };
    let sim = Sim::with(options).await?;
    let names = sim.nodes();
    let builders = (0..clusters).map(|i| {
        let node = |k: usize| {
            names
                .get((i / CLUSTERS_PER_NODE * 3 + k) % names.len())
                .cloned()
                .unwrap_or_default()
        };
        sim.cluster(&format!("team-{}", i % 20), &format!("pg-{i}"))
            .instances(3)
            .data("10Gi")
            .wal("4Gi")
            .nodes([node(0), node(1), node(2)])
    });
    let start = Instant::now();
    sim.fleet(builders).await?;
    eprintln!("  {} PVCs written in {:.0} s", clusters * 6, start.elapsed().as_secs_f64());
    sim.plane().apply_yaml("apiVersion: cnpg.supporttools.io/v1alpha1\nkind: ClusterStoragePolicy\nmetadata: {name: fleet}\nspec: {expansion: {maxSize: 100Gi}}\n").await?;

    let rbac = std::fs::read_to_string(root().join("deploy/rbac.yaml"))?;
    sim.ensure_namespace("cnpg-storage-manager").await?;
    let kubeconfig = sim
        .kubeconfig_with_rbac("cnpg-storage-manager", "cnpg-storage-manager", &rbac)
        .await?;
    let webhooks = Webhooks::install(&sim).await?;
    let log = sim.plane().state_dir().join("manager.log");
    let started = Instant::now();
    let mut manager = Command::new(binary, &log)
        .arg("run")
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .args(["--lease-namespace", "cnpg-storage-manager"])
        .args(webhooks.arguments())
        .spawn()?;
    let settled = settle(&sim, &mut manager, clusters, started).await?;

    let mark = sim.plane().audit_mark().await?;
    let (cpu, since) = (cpu_seconds(&manager)?, Instant::now());
    eprintln!(
        "  every status written after {:.1} s; watching it at rest for {} s",
        settled.as_secs_f64(),
        rest.as_secs()
    );
    // Time itself is what is measured here.
    tokio::time::sleep(rest).await;
    manager.check()?;
    let elapsed = since.elapsed().as_secs_f64();
    let used = cpu_seconds(&manager)? - cpu;
    let requests: Vec<_> = sim
        .plane()
        .audit_since(mark)
        .await?
        .into_iter()
        .filter(|e| e.user.ends_with(":cnpg-storage-manager"))
        .collect();
    let reads = requests
        .iter()
        .filter(|e| ["get", "list", "watch"].contains(&e.verb.as_str()))
        .count();
    let per_minute = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX)) * 60.0 / elapsed;
    Ok(Cost {
        clusters,
        settled,
        resident_kib: memory_kib(&manager, "VmRSS")?,
        anonymous_kib: memory_kib(&manager, "RssAnon")?,
        peak_kib: memory_kib(&manager, "VmHWM")?,
        cpu_percent: 100.0 * used / elapsed,
        requests_a_minute: per_minute(requests.len()),
        reads_a_minute: per_minute(reads),
        answers: webhooks.measure(&sim).await?,
    })
}

/// Waits until every cluster has a status that says that it is balanced.
async fn settle(sim: &Sim, manager: &mut Process, clusters: usize, started: Instant) -> anyhow::Result<Duration> {
    let api: kube::Api<csm_api::PostgresStorage> = kube::Api::all(sim.client());
    let longest = SETTLE.saturating_mul(u32::try_from(clusters)?).max(Duration::from_mins(2));
    loop {
        manager.check()?;
        let there = api.list(&kube::api::ListParams::default()).await?.items;
        let balanced = there
            .iter()
            .filter(|s| s.status.as_ref().and_then(|s| s.state) == Some(csm_api::State::Balanced))
            .count();
        if balanced == clusters {
            return Ok(started.elapsed());
        }
        ensure!(
            started.elapsed() < longest,
            "only {balanced} of {clusters} clusters have a status after {} s:\n{}",
            longest.as_secs(),
            manager.tail(20)
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Processor seconds so far: proc(5), fields 14 and 15 of stat, in clock ticks of 10 ms.
fn cpu_seconds(process: &Process) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid()))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| {
        fields
            .get(i)
            .and_then(|t| t.parse::<u32>().ok())
            .context("/proc/PID/stat has fewer fields than it should")
    };
    Ok(f64::from(ticks(11)? + ticks(12)?) / 100.0)
}

/// A figure of proc(5), status: `VmRSS` (resident), `RssAnon` (of it anonymous), `VmHWM` (most resident so far).
fn memory_kib(process: &Process, figure: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'))
        .with_context(|| format!("/proc/PID/status has no {figure}"))?;
    let number = line.trim().trim_end_matches(" kB").trim().parse();
    number.with_context(|| format!("{figure} is no number"))
}
