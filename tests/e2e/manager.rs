//! The manager under test: the binary of this checkout as a Pod, from the manifests that ship.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use csm_testkit::lab::Lab;
use csm_testkit::manifest;
use csm_tests::manager::NAMESPACE;
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, LogParams};
use kube::{Client, ResourceExt as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::invariants::is;
use crate::metrics::Metrics;
use crate::wait::within;

/// The name of the Deployment, its container's program, and its label's value.
const NAME: &str = "cnpg-storage-manager";
/// How the manager calls itself at the API server.
pub const USER: &str = "system:serviceaccount:cnpg-storage-manager:cnpg-storage-manager";
/// An image is imported, a pod started, a lease taken over from a run that was cut off (15 s).
const START: Duration = Duration::from_mins(2);

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
        let image = image_name(binary)?;
        lab.load_own_image(binary, &image).await.context("load the manager's image")?;
        let deploy = csm_tests::root().join("deploy");
        let mut objects = Vec::new();
        for file in crds(&deploy)?
            .into_iter()
            .chain([deploy.join("rbac.yaml"), deploy.join("manager.yaml")])
        {
            let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            objects.extend(manifest::documents(&text).with_context(|| file.display().to_string())?);
        }
        for object in &mut objects {
            adapt(object, &image, &lab.status().nodes.first().context("the lab has no node")?.name)?;
        }
        let log = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let begin = Timestamp::now();
        manifest::apply(client, objects, NAMESPACE).await?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let follower = tokio::spawn(follow(client.clone(), begin, lines.clone(), log));
        let manager = Self {
            client: client.clone(),
            lines,
            follower,
        };
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
        let rolled_out = within(START, "the manager's Deployment is rolled out", async || {
            let deployment = deployments.get(NAME).await?;
            let (generation, status) = (deployment.metadata.generation, deployment.status.unwrap_or_default());
            let all = [status.replicas, status.updated_replicas, status.ready_replicas];
            Ok((status.observed_generation == generation && all == [Some(1); 3]).then_some(()))
        });
        rolled_out.await.with_context(|| manager.tail(20))?;
        manager.leads().await?;
        Ok(manager)
    }

    /// Takes the Deployment away; kinds, permissions and the record of what happened stay.
    pub async fn remove(self) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        deployments.delete(NAME, &DeleteParams::foreground()).await?;
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

/// A name that changes with the binary.
fn image_name(binary: &Path) -> Result<String> {
    let meta = std::fs::metadata(binary).with_context(|| format!("{}: build it first", binary.display()))?;
    let made = meta.modified()?.duration_since(UNIX_EPOCH)?.as_millis();
    Ok(format!("localhost/{NAME}:{made:x}-{:x}", meta.len()))
}

fn crds(deploy: &Path) -> Result<Vec<PathBuf>> {
    let folder = deploy.join("crds");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

/// All that differs from what ships: the image, the interval, and the node. A new annotation makes a new pod, so that each
/// run begins with one.
fn adapt(object: &mut Value, image: &str, node: &str) -> Result<()> {
    if object["kind"] == "Deployment" {
        let template = &mut object["spec"]["template"];
        template["metadata"]["annotations"]["csm-e2e/run"] = Timestamp::now().to_string().into();
        // Tests stop the other node's kubelet.
        template["spec"]["nodeSelector"]["kubernetes.io/hostname"] = node.into();
        let container = &mut template["spec"]["containers"][0];
        container["image"] = image.into();
        container["imagePullPolicy"] = "IfNotPresent".into();
    }
    if object["kind"] == "ConfigMap" {
        let settings = object["data"]["settings.yaml"]
            .as_str()
            .context("manager.yaml has no settings.yaml")?;
        let faster = settings.replace("metricsInterval: 30s", "metricsInterval: 5s");
        ensure!(faster != settings, "manager.yaml no longer says `metricsInterval: 30s`");
        object["data"]["settings.yaml"] = faster.into();
    }
    Ok(())
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
