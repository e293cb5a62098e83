//! A cluster that grows again and again, a GiB at a time; each growth is held in flight while something happens to the
//! cluster. What happens is a function of the test, so that it can be shown with any number of instances.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::Reason;
use csm_testkit::csi::faults::Rpc;
use csm_units::Bytes;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::filling::Breach;
use crate::flight::Hold;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::requests::Patched;
use crate::stage::Stage;
use crate::volume::Volume;

/// Over the threshold of the policy below.
const FULL: u64 = 87;
/// No growth of a course goes beyond.
pub const CEILING: Bytes = Bytes::gib(16);

/// A cluster, and what became of it so far.
pub struct Course {
    pub stage: Arc<Stage>,
    pub orders: Arc<Cluster>,
    /// The size of its data volume.
    pub size: Bytes,
    /// Growths so far, catch-ups included.
    pub growths: usize,
    /// The manager is the one that it was at the begin.
    pub same_manager: bool,
    /// There were figures of every PVC before it grew.
    pub seen_before: bool,
}

/// A growth in flight: the driver works on the first PVC, and does not get on.
pub struct Flight {
    watch: GrowthWatch,
    breach: Breach,
    controller: Option<Hold>,
    /// The PVC.
    pub first: String,
    /// All PVCs that this growth is of.
    members: Vec<String>,
}

/// 85 percent, then a GiB more; no cooldown.
pub fn policy() -> Value {
    json!({"expansion": {"percentage": 1, "minIncrementGi": 1, "maxSize": CEILING, "cooldownMinutes": 0}})
}

impl Flight {
    /// The driver's controller goes on; its node may be held still.
    pub async fn let_the_controller_go(&mut self) -> Result<()> {
        match self.controller.take() {
            Some(controller) => controller.release().await,
            None => Ok(()),
        }
    }
}

impl Course {
    /// A policy, a cluster, and some rows in it.
    pub async fn new(stage: &Arc<Stage>, instances: usize) -> Result<Self> {
        stage.policy("default", policy()).await?;
        let orders = Arc::new(stage.cluster("orders").instances(instances).create().await?);
        orders.insert(500).await?;
        Ok(Self {
            stage: stage.clone(),
            orders,
            size: Bytes::gib(1),
            growths: 0,
            same_manager: true,
            seen_before: true,
        })
    }

    /// Fills the primary's volume, and waits until the growth that follows is in flight and held there.
    pub async fn begin(&self) -> Result<Flight> {
        let controller = Hold::set(&self.stage, Rpc::ControllerExpandVolume).await?;
        let watch = GrowthWatch::start(&self.orders, self.next()).await?;
        let breach = Breach::now(Volume::Data);
        self.orders.ballast(&self.orders.primary().await?, Some(FULL)).await?;
        let first = self.stage.reached("ControllerResizeInProgress", breach.at).await?;
        self.orders.insert(200).await?;
        Ok(Flight {
            watch,
            breach,
            controller: Some(controller),
            first,
            members: self.orders.claims_of(Volume::Data),
        })
    }

    /// The size that the next growth ends at.
    fn next(&self) -> Bytes {
        self.size.saturating_add(Bytes::gib(1))
    }

    /// Whatever happened: of the PVCs that there were, one was patched, and none but it. PostgreSQL writes.
    pub async fn still_in_flight(&self, flight: &Flight) -> Result<()> {
        let of_this = |p: &Patched| p.at > flight.breach.at && flight.members.contains(&p.pvc);
        let patches = self.stage.patches()?.into_iter().filter(of_this);
        let patches: Vec<_> = patches.collect();
        let [patch] = patches.as_slice() else {
            anyhow::bail!("one PVC at a time: {patches:?}")
        };
        ensure!(patch.pvc == flight.first, "{patch:?} while {} is not done", flight.first);
        self.orders.insert(200).await
    }

    /// Lets the driver go on, and waits until the growth is complete on all instances.
    pub async fn land(&mut self, mut flight: Flight) -> Result<()> {
        flight.let_the_controller_go().await?;
        let (event, _) = flight.watch.finish(&flight.breach).await?;
        ensure!(event.spec.reason == Reason::UsageThreshold, "{:?}", event.spec);
        self.size = self.next();
        self.growths += 1;
        self.orders.insert(200).await
    }

    /// What must hold at the end.
    pub async fn hold(&self) -> Result<()> {
        let expect = Expect {
            ceiling: CEILING,
            counted: self.same_manager,
            seen_before: self.seen_before,
            ..Expect::grown(self.size, self.growths)
        };
        let course = format!("after {} growths to {}", self.growths, self.size);
        invariants::hold(&self.orders, &expect).await.context(course)
    }
}
