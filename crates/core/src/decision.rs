use std::sync::Arc;

use csm_api::{Model, Reason, State, Urgency, Verdict};
use csm_units::{Bytes, Percent};
use jiff::{SignedDuration, Timestamp};

use crate::disk_full::Findings;
use crate::resolve::{Origin, Resolution};
use crate::validate::Problem;
use crate::world::{Circuit, Fleet, ProviderLimit, ResizeStage, VolumeKey};

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
    /// The few figures that the verdict rests on.
    pub facts: Facts,
}

impl Decision {
    /// Whether something is to be done.
    #[must_use]
    pub const fn acts(&self) -> bool {
        matches!(self.verdict, Verdict::Grow | Verdict::CatchUp | Verdict::Rescue)
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

/// The few figures that a verdict rests on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The filesystem of the worst member.
    pub usage: Option<Usage>,
    /// What the volume's model goes by, where its settings could be resolved: `thresholds.expansion`,
    /// `usageThreshold`, or, of what is to stay free, `targetBuffer`.
    pub threshold: Option<Percent>,
    /// What fired: what is done, or held, or what a runway stands in for.
    pub fired: Option<Fired>,
    /// Of a runway, and of one that is held: how little there is left.
    pub filling: Option<Filling>,
    /// The setting that the ceiling of the decision comes from, where it is one.
    pub ceiling: Option<CeilingSetting>,
    /// The ClusterStoragePolicy whose `bounds.maxActionsPerDay` holds, where the budget does and its own maximum is not it.
    pub bound: Option<Origin>,
    /// What the gate saw that holds, or nothing.
    pub cause: Cause,
    /// Fields of other models that are set, and have no effect.
    pub ignored: Vec<&'static str>,
    /// The text of the annotation `paused`, where it is neither "true" nor "false".
    pub pause: Option<Arc<str>>,
    /// Instances that are down, perhaps because the volume is full.
    pub suspected: Vec<Found>,
}

/// An instance that is down, and what is known of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The instance.
    pub instance: Arc<str>,
    /// What is known.
    pub findings: Arc<Findings>,
}

/// A rule that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// Which.
    pub reason: Reason,
    /// What it saw.
    pub evidence: Evidence,
}

/// What a rule saw that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Instances that are down because the volume is full.
    Down {
        /// The instances, by name.
        instances: Vec<Arc<str>>,
        /// What shows it, of those of which something does.
        findings: Vec<Found>,
    },
    /// Percent used has reached, or is above, a level.
    Percent {
        /// The fullest of the instances that count.
        instance: Arc<str>,
        /// Its filesystem.
        usage: Usage,
        /// The level.
        level: Percent,
    },
    /// Too little is available.
    Available {
        /// The instance.
        instance: Arc<str>,
        /// What is available to it.
        available: Bytes,
        /// What should be.
        least: Bytes,
        /// Nobody set that: it is the default.
        default: bool,
    },
    /// Too many inodes are used.
    Inodes {
        /// The instance with the largest share of them in use.
        instance: Arc<str>,
        /// How many are used.
        used: u64,
        /// How many there are.
        total: u64,
        /// The share that may be used.
        level: Percent,
    },
    /// It will be full too soon.
    Forecast {
        /// When, and how fast it fills.
        forecast: Pace,
        /// The time that should be left.
        least: SignedDuration,
    },
    /// It is smaller than it should be.
    Floor {
        /// `request`.
        request: Bytes,
    },
    /// What is used leaves too little free.
    Buffer {
        /// The instance with the most used bytes.
        instance: Arc<str>,
        /// Its filesystem.
        usage: Usage,
        /// The share that should stay free.
        buffer: Percent,
        /// The new size provides for what is forecast to be written until the next maintenance window.
        ahead: bool,
    },
    /// Members are smaller than the volume.
    Lagging {
        /// Their instances, by name.
        instances: Vec<Arc<str>>,
    },
}

/// A volume that is about to fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filling {
    /// The instance with the least available.
    pub instance: Arc<str>,
    /// What is available to it.
    pub available: Bytes,
    /// When the worst member will be full, where it fills.
    pub forecast: Option<Pace>,
}

/// How fast a volume fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long until it is full.
    pub time_to_full: SignedDuration,
    /// What is written in an hour.
    pub per_hour: Bytes,
}

/// The setting that a ceiling comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CeilingSetting {
    /// What it says. The ceiling is above it where `exceedLimitOnEmergency` lets a growth pass it.
    pub size: Bytes,
    /// The object that says it.
    pub origin: Origin,
}

/// Figures of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes used.
    pub used: Bytes,
    /// Bytes available.
    pub available: Bytes,
}

/// What a gate saw that holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Cause {
    /// Nothing holds, or there is nothing to say beyond the reason.
    #[default]
    None,
    /// The settings could not be resolved.
    Settings(Arc<Resolution>),
    /// A person paused the Cluster.
    Pause {
        /// Until when, where the annotation says so.
        until: Option<Timestamp>,
    },
    /// All instances are fenced, or the annotation cannot be read.
    FencedAll {
        /// The annotation, where it cannot be read.
        unreadable: Option<Arc<str>>,
    },
    /// One member is the cause: it is fenced, not bound, or a block device.
    Member {
        /// Its instance.
        instance: Arc<str>,
        /// Its PVC.
        pvc: Arc<str>,
    },
    /// A storage class is the cause.
    Class {
        /// Name of the class.
        class: Arc<str>,
        /// An instance whose PVC is of that class.
        instance: Arc<str>,
    },
    /// A filesystem is shared by many volumes.
    Filesystem {
        /// The instance.
        instance: Arc<str>,
        /// used + available of the filesystem; zero where there are no figures.
        filesystem: Bytes,
        /// Size of the PVC.
        size: Bytes,
        /// Its storage class.
        class: Arc<str>,
    },
    /// A resize is under way.
    Resize {
        /// When the newest one began, where that is known.
        since: Option<Timestamp>,
        /// The operation that it belongs to, where one is unfinished.
        operation: Option<Arc<str>>,
        /// The first instance whose PVC shows it.
        instance: Option<Arc<str>>,
        /// How far it has come, where the PVC says so.
        stage: Option<ResizeStage>,
        /// What the storage says is wrong.
        error: Option<Arc<str>>,
    },
    /// There are no fresh figures.
    Figures {
        /// The newest ones, where there ever were any: when they were taken, and of which instance.
        newest: Option<(Timestamp, Arc<str>)>,
        /// Figures older than this do not count.
        limit: SignedDuration,
    },
    /// The last growth was refused.
    Until {
        /// When the gate opens.
        at: Timestamp,
    },
    /// The last growth was too recent.
    Cooldown {
        /// When it began.
        last: Timestamp,
        /// When the gate opens.
        at: Timestamp,
    },
    /// The settings of this volume do not validate.
    Invalid(Arc<[Problem]>),
    /// A circuit breaker is open.
    Breaker {
        /// That of the whole fleet.
        global: bool,
        /// It is half open, and a growth tries already.
        half_open: bool,
        /// The breaker.
        circuit: Circuit,
    },
    /// The budget is used up, or what is left of it is reserved.
    Budget {
        /// What counts against it.
        actions: u32,
        /// The most in 24 hours.
        max: u32,
        /// What planned growth leaves for emergencies.
        reserved: u32,
        /// When the gate opens.
        at: Option<Timestamp>,
    },
    /// A PVC was changed as often as its provisioner allows.
    Provider {
        /// The PVC.
        pvc: Arc<str>,
        /// Its provisioner's limit.
        limit: ProviderLimit,
        /// When the gate opens.
        at: Option<Timestamp>,
    },
    /// Too many resizes are under way.
    Fleet {
        /// How many, and how many come first.
        fleet: Fleet,
        /// The most.
        limit: u32,
        /// In this storage class; none: in the whole fleet.
        class: Option<Arc<str>>,
    },
    /// The maintenance window is closed.
    Window {
        /// When it opens; none: never.
        at: Option<Timestamp>,
    },
    /// WAL archiving fails.
    Archive {
        /// When a file was last archived.
        last_archived: Option<Timestamp>,
        /// When archiving last failed.
        last_failed: Option<Timestamp>,
    },
    /// WAL files wait to be archived.
    Pending {
        /// How many.
        files: u32,
        /// The most.
        max: u32,
    },
    /// Inactive slots hold back WAL.
    Slots {
        /// Each with what it holds back, the most first.
        slots: Vec<(Arc<str>, Bytes)>,
        /// What they hold back together.
        retained: Bytes,
        /// The most.
        max: Bytes,
    },
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
