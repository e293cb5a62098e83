//! The API of CNPG Storage Manager: the kinds of group `cnpg.supporttools.io`, their conditions, the closed
//! set of reasons, labels, annotations and field managers. No I/O.
//!
//! A field is in the schema when it works: the schema never promises what the manager ignores.
#![warn(missing_docs)]

mod cluster_storage_policy;
mod conditions;
mod event_reason;
mod growth;
mod names;
mod postgres_storage;
mod quantity;
mod reason;
mod settings;
mod storage_event;
mod storage_policy;
mod vocabulary;
mod volume_settings;
mod wal_cleanup;

pub use cluster_storage_policy::{Bounds, ClusterStoragePolicy, ClusterStoragePolicySpec};
pub use conditions::{Condition, ConditionStatus, condition, merge_conditions};
pub use event_reason::EventReason;
pub use growth::{Growth, GrowthSpec, NoGrowth};
pub use names::{EVIDENCE_AT, FIELD_MANAGER, FIELD_MANAGER_STATUS, GROUP, RESIZE_REQUESTED, RESIZE_WITHDRAWN, VERSION, annotation, label};
pub use postgres_storage::{
    BudgetStatus, CircuitBreakerStatus, DiskStatus, InactiveSlot, InstanceDisk, InstanceDisks, InstanceWal, LastAction, LastDecision,
    PolicyRef, PostgresStorage, PostgresStorageSpec, PostgresStorageStatus, ResizeOutcome, RootCause, StorageSizing, VolumeSizing,
};
pub use quantity::QuantityText;
pub use reason::Reason;
pub use settings::{CircuitBreaker, ClusterRef, Expansion, Settings, Thresholds, WalCleanup};
pub use storage_event::{
    AffectedPvc, CircuitBreakerChange, ClusterReference, ExpansionSpec, Outcome, Phase, PvcFailure, PvcPhase, PvcStatus, Recovery,
    RetryBasis, StorageEvent, StorageEventSpec, StorageEventStatus, VerifiedBy, VolumeReference,
};
pub use storage_policy::{PolicyStatus, StoragePolicy, StoragePolicySpec};
pub use vocabulary::{ApplyTo, BreakerScope, BreakerState, CauseKind, EventType, Mode, Model, Role, State, Trigger, Urgency, Verdict};
pub use volume_settings::{
    EmergencyGrow, MaintenanceWindow, Resize, ResizeExpansion, ResizeStrategy, ResizeTriggers, StepText, TablespaceSettings,
    VolumeSettings, WalSafetyPolicy,
};
pub use wal_cleanup::{
    Rung, RungResult, RungStatus, WalAdvice, WalBound, WalCleanupOutcome, WalCleanupSpec, WalCleanupStatus, WalFiles, WalHolder, WalLever,
    WalProof,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The definitions of all kinds, in the order in which they are best applied.
#[must_use]
pub fn all_crds() -> Vec<CustomResourceDefinition> {
    vec![
        ClusterStoragePolicy::crd(),
        StoragePolicy::crd(),
        PostgresStorage::crd(),
        StorageEvent::crd(),
    ]
}
