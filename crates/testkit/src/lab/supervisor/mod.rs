//! The process that owns a lab: it makes the namespaces, starts everything, starts again what ends, and answers `up`,
//! `status` and the tests on a socket.
//!
//! It runs in a process namespace of its own below `labd init`, so that nothing of the lab can outlive it.

mod component;
mod controlplane;
mod manifests;
mod network;
pub mod node;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use self::component::{Component, Spec};
use self::node::Node;
use super::command::run;
use super::config::{Config, FORMAT, MOST_NODES};
use super::layout::Layout;
use super::protocol::{self, Answer, Phase, Request, Status, Step, now_ms};
use crate::csi::Kind;
use crate::pki::Ca;
use crate::wait::Patience;

/// The longest that anything takes to be ready on a slow machine.
const PATIENCE: Duration = Duration::from_mins(3);
const POLL: Duration = Duration::from_millis(150);

/// The lab as its supervisor has it.
pub struct Supervisor {
    layout: Layout,
    config: Config,
    components: Mutex<BTreeMap<String, Arc<Component>>>,
    shared: Mutex<Shared>,
    /// Held while a node is added: one after the other.
    nodes: tokio::sync::Mutex<Nodes>,
}

struct Shared {
    phase: Phase,
    steps: Vec<Step>,
    nodes: Vec<protocol::Node>,
    started: Instant,
    started_ms: u64,
    ready_after_ms: Option<u64>,
}

struct Nodes {
    ca: Option<Ca>,
    list: Vec<Node>,
}

/// Runs the lab until it is killed. Standard input is a handle on the machine's network namespace.
pub async fn supervise(layout: Layout) -> Result<()> {
    let text = std::fs::read(layout.config()).with_context(|| format!("read {}", layout.config().display()))?;
    let config: Config = serde_json::from_slice(&text).with_context(|| format!("read {}", layout.config().display()))?;
    let shared = Shared {
        phase: Phase::Starting,
        steps: Vec::new(),
        nodes: Vec::new(),
        started: Instant::now(),
        started_ms: now_ms(),
        ready_after_ms: None,
    };
    let supervisor = Arc::new(Supervisor {
        layout,
        config,
        components: Mutex::default(),
        shared: Mutex::new(shared),
        nodes: tokio::sync::Mutex::new(Nodes {
            ca: None,
            list: Vec::new(),
        }),
    });
    let socket = supervisor.layout.control();
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).with_context(|| format!("listen on {}", socket.display()))?;
    let this = supervisor.clone();
    tokio::spawn(async move {
        let result = this.bring_up().await;
        let mut shared = this.shared();
        shared.phase = match result {
            Ok(()) => Phase::Ready,
            Err(error) => Phase::Failed(format!("{error:#}")),
        };
        tracing::info!(phase = ?shared.phase, "brought up");
        shared.ready_after_ms = Some(shared.started.elapsed().as_millis().try_into().unwrap_or(u64::MAX));
    });
    loop {
        let (stream, _) = listener.accept().await.context("accept on the control socket")?;
        let this = supervisor.clone();
        tokio::spawn(async move {
            if let Err(error) = this.connection(stream).await {
                tracing::warn!("control connection: {error:#}");
            }
        });
    }
}

impl Supervisor {
    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connection(self: &Arc<Self>, stream: UnixStream) -> Result<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        while let Some(line) = lines.next_line().await? {
            let answer = match serde_json::from_str(&line) {
                Err(error) => Answer::Error(format!("not a request: {error}")),
                Ok(request) => match self.answer(request).await {
                    Ok(value) => Answer::Ok(value),
                    Err(error) => Answer::Error(format!("{error:#}")),
                },
            };
            let mut text = serde_json::to_vec(&answer)?;
            text.push(b'\n');
            write.write_all(&text).await?;
        }
        Ok(())
    }

    async fn answer(self: &Arc<Self>, request: Request) -> Result<serde_json::Value> {
        let nothing = serde_json::Value::Null;
        match request {
            Request::Status => Ok(serde_json::to_value(self.status())?),
            Request::Stop { name } => self.component(&name)?.stop().await.map(|()| nothing),
            Request::Start { name } => self.component(&name)?.resume().await.map(|()| nothing),
            Request::Signal { name, signal } => self.component(&name)?.signal(signal).await.map(|()| nothing),
            Request::Link { node, up } => {
                let number = self
                    .shared()
                    .nodes
                    .iter()
                    .find(|known| known.name == node)
                    .map(|known| known.number);
                let number = number.with_context(|| format!("there is no node {node:?}"))?;
                network::set_link(number, up).await.map(|()| nothing)
            }
            Request::AddNode => {
                // Outlives a caller that gives up: half a node helps nobody.
                let this = self.clone();
                let number = tokio::spawn(async move { this.add_node().await }).await.context("add a node")??;
                Ok(serde_json::to_value(number)?)
            }
        }
    }

    fn status(&self) -> Status {
        let components = self.components.lock().unwrap_or_else(PoisonError::into_inner);
        let components = components.values().map(|component| component.status()).collect();
        let shared = self.shared();
        Status {
            format: FORMAT,
            phase: shared.phase.clone(),
            started_ms: shared.started_ms,
            ready_after_ms: shared.ready_after_ms,
            network: self.config.network,
            postgres_image: self.config.postgres_image.clone(),
            nodes: shared.nodes.clone(),
            steps: shared.steps.clone(),
            components,
        }
    }

    fn component(&self, name: &str) -> Result<Arc<Component>> {
        let components = self.components.lock().unwrap_or_else(PoisonError::into_inner);
        components.get(name).cloned().ok_or_else(|| {
            let names: Vec<_> = components.keys().map(String::as_str).collect();
            anyhow!("there is no component {name:?}; there are {}", names.join(", "))
        })
    }

    fn start(&self, spec: Spec) {
        let name = spec.name.clone();
        let component = Arc::new(Component::start(&self.layout, spec));
        self.components
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, component);
    }

    /// Does one step, and keeps its time.
    async fn step<T>(&self, name: impl Into<String>, work: impl Future<Output = Result<T>>) -> Result<T> {
        let (name, begin) = (name.into(), Instant::now());
        let index = {
            let mut shared = self.shared();
            shared.steps.push(Step {
                name: name.clone(),
                took_ms: None,
            });
            shared.steps.len() - 1
        };
        let result = work.await.with_context(|| name);
        let took = begin.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        if let Some(step) = self.shared().steps.get_mut(index).filter(|_| result.is_ok()) {
            step.took_ms = Some(took);
        }
        result
    }

    async fn bring_up(self: &Arc<Self>) -> Result<()> {
        let (layout, config) = (&self.layout, &self.config);
        node::furnish().await?;
        self.step("network of the lab", network::create(layout, config)).await?;
        let ca = self
            .step("certificates and configuration", async { controlplane::prepare(layout, config) })
            .await?;
        self.nodes.lock().await.ca = Some(ca);
        self.start(controlplane::etcd(layout, config));
        self.start(controlplane::apiserver(layout, config));
        let cluster = async {
            self.step("API server", self.api_ready()).await?;
            self.start(controlplane::controller_manager(layout, config));
            self.start(controlplane::scheduler(layout, config));
            for kind in [Kind::Loop, Kind::HostDir] {
                let dir = layout.volumes(kind);
                std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
                for spec in controlplane::csi(layout, config, kind) {
                    self.start(spec);
                }
            }
            self.start(controlplane::s3(layout, config));
            let objects: Vec<_> = manifests::coredns(config).into_iter().chain(manifests::storage()).collect();
            self.step("DNS and storage classes", self.apply("base", &json_stream(&objects)))
                .await?;
            self.step("CloudNativePG's objects", self.apply("cnpg", &manifests::cnpg(config)?))
                .await
        };
        let nodes = async {
            for _ in 0..config.nodes {
                self.add_node().await?;
            }
            Ok(())
        };
        tokio::try_join!(cluster, nodes)?;
        self.step("DNS answers", self.rolled_out("kube-system", "coredns")).await?;
        self.step(
            "CloudNativePG's operator ready",
            self.rolled_out("cnpg-system", "cnpg-controller-manager"),
        )
        .await
    }

    /// Adds one node, and waits until it is ready. Returns its number.
    async fn add_node(&self) -> Result<u8> {
        let (layout, config) = (&self.layout, &self.config);
        let mut nodes = self.nodes.lock().await;
        let number = u8::try_from(nodes.list.len()).unwrap_or(u8::MAX).saturating_add(1);
        if number > MOST_NODES {
            bail!("a lab has at most {MOST_NODES} nodes");
        }
        let ca = nodes.ca.as_ref().context("the lab is not far enough to have nodes")?;
        let name = super::layout::node_name(number);
        let node = self
            .step(format!("namespaces of node {name}"), Node::create(layout, config, ca, number))
            .await?;
        network::route_to_pods(config, number).await?;
        for other in &nodes.list {
            other.route_to(config, number).await?;
            node.route_to(config, other.number).await?;
        }
        self.start(node.containerd());
        self.step(format!("containerd and images of {name}"), self.images(&node)).await?;
        until(PATIENCE, || async { self.api_answers().await }).await?;
        for spec in node.components(layout, config) {
            self.start(spec);
        }
        nodes.list.push(node);
        self.shared().nodes.push(protocol::Node {
            number,
            name: name.clone(),
            ip: config.network.node(number),
        });
        self.step(format!("node {name} ready"), self.node_ready(&name)).await?;
        Ok(number)
    }

    async fn images(&self, node: &Node) -> Result<()> {
        let socket = node.layout.containerd_socket().to_string_lossy().into_owned();
        until(PATIENCE, || async { run("ctr", ["--address", &socket, "version"]).await.map(drop) }).await?;
        for archive in &self.config.images {
            node.import(archive).await?;
        }
        Ok(())
    }

    async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let kubeconfig = self.layout.kubeconfig().to_string_lossy().into_owned();
        // The cache of the API's discovery must not be shared with other clusters of the same address.
        let cache = self.layout.run().join("kubectl-cache").to_string_lossy().into_owned();
        let common = ["--kubeconfig", &kubeconfig, "--cache-dir", &cache];
        run(self.config.binaries.join("kubectl"), common.iter().chain(arguments)).await
    }

    async fn api_answers(&self) -> Result<()> {
        self.kubectl(&["get", "--raw", "/readyz"]).await.map(drop)
    }

    async fn api_ready(&self) -> Result<()> {
        until(PATIENCE, || self.api_answers()).await
    }

    async fn apply(&self, name: &str, text: &str) -> Result<()> {
        let file = self.layout.conf().join(format!("{name}.yaml"));
        controlplane::write(&file, text)?;
        let file = file.to_string_lossy().into_owned();
        let arguments = ["apply", "--server-side", "--force-conflicts", "--validate=ignore", "-f", &file];
        // Right after the start some of the API server's own objects are still missing.
        until(Duration::from_mins(1), || async { self.kubectl(&arguments).await.map(drop) }).await
    }

    async fn node_ready(&self, name: &str) -> Result<()> {
        let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}/{.status.conditions[?(@.type=="Ready")].message}"#;
        until(PATIENCE, || async {
            let ready = self.kubectl(&["get", "node", name, "--output", path]).await?;
            if ready.starts_with("True") {
                Ok(())
            } else {
                bail!("not ready: {ready}")
            }
        })
        .await?;
        // A class of volumes can be used on a node only when its driver is announced there.
        until(PATIENCE, || async {
            let drivers = self
                .kubectl(&["get", "csinode", name, "--output", "jsonpath={.spec.drivers[*].name}"])
                .await?;
            let missing = [Kind::Loop, Kind::HostDir]
                .iter()
                .find(|kind| !drivers.contains(kind.driver_name()));
            missing.map_or(Ok(()), |kind| bail!("the CSI driver {} is not registered", kind.driver_name()))
        })
        .await
    }

    async fn rolled_out(&self, namespace: &str, deployment: &str) -> Result<()> {
        let path = "jsonpath={.status.readyReplicas}";
        until(PATIENCE, || async {
            let ready = self
                .kubectl(&["get", "deployment", "--namespace", namespace, deployment, "--output", path])
                .await?;
            if ready.trim() == "1" {
                Ok(())
            } else {
                bail!("no pod of {namespace}/{deployment} is ready")
            }
        })
        .await
    }
}

/// A stream of JSON objects is what kubectl reads too.
fn json_stream(objects: &[serde_json::Value]) -> String {
    objects
        .iter()
        .flat_map(|object| ["---\n".to_owned(), object.to_string(), "\n".to_owned()])
        .collect()
}

/// Tries until it succeeds. At the deadline the last error is the answer.
async fn until<F: Future<Output = Result<()>>>(patience: Duration, mut attempt: impl FnMut() -> F) -> Result<()> {
    let mut left = Patience::new(POLL, patience);
    loop {
        match attempt().await {
            Ok(()) => return Ok(()),
            Err(error) => left
                .pause(error)
                .await
                .with_context(|| format!("still so after {} s", patience.as_secs()))?,
        }
    }
}
