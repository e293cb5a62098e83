//! The manager under test: the binary of this checkout as a Pod, from the manifests that ship.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use csm_testkit::lab::Lab;
use csm_testkit::lab::shipped::{self, NAME, START};
use csm_testkit::manifest;
use csm_tests::manager::NAMESPACE;
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Api, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::invariants::is;
use crate::metrics::Metrics;
use csm_testkit::wait::{looks, within};

/// From so many restarts on the kubelet waits for longer than a test can.
const OFTEN: i32 = 2;

/// Where its settings are, in a ConfigMap; and the ConfigMap of a test that changes them.
const SETTINGS: &str = "settings.yaml";
const OWN_SETTINGS: &str = "csm-e2e-settings";

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

type Lines = Arc<Mutex<Vec<LogLine>>>;

/// How often pods and their logs are looked for.
const AGAIN: Duration = Duration::from_millis(200);

/// The running manager.
pub struct Manager {
    client: Client,
    lines: Lines,
    _follower: AbortOnDropHandle<()>,
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
        let follower = AbortOnDropHandle::new(tokio::spawn(follow(client.clone(), begin, lines.clone(), log)));
        let manager = Self {
            client: client.clone(),
            lines,
            _follower: follower,
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

    /// All its pods.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        pods(&self.client).await
    }

    /// Its pod; of several replicas, the one that holds the lease.
    pub async fn pod(&self) -> Result<Pod> {
        let alive = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
        let mut pods: Vec<Pod> = self.pods().await?.into_iter().filter(alive).collect();
        if pods.len() > 1 {
            let holder = self.lease().await?.holder_identity.unwrap_or_default();
            // A process calls itself by its pod's name and something of its own.
            pods.retain(|pod| holder.starts_with(&format!("{}_", pod.name_any())));
        }
        ensure!(pods.len() == 1, "{} pods of the manager", pods.len());
        Ok(pods.remove(0))
    }

    /// Who leads, and since when.
    pub async fn lease(&self) -> Result<LeaseSpec> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        leases.get(NAME).await?.spec.context("a lease without a spec")
    }

    /// Changes the number of its replicas, and waits until all are ready.
    pub async fn scale(&self, replicas: usize) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        shipped::deployments(&self.client)
            .patch(NAME, &PatchParams::default(), &patch)
            .await
            .context("scale the manager")?;
        within(START, &format!("{replicas} replicas of the manager are ready"), async || {
            let pods = self.pods().await?;
            Ok((pods.len() == replicas && pods.iter().all(is_ready)).then_some(()))
        })
        .await
    }

    /// Starts it anew with these settings beside those that ship.
    pub async fn set(&self, more: &str) -> Result<()> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        let shipped = api.get(NAME).await?.data.unwrap_or_default();
        let shipped = shipped.get(SETTINGS).context("the ConfigMap has no settings")?;
        // What is said anew counts.
        let names: Vec<&str> = more.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
        let stays = |line: &&str| !names.iter().any(|name| line.starts_with(&format!("{name}:")));
        let shipped: Vec<&str> = shipped.lines().filter(stays).collect();
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": OWN_SETTINGS},
            "data": {SETTINGS: format!("{}\n{more}", shipped.join("\n"))},
        });
        let parameters = PatchParams::apply("e2e").force();
        api.patch(OWN_SETTINGS, &parameters, &Patch::Apply(&object)).await?;
        self.renew(OWN_SETTINGS).await
    }

    /// Takes the permission to patch a kind of object away, such as pods; returns when that is so in a namespace.
    pub async fn may_not_patch(&self, resource: &str, namespace: &str) -> Result<()> {
        let api: Api<ClusterRole> = Api::all(self.client.clone());
        let mut role = api.get(NAME).await?;
        let concerns = |rule: &PolicyRule| {
            rule.resources
                .as_ref()
                .is_some_and(|resources| resources.iter().any(|name| name == resource))
        };
        let rules = role.rules.get_or_insert_default();
        for rule in rules.iter_mut().filter(|rule| concerns(rule)) {
            rule.verbs.retain(|verb| verb != "patch");
        }
        rules.retain(|rule| !rule.verbs.is_empty());
        api.replace(NAME, &PostParams::default(), &role).await?;
        let review: SubjectAccessReview = serde_json::from_value(json!({"spec": {
            "user": USER, "resourceAttributes": {"verb": "patch", "resource": resource, "namespace": namespace},
        }}))?;
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        within(START, &format!("the manager may not patch {resource}"), async || {
            let answer = reviews.create(&PostParams::default(), &review).await?.status;
            Ok(answer.filter(|status| !status.allowed).map(drop))
        })
        .await
    }

    /// One replica, with the settings and the permissions that ship, whatever a test left.
    pub async fn restore(&self) -> Result<()> {
        let roles: Api<ClusterRole> = Api::all(self.client.clone());
        let shipped = std::fs::read_to_string(csm_tests::root().join("deploy/rbac.yaml"))?;
        let shipped = manifest::documents(&shipped)?;
        let is_role = |object: &Value| object["kind"] == "ClusterRole";
        let rules = shipped
            .iter()
            .find(|object| is_role(object))
            .context("rbac.yaml has no ClusterRole")?;
        let rules: Option<Vec<PolicyRule>> = serde_json::from_value(rules["rules"].clone())?;
        let permitted = roles.get(NAME).await?.rules == rules;
        if !permitted {
            manifest::apply(&self.client, shipped, NAME).await?;
        }
        let deployment = shipped::deployments(&self.client).get(NAME).await?;
        let volumes = deployment.spec.and_then(|spec| spec.template.spec?.volumes).unwrap_or_default();
        let settings = volumes.into_iter().find_map(|volume| volume.config_map).map(|map| map.name);
        if self.pods().await?.len() != 1 {
            self.scale(1).await?;
            self.leads().await?;
        }
        // A process that was refused a permission believes so for a while.
        if !permitted || settings.as_deref() != Some(NAME) {
            self.renew(NAME).await?;
        }
        Ok(())
    }

    /// Replaces its pod by one with the settings of this ConfigMap, and waits until that leads.
    async fn renew(&self, settings: &str) -> Result<()> {
        let template = json!({
            "metadata": {"annotations": {"csm-e2e/run": Timestamp::now().to_string()}},
            "spec": {"volumes": [{"name": "settings", "configMap": {"name": settings}}]},
        });
        let patch = Patch::Strategic(json!({"spec": {"template": template}}));
        shipped::deployments(&self.client)
            .patch(NAME, &PatchParams::default(), &patch)
            .await
            .context("renew the manager")?;
        shipped::rolled_out(&self.client).await.with_context(|| self.tail(20))?;
        self.leads().await
    }

    /// Waits until so many pods of it are ready: stand-bys are, once their caches are complete.
    pub async fn ready(&self, replicas: usize) -> Result<()> {
        within(START, &format!("{replicas} replicas of the manager are ready"), async || {
            let ready = self.pods().await?.iter().filter(|pod| is_ready(pod)).count();
            Ok((ready == replicas).then_some(()))
        })
        .await
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
        let mut pod = self.pod().await?;
        if restarts(&pod) >= OFTEN {
            // The kubelet would start it ever later: a new pod has its patience back.
            let api: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
            api.delete(&pod.name_any(), &DeleteParams::default()).await?;
            within(START, "the old pod of the manager is gone", async || {
                Ok(api.get_opt(&pod.name_any()).await?.is_none().then_some(()))
            })
            .await?;
            self.leads().await?;
            pod = self.pod().await?;
        }
        let uid = pod.uid().context("the manager's pod has no uid")?;
        let pid = process_of(&uid)?;
        signal(pid, Signal::KILL)?;
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

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// How often the kubelet started its container again.
fn restarts(pod: &Pod) -> i32 {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    containers.into_iter().flatten().map(|container| container.restart_count).sum()
}

/// Sends a signal to a process of the manager.
pub fn signal(process: Pid, signal: Signal) -> Result<()> {
    let number = process.as_raw_nonzero();
    kill_process(process, signal).with_context(|| format!("signal {} to the manager, process {number}", signal.as_raw()))
}

/// The process of a pod's container, by its control group.
pub fn process_of(pod_uid: &str) -> Result<Pid> {
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

/// Reads what all pods log, whatever restarts, until aborted.
async fn follow(client: Client, begin: Timestamp, lines: Lines, file: File) {
    let file = Arc::new(Mutex::new(file));
    let (mut followed, mut tasks) = (BTreeSet::new(), JoinSet::new());
    let mut looks = looks(AGAIN);
    loop {
        looks.tick().await;
        for pod in pods(&client).await.unwrap_or_default() {
            let name = pod.name_any();
            if followed.insert(name.clone()) {
                tasks.spawn(follow_pod(client.clone(), name, begin, lines.clone(), file.clone()));
            }
        }
    }
}

/// Reads what one pod logs, until it is gone.
async fn follow_pod(client: Client, pod: String, begin: Timestamp, lines: Lines, file: Arc<Mutex<File>>) {
    let api: Api<Pod> = Api::namespaced(client, NAMESPACE);
    let mut last = begin;
    let mut looks = looks(AGAIN);
    while api.get_opt(&pod).await.is_ok_and(|pod| pod.is_some()) {
        let parameters = LogParams {
            follow: true,
            timestamps: true,
            since_time: Some(last),
            ..LogParams::default()
        };
        looks.tick().await;
        // A container that is being made has no log yet.
        let Ok(stream) = api.log_stream(&pod, &parameters).await else {
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
            let _ = writeln!(file.lock().unwrap_or_else(PoisonError::into_inner), "{text}");
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(LogLine {
                at,
                level: level.unwrap_or_else(|| "UNREADABLE".to_owned()),
                text: text.to_owned(),
            });
        }
    }
}
