//! `relieve-wal`: the relief of an instance's WAL that a person asks for, as the manager would weigh it.

use csm_api::{
    ClusterReference, EventType, Phase, StorageEventSpec, StorageEventStatus, Trigger, VolumeReference, WalCleanupSpec, WalCleanupStatus,
};
use csm_core::admit::Refusal;
use csm_core::{explain, relief};
use jiff::Timestamp;
use serde::Serialize;

use crate::thought::Thought;

/// A relief that may be asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReliefAsked {
    /// The Cluster, as NAMESPACE/NAME.
    pub cluster: String,
    /// The instance.
    pub instance: String,
    /// Whether it is the primary.
    pub primary: bool,
    /// Whether anything is to be changed; else it lists what could go.
    pub acts: bool,
    /// The Cluster, by identity.
    #[serde(skip)]
    pub cluster_ref: ClusterReference,
    /// Its record.
    #[serde(skip)]
    pub spec: StorageEventSpec,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Relief {
    /// What was asked for.
    #[serde(flatten)]
    pub asked: ReliefAsked,
    /// The StorageEvent that records it.
    pub event: Option<String>,
    /// Whether it was only tried: "client" or "server".
    pub dry_run: Option<&'static str>,
    /// How far it had come when it was last looked at.
    pub phase: Option<Phase>,
    /// How it ended, in a word.
    pub outcome: Option<String>,
    /// How it ended, in words.
    pub message: Option<String>,
    /// What it found and did.
    pub wal_cleanup: Option<WalCleanupStatus>,
    /// How to go on.
    pub follow: Option<String>,
}

impl Relief {
    /// Puts how it ended into it.
    pub fn end(&mut self, status: StorageEventStatus) {
        let complete = status.conditions.into_iter().next();
        self.phase = status.phase;
        (self.outcome, self.message) = complete.map(|c| (c.reason, c.message)).unzip();
        self.wal_cleanup = status.wal_cleanup;
    }
}

/// The relief of an instance's WAL, of the primary's where none is named.
///
/// # Errors
/// What stands against it, as far as it can be seen from here.
pub fn ask_relief(thought: &Thought, instance: Option<&str>, acts: bool, now: Timestamp) -> Result<ReliefAsked, Refusal> {
    let world = &thought.world;
    let primary = world.cluster.primary.as_deref();
    let Some(instance) = instance.or(primary) else {
        let message = "which instance is the primary is not known now; name one with --instance".to_owned();
        return Err(Refusal { reason: None, message });
    };
    let (rules, volume) = relief::permission(world, instance, !acts, now)?;
    let decision = thought.decision(&volume);
    let said = decision.map_or_else(String::new, explain::sentence);
    let what = if acts { "the relief" } else { "a list of what could go" };
    let cluster_ref = ClusterReference {
        name: world.cluster.key.name.to_string(),
        uid: world.cluster.uid.to_string(),
    };
    let spec = StorageEventSpec {
        cluster_ref: Some(cluster_ref.clone()),
        event_type: EventType::WalCleanup,
        trigger: Trigger::Manual,
        volume: Some(VolumeReference {
            role: volume.role,
            tablespace: None,
        }),
        reason: decision.map_or(csm_api::Reason::BelowThresholds, |decision| decision.reason),
        message: format!("a person asked for {what} of {instance}'s WAL; the planner by itself: {said}"),
        expansion: None,
        wal_cleanup: Some(WalCleanupSpec {
            instance: instance.to_owned(),
            dry_run: (!acts).then_some(true),
            retain_count: i32::try_from(rules.retain_count).unwrap_or(i32::MAX),
            require_archived: Some(rules.require_archived),
            goal_bytes: None,
        }),
        circuit_breaker: None,
    };
    Ok(ReliefAsked {
        cluster: world.cluster.key.to_string(),
        instance: instance.to_owned(),
        primary: primary == Some(instance),
        acts,
        cluster_ref,
        spec,
    })
}
