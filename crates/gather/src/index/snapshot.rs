//! One Cluster at one moment: what a decision about it is made from.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use csm_api::{Growth, PostgresStorage, StorageEvent};
use csm_core::between::Estimate;
use csm_core::disk_full::Log;
use csm_core::resolve::Resolution;
use csm_core::world::ClusterKey;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::kept::Record;
use super::{FleetNow, HalfRead, Index, Sample, Tracked};
use crate::compact::Packed;
use crate::instance::WalFigures;
use crate::quota::QuotaView;
use crate::views::{ClassView, ClusterView, PodView, PvcView};

/// One Cluster at one moment, for [`crate::world`].
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub key: ClusterKey,
    pub cluster: Arc<ClusterView>,
    pub storage: Option<Arc<PostgresStorage>>,
    pub pvcs: Vec<PvcNow>,
    pub pods: BTreeMap<Arc<str>, PodView>,
    /// What the logs of containers say that ended, by pod, where they were asked for.
    pub logs: BTreeMap<Arc<str>, Log>,
    /// Its growths, of this Cluster and of earlier ones of its name.
    pub events: Vec<Arc<Growth>>,
    /// StorageEvents of other types.
    pub records: Vec<Arc<StorageEvent>>,
    /// StorageEvents that cannot be read as a whole.
    pub half_read: Vec<Arc<HalfRead>>,
    pub resolution: Arc<Resolution>,
    pub classes: HashMap<Arc<str>, ClassView>,
    /// Quotas of its namespace that limit storage.
    pub quotas: Vec<QuotaView>,
    /// What its primary says of its WAL, of any age.
    pub wal: Option<Arc<WalFigures>>,
    /// What shows why its volumes fill, where one does, or may.
    pub tracked: Option<Box<Tracked>>,
    /// It is about to be asked for the first time.
    pub awaits_wal: bool,
    /// What it has to do with all others.
    pub fleet: FleetNow,
}

impl Snapshot {
    /// The growths of this very Cluster. Records of an earlier one of its name may still be there.
    pub fn growths(&self) -> impl Iterator<Item = &Arc<Growth>> + Clone {
        let uid = &*self.cluster.uid;
        self.events.iter().filter(move |event| *event.spec.cluster_ref.uid == *uid)
    }

    /// Whether a StorageEvent of this name is part of it.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        let mut growths = self.events.iter().map(|event| &event.metadata);
        let mut others = self.records.iter().map(|event| &event.metadata);
        let is = |metadata: &ObjectMeta| metadata.name.as_deref() == Some(name);
        growths.any(is) || others.any(is)
    }
}

/// A PVC at one moment.
#[derive(Clone, Debug)]
pub struct PvcNow {
    pub name: Arc<str>,
    pub view: PvcView,
    pub sample: Option<Sample>,
    /// What is used since then, by its instance's word.
    pub estimate: Option<Estimate>,
    /// The samples of its last hour; of its last day where its growth waits for windows.
    pub history: Arc<[csm_core::world::Sample]>,
    /// When its last resize ended: as our record says, or as its capacity was seen to rise.
    pub last_resize_at: Option<Timestamp>,
}

impl Index {
    /// One Cluster as it is now; none where there is no such Cluster (any more).
    pub fn snapshot(&mut self, key: &ClusterKey) -> Option<Snapshot> {
        let resolution = self.resolution(key)?;
        let slot = self.slots.get(key)?;
        let cluster = slot.cluster.clone()?;
        let (key, _) = self.slots.get_key_value(key)?;
        let used = slot.pvcs.values().filter_map(|pvc| pvc.class.as_ref());
        let classes = used
            .filter_map(|name| Some((name.clone(), self.classes.get(name)?.clone())))
            .collect();
        let pvcs = slot.pvcs.iter().map(|(name, claim)| PvcNow {
            name: name.clone(),
            view: claim.view(&key.name),
            sample: claim.sample,
            estimate: slot.estimate(claim),
            history: claim.history.samples(),
            last_resize_at: slot.last_resize_at(claim),
        });
        Some(Snapshot {
            key: key.clone(),
            cluster,
            storage: slot.storage.as_ref().and_then(Packed::open),
            pvcs: pvcs.collect(),
            pods: slot.pods.iter().map(|(name, pod)| (name.clone(), pod.view(&key.name))).collect(),
            logs: slot
                .pods
                .iter()
                .filter_map(|(name, pod)| Some((name.clone(), pod.log()?.clone())))
                .collect(),
            events: slot.events.values().filter_map(Record::event).collect(),
            records: slot.events.values().filter_map(Record::other).collect(),
            half_read: slot.events.values().filter_map(Record::half_read).collect(),
            resolution,
            classes,
            quotas: self.quotas_of(&key.namespace),
            wal: slot.wal_figures().cloned(),
            tracked: slot.tracked.clone(),
            awaits_wal: false,
            fleet: FleetNow::default(),
        })
    }
}
