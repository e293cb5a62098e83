//! Simulated kubelets: HTTPS servers with the statistics of simulated pods' volumes.
//!
//! Each simulated node has a loopback address of its own (127.16.0.1 and on) and a port, as its Node object says, and a
//! certificate for both. Pods come from the API server, by watch: what a test does to a pod there shows here. Requests
//! are authenticated and authorized as the real kubelet does it, through the API server.
//!
//! Figures are measured once a period for each pod and carry the time of it; in between, answers repeat them. How a
//! volume fills, and what goes wrong, can be set at any time; and what runs the commands that the API server passes on.

mod auth;
pub(crate) mod exec;
mod fault;
mod server;
mod state;
mod summary;
mod volume;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use futures::{StreamExt, pin_mut};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use rustls::ServerConfig;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use self::auth::Authorizer;
pub use self::exec::{Container, Ended};
pub use self::fault::{NodeFault, VolumeFault};
use self::state::{Node, State};
pub use self::state::{PodKey, VolumeKey};
pub use self::volume::{Figures, Filesystem, Usage, Volume};
use crate::pki::{Ca, Subject, Usage as CertificateUsage};

/// How soon a listener is gone after its end.
const ENDS: Duration = Duration::from_secs(5);
/// The shortest pause between two rounds of measuring a group of pods.
const SHORTEST_ROUND: Duration = Duration::from_millis(10);
/// The first address of simulated nodes. Linux answers on all of 127.0.0.0/8.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([127, 16, 0, 1]);
/// Pod updates that a slow listener may miss; it then looks for itself.
const POD_UPDATES: usize = 4_096;

/// How the kubelets behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often a volume is measured. The real kubelet's is one minute; for tests one second is the default.
    pub stats_period: Duration,
    /// How long answers of the API server about tokens and permissions are kept. The real kubelet's are 2 and 5 minutes.
    pub auth_cache: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            stats_period: Duration::from_secs(1),
            auth_cache: Duration::from_secs(2),
        }
    }
}

/// All simulated kubelets of one control plane. Clones are the same.
#[derive(Clone)]
pub struct NodeSim {
    inner: Arc<Inner>,
}

struct Inner {
    ca: Arc<Ca>,
    authorizer: Authorizer,
    state: Mutex<State>,
    /// Counts changes, for those who wait for one.
    changes: watch::Sender<u64>,
    pod_updates: broadcast::Sender<PodKey>,
    runtime: Handle,
    /// Ends the watch and the measuring.
    ending: CancellationToken,
}

impl NodeSim {
    /// Starts watching pods and measuring, on the current runtime; there are no nodes yet.
    pub async fn start(client: Client, ca: Arc<Ca>, options: Options) -> Result<Self> {
        raise_file_limit();
        let inner = Arc::new(Inner {
            ca,
            authorizer: Authorizer::new(client.clone(), options.auth_cache),
            state: Mutex::default(),
            changes: watch::Sender::new(0),
            pod_updates: broadcast::Sender::new(POD_UPDATES),
            runtime: Handle::try_current().context("the node simulator needs a tokio runtime")?,
            ending: CancellationToken::new(),
        });
        let (ready, wait) = tokio::sync::oneshot::channel();
        let watching = watch_pods(inner.clone(), client, ready);
        inner.runtime.spawn(inner.ending.clone().run_until_cancelled_owned(watching));
        let measuring = measure_in_rounds(inner.clone(), options.stats_period);
        inner.runtime.spawn(inner.ending.clone().run_until_cancelled_owned(measuring));
        wait.await.context("the watch of pods ended before its first list")?;
        Ok(Self { inner })
    }

    /// Ends all servers, the watch and the measuring.
    pub fn stop(&self) {
        self.inner.ending.cancel();
        for node in self.inner.state().nodes.values() {
            node.serving.cancel();
        }
    }

    /// Adds a kubelet and returns its address. The Node object is the caller's (see [`crate::scenario`]).
    pub fn add_node(&self, name: &str) -> Result<SocketAddr> {
        let number = {
            let mut state = self.inner.state();
            if state.nodes.contains_key(name) {
                bail!("there is a simulated node {name} already");
            }
            // Never given twice: a reader that still has an old node's address must not find a new node there.
            state.addresses_given += 1;
            FIRST_ADDRESS + state.addresses_given - 1
        };
        let address = IpAddr::V4(Ipv4Addr::from_bits(number));
        let listener = TcpListener::bind((address, 0)).with_context(|| format!("listen on {address} for node {name}"))?;
        let address = listener.local_addr().context("the address of a listener")?;
        let tls = self.inner.tls(name, address.ip())?;
        let serving = CancellationToken::new();
        let node = Node {
            address,
            served: self.inner.serve(name, &tls, &serving, listener)?,
            tls,
            fault: NodeFault::None,
            pods: BTreeSet::new(),
            serving,
            requests: 0,
        };
        self.inner.state().insert_node(name, node);
        self.inner.changed();
        Ok(address)
    }

    /// Takes a kubelet away; its address is refused from now.
    pub fn remove_node(&self, name: &str) {
        if let Some(node) = self.inner.state().nodes.remove(name) {
            node.serving.cancel();
        }
        self.inner.changed();
    }

    /// Where a kubelet listens.
    pub fn address(&self, node: &str) -> Option<SocketAddr> {
        self.inner.state().nodes.get(node).map(|node| node.address)
    }

    /// Makes a kubelet do something wrong, or right again.
    pub fn set_node_fault(&self, name: &str, fault: NodeFault) -> Result<()> {
        let mut state = self.inner.state();
        let node = state
            .nodes
            .get_mut(name)
            .with_context(|| format!("there is no simulated node {name}"))?;
        let was = std::mem::replace(&mut node.fault, fault);
        match (was == NodeFault::Down, node.fault == NodeFault::Down) {
            (false, true) => node.serving.cancel(),
            (true, false) => {
                // Its old listener may need a moment to be gone.
                let _ = node.served.recv_timeout(ENDS);
                let address = node.address;
                let listener = TcpListener::bind(address).with_context(|| format!("listen on {address} again"))?;
                node.serving = CancellationToken::new();
                node.served = self.inner.serve(name, &node.tls, &node.serving, listener)?;
            }
            (true, true) | (false, false) => {}
        }
        drop(state);
        self.inner.changed();
        Ok(())
    }

    /// How many requests for `/stats/summary` a kubelet got, whatever they were answered.
    pub fn requests(&self, node: &str) -> u64 {
        self.inner.state().nodes.get(node).map_or(0, |node| node.requests)
    }

    /// Puts a volume behind a claim, in place of what was there.
    pub fn put_volume(&self, key: VolumeKey, volume: Volume) {
        self.inner.state().volumes.insert(key, volume);
        self.inner.changed();
    }

    /// Puts a volume behind a claim that has none.
    pub fn put_volume_if_missing(&self, key: VolumeKey, volume: impl FnOnce() -> Volume) {
        self.inner.state().volumes.entry(key).or_insert_with(volume);
        self.inner.changed();
    }

    /// Takes the volume behind a claim away.
    pub fn remove_volume(&self, key: &VolumeKey) {
        self.inner.state().volumes.remove(key);
        self.inner.changed();
    }

    /// Reads or changes the volume behind a claim. Changes show when it is measured next.
    pub fn with_volume<T>(&self, key: &VolumeKey, change: impl FnOnce(&mut Volume) -> T) -> Result<T> {
        let mut state = self.inner.state();
        let volume = state
            .volumes
            .get_mut(key)
            .with_context(|| format!("there is no simulated volume {key}"))?;
        let result = change(volume);
        drop(state);
        self.inner.changed();
        Ok(result)
    }

    /// Has commands in a pod's containers run by this, in place of what was there. Other pods have none to run any in.
    pub fn put_container(&self, namespace: &str, pod: &str, container: Arc<dyn Container>) {
        let key = (namespace.to_owned(), pod.to_owned());
        self.inner.state().containers.insert(key, container);
    }

    /// Makes a volume's figures wrong, or right again.
    pub fn set_volume_fault(&self, key: &VolumeKey, fault: VolumeFault) -> Result<()> {
        self.with_volume(key, |volume| volume.fault = fault)
    }

    /// Measures all volumes now, out of turn. Stale ones stay stale.
    pub fn measure_now(&self) {
        self.inner.measure(None);
    }

    /// Measures the volumes of some pods now, out of turn.
    pub fn measure_pods(&self, namespace: &str, pods: &[String]) {
        let (now, time) = (Instant::now(), Timestamp::now());
        let mut state = self.inner.state();
        for pod in pods {
            state.measure_pod(&(namespace.to_owned(), pod.clone()), now, time);
        }
        drop(state);
        self.inner.changed();
    }

    /// What the kubelet measured last of the volume behind a claim; none while no pod has it.
    pub fn measured(&self, key: &VolumeKey) -> Option<Figures> {
        self.inner.state().measured(key)
    }

    /// The answer that a kubelet would give without any fault of its own.
    pub fn summary(&self, node: &str) -> Value {
        self.inner.summary(node, Timestamp::now())
    }

    /// The pod that has a claim mounted, and its node.
    pub fn user_of(&self, key: &VolumeKey) -> Option<(PodKey, String)> {
        self.inner.state().user_of(key)
    }

    /// True when the kubelet sees the pod running.
    pub fn is_running(&self, namespace: &str, pod: &str) -> bool {
        self.inner.state().is_running(&(namespace.to_owned(), pod.to_owned()))
    }

    /// Updates of pods as they come in: a real kubelet looks at a pod's volumes when its object changes.
    pub fn pod_updates(&self) -> broadcast::Receiver<PodKey> {
        self.inner.pod_updates.subscribe()
    }

    /// Waits until `done` holds of the simulator, at most `patience`; looks again after every change.
    pub async fn wait(&self, what: &str, patience: Duration, done: impl Fn(&Self) -> bool) -> Result<()> {
        let mut changes = self.inner.changes.subscribe();
        let waiting = async {
            while !done(self) {
                // The sender lives as long as `self`.
                let _ = changes.changed().await;
            }
        };
        tokio::time::timeout(patience, waiting)
            .await
            .map_err(|_| anyhow!("the node simulator did not get to: {what} (waited {} s)", patience.as_secs()))
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn fault(&self, node: &str) -> NodeFault {
        self.state().nodes.get(node).map(|node| node.fault.clone()).unwrap_or_default()
    }

    /// Waits until a kubelet has another fault than this.
    async fn until_fault_changes(&self, node: &str, fault: &NodeFault) {
        let mut changes = self.changes.subscribe();
        while self.fault(node) == *fault {
            // The sender lives as long as `self`.
            let _ = changes.changed().await;
        }
    }

    fn count_request(&self, node: &str) {
        if let Some(node) = self.state().nodes.get_mut(node) {
            node.requests += 1;
        }
        self.changed();
    }

    fn summary(&self, node: &str, time: Timestamp) -> Value {
        self.state().summary(node, time)
    }

    fn measure(&self, group: Option<u64>) {
        self.state().measure(group, Instant::now(), Timestamp::now());
        self.changed();
    }

    /// Serves until `ending`. What is returned is disconnected when nobody listens any more.
    fn serve(
        self: &Arc<Self>,
        name: &str,
        tls: &Arc<ServerConfig>,
        ending: &CancellationToken,
        listener: TcpListener,
    ) -> Result<mpsc::Receiver<()>> {
        listener.set_nonblocking(true).context("make a listener non-blocking")?;
        let serving = server::serve(self.clone(), name.to_owned(), listener, tls.clone(), ending.clone());
        let (listens, served) = mpsc::channel();
        self.runtime.spawn(async move {
            serving.await;
            drop(listens);
        });
        Ok(served)
    }

    /// A serving certificate as a kubelet's: for the node's name and address.
    fn tls(&self, name: &str, address: IpAddr) -> Result<Arc<ServerConfig>> {
        let subject = Subject::member(format!("system:node:{name}"), "system:nodes");
        let issued = self
            .ca
            .issue(subject, CertificateUsage::Server, &[name.to_owned(), address.to_string()])?;
        issued.server_config_that_asks(&self.ca)
    }
}

/// A bench has a listener and a few connections for each of thousands of nodes.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refusal leaves the usual 1024, which is enough for tests.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Keeps the state's pods those of the API server. Signals `ready` after the first list.
async fn watch_pods(inner: Arc<Inner>, client: Client, ready: tokio::sync::oneshot::Sender<()>) {
    let stream = watcher(Api::<Pod>::all(client), watcher::Config::default()).default_backoff();
    pin_mut!(stream);
    let mut ready = Some(ready);
    let mut listed = BTreeSet::new();
    while let Some(event) = stream.next().await {
        let updated = match event {
            // The watcher tries again by itself.
            Err(_) => None,
            Ok(watcher::Event::Init) => {
                listed.clear();
                None
            }
            Ok(watcher::Event::InitApply(pod)) => {
                let key = inner.state().apply_pod(&pod);
                listed.extend(key.clone());
                key
            }
            Ok(watcher::Event::InitDone) => {
                inner.state().retain_pods(&listed);
                if let Some(ready) = ready.take() {
                    let _ = ready.send(());
                }
                None
            }
            Ok(watcher::Event::Apply(pod)) => inner.state().apply_pod(&pod),
            Ok(watcher::Event::Delete(pod)) => inner.state().delete_pod(&pod),
        };
        inner.changed();
        if let Some(key) = updated {
            // Without a listener nobody needs it.
            let _ = inner.pod_updates.send(key);
        }
    }
}

/// Measures one group of pods after the other, all of them once a period.
async fn measure_in_rounds(inner: Arc<Inner>, period: Duration) {
    let groups = u32::try_from(state::GROUPS).unwrap_or(1);
    let mut ticks = tokio::time::interval((period / groups).max(SHORTEST_ROUND));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for group in (0..state::GROUPS).cycle() {
        ticks.tick().await;
        inner.measure(Some(group));
    }
}
