//! What the planner says of one Cluster: a decision for each volume, and what it rests on.

mod cause;
mod facts;

use std::sync::Arc;

use csm_api::{Model, Reason, State, Urgency, Verdict};
use csm_units::{Bytes, Percent};
use jiff::Timestamp;

pub use cause::Cause;
pub use facts::{CeilingSetting, Evidence, Facts, Filling, Fired, Found, Pace, Usage};

use crate::relief_due::Relief;
use crate::world::VolumeKey;

/// What is to be done for one Cluster, and when to look again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// One decision for each volume: data, wal, tablespaces by name.
    pub decisions: Vec<Decision>,
    /// The next moment at which the answer can change by time alone: until then the same world gives the
    /// same decisions. It promises nothing where a member has a history: a forecast is made of the samples of the last
    /// hour, and so moves with time itself. There, the next samples are what is to be waited for.
    pub look_again_at: Option<Timestamp>,
}

/// What is to be done for one volume, why, and what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The volume.
    pub volume: VolumeKey,
    /// How it is sized; none where its settings could not be resolved.
    pub model: Option<Model>,
    /// What is to be done.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// How pressing it is; of a Hold, of what was wanted.
    pub urgency: Option<Urgency>,
    /// The state of the volume, for people.
    pub state: State,
    /// Its effective size: the largest that a member has or asks for.
    pub from: Bytes,
    /// The size that members grow to; none unless the verdict is to grow.
    pub to: Option<Bytes>,
    /// What is wanted, where something is held.
    pub wanted: Option<Wanted>,
    /// The gates that were passed although they hold what is wanted.
    pub passed: Vec<Reason>,
    /// A ceiling is set, and the effective size has reached it.
    pub at_limit: bool,
    /// The size that it may not pass.
    pub ceiling: Option<Ceiling>,
    /// All PVCs, in the order in which they are patched.
    pub members: Vec<MemberPlan>,
    /// The instance whose filesystem is the fullest, of those that count.
    pub worst: Option<Arc<str>>,
    /// Percent used of the worst, rounded down.
    pub percent_used: Option<Percent>,
    /// The earliest moment at which no gate that time alone opens holds what is wanted.
    pub next_action_at: Option<Timestamp>,
    /// The actions of the last 24 hours, and what they leave.
    pub budget: Budget,
    /// What a person should know besides.
    pub warnings: Vec<Warning>,
    /// WAL relief, where it is wanted: beside the growth, which it neither delays nor alters.
    pub relief: Option<Relief>,
    /// The few figures that the verdict rests on.
    pub facts: Facts,
}

impl Decision {
    /// Whether something is to be done.
    #[must_use]
    pub const fn acts(&self) -> bool {
        matches!(self.verdict, Verdict::Grow | Verdict::CatchUp | Verdict::Rescue)
    }

    /// Whether it is to bring a full disk back: by growing the volume, or its members that are behind.
    #[must_use]
    pub fn rescues(&self) -> bool {
        self.urgency == Some(Urgency::Rescue)
    }
}

/// A growth that is wanted and held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Why it is wanted.
    pub reason: Reason,
    /// How pressing it is.
    pub urgency: Urgency,
    /// To which size. Where the ceiling leaves no room for it, the size without that ceiling; none where only a member
    /// that is larger than the ceiling wants it.
    pub to: Option<Bytes>,
    /// The gate that holds it.
    pub held_by: Reason,
}

/// The size that a volume may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// The size.
    pub size: Bytes,
    /// Where it comes from.
    pub source: CeilingSource,
}

/// Where a ceiling comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CeilingSource {
    /// `expansion.maxSize`.
    MaxSize,
    /// The model's own `limit`.
    Limit,
    /// `bounds.maxSize` of a ClusterStoragePolicy.
    Bound,
    /// The storage has refused more.
    Learned,
    /// The manager's own, where no other is set (`defaultCeilingFactor`).
    Fallback,
}

impl CeilingSource {
    /// In a few words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxSize => "expansion.maxSize",
            Self::Limit => "limit",
            Self::Bound => "bounds.maxSize of a ClusterStoragePolicy",
            Self::Learned => "the largest size that the storage has allowed",
            Self::Fallback => "the manager's default ceiling",
        }
    }
}

/// What is to be done to one PVC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberPlan {
    /// Name of the PVC.
    pub pvc: Arc<str>,
    /// UID of the PVC.
    pub uid: Arc<str>,
    /// Name of the instance.
    pub instance: Arc<str>,
    /// What it asks for now.
    pub request: Bytes,
    /// What it is to ask for; none where it is not patched.
    pub to: Option<Bytes>,
}

/// Something that a person should know besides the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What.
    pub reason: Reason,
    /// The instances that it is about, by name.
    pub members: Vec<Arc<str>>,
}

/// The actions of a volume in the last 24 hours, and what they leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Operations that the API server accepted in the last 24 h, catch-ups aside.
    pub actions_last_24h: u32,
    /// What planned growth may still do; none: no limit, or none of this kind.
    pub available_for_planned: Option<u32>,
    /// What emergencies may still do besides.
    pub available_for_emergency: Option<u32>,
    /// When the oldest of the actions drops out.
    pub resets_at: Option<Timestamp>,
}
