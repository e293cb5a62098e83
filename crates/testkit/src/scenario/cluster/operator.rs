//! What CloudNativePG's operator does to its objects, and Kubernetes to pods and PVCs.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result};
use csm_units::Bytes;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::super::objects::{self, Instance, Purpose};
use super::super::volume::share_of;
use super::super::{PATIENCE, delete};
use super::{Container, Member, SimCluster, merge};
use crate::nodesim::{Volume, VolumeKey};

/// How full volumes are unless a scenario says otherwise: far from every threshold.
const USUAL_SHARE: f64 = 0.3;
/// CloudNativePG's phase of a cluster in which all is well.
const HEALTHY: &str = "Cluster in healthy state";

impl SimCluster {
    pub(super) async fn delete_instance(&self, instance: &str) -> Result<()> {
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

    pub(super) async fn create_instance(&self, serial: usize, primary: bool) -> Result<()> {
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

    pub(super) async fn create_member_pod(&self, member: &Member) -> Result<()> {
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

    pub(super) async fn write_pod_status(&self, member: &Member, container: &Container) -> Result<()> {
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
    pub(super) async fn write_status(&self, more: Value) -> Result<()> {
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
    pub(super) async fn settle(&self) -> Result<()> {
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
}
