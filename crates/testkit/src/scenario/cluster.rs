//! A simulated cluster of CloudNativePG that exists.

mod operator;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::builder::ClusterBuilder;
use super::objects::Purpose;
use super::volume::SimVolume;
use super::{PATIENCE, delete};
use crate::instances::{Answer, InstanceManager};
use crate::nodesim::VolumeKey;

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

    /// Starts the instance manager of an instance, whose pod has its address from then on.
    pub async fn instance_manager(&self, instance: &str, answer: Answer) -> Result<InstanceManager> {
        let manager = InstanceManager::start(&format!("{}-rw", self.name()), answer).await?;
        let patch = Patch::Merge(json!({ "status": { "podIP": manager.ip() } }));
        let patched = self.pods().patch_status(instance, &PatchParams::default(), &patch).await;
        patched.with_context(|| format!("give the pod {instance} an address"))?;
        Ok(manager)
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

    /// Changes what is known of an instance, and returns it.
    fn update_member(&self, instance: &str, change: impl FnOnce(&mut Member)) -> Result<Member> {
        let mut members = self.members();
        let member = members.values_mut().find(|member| member.name == instance);
        let member = member.with_context(|| format!("{} has no instance {instance}", self.name()))?;
        change(member);
        Ok(member.clone())
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
