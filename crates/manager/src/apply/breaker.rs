use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use csm_api::{
    BreakerScope, BreakerState, CircuitBreakerChange, ClusterReference, EventType, Reason, StorageEvent, StorageEventSpec, Trigger,
    annotation, label,
};
use csm_core::world::ClusterKey;
use csm_runtime::{Failure, FailureClass};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{Writer, owner};

/// Whose breaker changed.
#[derive(Clone, Debug)]
pub enum Whose {
    /// That of the Cluster with this UID.
    Cluster(ClusterKey, Arc<str>),
    /// The one of all Clusters; its records are in this namespace.
    Fleet(Arc<str>),
}

/// A breaker that opened or closed.
#[derive(Clone, Debug)]
pub struct BreakerChange {
    /// Whose it is.
    pub whose: Whose,
    /// What it is since.
    pub state: BreakerState,
    /// Since when.
    pub at: Timestamp,
    /// Growths that had failed in a row.
    pub failures: u32,
    /// A person closed it.
    pub by_hand: bool,
    /// Why, in a sentence.
    pub message: String,
}

impl BreakerChange {
    /// `<cluster>-circuit-breaker-<yyyymmdd-hhmmss>-<suffix>`, of what changed alone: told twice, it is recorded once.
    fn name(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (self.state, self.at.as_second(), self.by_hand).hash(&mut hasher);
        let of = match &self.whose {
            Whose::Cluster(key, uid) => {
                uid.hash(&mut hasher);
                &*key.name
            }
            Whose::Fleet(_) => "fleet",
        };
        let time = self.at.to_zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M%S").to_string();
        format!("{of}-{}-{time}-{:05x}", EventType::CircuitBreaker, hasher.finish() & 0xf_ffff)
    }
}

impl Writer {
    /// Records that a breaker opened or closed; none where that is recorded already.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn record_breaker(&self, change: &BreakerChange) -> Result<Option<StorageEvent>, Failure> {
        let (namespace, cluster) = match &change.whose {
            Whose::Cluster(key, uid) => (&key.namespace, Some((key, uid))),
            Whose::Fleet(namespace) => (namespace, None),
        };
        let mut labels = BTreeMap::from([(label::EVENT_TYPE.to_owned(), EventType::CircuitBreaker.to_string())]);
        labels.extend(cluster.map(|(key, _)| (label::CLUSTER.to_owned(), key.name.to_string())));
        let event = StorageEvent {
            metadata: ObjectMeta {
                name: Some(change.name()),
                namespace: Some(namespace.to_string()),
                labels: Some(labels),
                owner_references: cluster.map(|(key, uid)| vec![owner(key, uid)]),
                ..ObjectMeta::default()
            },
            spec: StorageEventSpec {
                cluster_ref: cluster.map(|(key, uid)| ClusterReference {
                    name: key.name.to_string(),
                    uid: uid.to_string(),
                }),
                event_type: EventType::CircuitBreaker,
                trigger: if change.by_hand {
                    Trigger::Manual
                } else {
                    Trigger::ThresholdBreach
                },
                volume: None,
                reason: Reason::CircuitOpen,
                message: change.message.clone(),
                expansion: None,
                circuit_breaker: Some(CircuitBreakerChange {
                    scope: match cluster {
                        Some(_) => BreakerScope::PerCluster,
                        None => BreakerScope::Global,
                    },
                    state: change.state,
                    at: Time(change.at),
                    failures: i32::try_from(change.failures).ok(),
                }),
            },
            status: None,
        };
        let parameters = PostParams {
            field_manager: Some(csm_api::FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        match self.write(self.api::<StorageEvent>(namespace).create(&parameters, &event)).await {
            Err(failure) if failure.class() == FailureClass::AlreadyExists => Ok(None),
            created => created.map(Some),
        }
    }

    /// Removes the annotation by which a person asked for the Cluster's breaker to be closed, from this very Cluster.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn asked_for_reset(&self, key: &ClusterKey, uid: &str) -> Result<csm_cnpg::Cluster, Failure> {
        let api = self.api::<csm_cnpg::Cluster>(&key.namespace);
        self.write(api.patch(&key.name, &as_ourselves(), &Patch::Merge(&without_request(Some(uid)))))
            .await
    }

    /// The same of a ClusterStoragePolicy, for the breaker of all Clusters.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn asked_for_reset_of_all(&self, policy: &str) -> Result<csm_api::ClusterStoragePolicy, Failure> {
        let api: Api<csm_api::ClusterStoragePolicy> = Api::all(self.client.clone());
        self.write(api.patch(policy, &as_ourselves(), &Patch::Merge(&without_request(None))))
            .await
    }
}

fn as_ourselves() -> PatchParams {
    PatchParams {
        field_manager: Some(csm_api::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

fn without_request(uid: Option<&str>) -> Value {
    let mut metadata = json!({"annotations": {annotation::RESET_CIRCUIT_BREAKER: null}});
    if let (Some(uid), Some(fields)) = (uid, metadata.as_object_mut()) {
        fields.insert("uid".to_owned(), json!(uid));
    }
    json!({ "metadata": metadata })
}
