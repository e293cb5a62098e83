use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::vocabulary::vocabulary;

vocabulary! {
    /// Status of a condition.
    ConditionStatus {
        /// It holds.
        True = "True",
        /// It does not hold.
        False = "False",
        /// It is not known.
        Unknown = "Unknown",
    }
}

impl From<bool> for ConditionStatus {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// A condition, with the fields of Kubernetes' `metav1.Condition`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One word, why.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Time,
    /// The generation of the object that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// Types of conditions.
pub mod condition {
    /// PostgresStorage: the manager handles it.
    pub const READY: &str = "Ready";
    /// PostgresStorage: no volume is in danger.
    pub const HEALTHY: &str = "Healthy";
    /// PostgresStorage: the settings could be resolved.
    pub const POLICY_RESOLVED: &str = "PolicyResolved";
    /// PostgresStorage and policies: two policies of one rank match.
    pub const CONFLICTING: &str = "Conflicting";
    /// PostgresStorage: a growth is under way.
    pub const RESIZING: &str = "Resizing";
    /// PostgresStorage: a growth that is wanted, or would be, is held.
    pub const BLOCKED: &str = "Blocked";
    /// PostgresStorage: the circuit breaker holds growth.
    pub const CIRCUIT_OPEN: &str = "CircuitOpen";
    /// PostgresStorage, of a Cluster that archives its WAL: the last try did not fail.
    pub const ARCHIVE_HEALTHY: &str = "ArchiveHealthy";
    /// PostgresStorage: every volume has fresh figures.
    pub const METRICS_FRESH: &str = "MetricsFresh";
    /// PostgresStorage, with `applyTo: ClusterSpec`: the sizes in the Cluster's spec follow those of its volumes.
    pub const SPEC_FOLLOWS: &str = "SpecFollows";
    /// Policies: the manager applies it.
    pub const ACTIVE: &str = "Active";
    /// Policies: its own settings validate.
    pub const VALID: &str = "Valid";
    /// StorageEvent: it has ended.
    pub const COMPLETE: &str = "Complete";
}

/// The new conditions, each with the time of its last transition: an unchanged status keeps the old time.
#[must_use]
pub fn merge_conditions(old: &[Condition], new: Vec<Condition>) -> Vec<Condition> {
    new.into_iter()
        .map(|mut condition| {
            if let Some(before) = old.iter().find(|c| c.type_ == condition.type_ && c.status == condition.status) {
                condition.last_transition_time = before.last_transition_time.clone();
            }
            condition
        })
        .collect()
}
