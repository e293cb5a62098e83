//! The simulated world, and the manager in it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use csm_testkit::controlplane::AuditMark;
use csm_testkit::manifest;
use csm_testkit::nodesim::VolumeKey;
use csm_testkit::resizer::Speed;
use csm_testkit::scenario::{Sim, SimCluster, SimOptions};
use csm_units::Bytes;

use super::Stage;
use super::manager::{Manager, USER};
use super::observe::{self, Disk, Observer};
use super::scene::{Measured, Scene};
use super::story::{Part, SIMULATED};
use super::timeline::Write;

/// The namespace of all clusters.
const NAMESPACE: &str = "shop";
/// Slow enough that a person sees each step. A real driver takes seconds as well; a real kubelet, up to two minutes.
const RESIZE: Speed = Speed {
    notice: Duration::from_millis(200),
    controller: Duration::from_millis(1_200),
    node_sync: Duration::from_millis(800),
    node: Duration::from_millis(300),
    retry: Duration::from_millis(500),
    longest_retry: Duration::from_secs(2),
    call_timeout: Duration::from_secs(5),
};

/// By how much less of a replica's volume is used than of its primary's.
const REPLICA_LESS: f64 = 0.008;

/// Everything that runs. Dropping it ends all processes and removes their folder.
pub struct Simulated {
    // Dropped first: it would only complain about an API server that is gone.
    manager: Manager,
    observer: Observer,
    clusters: Vec<(&'static Part, SimCluster)>,
    /// What came before is the setting of the stage.
    mark: AuditMark,
    sim: Sim,
}

impl Simulated {
    /// Starts an API server with nodes, the clusters of the cast with their policies, and the manager.
    pub async fn set(manager: &Path) -> Result<Self> {
        let options = SimOptions {
            resize_speed: RESIZE,
            ..SimOptions::default()
        };
        let sim = Sim::with(options).await.context("start the simulated world")?;
        let mut clusters = Vec::new();
        for part in SIMULATED.cast {
            let cluster = sim
                .cluster(NAMESPACE, part.name)
                .instances(part.instances)
                .data(&part.size.to_string())
                .data_used(f64::from(part.used) / 100.0)
                .create()
                .await?;
            // Replicas hold a little less, so that one instance is the first at the threshold.
            for replica in cluster.instances().iter().skip(1) {
                cluster.data(replica).fill(f64::from(part.used) / 100.0 - REPLICA_LESS)?;
            }
            clusters.push((part, cluster));
        }
        let policies = manifest::documents(&SIMULATED.policies())?;
        manifest::apply(&sim.client(), policies, NAMESPACE)
            .await
            .context("apply the policies")?;
        sim.kubelets().measure_now();
        let mark = sim.plane().audit_mark().await?;
        let manager = Manager::start(&sim, manager, NAMESPACE).await?;
        Ok(Self {
            manager,
            observer: Observer::new(sim.client(), NAMESPACE),
            clusters,
            mark,
            sim,
        })
    }

    fn disk(&self, claim: &str) -> Result<Disk> {
        let key = VolumeKey::new(NAMESPACE, claim);
        let kubelets = self.sim.kubelets();
        let filesystem = kubelets.with_volume(&key, |volume| Bytes::new(volume.capacity()))?;
        let measured = kubelets.measured(&key).map(|figures| Measured {
            at: figures.time,
            used: Bytes::new(figures.used),
            available: Bytes::new(figures.available),
        });
        Ok(Disk { measured, filesystem })
    }
}

impl Stage for Simulated {
    async fn look(&mut self) -> Result<Scene> {
        self.manager.check()?;
        self.sim.plane().check()?;
        self.observer.look(&SIMULATED, |claim| self.disk(claim)).await
    }

    async fn fill(&mut self) -> Result<()> {
        for (part, cluster) in &self.clusters {
            let rate = i64::try_from(part.rate.get()).context("a rate of more than 2^63 bytes a second")?;
            for volume in cluster.volumes() {
                volume.grow_use_by(rate)?;
            }
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<Vec<Write>> {
        self.manager.stop()?;
        let audit = self.sim.plane().audit_since(self.mark).await?;
        let requests = audit.iter().map(|entry| observe::Request {
            at: entry.received,
            user: &entry.user,
            verb: &entry.verb,
            resource: &entry.resource,
            subresource: &entry.subresource,
            namespace: &entry.namespace,
            name: &entry.name,
            code: entry.code,
        });
        Ok(observe::writes(requests, USER, NAMESPACE))
    }

    async fn manager_log(&self) -> String {
        self.manager.tail()
    }

    async fn close(self) -> Result<()> {
        // Everything ends with its owner.
        Ok(())
    }
}
