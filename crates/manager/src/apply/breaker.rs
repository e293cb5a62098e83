use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use csm_api::{
    BreakerScope, BreakerState, CircuitBreakerChange, ClusterReference, ClusterStoragePolicy, EventType, Reason, StorageEvent,
    StorageEventSpec, Trigger, annotation, label,
};
use csm_core::world::ClusterKey;
use csm_gather::views::asks_for_reset;
use csm_gather::watched::Watched;
use csm_runtime::error::call;
use csm_runtime::{Failure, FailureClass};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::Api;
use kube::api::{ObjectMeta, Patch};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Writer, creating, owner, patching};

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

/// What became of a record.
#[derive(Debug)]
pub enum Recorded {
    /// It was made.
    Now(Box<StorageEvent>),
    /// It was there already; without it where it is gone since, or cannot be read.
    Before(Option<Box<StorageEvent>>),
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
    /// Records that a breaker opened or closed, once.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn record_breaker(&self, change: &BreakerChange) -> Result<Recorded, Failure> {
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
                wal_cleanup: None,
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
        match self.write(self.api::<StorageEvent>(namespace).create(&creating(), &event)).await {
            Err(failure) if failure.class() == FailureClass::AlreadyExists => {
                let there = call(self.api::<Watched<StorageEvent>>(namespace).get_opt(&change.name())).await?;
                Ok(Recorded::Before(match there {
                    Some(Watched::Readable(event)) => Some(Box::new(event)),
                    Some(Watched::Unreadable(_)) | None => None,
                }))
            }
            created => created.map(|event| Recorded::Now(Box::new(event))),
        }
    }

    /// Takes away the annotation by which a person asks for the Cluster's breaker to be closed, from this very Cluster.
    /// Returns whether it was there, and the Cluster as it is now.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn take_request(&self, key: &ClusterKey, uid: &str) -> Result<(bool, Option<csm_cnpg::Cluster>), Failure> {
        self.take(&self.api(&key.namespace), &key.name, Some(uid)).await
    }

    /// The same of a ClusterStoragePolicy, for the breaker of all Clusters.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn take_request_of_all(&self, policy: &str) -> Result<(bool, Option<Watched<ClusterStoragePolicy>>), Failure> {
        self.take(&Api::all(self.client.clone()), policy, None).await
    }

    /// Looks at the object itself: a cache may still show a request that was carried out long ago.
    async fn take<K>(&self, api: &Api<K>, name: &str, uid: Option<&str>) -> Result<(bool, Option<K>), Failure>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        let Some(object) = call(api.get_opt(name)).await? else {
            return Ok((false, None));
        };
        let meta = object.meta();
        let another = uid.is_some() && meta.uid.as_deref() != uid;
        if another || !asks_for_reset(meta) {
            return Ok((false, Some(object)));
        }
        let patch = json!({"metadata": {
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
            "annotations": {annotation::RESET_CIRCUIT_BREAKER: null},
        }});
        let taken = self.write(api.patch(name, &patching(), &Patch::Merge(&patch))).await?;
        Ok((true, Some(taken)))
    }
}
