//! What the index keeps of each object: its view in less memory.

use std::sync::Arc;

use csm_api::{StorageEvent, VerifiedBy};
use csm_core::world::{Resize, VolumeKey};
use csm_units::Bytes;
use jiff::Timestamp;

use super::{Sample, is_done};
use crate::compact::{Packed, Strings, Uid};
use crate::views::{PodView, PvcView, ResourceVersion};

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
    /// The newest figures of its filesystem.
    pub sample: Option<Sample>,
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
            sample: None,
            resized: None,
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
            sample: _,
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
        }
    }
}

/// The pod of an instance.
#[derive(Debug, PartialEq)]
pub(super) struct Instance {
    pub uid: Uid,
    pub resource_version: ResourceVersion,
    pub node: Option<Arc<str>>,
    pub running: bool,
}

impl Instance {
    pub fn new(view: PodView, strings: &mut Strings) -> Self {
        let PodView {
            uid,
            resource_version,
            cluster: _,
            node,
            running,
        } = view;
        Self {
            uid: Uid::new(&uid),
            resource_version,
            node: node.map(|name| strings.share(&name)),
            running,
        }
    }

    /// The pod; `cluster` is the name of its Cluster.
    pub fn view(&self, cluster: &Arc<str>) -> PodView {
        let Self {
            uid,
            resource_version,
            node,
            running,
        } = self;
        PodView {
            uid: uid.text(),
            resource_version: *resource_version,
            cluster: cluster.clone(),
            node: node.clone(),
            running: *running,
        }
    }
}

/// A StorageEvent: whole while it is followed; later packed, with what every new figure asks for beside it.
#[derive(Debug)]
pub(super) enum Record {
    Open(Arc<StorageEvent>),
    Ended(Box<Ended>),
}

#[derive(Debug)]
pub(super) struct Ended {
    packed: Packed<StorageEvent>,
    resource_version: ResourceVersion,
    at: Option<Timestamp>,
    /// When the resize of each PVC ended.
    resizes: Box<[(Uid, Timestamp)]>,
}

impl Record {
    pub fn new(event: StorageEvent) -> Self {
        if !is_done(&event) {
            return Self::Open(Arc::new(event));
        }
        Self::Ended(Box::new(Ended {
            resource_version: ResourceVersion::of(&event.metadata),
            at: event.status.as_ref().and_then(|s| s.completion_time.as_ref()).map(|t| t.0),
            resizes: resizes(&event).map(|(uid, at)| (Uid::new(uid), at)).collect(),
            packed: Packed::new(event),
        }))
    }

    pub fn resource_version(&self) -> ResourceVersion {
        match self {
            Self::Open(event) => ResourceVersion::of(&event.metadata),
            Self::Ended(ended) => ended.resource_version,
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// When it ended.
    pub fn ended_at(&self) -> Option<Timestamp> {
        match self {
            Self::Open(_) => None,
            Self::Ended(ended) => ended.at,
        }
    }

    /// When its resize of this PVC ended.
    pub fn resized_at(&self, uid: &Uid) -> Option<Timestamp> {
        match self {
            Self::Open(event) => resizes(event).find(|(of, _)| uid.is(of)).map(|(_, at)| at),
            Self::Ended(ended) => ended.resizes.iter().find(|(of, _)| of == uid).map(|(_, at)| *at),
        }
    }

    /// The StorageEvent.
    pub fn event(&self) -> Option<Arc<StorageEvent>> {
        match self {
            Self::Open(event) => Some(event.clone()),
            Self::Ended(ended) => ended.packed.open(),
        }
    }
}

/// The PVCs that an operation has resized, by UID, and when that ended.
fn resizes(event: &StorageEvent) -> impl Iterator<Item = (&str, Timestamp)> {
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
