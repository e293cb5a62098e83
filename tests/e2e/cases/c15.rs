//! C15: two replicas of the manager. Whatever happens to the one that leads, there is one writer at any time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use csm_testkit::lab::audit::Entry;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt as _;
use kube::api::Api;
use rustix::process::{Pid, Signal};
use tokio::process::Command;

use crate::course::Course;
use crate::manager::{USER, process_of, signal};
use crate::processes::{Process, Processes};
use crate::stage::Stage;
use csm_testkit::wait::within;

/// As the settings ship.
const LEASE: SignedDuration = SignedDuration::from_secs(15);
/// After the lease has run out: a try every 2 s, on a busy machine.
const TAKE_OVER: SignedDuration = SignedDuration::from_secs(5);

/// What happens to the leader.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Killed,
    Paused,
    Partitioned,
}

const HARMS: [Harm; 3] = [Harm::Killed, Harm::Paused, Harm::Partitioned];

/// The leader as the machine sees it.
struct Leader {
    process: Pid,
    /// The API server's address, as pods know it.
    server: String,
    /// Its pod's network namespace outlives its process.
    network: std::fs::File,
}

impl Leader {
    async fn find(stage: &Stage, pod: &Pod) -> Result<Self> {
        let process = process_of(&pod.uid().context("a pod without a uid")?)?;
        let services: Api<Service> = Api::namespaced(stage.client.clone(), "default");
        let service = services.get("kubernetes").await?;
        let server = service
            .spec
            .and_then(|spec| spec.cluster_ip)
            .context("no address of the API server")?;
        let path = format!("/proc/{}/ns/net", process.as_raw_nonzero());
        let network = std::fs::File::open(&path).with_context(|| path)?;
        Ok(Self { process, server, network })
    }

    async fn harm(&self, harm: Harm) -> Result<()> {
        match harm {
            Harm::Killed => signal(self.process, Signal::KILL),
            Harm::Paused => signal(self.process, Signal::STOP),
            Harm::Partitioned => self.route("add").await,
        }
    }

    async fn heal(&self, harm: Harm) -> Result<()> {
        match harm {
            // The kubelet starts it again.
            Harm::Killed => Ok(()),
            Harm::Paused => signal(self.process, Signal::CONT),
            Harm::Partitioned => self.route("delete").await,
        }
    }

    /// What its pod sends to the API server vanishes; the kubelet's probes go on.
    async fn route(&self, verb: &str) -> Result<()> {
        use std::os::fd::AsRawFd as _;
        let network = format!("--net=/proc/{}/fd/{}", std::process::id(), self.network.as_raw_fd());
        let words = [&network, "--", "ip", "route", verb, "blackhole", &self.server];
        let status = Command::new("nsenter")
            .args(words)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .status()
            .await?;
        ensure!(status.success(), "nsenter {words:?}: {status}");
        Ok(())
    }
}

/// Each harm comes while a growth is in flight, which the next leader completes.
pub async fn one_writer(stage: Arc<Stage>) -> Result<()> {
    for words in [
        "lost the lease",
        "cannot renew the lease",
        "cannot read the lease",
        "not the leader any more",
        // Of one that was started again and cannot reach the API server yet.
        "cannot get the lease",
        "not ready",
    ] {
        stage.excuse(words);
    }
    let manager = &stage.manager;
    let processes = Processes::watch(manager);
    manager.scale(2).await?;
    let mut course = Course::new(&stage, 1).await?;
    course.same_manager = false;
    for harm in HARMS {
        let flight = course.begin().await?;
        let pod = manager.pod().await?;
        let before = manager.lease().await?;
        let leader = Leader::find(&stage, &pod).await?;
        let at = Timestamp::now();
        leader.harm(harm).await?;
        let taken = taken_over(&stage, &before)
            .await
            .with_context(|| format!("after {} was {harm:?}", pod.name_any()));
        if taken.is_err() {
            leader.heal(harm).await?;
        }
        let took = taken?.duration_since(at);
        println!("    {harm:?}: taken over after {:.1} s", took.as_secs_f64());
        ensure!(took <= LEASE + TAKE_OVER, "{harm:?}: taken over after {took}");
        course.still_in_flight(&flight).await?;
        // It comes back while its successor is at work, with what it had begun.
        leader.heal(harm).await?;
        course.land(flight).await?;
        // The other one is back as a stand-by, and takes nothing from the one that leads.
        let holder = manager.lease().await?.holder_identity;
        manager.ready(2).await?;
        ensure!(
            manager.lease().await?.holder_identity == holder,
            "{harm:?}: the lease passed on although its holder is well"
        );
    }
    one_at_a_time(&stage, &processes)?;
    manager.scale(1).await?;
    manager.leads().await?;
    course.hold().await
}

/// Waits until another process holds the lease. Returns since when it does.
async fn taken_over(stage: &Stage, before: &LeaseSpec) -> Result<Timestamp> {
    within(Duration::from_mins(1), "another process holds the lease", async || {
        let now = stage.manager.lease().await?;
        let other = now.holder_identity.as_deref().is_some_and(|holder| !holder.is_empty());
        let other = other && now.holder_identity != before.holder_identity;
        Ok(now.acquire_time.filter(|_| other).map(|at| at.0))
    })
    .await
}

/// A write that the API server accepted.
struct Write {
    by: Process,
    received: Timestamp,
    /// When the API server had answered.
    written: Timestamp,
    what: String,
}

/// All accepted writes of the manager since the test began, in the order in which they were received: of its lease, and others.
fn writes(stage: &Stage, processes: &Processes) -> Result<(Vec<Write>, Vec<Write>)> {
    let is_write =
        |e: &Entry| e.user == USER && e.stage == "ResponseComplete" && e.code < 300 && !["get", "list", "watch"].contains(&e.verb.as_str());
    let mut entries = stage.lab.audit_log().since(stage.mark)?;
    entries.retain(is_write);
    entries.sort_by_key(|entry| entry.received);
    let (mut leases, mut others) = (Vec::new(), Vec::new());
    for entry in entries {
        let what = format!("{} {}", entry.verb, entry.uri);
        ensure!(!entry.pod.is_empty(), "the audit log does not tell which pod wrote: {what}");
        let write = Write {
            by: processes.sent(&entry.pod, entry.received)?,
            received: entry.received,
            written: entry.done,
            what,
        };
        if entry.resource == "leases" { &mut leases } else { &mut others }.push(write);
    }
    Ok((leases, others))
}

/// Every write that the API server accepted came from the process that held the lease from its begin to its end, and began
/// while the lease had not run out. A lease is a process's from its own write of it until another's begins: what overlaps a
/// take-over is wrong.
fn one_at_a_time(stage: &Stage, processes: &Processes) -> Result<()> {
    let (leases, others) = writes(stage, processes)?;
    let mut leaders: Vec<&Process> = leases.iter().map(|lease| &lease.by).collect();
    leaders.dedup();
    let mut checked = 0;
    for Write {
        by,
        received,
        written,
        what,
    } in &others
    {
        let before = leases.iter().filter(|lease| lease.written <= *received);
        // Who held the lease at the very begin is known with its first renewal.
        let Some(before) = before.max_by_key(|lease| lease.written) else {
            continue;
        };
        ensure!(
            before.by == *by,
            "{by} wrote at {received} while {} held the lease: {what}",
            before.by
        );
        let during = leases
            .iter()
            .find(|lease| lease.by != *by && lease.received < *written && lease.written > *received);
        if let Some(during) = during {
            bail!(
                "{by} wrote from {received} to {written}, and {} took the lease from {} to {}: {what}",
                during.by,
                during.received,
                during.written
            );
        }
        let age = received.duration_since(before.received);
        ensure!(age < LEASE, "{by} wrote {age} after it had renewed its lease: {what}");
        checked += 1;
    }
    let names: Vec<String> = leaders.iter().map(ToString::to_string).collect();
    println!("    {checked} writes, each by the holder of the lease: {}", names.join(", then "));
    ensure!(checked > 0, "no write was checked");
    // Each harm passes it on.
    ensure!(leaders.len() == 1 + HARMS.len(), "the lease passed on to {names:?}");
    Ok(())
}
