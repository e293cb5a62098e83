//! What the gate saw that holds: each gate has something of its own to say.

use std::sync::Arc;

use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::resolve::Resolution;
use crate::validate::Problem;
use crate::world::{Circuit, Fleet, ProviderLimit, ResizeStage};

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
