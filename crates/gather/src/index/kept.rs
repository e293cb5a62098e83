//! What the index keeps of each object: its view in less memory.

use std::net::IpAddr;
use std::sync::Arc;

use csm_api::{EventType, Growth, NoGrowth, StorageEvent, Urgency, VerifiedBy};
use csm_core::breaker::Ending;
use csm_core::disk_full::Log;
use csm_core::world::{Resize, VolumeKey};
use csm_units::Bytes;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::history::History;
use super::{HalfRead, Sample};
use crate::compact::{Packed, Strings, Uid};
use crate::relief;
use crate::views::{DownView, PodView, PvcView, ResourceVersion, started_at};

/// A PVC, and what was learnt of it beside its object.
#[derive(Debug)]
pub(super) struct Claim {
    pub uid: Uid,
    pub resource_version: ResourceVersion,
    pub instance: Arc<str>,
    pub volume: VolumeKey,
    pub class: Option<Arc<str>>,
    pub request: Bytes,
    pub capacity: Bytes,
    pub bound: bool,
    pub block: bool,
    pub resize: Option<Box<Resize>>,
    pub withdrawn: Option<Arc<str>>,
    /// The newest figures of its filesystem.
    pub sample: Option<Sample>,
    /// Those before it.
    pub history: History,
    /// When its capacity was seen to rise.
    pub resized: Option<Timestamp>,
}

impl Claim {
    /// Of a PVC that nothing else is known of.
    pub fn new(view: PvcView, strings: &mut Strings) -> Self {
        let PvcView {
            uid,
            resource_version,
            cluster: _,
            instance,
            volume,
            class,
            request,
            capacity,
            bound,
            block,
            resize,
            withdrawn,
        } = view;
        Self {
            uid: Uid::new(&uid),
            resource_version,
            instance: strings.share(&instance),
            volume: VolumeKey {
                role: volume.role,
                tablespace: volume.tablespace.map(|name| strings.share(&name)),
            },
            class: class.map(|name| strings.share(&name)),
            request,
            capacity,
            bound,
            block,
            resize: resize.map(Box::new),
            withdrawn,
            sample: None,
            history: History::default(),
            resized: None,
        }
    }

    /// A resize that was seen before began then: external-resizer writes its conditions anew at each try, so that by them
    /// alone a resize that fails for ever would always have begun a moment ago. The next stage is a new beginning.
    pub fn resizes_since(&mut self, before: &Self) {
        let (Some(now), Some(then)) = (&mut self.resize, &before.resize) else {
            return;
        };
        if self.request == before.request && now.stage == then.stage {
            now.since = [now.since, then.since].into_iter().flatten().min();
        }
    }

    /// The PVC; `cluster` is the name of its Cluster.
    pub fn view(&self, cluster: &Arc<str>) -> PvcView {
        let Self {
            uid,
            resource_version,
            instance,
            volume,
            class,
            request,
            capacity,
            bound,
            block,
            resize,
            withdrawn,
            sample: _,
            history: _,
            resized: _,
        } = self;
        PvcView {
            uid: uid.text(),
            resource_version: *resource_version,
            cluster: cluster.clone(),
            instance: instance.clone(),
            volume: volume.clone(),
            class: class.clone(),
            request: *request,
            capacity: *capacity,
            bound: *bound,
            block: *block,
            resize: resize.as_deref().cloned(),
            withdrawn: withdrawn.clone(),
        }
    }
}

/// The pod of an instance.
#[derive(Debug, PartialEq)]
pub(super) struct Instance {
    pub uid: Uid,
    pub resource_version: ResourceVersion,
    pub node: Option<Arc<str>>,
    pub ip: Option<IpAddr>,
    pub running: bool,
    pub ready: bool,
    /// There while it is not ready, and nearly always not.
    pub down: Option<Arc<DownView>>,
    pub nudged: Option<Arc<str>>,
    /// What its log says, and of which container that is the log.
    pub log: Option<Box<(Arc<str>, Log)>>,
}

impl Instance {
    pub fn new(view: PodView, strings: &mut Strings) -> Self {
        let PodView {
            uid,
            resource_version,
            cluster: _,
            node,
            ip,
            running,
            ready,
            down,
            nudged,
        } = view;
        Self {
            uid: Uid::new(&uid),
            resource_version,
            node: node.map(|name| strings.share(&name)),
            ip,
            running,
            ready,
            down,
            nudged,
            log: None,
        }
    }

    /// The pod; `cluster` is the name of its Cluster.
    pub fn view(&self, cluster: &Arc<str>) -> PodView {
        let Self {
            uid,
            resource_version,
            node,
            ip,
            running,
            ready,
            down,
            nudged,
            log: _,
        } = self;
        PodView {
            uid: uid.text(),
            resource_version: *resource_version,
            cluster: cluster.clone(),
            node: node.clone(),
            ip: *ip,
            running: *running,
            ready: *ready,
            down: down.clone(),
            nudged: nudged.clone(),
        }
    }

    /// Whether a newer state of the same pod says nothing that anybody looks at.
    pub fn says_the_same(&self, newer: &Self) -> bool {
        self.node == newer.node && self.running == newer.running && self.ready == newer.ready && self.down == newer.down
    }

    /// What is known of the log of the container that ended.
    pub fn log(&self) -> Option<&Log> {
        let ended = &self.down.as_ref()?.container.ended;
        let (id, log) = &**self.log.as_ref()?;
        (*id == ended.id).then_some(log)
    }
}

/// A StorageEvent: whole while it is followed; later packed, with what every new figure asks for beside it.
#[derive(Debug)]
pub(super) enum Record {
    Open(Arc<Growth>),
    Ended(Box<Ended>),
    /// One that records no growth.
    Other(Arc<StorageEvent>),
    /// One that cannot be read as a whole.
    HalfRead(Arc<HalfRead>),
}

#[derive(Debug)]
pub(super) struct Ended {
    packed: Packed<Growth>,
    resource_version: ResourceVersion,
    at: Option<Timestamp>,
    /// How it ended, as circuit breakers count it.
    ending: Option<(Timestamp, Ending)>,
    /// When it began, where its volume grew by it.
    grew: Option<Timestamp>,
    /// No patch of a PVC was accepted.
    idle: bool,
    /// When the resize of each PVC ended.
    resizes: Box<[(Uid, Timestamp)]>,
}

impl Record {
    pub fn new(event: StorageEvent) -> Self {
        let event = match Growth::try_from(event) {
            Ok(growth) => growth,
            Err(NoGrowth(other)) => return Self::Other(Arc::from(other)),
        };
        if !event.is_done() {
            return Self::Open(Arc::new(event));
        }
        Self::Ended(Box::new(Ended {
            resource_version: ResourceVersion::of(&event.metadata),
            at: event.status.as_ref().and_then(|s| s.completion_time.as_ref()).map(|t| t.0),
            ending: Ending::of(&event),
            grew: grew(&event),
            idle: !has_patched(&event),
            resizes: resizes(&event).map(|(uid, at)| (Uid::new(uid), at)).collect(),
            packed: Packed::new(event),
        }))
    }

    pub fn resource_version(&self) -> ResourceVersion {
        match self {
            Self::Open(event) => ResourceVersion::of(&event.metadata),
            Self::Ended(ended) => ended.resource_version,
            Self::Other(event) => ResourceVersion::of(&event.metadata),
            Self::HalfRead(event) => event.resource_version,
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// When it ended.
    pub fn ended_at(&self) -> Option<Timestamp> {
        match self {
            Self::Open(_) | Self::HalfRead(_) => None,
            Self::Ended(ended) => ended.at,
            // A relief of WAL that goes on is not old, whenever it was recorded.
            Self::Other(event) if event.spec.event_type == EventType::WalCleanup && !relief::is_done(event) => None,
            Self::Other(event) => event.metadata.creation_timestamp.as_ref().map(|at| at.0),
        }
    }

    /// The growth that it records, while it has not ended.
    pub fn open(&self) -> Option<&Arc<Growth>> {
        match self {
            Self::Open(event) => Some(event),
            Self::Ended(_) | Self::Other(_) | Self::HalfRead(_) => None,
        }
    }

    /// Of a growth or a relief that has not ended: when it was recorded, and the UID of its Cluster.
    pub fn unfinished(&self) -> Option<(Option<Timestamp>, &str)> {
        let (metadata, of) = match self {
            Self::Open(event) => (&event.metadata, &event.spec.cluster_ref),
            Self::Other(event) if event.spec.event_type == EventType::WalCleanup && !relief::is_done(event) => {
                (&event.metadata, event.spec.cluster_ref.as_ref()?)
            }
            Self::Ended(_) | Self::Other(_) | Self::HalfRead(_) => return None,
        };
        Some((metadata.creation_timestamp.as_ref().map(|made| made.0), of.uid.as_str()))
    }

    /// How its growth ended, as circuit breakers count it, and when.
    pub fn ending(&self) -> Option<(Timestamp, Ending)> {
        match self {
            Self::Ended(ended) => ended.ending,
            Self::Open(_) | Self::Other(_) | Self::HalfRead(_) => None,
        }
    }

    /// When the growth began by which its volume grows: the API server accepted at least one patch. A catch-up is none.
    pub fn grew(&self) -> Option<Timestamp> {
        match self {
            Self::Open(event) => grew(event),
            Self::Ended(ended) => ended.grew,
            Self::Other(_) | Self::HalfRead(_) => None,
        }
    }

    /// Whether it records a growth that has ended and changed no PVC, or a relief that has removed nothing.
    pub fn was_idle(&self) -> bool {
        match self {
            Self::Ended(ended) => ended.idle,
            Self::Other(event) if event.spec.event_type == EventType::WalCleanup => relief::removed_at(event).is_none(),
            Self::Open(_) | Self::Other(_) | Self::HalfRead(_) => false,
        }
    }

    /// When its resize of this PVC ended.
    pub fn resized_at(&self, uid: &Uid) -> Option<Timestamp> {
        match self {
            Self::Open(event) => resizes(event).find(|(of, _)| uid.is(of)).map(|(_, at)| at),
            Self::Ended(ended) => ended.resizes.iter().find(|(of, _)| of == uid).map(|(_, at)| *at),
            Self::Other(_) | Self::HalfRead(_) => None,
        }
    }

    /// The growth that it records.
    pub fn event(&self) -> Option<Arc<Growth>> {
        match self {
            Self::Open(event) => Some(event.clone()),
            Self::Ended(ended) => ended.packed.open(),
            Self::Other(_) | Self::HalfRead(_) => None,
        }
    }

    /// The record, where it is one of something else than a growth.
    pub fn other(&self) -> Option<Arc<StorageEvent>> {
        match self {
            Self::Other(event) => Some(event.clone()),
            Self::Open(_) | Self::Ended(_) | Self::HalfRead(_) => None,
        }
    }

    /// Where it is stored: what it takes to delete it.
    pub fn metadata(&self) -> Option<ObjectMeta> {
        match self {
            Self::Other(event) => Some(event.metadata.clone()),
            _ => self.event().map(|event| event.metadata.clone()),
        }
    }

    /// What is known of one that cannot be read.
    pub fn half_read(&self) -> Option<Arc<HalfRead>> {
        match self {
            Self::HalfRead(event) => Some(event.clone()),
            Self::Open(_) | Self::Ended(_) | Self::Other(_) => None,
        }
    }
}

/// When a growth began of which at least one patch was accepted; a catch-up is none.
fn grew(event: &Growth) -> Option<Timestamp> {
    (has_patched(event) && event.spec.urgency() != Urgency::CatchUp).then(|| started_at(event))
}

/// Whether the API server accepted at least one of its patches.
fn has_patched(event: &Growth) -> bool {
    let mut pvcs = event.status.iter().flat_map(|status| &status.pvc_statuses);
    pvcs.any(|pvc| pvc.patched_at.is_some())
}

/// The PVCs that an operation has resized, by UID, and when that ended.
fn resizes(event: &Growth) -> impl Iterator<Item = (&str, Timestamp)> {
    event.status.iter().flat_map(|status| &status.pvc_statuses).filter_map(|status| {
        // Where only the node's word showed the growth, figures from before that moment may still be those of the small one.
        let end = if status.verified_by == Some(VerifiedBy::PvcStatus) {
            &status.filesystem_resized
        } else {
            &status.controller_done_at
        };
        Some((status.uid.as_str(), end.as_ref()?.0))
    })
}

#[cfg(test)]
mod tests {
    use csm_api::Role;
    use csm_core::disk_full::{Container, Ended};
    use csm_core::world::ResizeStage;
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap_or_default()
    }

    #[test]
    fn views_come_back_with_every_field() {
        let strings = &mut Strings::default();
        let cluster: Arc<str> = Arc::from("pg");
        let pvc = PvcView {
            uid: Arc::from("01234567-89ab-cdef-0011-223344556677"),
            resource_version: ResourceVersion(7),
            cluster: cluster.clone(),
            instance: Arc::from("pg-2"),
            volume: VolumeKey {
                role: Role::Tablespace,
                tablespace: Some(Arc::from("archive")),
            },
            class: Some(Arc::from("fast")),
            request: Bytes::gib(3),
            capacity: Bytes::gib(2),
            bound: true,
            block: false,
            resize: Some(Resize {
                since: Some(at(5)),
                stage: ResizeStage::NodePending,
                error: Some(Arc::from("no room")),
                allocated: None,
            }),
            withdrawn: Some(Arc::from("pg-expansion-2")),
        };
        assert_eq!(Claim::new(pvc.clone(), strings).view(&cluster), pvc);
        let other = PvcView {
            class: None,
            resize: None,
            bound: false,
            block: true,
            ..pvc
        };
        assert_eq!(Claim::new(other.clone(), strings).view(&cluster), other);
        let pod = PodView {
            uid: Arc::from("p1"),
            resource_version: ResourceVersion(9),
            cluster: cluster.clone(),
            node: Some(Arc::from("node-a")),
            ip: Some(IpAddr::from([10, 0, 0, 7])),
            running: true,
            ready: false,
            down: Some(Arc::new(DownView {
                container: Container {
                    ended: Ended {
                        exit_code: 4,
                        started_at: Some(at(6)),
                        finished_at: Some(at(8)),
                        id: Arc::from("containerd://c1"),
                    },
                    restarts: 3,
                    running: true,
                    back_off: None,
                },
                previous: true,
            })),
            nudged: Some(Arc::from("pg-expansion-1")),
        };
        assert_eq!(Instance::new(pod.clone(), strings).view(&cluster), pod);
    }

    #[test]
    fn an_ended_event_is_packed_and_comes_back_with_every_field() -> Result<(), serde_json::Error> {
        let size = "10Gi";
        let event: Growth = serde_json::from_value(json!({
            "metadata": {"name": "pg-expansion-1", "namespace": "db", "uid": "e1", "resourceVersion": "12", "generation": 1,
                "creationTimestamp": "2026-03-01T10:00:00Z", "labels": {"a": "b"}},
            "spec": {"clusterRef": {"name": "pg", "namespace": "db", "uid": "c1"}, "eventType": "expansion", "trigger": "threshold-breach",
                "volume": {"role": "data"}, "reason": "UsageThreshold", "message": "86 % used",
                "expansion": {"originalSize": size, "requestedSize": "15Gi", "parallelism": 2,
                    "affectedPVCs": [{"name": "pg-1", "uid": "u1", "instance": "pg-1", "node": "n1", "phase": 1, "wave": 1, "originalSize": size, "filesystemBytes": 5}]}},
            "status": {"phase": "Completed", "startTime": "2026-03-01T10:00:00Z", "completionTime": "2026-03-01T10:01:00Z", "retryCount": 3,
                "nextRetryTime": "2026-03-01T10:02:00Z",
                "conditions": [{"type": "Complete", "status": "True", "reason": "Verified", "message": "all grown", "lastTransitionTime": "2026-03-01T10:01:00Z"}],
                "pvcStatuses": [{"name": "pg-1", "uid": "u1", "phase": "Completed", "originalSize": size, "newSize": "15Gi",
                    "controllerDoneAt": "2026-03-01T10:00:30Z", "patchedAt": "2026-03-01T10:00:10Z"}]},
        }))?;
        let record = Record::new(event.clone().into());
        assert!(!record.is_open() && matches!(&record, Record::Ended(ended) if matches!(ended.packed, Packed::Bytes(_))));
        assert_eq!(record.event().as_deref(), Some(&event));
        assert_eq!(record.resource_version(), ResourceVersion(12));
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        assert_eq!(time(record.ended_at()).as_deref(), Some("2026-03-01T10:01:00Z"));
        assert_eq!(time(record.resized_at(&Uid::new("u1"))).as_deref(), Some("2026-03-01T10:00:30Z"));
        assert_eq!(record.resized_at(&Uid::new("u2")), None);
        let open = Growth { status: None, ..event };
        assert!(Record::new(open.into()).is_open());
        Ok(())
    }
}
