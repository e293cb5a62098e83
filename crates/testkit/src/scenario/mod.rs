//! Scenarios: a simulated world in which CloudNativePG's clusters live, and their volumes fill.
//!
//! ```no_run
//! # use csm_testkit::scenario::Sim;
//! # use csm_units::Bytes;
//! # async fn example() -> anyhow::Result<()> {
//! let sim = Sim::start().await?;
//! let orders = sim.cluster("shop", "orders").instances(2).data("1Gi").wal("1Gi").create().await?;
//! orders.fill("orders-1", 0.9)?;
//! // … the manager under test notices and patches the PVC …
//! orders.data("orders-1").wait_capacity(Bytes::gib(2)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The API server is real, and so are CloudNativePG's CRDs. Simulated are the kubelets' statistics ([`crate::nodesim`]),
//! the expansion of volumes ([`crate::resizer`]) and what CloudNativePG's operator would have written (here). Nobody
//! reconciles: a scenario changes only when a test changes it.

mod builder;
mod cluster;
mod objects;
mod volume;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolumeClaim, ResourceQuota};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

pub use self::builder::ClusterBuilder;
pub use self::cluster::{Container, SimCluster};
pub use self::volume::SimVolume;
use crate::controlplane::{self, ControlPlane};
use crate::nodesim::{self, NodeFault, NodeSim};
use crate::resizer::{Resizer, Speed};
use crate::{retry, tools};

/// The storage class that a Sim has from the start: expandable, and the default.
pub const EXPANDABLE: &str = "expandable";
/// The storage class that a Sim has from the start whose volumes cannot grow.
pub const FIXED: &str = "fixed";
/// How long a condition may take until a wait for it gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How many clusters of a fleet are written at once: enough to keep two cores busy.
const FLEET_CONCURRENCY: usize = 32;
/// Those of CloudNativePG's kinds that anyone here reads.
const CNPG_CRDS: [&str; 2] = [csm_cnpg::CRD_NAME, "backups.postgresql.cnpg.io"];

/// How a Sim is set up.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// The API server.
    pub control_plane: controlplane::Options,
    /// The kubelets.
    pub kubelets: nodesim::Options,
    /// The expansion of volumes.
    pub resize_speed: Speed,
    /// Nodes from the start: `node-1` and on.
    pub nodes: usize,
    /// Whether CloudNativePG's Cluster and Backup are there from the start.
    pub cnpg_crds: bool,
    /// Whether our own kinds are there from the start.
    pub our_crds: bool,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            control_plane: controlplane::Options::default(),
            kubelets: nodesim::Options::default(),
            resize_speed: Speed::default(),
            nodes: 3,
            cnpg_crds: true,
            our_crds: true,
        }
    }
}

/// A simulated world. Clones are the same world; it ends with the last of them.
#[derive(Clone)]
pub struct Sim {
    world: Arc<World>,
    client: Client,
}

/// What keeps a world running. It has a runtime of its own, so that it lives on whatever a test does with its own, and
/// so that several tests of one program can share it.
struct World {
    plane: ControlPlane,
    kubelets: NodeSim,
    resizer: Resizer,
    namespaces: Mutex<HashSet<String>>,
    nodes: Mutex<Vec<String>>,
    runtime: Option<Runtime>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.kubelets.stop();
        self.resizer.stop();
        if let Some(runtime) = self.runtime.take() {
            // The plain drop waits, which is not allowed within a test's own runtime.
            runtime.shutdown_background();
        }
    }
}

impl World {
    async fn start(options: SimOptions) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("sim")
            .enable_all()
            .build()
            .context("start a runtime")?;
        let parts = runtime.spawn(async move {
            let plane = ControlPlane::start(options.control_plane).await?;
            if options.cnpg_crds {
                let crds = tokio::task::spawn_blocking(tools::cnpg_crds).await.context("read CNPG's CRDs")??;
                plane
                    .apply_crds(crds.into_iter().filter(|crd| CNPG_CRDS.contains(&&*crd.name_any())))
                    .await?;
            }
            if options.our_crds {
                plane.apply_crds(csm_api::all_crds()).await?;
            }
            // Under names of their own, so that the audit log tells them from others.
            let kubelets = simulated(&plane, "sim:kubelets").await?;
            let kubelets = NodeSim::start(kubelets, plane.ca().clone(), options.kubelets).await?;
            let resizer = simulated(&plane, "sim:resizer").await?;
            let resizer = Resizer::start(resizer, kubelets.clone(), options.resize_speed).await?;
            anyhow::Ok((plane, kubelets, resizer))
        });
        let (plane, kubelets, resizer) = match parts.await.context("start the simulated world") {
            Ok(Ok(parts)) => parts,
            Ok(Err(error)) | Err(error) => {
                // The plain drop waits, which is not allowed within a test's own runtime.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        Ok(Self {
            plane,
            kubelets,
            resizer,
            namespaces: Mutex::default(),
            nodes: Mutex::default(),
            runtime: Some(runtime),
        })
    }
}

/// A client of a simulated component.
async fn simulated(plane: &ControlPlane, name: &str) -> Result<Client> {
    controlplane::client_from(&plane.user_kubeconfig(name, &["system:masters"])?).await
}

impl Sim {
    /// Starts a world of its own with the usual options.
    pub async fn start() -> Result<Self> {
        Self::with(SimOptions::default()).await
    }

    /// Starts a world of its own.
    pub async fn with(options: SimOptions) -> Result<Self> {
        let nodes = options.nodes;
        let world = Arc::new(World::start(options).await?);
        let client = world.plane.client().await?;
        let sim = Self { world, client };
        sim.storage_class(EXPANDABLE, true, true).await?;
        sim.storage_class(FIXED, false, false).await?;
        sim.add_nodes(nodes).await?;
        Ok(sim)
    }

    /// The one world that all tests of this program share, started by the first of them. Tests keep out of each other's
    /// way by namespaces of their own: see [`Self::namespace`]. It ends with the program.
    pub async fn shared() -> Result<Self> {
        static SHARED: OnceCell<Sim> = OnceCell::const_new();
        let shared = SHARED.get_or_try_init(Self::start).await?;
        // A client belongs to the runtime that made it, and each test has its own.
        let client = shared.world.plane.client().await?;
        Ok(Self {
            world: shared.world.clone(),
            client,
        })
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The API server.
    pub fn plane(&self) -> &ControlPlane {
        &self.world.plane
    }

    /// The kubelets.
    pub fn kubelets(&self) -> &NodeSim {
        &self.world.kubelets
    }

    /// The expansion of volumes.
    pub fn resizer(&self) -> &Resizer {
        &self.world.resizer
    }

    /// A kubeconfig for a program under test, with the permissions of a service account and those given as YAML.
    pub async fn kubeconfig_with_rbac(&self, namespace: &str, account: &str, rbac: &str) -> Result<PathBuf> {
        let kubeconfig = self.plane().service_account_kubeconfig(namespace, account).await?;
        self.plane().apply_yaml(rbac).await?;
        Ok(kubeconfig)
    }

    /// A new namespace whose name begins with `prefix`.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let name = format!("{prefix}-{:08x}", rand::random::<u32>());
        self.ensure_namespace(&name).await?;
        Ok(name)
    }

    /// Makes a namespace unless it is there.
    pub async fn ensure_namespace(&self, name: &str) -> Result<()> {
        if self.world.namespaces.lock().unwrap_or_else(PoisonError::into_inner).contains(name) {
            return Ok(());
        }
        let namespace: Namespace = objects::typed(json!({ "metadata": { "name": name } }))?;
        let namespaces: Api<Namespace> = Api::all(self.client());
        create_or_keep(&namespaces, &namespace).await?;
        self.world
            .namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned());
        Ok(())
    }

    /// Makes a storage class, or keeps the one of that name.
    pub async fn storage_class(&self, name: &str, expandable: bool, default: bool) -> Result<()> {
        let class: StorageClass = objects::typed(objects::storage_class(name, expandable, default))?;
        create_or_keep(&Api::all(self.client()), &class).await
    }

    /// Names of the nodes, in the order in which they were added.
    pub fn nodes(&self) -> Vec<String> {
        self.world.nodes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds nodes, named `node-N` with the next numbers.
    pub async fn add_nodes(&self, count: usize) -> Result<()> {
        let first = self.nodes().len() + 1;
        let names = (first..first + count).map(|number| format!("node-{number}"));
        stream::iter(names)
            .map(|name| async move { self.add_node(&name).await })
            // In order: addresses follow names.
            .buffered(FLEET_CONCURRENCY)
            .try_collect()
            .await
    }

    /// Adds a node: a simulated kubelet and its Node object, ready.
    pub async fn add_node(&self, name: &str) -> Result<()> {
        let address = self.kubelets().add_node(name)?;
        let node: Node = objects::typed(objects::node(name))?;
        let nodes: Api<Node> = Api::all(self.client());
        nodes
            .create(&PostParams::default(), &node)
            .await
            .with_context(|| format!("create the node {name}"))?;
        self.patch_node_status(name, &objects::node_status(name, address, true)).await?;
        self.world
            .nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(name.to_owned());
        Ok(())
    }

    /// Makes a kubelet do something wrong, or right again.
    pub fn node_fault(&self, name: &str, fault: NodeFault) -> Result<()> {
        self.kubelets().set_node_fault(name, fault)
    }

    /// Sets a node's condition Ready. The kubelet goes on as it did: see [`Self::node_fault`].
    pub async fn set_node_ready(&self, name: &str, ready: bool) -> Result<()> {
        let address = self
            .kubelets()
            .address(name)
            .with_context(|| format!("there is no simulated node {name}"))?;
        self.patch_node_status(name, &objects::node_status(name, address, ready)).await
    }

    /// Takes a node and its kubelet away. Its pods stay as objects.
    pub async fn remove_node(&self, name: &str) -> Result<()> {
        self.kubelets().remove_node(name);
        self.world
            .nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|node| node != name);
        delete(&Api::<Node>::all(self.client()), name).await
    }

    async fn patch_node_status(&self, name: &str, status: &serde_json::Value) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client());
        let patch = Patch::Merge(json!({ "status": status }));
        nodes
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .with_context(|| format!("write the status of the node {name}"))?;
        Ok(())
    }

    /// Describes a simulated cluster of CloudNativePG, to be changed and then created.
    pub fn cluster(&self, namespace: &str, name: &str) -> ClusterBuilder {
        ClusterBuilder::new(self.clone(), namespace, name)
    }

    /// Creates many clusters at once, in no particular order.
    pub async fn fleet(&self, clusters: impl IntoIterator<Item = ClusterBuilder>) -> Result<Vec<SimCluster>> {
        stream::iter(clusters)
            .map(ClusterBuilder::create)
            .buffer_unordered(FLEET_CONCURRENCY)
            .try_collect()
            .await
    }

    /// A ResourceQuota with its use filled in, as the quota controller would. Admission keeps count from then on.
    pub async fn resource_quota(&self, namespace: &str, name: &str, hard: &[(&str, &str)]) -> Result<()> {
        self.ensure_namespace(namespace).await?;
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client(), namespace);
        let claims = claims.list(&ListParams::default()).await.context("list PVCs")?.items;
        let hard: BTreeMap<&str, &str> = hard.iter().copied().collect();
        let used: BTreeMap<&str, String> = hard
            .keys()
            .map(|resource| (*resource, objects::quota_use(resource, &claims)))
            .collect();
        let quota: ResourceQuota = objects::typed(json!({ "metadata": { "name": name }, "spec": { "hard": hard } }))?;
        let quotas: Api<ResourceQuota> = Api::namespaced(self.client(), namespace);
        quotas
            .create(&PostParams::default(), &quota)
            .await
            .context("create a ResourceQuota")?;
        let patch = Patch::Merge(json!({ "status": { "hard": hard, "used": used } }));
        quotas
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .context("write a ResourceQuota's status")?;
        match hard.keys().find_map(|resource| objects::quota_class(resource)) {
            Some(class) => self.wait_for_quota(namespace, class).await,
            None => Ok(()),
        }
    }

    /// Admission learns of a quota by a watch. Asks, without effect, for more than any quota gives until it is refused.
    async fn wait_for_quota(&self, namespace: &str, class: &str) -> Result<()> {
        let probe: PersistentVolumeClaim = objects::typed(objects::quota_probe(class))?;
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client(), namespace);
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let deadline = Instant::now() + PATIENCE;
        while claims.create(&dry_run, &probe).await.is_ok() {
            if Instant::now() >= deadline {
                bail!("the API server does not enforce the quota in {namespace}");
            }
        }
        Ok(())
    }
}

/// Creates an object, or leaves the one of that name alone.
async fn create_or_keep<K>(api: &Api<K>, object: &K) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(()),
        Err(error) if retry::already_exists(&error) => Ok(()),
        Err(error) => Err(anyhow!(error).context(format!("create {}", object.name_any()))),
    }
}

/// Deletes an object at once, or sees that it is gone.
async fn delete<K>(api: &Api<K>, name: &str) -> Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    match api.delete(name, &DeleteParams::default().grace_period(0)).await {
        Ok(_) => Ok(()),
        Err(error) if retry::not_found(&error) => Ok(()),
        Err(error) => Err(anyhow!(error).context(format!("delete {name}"))),
    }
}
