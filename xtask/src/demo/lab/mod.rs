//! `cargo xtask lab-demo`: the story of the demo on the lab, with real PostgreSQL, rows that pgbench writes, and real
//! filesystems.

mod deploy;
mod postgres;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use csm_api::Reason;
use csm_testkit::lab::Lab;
use csm_testkit::manifest;
use csm_units::{Bytes, Percent};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;

use super::interrupt::Interrupt;
use super::manager::{self, USER};
use super::observe::{self, Disk, Observer};
use super::scene::{Measured, Scene};
use super::story::{Fate, Part, Play};
use super::terminal::Terminal;
use super::timeline::Write;
use super::{Stage, perform, say};

/// The play on real disks. The kubelet measures every 5 to 7 s and the manager asks every 5 s, so that a growth of two
/// members takes about 30 s: at 3 MiB a second, a tenth of the volume.
static PLAY: Play = Play {
    about: "real: Kubernetes, CloudNativePG, PostgreSQL, pgbench, XFS, the manager",
    cast: &[
        Part {
            name: "orders",
            instances: 2,
            size: Bytes::gib(1),
            used: 76,
            rate: Bytes::mib(3),
            fate: Fate::Grows,
            about: "pgbench fills it; policy default: at 85 % grow by 1Gi, to 4Gi at most",
        },
        Part {
            name: "reports",
            instances: 1,
            size: Bytes::gib(1),
            used: 82,
            rate: Bytes::mib(1),
            fate: Fate::Held(Reason::AtLimit),
            about: "pgbench fills it; policy reports: the same, but 1Gi at most",
        },
        Part {
            name: "catalog",
            instances: 1,
            size: Bytes::gib(1),
            used: 30,
            rate: Bytes::ZERO,
            fate: Fate::Calm,
            about: "calm; policy default",
        },
    ],
    threshold: Percent::of(85),
    increment: 1,
    most: 4,
    most_of_reports: 1,
    rest: SignedDuration::from_secs(120),
    growth: SignedDuration::from_secs(240),
    look: Duration::from_secs(1),
};

/// The label of what we make on the lab; what a killed run left is found by it.
const MARK: &str = "csm-demo";
/// Runs it.
pub async fn run() -> Result<ExitCode> {
    let mut terminal = Terminal::detect();
    say(&mut terminal, "building the manager …");
    let binary = tokio::task::spawn_blocking(manager::build)
        .await
        .context("the build was given up")??;
    let mut interrupt = Interrupt::catch()?;
    let start = Instant::now();
    let mut stage = OnLab::new(Lab::connect().await?).await?;
    let set = tokio::select! {
        set = stage.set(&binary, &mut terminal) => set,
        // `perform` says so, and clears the stage.
        () = interrupt.wait() => Ok(()),
    };
    if let Err(error) = set {
        stage.close().await?;
        return Err(error);
    }
    perform(&PLAY, stage, &mut terminal, &mut interrupt, start).await
}

/// A namespace of the lab, and the manager on it.
struct OnLab {
    lab: Lab,
    client: Client,
    namespace: String,
    observer: Observer,
    /// The end of the audit log before the manager came.
    mark: u64,
    /// What pods said of their filesystems, by PVC.
    filesystems: BTreeMap<String, Bytes>,
    /// What PVCs asked for at the last look.
    requests: BTreeMap<String, Bytes>,
    /// pgbench.
    loads: JoinSet<Result<()>>,
}

impl OnLab {
    /// In a new namespace; those of killed runs are taken away.
    async fn new(lab: Lab) -> Result<Self> {
        let client = lab.client().await?;
        deploy::refuse_others(&client).await?;
        let api: Api<Namespace> = Api::all(client.clone());
        for old in api.list(&ListParams::default().labels(MARK)).await.context("list namespaces")? {
            api.delete(&old.name_any(), &DeleteParams::default())
                .await
                .context("delete a namespace")?;
        }
        let namespace = format!("demo-{:05x}", Timestamp::now().as_millisecond() & 0xf_ffff);
        let object = json!({"metadata": {"name": namespace, "labels": {MARK: "true"}}});
        let object: Namespace = serde_json::from_value(object).context("describe a namespace")?;
        api.create(&PostParams::default(), &object).await.context("create a namespace")?;
        Ok(Self {
            mark: lab.audit_log().mark()?,
            observer: Observer::new(client.clone(), &namespace),
            lab,
            client,
            namespace,
            filesystems: BTreeMap::new(),
            requests: BTreeMap::new(),
            loads: JoinSet::new(),
        })
    }

    /// Makes the clusters, fills them so far as they are to be at first, and starts the manager.
    async fn set(&mut self, binary: &std::path::Path, terminal: &mut Terminal) -> Result<()> {
        say(
            terminal,
            &format!("creating three clusters of PostgreSQL in the namespace {} …", self.namespace),
        );
        for part in PLAY.cast {
            postgres::create(&self.lab, &self.client, &self.namespace, part).await?;
        }
        for part in PLAY.cast {
            postgres::healthy(&self.client, &self.namespace, part).await?;
            say(terminal, &format!("{} is healthy; pgbench makes its tables …", part.name));
            postgres::prefill(&self.lab, &self.namespace, part).await?;
        }
        say(terminal, "starting the manager as a Pod …");
        deploy::deploy(&self.lab, &self.client, binary).await?;
        let policies = manifest::documents(&PLAY.policies())?;
        manifest::apply(&self.client, policies, &self.namespace)
            .await
            .context("apply the policies")
    }

    /// The kubelets' figures of our PVCs.
    async fn measured(&self) -> Result<BTreeMap<String, Measured>> {
        let mut all = BTreeMap::new();
        for node in &self.lab.status().nodes {
            let uri = format!("/api/v1/nodes/{}/proxy/stats/summary", node.name);
            let request = http::Request::get(uri).body(Vec::new()).context("build a request")?;
            let text = self
                .client
                .request_text(request)
                .await
                .with_context(|| format!("ask the kubelet of {}", node.name))?;
            let summary: Summary = serde_json::from_str(&text).with_context(|| format!("the answer of the kubelet of {}", node.name))?;
            let volumes = summary.pods.into_iter().flat_map(|pod| pod.volume);
            all.extend(volumes.filter_map(|volume| volume.of(&self.namespace)));
        }
        Ok(all)
    }

    /// Asks pods for the size of filesystems that are not known, or smaller than their PVCs ask for.
    async fn refresh_filesystems(&mut self) -> Result<()> {
        for part in PLAY.cast {
            for serial in 1..=part.instances {
                let name = format!("{}-{serial}", part.name);
                let request = self.requests.get(&name).copied().unwrap_or(part.size);
                // A filesystem has at least nine tenths of its volume: the rest is XFS's own.
                let known = self.filesystems.get(&name);
                if known.is_none_or(|size| *size < request.mul_div(9, 10)) {
                    let df = postgres::df(&self.lab, &self.namespace, &name).await?;
                    self.filesystems.insert(name, Bytes::new(df.total));
                }
            }
        }
        Ok(())
    }
}

impl Stage for OnLab {
    async fn look(&mut self) -> Result<Scene> {
        if let Some(ended) = self.loads.try_join_next() {
            let ended = ended.context("pgbench was given up")?;
            return Err(ended.err().unwrap_or_else(|| anyhow!("pgbench has ended before the story did")));
        }
        self.refresh_filesystems().await?;
        let measured = self.measured().await?;
        let scene = self.observer.look(&PLAY, |claim| {
            Ok(Disk {
                measured: measured.get(claim).copied(),
                filesystem: self.filesystems.get(claim).copied().unwrap_or_default(),
            })
        });
        let scene = scene.await?;
        let instances = scene.clusters.iter().flat_map(|cluster| &cluster.instances);
        self.requests = instances.map(|instance| (instance.name.clone(), instance.request)).collect();
        Ok(scene)
    }

    async fn fill(&mut self) -> Result<()> {
        for part in PLAY.cast.iter().filter(|part| !part.rate.is_zero()) {
            let (lab, namespace) = (self.lab.clone(), self.namespace.clone());
            self.loads.spawn(async move { postgres::load(&lab, &namespace, part).await });
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<Vec<Write>> {
        self.loads.abort_all();
        let audit = self.lab.audit_log().since(self.mark)?;
        let finished = audit.iter().filter(|entry| entry.stage == "ResponseComplete");
        let requests = finished.map(|entry| observe::Request {
            at: entry.received,
            user: &entry.user,
            verb: &entry.verb,
            resource: &entry.resource,
            subresource: &entry.subresource,
            namespace: &entry.namespace,
            // Of a creation, the name is in the body only.
            name: match (entry.name.as_str(), &entry.request) {
                ("", Some(body)) => body["metadata"]["name"].as_str().unwrap_or_default(),
                (name, _) => name,
            },
            code: entry.code,
        });
        Ok(observe::writes(requests, USER, &self.namespace))
    }

    async fn manager_log(&self) -> String {
        deploy::log(&self.lab).await
    }

    async fn close(mut self) -> Result<()> {
        self.loads.abort_all();
        deploy::remove(&self.client).await?;
        let api: Api<Namespace> = Api::all(self.client.clone());
        api.delete(&self.namespace, &DeleteParams::default())
            .await
            .context("delete the namespace")?;
        Ok(())
    }
}

/// The kubelet's `/stats/summary`, as far as it is about volumes.
#[derive(Deserialize)]
struct Summary {
    #[serde(default)]
    pods: Vec<PodStats>,
}

#[derive(Deserialize)]
struct PodStats {
    #[serde(default)]
    volume: Vec<VolumeStats>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeStats {
    time: Timestamp,
    available_bytes: Option<u64>,
    used_bytes: Option<u64>,
    pvc_ref: Option<PvcRef>,
}

#[derive(Deserialize)]
struct PvcRef {
    name: String,
    namespace: String,
}

impl VolumeStats {
    /// The figures of a PVC of this namespace.
    fn of(self, namespace: &str) -> Option<(String, Measured)> {
        let claim = self.pvc_ref.filter(|claim| claim.namespace == namespace)?;
        let measured = Measured {
            at: self.time,
            used: Bytes::new(self.used_bytes?),
            available: Bytes::new(self.available_bytes?),
        };
        Some((claim.name, measured))
    }
}
