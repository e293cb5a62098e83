//! A simulated cluster of CloudNativePG that exists.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use csm_units::Bytes;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::builder::ClusterBuilder;
use super::objects::{self, Instance, Purpose};
use super::volume::{SimVolume, share_of};
use super::{PATIENCE, delete};
use crate::nodesim::{Volume, VolumeKey};

/// How full volumes are unless a scenario says otherwise: far from every threshold.
const USUAL_SHARE: f64 = 0.3;
/// CloudNativePG's phase of a cluster in which all is well.
const HEALTHY: &str = "Cluster in healthy state";

/// State of the container `postgres`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Container {
    /// It runs.
    Running,
    /// It ended with this code and is started again and again.
    CrashLoop {
        /// What it ended with; CloudNativePG's instance manager ends with 4 when there is no room for WAL.
        exit_code: i32,
    },
    /// It has not been started yet.
    Creating,
}

/// A simulated cluster.
pub struct SimCluster {
    builder: ClusterBuilder,
    uid: String,
    members: Mutex<BTreeMap<usize, Member>>,
}

#[derive(Clone)]
struct Member {
    serial: usize,
    name: String,
    primary: bool,
    ready: bool,
    restarts: i32,
    node: String,
}

impl SimCluster {
    /// Writes all objects of a described cluster.
    pub(super) async fn write(builder: ClusterBuilder, object: &DynamicObject) -> Result<Self> {
        let api = clusters(builder.sim.client(), &builder.namespace);
        let created = api
            .create(&PostParams::default(), object)
            .await
            .with_context(|| format!("create the Cluster {}/{}", builder.namespace, builder.name))?;
        let uid = created.uid().context("a Cluster without uid")?;
        let cluster = Self {
            builder,
            uid,
            members: Mutex::default(),
        };
        let serials = 1..=cluster.builder.instances;
        try_join_all(serials.map(|serial| cluster.create_instance(serial, serial == 1))).await?;
        cluster.write_status(json!({})).await?;
        cluster.settle().await?;
        Ok(cluster)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.builder.name
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.builder.namespace
    }

    /// Names of its instances, by serial.
    pub fn instances(&self) -> Vec<String> {
        self.members().values().map(|member| member.name.clone()).collect()
    }

    /// The node that an instance is on.
    pub fn node_of(&self, instance: &str) -> Option<String> {
        self.members()
            .values()
            .find(|member| member.name == instance)
            .map(|member| member.node.clone())
    }

    /// One PVC by its name, for example `orders-1` or `orders-1-wal`.
    pub fn volume(&self, claim: &str) -> SimVolume {
        SimVolume::new(self.builder.sim.clone(), VolumeKey::new(self.namespace(), claim))
    }

    /// The data volume of an instance.
    pub fn data(&self, instance: &str) -> SimVolume {
        self.volume(&Purpose::Data.claim(instance))
    }

    /// The WAL volume of an instance.
    pub fn wal(&self, instance: &str) -> SimVolume {
        self.volume(&Purpose::Wal.claim(instance))
    }

    /// A tablespace volume of an instance.
    pub fn tablespace(&self, instance: &str, name: &str) -> SimVolume {
        self.volume(&Purpose::Tablespace(name.to_owned()).claim(instance))
    }

    /// All its volumes.
    pub fn volumes(&self) -> Vec<SimVolume> {
        let purposes = &self.builder.volumes;
        let claims = |instance: &String| -> Vec<String> { purposes.iter().map(|(p, _)| p.claim(instance)).collect() };
        self.instances().iter().flat_map(claims).map(|claim| self.volume(&claim)).collect()
    }

    /// Fills one PVC, by name, to a share from 0 to 1.
    pub fn fill(&self, claim: &str, share: f64) -> Result<()> {
        self.volume(claim).fill(share)
    }

    /// The Cluster object as it is.
    pub async fn object(&self) -> Result<DynamicObject> {
        self.api()
            .get(self.name())
            .await
            .with_context(|| format!("get the Cluster {}", self.name()))
    }

    /// Merges something into the Cluster object, as a person would.
    pub async fn patch(&self, patch: Value) -> Result<()> {
        self.api()
            .patch(self.name(), &PatchParams::default(), &Patch::Merge(patch))
            .await
            .with_context(|| format!("patch the Cluster {}", self.name()))?;
        Ok(())
    }

    /// Sets an annotation of the Cluster, or removes it.
    pub async fn annotate(&self, name: &str, value: Option<&str>) -> Result<()> {
        self.patch(json!({ "metadata": { "annotations": { name: value } } })).await
    }

    /// Sets a label of the Cluster, or removes it.
    pub async fn set_label(&self, name: &str, value: Option<&str>) -> Result<()> {
        self.patch(json!({ "metadata": { "labels": { name: value } } })).await
    }

    /// Sets the phase in the Cluster's status.
    pub async fn set_phase(&self, phase: &str) -> Result<()> {
        self.write_status(json!({ "phase": phase })).await
    }

    /// Merges something into the Cluster's status.
    pub async fn patch_status(&self, status: Value) -> Result<()> {
        self.write_status(status).await
    }

    /// Makes another instance the primary: in the status, and in the labels of pods and PVCs.
    pub async fn set_primary(&self, instance: &str) -> Result<()> {
        let members: Vec<Member> = {
            let mut members = self.members();
            if !members.values().any(|member| member.name == instance) {
                bail!("{} has no instance {instance}", self.name());
            }
            for member in members.values_mut() {
                member.primary = member.name == instance;
            }
            members.values().cloned().collect()
        };
        for member in members {
            let role = if member.primary { "primary" } else { "replica" };
            let patch = Patch::Merge(json!({ "metadata": { "labels": { csm_cnpg::label::INSTANCE_ROLE: role, "role": role } } }));
            let parameters = PatchParams::default();
            self.pods().patch(&member.name, &parameters, &patch).await.context("label a pod")?;
            for (purpose, _) in &self.builder.volumes {
                self.claims()
                    .patch(&purpose.claim(&member.name), &parameters, &patch)
                    .await
                    .context("label a PVC")?;
            }
        }
        self.write_status(json!({})).await
    }

    /// Sets the state of an instance's container. While it does not run, the kubelet says nothing of its volumes.
    pub async fn set_container(&self, instance: &str, container: &Container) -> Result<()> {
        let member = self.update_member(instance, |member| {
            member.ready = *container == Container::Running;
            member.restarts += i32::from(*container != Container::Creating);
        })?;
        self.write_pod_status(&member, container).await?;
        self.write_status(json!({})).await?;
        let running = *container == Container::Running;
        let (kubelets, namespace) = (self.builder.sim.kubelets(), self.namespace());
        kubelets
            .wait("the kubelet sees the container's state", PATIENCE, |sim| {
                sim.is_running(namespace, instance) == running
            })
            .await
    }

    /// Deletes the pod of an instance; its volumes stay, and are mounted nowhere.
    pub async fn delete_pod(&self, instance: &str) -> Result<()> {
        self.update_member(instance, |member| member.ready = false)?;
        delete(&self.pods(), instance).await?;
        self.write_status(json!({})).await?;
        let key = VolumeKey::new(self.namespace(), Purpose::Data.claim(instance));
        let kubelets = self.builder.sim.kubelets();
        kubelets
            .wait("the kubelet sees that the pod is gone", PATIENCE, |sim| sim.user_of(&key).is_none())
            .await
    }

    /// Creates the pod of an instance again, as CloudNativePG does, on the node where it was.
    pub async fn create_pod(&self, instance: &str) -> Result<()> {
        let member = self.update_member(instance, |member| member.ready = true)?;
        self.create_member_pod(&member).await?;
        self.write_status(json!({})).await?;
        self.settle().await
    }

    /// Adds an instance of the size in the Cluster's spec, as CloudNativePG does, and returns its name.
    pub async fn add_instance(&self) -> Result<String> {
        let serial = self.members().keys().last().map_or(1, |last| last + 1);
        let instances = self.members().len() + 1;
        self.patch(json!({ "spec": { "instances": instances } })).await?;
        self.create_instance(serial, false).await?;
        self.write_status(json!({})).await?;
        self.settle().await?;
        let members = self.members();
        members
            .get(&serial)
            .map(|member| member.name.clone())
            .context("the new instance is gone already")
    }

    /// Takes an instance and its volumes away.
    pub async fn remove_instance(&self, instance: &str) -> Result<()> {
        let instances = {
            let mut members = self.members();
            members.retain(|_, member| member.name != instance);
            members.len()
        };
        self.patch(json!({ "spec": { "instances": instances } })).await?;
        self.delete_instance(instance).await?;
        self.write_status(json!({})).await
    }

    /// Deletes the Cluster with everything that belongs to it.
    pub async fn delete(self) -> Result<()> {
        delete(&self.api(), self.name()).await?;
        for instance in self.instances() {
            self.delete_instance(&instance).await?;
        }
        Ok(())
    }

    async fn delete_instance(&self, instance: &str) -> Result<()> {
        let volumes: Api<PersistentVolume> = Api::all(self.builder.sim.client());
        delete(&self.pods(), instance).await?;
        for (purpose, _) in &self.builder.volumes {
            let claim = purpose.claim(instance);
            delete(&self.claims(), &claim).await?;
            delete(&volumes, &format!("pv-{}-{claim}", self.namespace())).await?;
            self.builder.sim.kubelets().remove_volume(&VolumeKey::new(self.namespace(), claim));
        }
        Ok(())
    }

    async fn create_instance(&self, serial: usize, primary: bool) -> Result<()> {
        let name = format!("{}-{serial}", self.name());
        let member = Member {
            serial,
            name,
            primary,
            ready: true,
            restarts: 0,
            node: self.place(serial)?,
        };
        let instance = self.instance(&member);
        let volumes = self.builder.volumes.iter();
        try_join_all(volumes.map(|(purpose, size)| self.create_volume(&instance, purpose, size))).await?;
        self.create_member_pod(&member).await?;
        self.members().insert(serial, member);
        Ok(())
    }

    async fn create_member_pod(&self, member: &Member) -> Result<()> {
        let purposes: Vec<Purpose> = self.builder.volumes.iter().map(|(purpose, _)| purpose.clone()).collect();
        let pod: Pod = objects::typed(self.instance(member).pod(&purposes))?;
        let created = self.pods().create(&PostParams::default(), &pod).await;
        created.with_context(|| format!("create the pod {}", member.name))?;
        self.write_pod_status(member, &Container::Running).await
    }

    fn instance<'a>(&'a self, member: &'a Member) -> Instance<'a> {
        Instance {
            namespace: self.namespace(),
            cluster: self.name(),
            cluster_uid: &self.uid,
            name: &member.name,
            serial: member.serial,
            primary: member.primary,
            node: &member.node,
        }
    }

    /// Changes what is known of an instance, and returns it.
    fn update_member(&self, instance: &str, change: impl FnOnce(&mut Member)) -> Result<Member> {
        let mut members = self.members();
        let member = members.values_mut().find(|member| member.name == instance);
        let member = member.with_context(|| format!("{} has no instance {instance}", self.name()))?;
        change(member);
        Ok(member.clone())
    }

    /// Spread by the cluster's name, so that primaries do not all meet on one node.
    fn place(&self, serial: usize) -> Result<String> {
        let (nodes, offset) = if self.builder.nodes.is_empty() {
            let sum: usize = format!("{}/{}", self.namespace(), self.name()).bytes().map(usize::from).sum();
            (self.builder.sim.nodes(), sum)
        } else {
            (self.builder.nodes.clone(), 0)
        };
        let index = (serial - 1 + offset)
            .checked_rem(nodes.len())
            .context("a cluster needs a node: add one first")?;
        nodes.get(index).cloned().context("a cluster needs a node: add one first")
    }

    async fn create_volume(&self, instance: &Instance<'_>, purpose: &Purpose, spec_size: &str) -> Result<()> {
        let builder = &self.builder;
        let claim = purpose.claim(instance.name);
        let size = builder.odd_sizes.get(&claim).map_or(spec_size, String::as_str);
        let size: Bytes = size.parse().with_context(|| format!("the size of the PVC {claim}"))?;
        let what = || format!("create the PVC {claim}");
        let pvc: PersistentVolumeClaim = objects::typed(instance.pvc(purpose, size, &builder.class))?;
        let pvc = self.claims().create(&PostParams::default(), &pvc).await.with_context(what)?;
        let uid = pvc.uid().context("a PVC without uid")?;
        let volume: PersistentVolume = objects::typed(instance.pv(purpose, size, &builder.class, &uid))?;
        let volumes: Api<PersistentVolume> = Api::all(builder.sim.client());

        let share = builder
            .shares
            .iter()
            .rev()
            .find(|(of, _)| of == purpose)
            .map_or(USUAL_SHARE, |(_, share)| *share);
        let usage = builder
            .usages
            .iter()
            .rev()
            .find(|(of, _)| of == purpose)
            .map(|(_, usage)| usage.clone());
        let mut simulated = Volume::new(size.get(), builder.filesystem);
        let now = Instant::now();
        simulated.set_used(share_of(simulated.usable(), share), now);
        simulated.set_usage(usage.unwrap_or_default(), now);
        builder
            .sim
            .kubelets()
            .put_volume(VolumeKey::new(self.namespace(), &claim), simulated);

        let parameters = PatchParams::default();
        let volume_bound = Patch::Merge(json!({ "status": { "phase": "Bound" } }));
        let claim_bound = Patch::Merge(json!({ "status": objects::pvc_status(size) }));
        let claims = self.claims();
        tokio::try_join!(
            async {
                volumes.create(&PostParams::default(), &volume).await?;
                volumes.patch_status(&instance.pv_name(purpose), &parameters, &volume_bound).await
            },
            claims.patch_status(&claim, &parameters, &claim_bound),
        )
        .with_context(what)?;
        Ok(())
    }

    async fn write_pod_status(&self, member: &Member, container: &Container) -> Result<()> {
        let now = jiff::Timestamp::now();
        let (state, last) = match container {
            Container::Running => (json!({ "running": { "startedAt": now } }), json!({})),
            Container::Creating => (json!({ "waiting": { "reason": "ContainerCreating" } }), json!({})),
            Container::CrashLoop { exit_code } => (
                json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
                json!({ "terminated": {
                    "exitCode": exit_code, "reason": "Error", "startedAt": now, "finishedAt": now,
                    "containerID": format!("simulated://{}-{}", member.name, member.restarts),
                } }),
            ),
        };
        let address: Option<SocketAddr> = self.builder.sim.kubelets().address(&member.node);
        let ready = *container == Container::Running;
        let status = objects::pod_status(address, &state, &last, ready, member.restarts);
        let patch = Patch::Merge(json!({ "status": status }));
        self.pods()
            .patch_status(&member.name, &PatchParams::default(), &patch)
            .await
            .with_context(|| format!("write the status of the pod {}", member.name))?;
        Ok(())
    }

    /// The Cluster's status as CloudNativePG would write it, with `more` on top.
    async fn write_status(&self, more: Value) -> Result<()> {
        let (names, ready, primary): (Vec<String>, Vec<String>, Option<String>) = {
            let members = self.members();
            let name = |member: &Member| member.name.clone();
            (
                members.values().map(name).collect(),
                members.values().filter(|member| member.ready).map(name).collect(),
                members.values().find(|member| member.primary).map(name),
            )
        };
        let claims: Vec<String> = self.volumes().iter().map(|volume| volume.key().claim.clone()).collect();
        let mut status = json!({
            "phase": HEALTHY,
            "instances": names.len(),
            "readyInstances": ready.len(),
            "instanceNames": names,
            "instancesStatus": { "healthy": ready },
            "currentPrimary": primary,
            "targetPrimary": primary,
            "pvcCount": claims.len(),
            "healthyPVC": claims,
        });
        merge(&mut status, more);
        let patch = Patch::Merge(json!({ "status": status }));
        self.api()
            .patch_status(self.name(), &PatchParams::default(), &patch)
            .await
            .with_context(|| format!("write the status of the Cluster {}", self.name()))?;
        Ok(())
    }

    /// Waits until the kubelets see all pods, and have measured what they see.
    async fn settle(&self) -> Result<()> {
        let kubelets = self.builder.sim.kubelets();
        let instances = self.instances();
        kubelets
            .wait("the kubelets see the pods", PATIENCE, |sim| {
                instances.iter().all(|instance| sim.is_running(self.namespace(), instance))
            })
            .await?;
        kubelets.measure_pods(self.namespace(), &instances);
        Ok(())
    }

    fn members(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn api(&self) -> Api<DynamicObject> {
        clusters(self.builder.sim.client(), self.namespace())
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.builder.sim.client(), self.namespace())
    }

    fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.builder.sim.client(), self.namespace())
    }
}

/// Clusters of CloudNativePG, as they are.
fn clusters(client: Client, namespace: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "postgresql.cnpg.io".into(),
        version: "v1".into(),
        api_version: "postgresql.cnpg.io/v1".into(),
        kind: "Cluster".into(),
        plural: "clusters".into(),
    };
    Api::namespaced_with(client, namespace, &resource)
}

/// Merges JSON objects; everything else is replaced.
pub(super) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
