//! The manager cut off from single pods: what it sends to them is lost, as on a network that fails. All else goes on.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::cluster::Cluster;
use crate::manager::{Manager, process_of};

/// The packet rules of one cut.
const TABLE: &str = "e2e_cable";

/// A cut cable. It is plugged in again at the end.
pub struct Cable {
    /// The network namespace of the manager's pod.
    network: String,
}

impl Cable {
    /// From now on nothing that the manager sends reaches any of these instances.
    pub async fn cut(manager: &Arc<Manager>, cluster: &Cluster, instances: &[String]) -> Result<Self> {
        let uid = manager.pod().await?.uid().context("the manager's pod has no uid")?;
        let cable = Self {
            network: format!("/proc/{}/ns/net", process_of(&uid)?.as_raw_nonzero()),
        };
        cable.nft(&format!("add table inet {TABLE}"))?;
        cable.nft(&format!(
            "add chain inet {TABLE} out {{ type filter hook output priority 0; policy accept; }}"
        ))?;
        for instance in instances {
            let pod = cluster.stage.api::<Pod>().get(instance).await?;
            let ip = pod.status.and_then(|status| status.pod_ip);
            let ip = ip.with_context(|| format!("{instance} has no address"))?;
            cable.nft(&format!("add rule inet {TABLE} out ip daddr {ip} drop"))?;
        }
        Ok(cable)
    }

    fn nft(&self, rule: &str) -> Result<()> {
        let output = Command::new("/usr/bin/nsenter")
            .arg(format!("--net={}", self.network))
            .args(["--", "/usr/sbin/nft", rule])
            .output()
            .context("run nsenter: install util-linux")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nft {rule}: {}", errors.trim());
        Ok(())
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // A pod that has gone took its network with it.
        if let Err(error) = self.nft(&format!("delete table inet {TABLE}")) {
            eprintln!("the cable could not be plugged in again: {error:#}");
        }
    }
}
