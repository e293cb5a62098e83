//! What people do to a cluster, and what they look at.

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::cluster::{Cluster, HEALTHY};
use crate::invariants;
use csm_testkit::wait::within;

impl Cluster {
    /// The uid of an instance's pod, and how often its containers were started again.
    pub async fn pod_of(&self, instance: &str) -> Result<(String, i32)> {
        let pod = self.stage.api::<Pod>().get(instance).await?;
        let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        let restarts = containers.into_iter().flatten().map(|container| container.restart_count).sum();
        Ok((pod.uid().context("a pod without a uid")?, restarts))
    }

    /// The same of all instances.
    pub async fn pods(&self) -> Result<Vec<(String, i32)>> {
        let mut pods = Vec::new();
        for instance in self.names() {
            pods.push(self.pod_of(&instance).await.with_context(|| instance.clone())?);
        }
        Ok(pods)
    }

    /// The uid of an instance's pod.
    pub async fn pod_uid(&self, instance: &str) -> Result<String> {
        Ok(self.pod_of(instance).await?.0)
    }

    /// Waits until an instance has another pod than this, and that is ready.
    pub async fn pod_renewed(&self, instance: &str, before: &str) -> Result<()> {
        within(HEALTHY, &format!("{instance} has a new pod, which is ready"), async || {
            let pod = self.stage.api::<Pod>().get(instance).await?;
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            let ready = conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
            let uid = pod.uid();
            ensure!(uid.as_deref() != Some(before), "it is still the same one");
            Ok(ready.then_some(()))
        })
        .await
    }

    /// PostgreSQL of an instance crashes, and its pod is lost, as when its node is.
    pub async fn lose(&self, instance: &str) -> Result<()> {
        let crash = "kill -9 $(head -n 1 /var/lib/postgresql/data/pgdata/postmaster.pid)";
        self.exec(instance, &["sh", "-c", crash]).await?;
        let now = DeleteParams::default().grace_period(0);
        self.stage.api::<Pod>().delete(instance, &now).await?;
        Ok(())
    }

    /// Makes an instance the primary, as `kubectl cnpg promote` does it, and waits until it is.
    pub async fn promote(&self, instance: &str) -> Result<()> {
        let status = json!({"status": {
            "targetPrimary": instance,
            "targetPrimaryTimestamp": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
            "phase": "Switchover in progress",
            "phaseReason": format!("Switching over to {instance}"),
        }});
        let patched = self
            .api()
            .patch_status(&self.name, &PatchParams::default(), &Patch::Merge(&status))
            .await;
        patched.with_context(|| format!("promote {instance}"))?;
        within(HEALTHY, &format!("{instance} is the primary"), async || {
            Ok((self.primary().await? == instance).then_some(()))
        })
        .await
    }

    /// Waits until every instance has all committed rows.
    pub async fn replicated(&self) -> Result<()> {
        invariants::rows(self).await.context("replication")
    }
}
