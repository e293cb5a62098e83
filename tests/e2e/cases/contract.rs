//! The assertions that the simulated world passes too: what differs there would make the other tests lie.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use csm_tests::contract::Ground;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::PostParams;
use serde_json::json;

use crate::stage::{SOON, Stage};
use csm_testkit::wait::within;

/// Two volumes of 1 GiB on the first node, one of a class that does not expand.
pub async fn like_the_simulated_world(stage: Arc<Stage>) -> Result<()> {
    let node = stage.lab.status().nodes.first().context("the lab has no node")?.clone();
    for (name, class) in [("grows", "loop"), ("fixed", "loop-fixed")] {
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}},
        }))?;
        stage.api().create(&PostParams::default(), &claim).await?;
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "nodeSelector": {"kubernetes.io/hostname": node.name},
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "main", "image": stage.lab.postgres_image(), "command": ["sleep", "infinity"],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": name}}],
            },
        }))?;
        stage.api().create(&PostParams::default(), &pod).await?;
    }
    for name in ["grows", "fixed"] {
        within(SOON, &format!("the pod {name} runs"), async || {
            let pod = stage.api::<Pod>().get(name).await?;
            Ok(pod
                .status
                .is_some_and(|status| status.phase.as_deref() == Some("Running"))
                .then_some(()))
        })
        .await?;
    }
    let ground = Ground {
        client: stage.client.clone(),
        ca_pem: stage.lab.ca_pem()?,
        kubelet: format!("https://{}:10250", node.ip),
        namespace: stage.namespace.clone(),
        expandable: ("grows".to_owned(), "grows".to_owned()),
        fixed: "fixed".to_owned(),
    };
    ground.check().await
}
