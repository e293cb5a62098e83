//! What is known of one CNPG Cluster at one moment: everything that a decision may rest on, and nothing else.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use csm_api::{Role, Urgency};
use csm_units::{Bytes, Percent};
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

pub use crate::between::Estimate;
pub use crate::breaker::{Breaker, Circuit, Opened};
pub use crate::disk_full::Findings;
pub use crate::fencing::Fencing;
pub use crate::forecast::Sample;
use crate::freshness;
pub use crate::pause::Pause;
use crate::resolve::Resolution;

/// Names a CNPG Cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterKey {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ClusterKey {
    /// The Cluster `name` of `namespace`.
    #[must_use]
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Names a logical volume of a Cluster. Ordered as decisions are: data, wal, tablespaces by name.
///
/// Text form: `data`, `wal` or `tablespace/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeKey {
    /// What it holds.
    pub role: Role,
    /// Name of the tablespace, where it is one.
    pub tablespace: Option<Arc<str>>,
}

impl VolumeKey {
    /// PGDATA.
    pub const DATA: Self = Self {
        role: Role::Data,
        tablespace: None,
    };
    /// The separate WAL volume.
    pub const WAL: Self = Self {
        role: Role::Wal,
        tablespace: None,
    };

    /// The tablespace `name`.
    #[must_use]
    pub fn tablespace(name: impl Into<Arc<str>>) -> Self {
        Self {
            role: Role::Tablespace,
            tablespace: Some(name.into()),
        }
    }
}

impl fmt::Display for VolumeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tablespace {
            Some(name) => write!(f, "{}/{name}", self.role),
            None => self.role.fmt(f),
        }
    }
}

/// A text that names no volume.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} names no volume; write data, wal or tablespace/NAME")]
pub struct VolumeKeyError(pub String);

impl FromStr for VolumeKey {
    type Err = VolumeKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.strip_prefix("tablespace/")) {
            ("data", _) => Ok(Self::DATA),
            ("wal", _) => Ok(Self::WAL),
            (_, Some(name)) if !name.is_empty() => Ok(Self::tablespace(name)),
            _ => Err(VolumeKeyError(text.to_owned())),
        }
    }
}

/// All that the planner knows of one CNPG Cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// The Cluster.
    pub cluster: Cluster,
    /// The settings that apply to it.
    pub resolution: Arc<Resolution>,
    /// Its logical volumes, in any order.
    pub volumes: Vec<Volume>,
    /// The ledger: its operations, in any order.
    pub operations: Vec<Operation>,
    /// Limits of the manager itself.
    pub limits: Limits,
    /// How many resizes are under way in the whole fleet.
    pub fleet: Fleet,
    /// The breaker of the whole fleet.
    pub global_breaker: Circuit,
}

/// Resizes under way in the whole fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// How many there are.
    pub in_progress: u32,
    /// Clusters that wait for one to end and come first: their volumes are full sooner.
    pub ahead: u32,
    /// How many there may be; none: no limit.
    pub limit: Option<u32>,
}

impl Fleet {
    /// Whether there are as many as there may be, or more: the limit then.
    #[must_use]
    pub fn is_full(self) -> Option<u32> {
        self.limit.filter(|limit| self.in_progress.saturating_add(self.ahead) >= *limit)
    }
}

/// What is known of WAL archiving and replication slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalHealth {
    /// WAL archiving; none where it is not configured.
    pub archiving: Option<Archiving>,
    /// The replication slots of the primary.
    pub slots: Vec<Slot>,
}

impl WalHealth {
    /// The slots that nobody reads, those that hold back most first.
    pub fn inactive(&self) -> impl Iterator<Item = &Slot> {
        let mut slots: Vec<&Slot> = self.slots.iter().filter(|slot| !slot.active).collect();
        slots.sort_by(|a, b| b.retained.cmp(&a.retained).then_with(|| a.name.cmp(&b.name)));
        slots.into_iter()
    }

    /// Bytes that they hold back, in all.
    #[must_use]
    pub fn retained(&self) -> Bytes {
        let inactive = self.slots.iter().filter(|slot| !slot.active);
        inactive.fold(Bytes::ZERO, |sum, slot| sum.saturating_add(slot.retained))
    }
}

/// WAL archiving of the primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Archiving {
    /// When a file was last archived.
    pub last_archived: Option<Timestamp>,
    /// When archiving last failed.
    pub last_failed: Option<Timestamp>,
    /// Files that wait to be archived.
    pub pending: u32,
}

impl Archiving {
    /// Whether the last try failed. A missing time is earlier than any, and both are missing where nothing was tried yet.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.last_failed > self.last_archived
    }
}

/// A replication slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub name: Arc<str>,
    /// Somebody reads from it.
    pub active: bool,
    /// WAL that it holds back.
    pub retained: Bytes,
}

/// Limits of the manager itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How often figures are collected (`metricsInterval`).
    pub interval: SignedDuration,
    /// A resize without progress for this long is stuck (`stuckAfter`).
    pub stuck_after: SignedDuration,
}

impl Limits {
    /// Figures that are older do not count.
    #[must_use]
    pub fn stale_after(&self) -> SignedDuration {
        freshness::limit(self)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            interval: SignedDuration::from_secs(30),
            stuck_after: SignedDuration::from_mins(10),
        }
    }
}

/// A CNPG Cluster, as far as it concerns its storage.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its name.
    pub key: ClusterKey,
    /// Its UID.
    pub uid: Arc<str>,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// CNPG's annotation `cnpg.io/hibernation` is "on".
    pub hibernated: bool,
    /// Our annotations `paused` and `pause-until`.
    pub pause: Pause,
    /// CNPG's annotation `cnpg.io/fencedInstances`.
    pub fencing: Fencing,
    /// `spec.storage.resizeInUseVolumes` (default true); it governs all roles.
    pub resize_in_use_volumes: bool,
    /// Name of the primary instance, where it is known.
    pub primary: Option<Arc<str>>,
    /// Its own breaker.
    pub breaker: Circuit,
    /// WAL archiving and slots; none where nothing is known of them.
    pub wal: Option<WalHealth>,
}

/// A logical volume: the PVCs of all instances for one role.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    /// Its name.
    pub key: VolumeKey,
    /// Its PVCs, in any order.
    pub members: Vec<Member>,
    /// The largest size that the storage has shown to allow.
    pub learned_ceiling: Option<Bytes>,
    /// The ceiling where no other is set (`defaultCeilingFactor` × the size that the Cluster asks for).
    pub fallback_ceiling: Option<Bytes>,
    /// The last growth was refused or infeasible: none is tried before.
    pub retry_after: Option<Timestamp>,
}

/// One PVC of one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Name of the PVC.
    pub pvc: Arc<str>,
    /// UID of the PVC: CNPG uses names again.
    pub uid: Arc<str>,
    /// Name of the instance.
    pub instance: Arc<str>,
    /// The node that its pod runs on, where it is known.
    pub node: Option<Arc<str>>,
    /// `spec.resources.requests.storage`.
    pub request: Bytes,
    /// `status.capacity.storage`, zero where there is none.
    pub size: Bytes,
    /// It is bound to a volume.
    pub bound: bool,
    /// It is a raw block device.
    pub block: bool,
    /// Its storage class.
    pub class: Class,
    /// The newest figures of its filesystem, of any age.
    pub observation: Option<Observation>,
    /// What is used since, by what its instance says; it counts where it is newer than the observation, and more.
    pub estimate: Option<Estimate>,
    /// When its last resize ended.
    pub last_resize_at: Option<Timestamp>,
    /// When WAL was last removed from its instance.
    pub last_relief_at: Option<Timestamp>,
    /// The last relief of WAL of its instance failed, or was refused since there was no proof.
    pub relief_failed: bool,
    /// Present if, and only if, the PVC shows a resize condition or `allocatedResourceStatuses`.
    pub resize: Option<Resize>,
    /// Another PVC of different size and request on its node reports the same figures: [`Member::twin_of`].
    pub twin: bool,
    /// Its pod runs.
    pub pod_running: bool,
    /// Its instance is down because this volume is full.
    pub disk_full: bool,
    /// What is known of that, where its instance is down and something points at this volume; also where that does not suffice.
    pub findings: Option<Arc<Findings>>,
    /// The operations for which its pod was nudged, as [`nudge`](crate::nudge) writes them.
    pub nudged: Option<Arc<str>>,
    /// The operation that asks no more for this PVC (`resize-withdrawn`): a patch of its that comes late is refused.
    pub withdrawn: Option<Arc<str>>,
    /// Bytes used over time, in any order; the observation may be among them.
    pub history: Arc<[Sample]>,
}

impl Member {
    /// Whether its PVC says that it cannot be grown.
    #[must_use]
    pub fn is_infeasible(&self) -> bool {
        self.resize.as_ref().is_some_and(|resize| resize.stage.is_infeasible())
    }

    /// What it has or asks for, whichever is larger.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.size.max(self.request)
    }

    /// Whether this and another PVC, of any Cluster, must lie on one filesystem: both on one known node, of
    /// different size and request, and reporting the same capacity and available bytes (figures of any age).
    #[must_use]
    pub fn twin_of(&self, other: &Self) -> bool {
        self.node.is_some()
            && self.node == other.node
            && self.uid != other.uid
            && self.size != other.size
            && self.request != other.request
            && match (self.figures(), other.figures()) {
                (Some(a), Some(b)) => a.capacity == b.capacity && a.available == b.available,
                _ => false,
            }
    }

    /// The observation, unless it says nothing: a filesystem of no size at all is no observation.
    #[must_use]
    pub fn figures(&self) -> Option<&Observation> {
        self.observation.as_ref().filter(|o| !(o.used.is_zero() && o.available.is_zero()))
    }
}

/// A storage class; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: Arc<str>,
    /// It has `allowVolumeExpansion: true`.
    pub expandable: bool,
    /// It is known, or said in the manager's settings, to put many volumes on one filesystem.
    pub shared_filesystem: bool,
    /// How often its provisioner lets one volume be changed, where it says.
    pub provider_limit: Option<ProviderLimit>,
    /// How many resizes are under way in this class.
    pub fleet: Fleet,
}

/// How often a provisioner lets one volume be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderLimit {
    /// So many times, at least one.
    pub max_actions: u32,
    /// In this time.
    pub period: SignedDuration,
}

/// Figures of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Bytes used.
    pub used: Bytes,
    /// Bytes that PostgreSQL can still write; less than `capacity − used` where blocks are reserved.
    pub available: Bytes,
    /// Size of the filesystem.
    pub capacity: Bytes,
    /// Inodes, where the filesystem reports them.
    pub inodes: Option<Inodes>,
    /// When the figures were taken.
    pub at: Timestamp,
}

/// Inodes of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inodes {
    /// All there are.
    pub total: u64,
    /// Those in use.
    pub used: u64,
}

impl Inodes {
    /// Whether more than this percentage is used, where the filesystem counts them.
    #[must_use]
    pub fn exceed(self, threshold: Percent) -> bool {
        let limit = i128::from(self.total).saturating_mul(i128::from(threshold.get()));
        self.total > 0 && i128::from(self.used).saturating_mul(100) > limit
    }
}

/// A resize that a PVC shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resize {
    /// When it began, where the PVC says so.
    pub since: Option<Timestamp>,
    /// How far it has come.
    pub stage: ResizeStage,
    /// What the storage driver or the node says is wrong.
    pub error: Option<Arc<str>>,
    /// The size that this is about (`allocatedResources`), where the PVC says so: not what it asks for, just after that was changed.
    pub allocated: Option<Bytes>,
}

/// How far a resize has come (`allocatedResourceStatuses` and conditions of a PVC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResizeStage {
    /// The storage driver works on the volume.
    Controller,
    /// The storage driver says that it cannot be done.
    ControllerInfeasible,
    /// The volume has grown; the node has not begun with the filesystem.
    NodePending,
    /// The node grows the filesystem.
    Node,
    /// The node says that it cannot be done.
    NodeInfeasible,
}

impl ResizeStage {
    /// Whether the storage or the node says that it cannot be done.
    #[must_use]
    pub const fn is_infeasible(self) -> bool {
        match self {
            Self::ControllerInfeasible | Self::NodeInfeasible => true,
            Self::Controller | Self::NodePending | Self::Node => false,
        }
    }
}

impl ResizeStage {
    /// In a few words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Controller => "the storage driver is resizing the volume",
            Self::ControllerInfeasible => "the storage driver cannot resize the volume",
            Self::NodePending => "waiting for the node to grow the filesystem",
            Self::Node => "the node is growing the filesystem",
            Self::NodeInfeasible => "the node cannot grow the filesystem",
        }
    }
}

/// An operation of the ledger; its source is a StorageEvent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Name of the StorageEvent.
    pub id: Arc<str>,
    /// The volume.
    pub volume: VolumeKey,
    /// How pressing it was.
    pub urgency: Urgency,
    /// When it was begun.
    pub started_at: Timestamp,
    /// Effective size before.
    pub from: Bytes,
    /// The size that was asked for.
    pub to: Bytes,
    /// UIDs of the PVCs that it concerns; none: all of the volume.
    pub members: Option<Vec<Arc<str>>>,
    /// The API server accepted the patch of at least one PVC.
    pub accepted: bool,
    /// It has ended, in whatever way. One that ended without being accepted was refused.
    pub done: bool,
}

impl Operation {
    /// Whether it is an action of the budget: the API server accepted a patch, and it is no catch-up.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.accepted && self.urgency != Urgency::CatchUp
    }

    /// Whether it concerns the PVC with this UID.
    #[must_use]
    pub fn concerns(&self, uid: &str) -> bool {
        self.members.as_ref().is_none_or(|m| m.iter().any(|u| **u == *uid))
    }
}
