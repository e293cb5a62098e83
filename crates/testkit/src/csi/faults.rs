//! Faults: what the driver does wrong on demand.

use serde::{Deserialize, Serialize};

/// The calls that faults can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rpc {
    /// A volume is made.
    CreateVolume,
    /// A volume is deleted.
    DeleteVolume,
    /// The controller's half of an expansion.
    ControllerExpandVolume,
    /// A volume is attached, formatted if new, and mounted on its node.
    NodeStageVolume,
    /// A volume is bound into a pod.
    NodePublishVolume,
    /// The node's half of an expansion: the filesystem.
    NodeExpandVolume,
    /// The kubelet asks for figures. A hang freezes them; an error removes the volume from the kubelet's list.
    NodeGetVolumeStats,
}

/// The gRPC codes that a fault can answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Code {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
}

impl From<Code> for tonic::Code {
    fn from(code: Code) -> Self {
        match code {
            Code::Cancelled => Self::Cancelled,
            Code::Unknown => Self::Unknown,
            Code::InvalidArgument => Self::InvalidArgument,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::PermissionDenied => Self::PermissionDenied,
            Code::ResourceExhausted => Self::ResourceExhausted,
            Code::FailedPrecondition => Self::FailedPrecondition,
            Code::Aborted => Self::Aborted,
            Code::OutOfRange => Self::OutOfRange,
            Code::Unimplemented => Self::Unimplemented,
            Code::Internal => Self::Internal,
            Code::Unavailable => Self::Unavailable,
        }
    }
}

/// Which volumes a fault concerns; everything that is given must match. Empty: all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Exactly this volume's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Claims whose `namespace/name` begins with this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// Exactly this storage class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
}

impl Scope {
    /// Claims whose `namespace/name` begins with `prefix`.
    pub fn claim(prefix: impl Into<String>) -> Self {
        Self {
            claim: Some(prefix.into()),
            ..Self::default()
        }
    }

    /// All volumes of one storage class.
    pub fn storage_class(name: impl Into<String>) -> Self {
        Self {
            storage_class: Some(name.into()),
            ..Self::default()
        }
    }

    pub(super) fn covers(&self, volume: &VolumeRef) -> bool {
        self.volume.as_ref().is_none_or(|id| *id == volume.id)
            && self.claim.as_ref().is_none_or(|prefix| volume.claim.starts_with(prefix.as_str()))
            && self.storage_class.as_ref().is_none_or(|class| *class == volume.storage_class)
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// The call does not return until the fault is cleared or the caller gives up.
    Hang {
        /// Which call.
        rpc: Rpc,
    },
    /// The call takes longer, and then goes on.
    Delay {
        /// Which call.
        rpc: Rpc,
        /// How much longer.
        seconds: f64,
    },
    /// The call fails.
    Fail {
        /// Which call.
        rpc: Rpc,
        /// The gRPC code of the answer.
        code: Code,
        /// The text of the answer.
        message: String,
        /// How often; without it for ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        times: Option<u32>,
    },
    /// Volumes larger than this are infeasible: `OutOfRange`, at creation and expansion.
    LargestSize {
        /// In bytes.
        bytes: u64,
    },
    /// All volumes in scope together: `ResourceExhausted` beyond it, at creation and expansion.
    PoolCapacity {
        /// In bytes.
        bytes: u64,
    },
    /// The shortest time between two expansions of one volume, as cloud disks have it: `Internal` before.
    CoolDown {
        /// In seconds.
        seconds: u64,
    },
}

/// One fault, by name: setting a name again replaces it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// To clear it by.
    pub name: String,
    /// Whom it concerns.
    #[serde(default)]
    pub scope: Scope,
    /// What it does.
    #[serde(flatten)]
    pub action: Action,
}

/// The volume that a call is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRef {
    /// Its id.
    pub id: String,
    /// Its claim, `namespace/name`.
    pub claim: String,
    /// Its storage class.
    pub storage_class: String,
}

/// The answer that a fault gives in place of the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// gRPC code.
    pub code: Code,
    /// Text.
    pub message: String,
}

impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> Self {
        tonic::Status::new(refusal.code.into(), refusal.message)
    }
}

/// A call that reached the driver, for tests that count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Milliseconds since the epoch, at its begin.
    pub at_ms: u64,
    /// Which.
    pub rpc: Rpc,
    /// About what.
    pub volume: VolumeRef,
    /// Where: a node's name, or `controller`.
    pub node: String,
    /// The fault that hit it first.
    pub fault: Option<String>,
}
