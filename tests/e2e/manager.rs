//! The manager under test: the binary of this checkout as a Pod, from the manifests that ship.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use csm_testkit::lab::Lab;
use csm_testkit::lab::shipped::{self, NAME, START};
use csm_tests::manager::NAMESPACE;
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, LogParams};
use kube::{Client, ResourceExt as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::invariants::is;
use crate::metrics::Metrics;
use csm_testkit::wait::within;

/// How the manager calls itself at the API server.
pub const USER: &str = "system:serviceaccount:cnpg-storage-manager:cnpg-storage-manager";

/// One line of its log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// When the container runtime read it.
    pub at: Timestamp,
    /// `INFO`, `WARN`, …
    pub level: String,
    /// The whole line.
    pub text: String,
}

/// The running manager.
pub struct Manager {
    client: Client,
    lines: Arc<Mutex<Vec<LogLine>>>,
    follower: JoinHandle<()>,
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Manager {
    /// Makes an image of `binary`, applies the manifests that ship, and waits until the new pod leads. Everything that it
    /// logs goes into the file `log` too.
    pub async fn deploy(lab: &Lab, client: &Client, binary: &Path, log: &Path) -> Result<Self> {
        let node = &lab.status().nodes.first().context("the lab has no node")?.name;
        let log = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let begin = Timestamp::now();
        let adapt = |deployment: &mut Value| {
            let template = &mut deployment["spec"]["template"];
            // A new annotation makes a new pod, so that each run begins with one.
            template["metadata"]["annotations"]["csm-e2e/run"] = begin.to_string().into();
            // Tests stop the other node's kubelet.
            template["spec"]["nodeSelector"]["kubernetes.io/hostname"] = node.as_str().into();
        };
        shipped::deploy(lab, client, binary, &csm_tests::root().join("deploy"), adapt).await?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let follower = tokio::spawn(follow(client.clone(), begin, lines.clone(), log));
        let manager = Self {
            client: client.clone(),
            lines,
            follower,
        };
        shipped::rolled_out(client).await.with_context(|| manager.tail(20))?;
        manager.leads().await?;
        Ok(manager)
    }

    /// Takes the Deployment away; kinds, permissions and the record of what happened stay.
    pub async fn remove(self) -> Result<()> {
        shipped::deployments(&self.client).delete(NAME, &DeleteParams::foreground()).await?;
        within(START, "the manager is gone", async || {
            Ok(self.pods().await?.is_empty().then_some(()))
        })
        .await
    }

    async fn pods(&self) -> Result<Vec<Pod>> {
        pods(&self.client).await
    }

    /// Its pod.
    pub async fn pod(&self) -> Result<Pod> {
        let alive = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
        let mut pods: Vec<Pod> = self.pods().await?.into_iter().filter(alive).collect();
        ensure!(pods.len() == 1, "{} pods of the manager", pods.len());
        Ok(pods.remove(0))
    }

    /// Its metrics, through the API server, as an administrator.
    pub async fn metrics(&self) -> Result<Metrics> {
        let name = self.pod().await?.name_any();
        let uri = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}:8080/proxy/metrics");
        let request = http::Request::get(uri).body(Vec::new())?;
        let text = self.client.request_text(request).await.context("the manager's metrics")?;
        Ok(Metrics::parse(&text))
    }

    /// Waits until it leads.
    pub async fn leads(&self) -> Result<()> {
        let leads = within(START, "the manager leads", async || {
            let metrics = self.metrics().await.ok();
            Ok(metrics.filter(|m| is(m.value("cnpg_storage_manager_leader", &[]), 1)).map(|_| ()))
        });
        leads.await.with_context(|| self.tail(20))
    }

    /// SIGKILL to its process; returns when it is gone. The kubelet starts the container again.
    pub async fn kill(&self) -> Result<Timestamp> {
        let uid = self.pod().await?.uid().context("the manager's pod has no uid")?;
        let pid = process_of(&uid)?;
        kill_process(pid, Signal::KILL).with_context(|| format!("kill the manager, process {}", pid.as_raw_nonzero()))?;
        let at = Timestamp::now();
        within(START, "the killed manager is gone", async || {
            Ok(process_of(&uid).map_or(true, |now| now != pid).then_some(()))
        })
        .await?;
        Ok(at)
    }

    /// What it has logged since.
    pub fn log_since(&self, since: Timestamp) -> Vec<LogLine> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.at >= since).cloned().collect()
    }

    fn tail(&self, count: usize) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let texts: Vec<&str> = lines.iter().rev().take(count).map(|line| line.text.as_str()).collect();
        texts.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

async fn pods(client: &Client) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let ours = ListParams::default().labels(&format!("app.kubernetes.io/name={NAME}"));
    Ok(api.list(&ours).await?.items)
}

/// The process of a pod's container, by its control group.
fn process_of(pod_uid: &str) -> Result<Pid> {
    for entry in std::fs::read_dir("/proc").context("read /proc")?.flatten() {
        let folder = entry.path();
        // Processes end while we look.
        let Ok(groups) = std::fs::read_to_string(folder.join("cgroup")) else {
            continue;
        };
        let Ok(command) = std::fs::read(folder.join("cmdline")) else {
            continue;
        };
        if groups.contains(pod_uid) && command.starts_with(format!("/{NAME}\0").as_bytes()) {
            let number = entry.file_name().to_string_lossy().parse::<i32>()?;
            return Pid::from_raw(number).context("a process without a number");
        }
    }
    bail!("the pod {pod_uid} has no process of the manager")
}

/// Reads what the newest pod logs, whatever restarts, until aborted.
async fn follow(client: Client, begin: Timestamp, lines: Arc<Mutex<Vec<LogLine>>>, mut file: File) {
    const AGAIN: Duration = Duration::from_millis(200);
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let mut last = begin;
    loop {
        tokio::time::sleep(AGAIN).await;
        let Ok(mut pods) = pods(&client).await else { continue };
        pods.sort_by_key(|pod| pod.creation_timestamp().map(|at| at.0));
        let Some(pod) = pods.last() else { continue };
        let parameters = LogParams {
            follow: true,
            timestamps: true,
            since_time: Some(last),
            ..LogParams::default()
        };
        // A container that is being made has no log yet.
        let Ok(stream) = api.log_stream(&pod.name_any(), &parameters).await else {
            continue;
        };
        let mut stream = stream.lines();
        while let Ok(Some(line)) = stream.try_next().await {
            let Some((at, text)) = line.split_once(' ') else { continue };
            let Ok(at) = at.parse::<Timestamp>() else { continue };
            // `sinceTime` has whole seconds: what was read before comes again.
            if at <= last {
                continue;
            }
            last = at;
            let level = serde_json::from_str::<Value>(text).ok();
            let level = level.and_then(|v| v["level"].as_str().map(str::to_owned));
            // The file is for people; the tests read what is in memory.
            let _ = writeln!(file, "{text}");
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(LogLine {
                at,
                level: level.unwrap_or_else(|| "UNREADABLE".to_owned()),
                text: text.to_owned(),
            });
        }
    }
}
