use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Serialize};

use crate::{
    ClusterReference, EventType, ExpansionSpec, Outcome, Phase, Reason, StorageEvent, StorageEventSpec, StorageEventStatus, Trigger,
    Urgency, VolumeReference,
};

/// A [`StorageEvent`] that records the growth of a volume: all that a growth has is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StorageEvent", into = "StorageEvent")]
pub struct Growth {
    /// Of the StorageEvent.
    pub metadata: ObjectMeta,
    /// What was decided.
    pub spec: GrowthSpec,
    /// How far it has come.
    pub status: Option<StorageEventStatus>,
}

/// The part of a [`StorageEventSpec`] that a growth has.
#[derive(Clone, Debug, PartialEq)]
pub struct GrowthSpec {
    /// The Cluster.
    pub cluster_ref: ClusterReference,
    /// Whether it brings an instance back that is down.
    pub rescue: bool,
    /// Why it was begun.
    pub trigger: Trigger,
    /// Which volume.
    pub volume: VolumeReference,
    /// The planner's reason.
    pub reason: Reason,
    /// The figures that the decision rested on, in a sentence.
    pub message: String,
    /// The growth.
    pub expansion: ExpansionSpec,
}

/// A StorageEvent that records no growth.
#[derive(Clone, Debug, PartialEq)]
pub struct NoGrowth(pub Box<StorageEvent>);

impl fmt::Display for NoGrowth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StorageEvent { metadata, spec, .. } = &*self.0;
        let name = metadata.name.as_deref().unwrap_or_default();
        write!(
            f,
            "the StorageEvent {name} of the type {} records no growth of a volume of a Cluster",
            spec.event_type
        )
    }
}

impl std::error::Error for NoGrowth {}

impl Growth {
    /// A growth that has not begun.
    #[must_use]
    pub fn new(name: &str, spec: GrowthSpec) -> Self {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        Self {
            metadata,
            spec,
            status: None,
        }
    }
}

impl Growth {
    /// Whether it has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.status.as_ref().and_then(|status| status.phase).is_some_and(Phase::is_end)
    }

    /// How it ended; none: it has not, or in a way that only another version knows.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.status.as_ref()?.outcome()
    }

    /// Whether a person asked for it and it was refused before it began: nothing failed, and no later growth waits for it.
    #[must_use]
    pub fn was_turned_down(&self) -> bool {
        let ended = self.status.as_ref().filter(|status| status.phase == Some(Phase::Failed));
        self.spec.trigger == Trigger::Manual && ended.is_some_and(|status| status.pvc_statuses.is_empty())
    }
}

impl TryFrom<StorageEvent> for Growth {
    type Error = NoGrowth;

    fn try_from(event: StorageEvent) -> Result<Self, NoGrowth> {
        let rescue = match event.spec.event_type {
            EventType::Expansion => false,
            EventType::Rescue => true,
            EventType::WalCleanup | EventType::Alert | EventType::CircuitBreaker => return Err(NoGrowth(Box::new(event))),
        };
        let StorageEvent { metadata, spec, status } = event;
        match spec {
            StorageEventSpec {
                cluster_ref: Some(cluster_ref),
                event_type: _,
                trigger,
                volume: Some(volume),
                reason,
                message,
                expansion: Some(expansion),
                wal_cleanup: _,
                circuit_breaker: _,
            } => Ok(Self {
                metadata,
                spec: GrowthSpec {
                    cluster_ref,
                    rescue,
                    trigger,
                    volume,
                    reason,
                    message,
                    expansion,
                },
                status,
            }),
            spec => Err(NoGrowth(Box::new(StorageEvent { metadata, spec, status }))),
        }
    }
}

impl From<Growth> for StorageEvent {
    fn from(growth: Growth) -> Self {
        let Growth { metadata, spec, status } = growth;
        Self {
            metadata,
            spec: spec.into(),
            status,
        }
    }
}

impl From<GrowthSpec> for StorageEventSpec {
    fn from(spec: GrowthSpec) -> Self {
        let event_type = spec.event_type();
        let GrowthSpec {
            cluster_ref,
            rescue: _,
            trigger,
            volume,
            reason,
            message,
            expansion,
        } = spec;
        Self {
            cluster_ref: Some(cluster_ref),
            event_type,
            trigger,
            volume: Some(volume),
            reason,
            message,
            expansion: Some(expansion),
            wal_cleanup: None,
            circuit_breaker: None,
        }
    }
}

impl GrowthSpec {
    /// What it is recorded as.
    #[must_use]
    pub fn event_type(&self) -> EventType {
        if self.rescue { EventType::Rescue } else { EventType::Expansion }
    }

    /// How pressing the operation was. A catch-up of members whose disk is full is a catch-up here: it counts against no budget.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        Urgency::of(self.trigger, Some(self.reason))
    }

    /// Whether it is to bring a full disk back. A catch-up that does so is recorded as a catch-up, and a person may write any
    /// reason.
    #[must_use]
    pub fn rescues(&self) -> bool {
        let disk_full = self.reason == Reason::DiskFull && self.trigger != Trigger::Manual;
        disk_full || self.urgency() == Urgency::Rescue
    }
}

/// It is a StorageEvent to the API server.
impl Resource for Growth {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(dt: &()) -> Cow<'_, str> {
        StorageEvent::kind(dt)
    }

    fn group(dt: &()) -> Cow<'_, str> {
        StorageEvent::group(dt)
    }

    fn version(dt: &()) -> Cow<'_, str> {
        StorageEvent::version(dt)
    }

    fn plural(dt: &()) -> Cow<'_, str> {
        StorageEvent::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_growth_is_a_storage_event_and_back() {
        let text = json!({
            "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "StorageEvent",
            "metadata": {"name": "orders-rescue-1", "namespace": "shop"},
            "spec": {
                "clusterRef": {"name": "orders", "uid": "u"}, "eventType": "rescue", "trigger": "emergency",
                "volume": {"role": "tablespace", "tablespace": "archive"}, "reason": "DiskFull", "message": "full",
                "expansion": {"originalSize": "8Gi", "requestedSize": "10Gi", "parallelism": 2,
                    "affectedPVCs": [{"name": "orders-1", "uid": "p", "instance": "orders-1", "originalSize": "8Gi"}]},
            },
            "status": {"phase": "Failed"},
        });
        let growth: Growth = serde_json::from_value(text.clone()).unwrap();
        assert_eq!((growth.spec.urgency(), growth.spec.rescue), (Urgency::Rescue, true));
        assert_eq!(serde_json::to_value(&growth).unwrap(), text);
    }

    #[test]
    fn a_record_of_anything_else_is_none() {
        let event = |spec: serde_json::Value| {
            let object = json!({"metadata": {"name": "e"}, "spec": spec});
            Growth::try_from(serde_json::from_value::<StorageEvent>(object).unwrap())
        };
        let breaker = json!({
            "clusterRef": {"name": "orders", "uid": "u"}, "eventType": "circuit-breaker", "trigger": "manual", "reason": "CircuitOpen",
            "message": "closed by a person", "circuitBreaker": {"scope": "per-cluster", "state": "Closed", "at": "2026-03-01T10:00:00Z"},
        });
        let refused = event(breaker).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the StorageEvent e of the type circuit-breaker records no growth of a volume of a Cluster"
        );
        let without = json!({
            "clusterRef": {"name": "orders", "uid": "u"}, "eventType": "expansion", "trigger": "manual", "reason": "UsageThreshold", "message": "",
            "volume": {"role": "data"},
        });
        assert!(event(without).is_err());
    }
}
