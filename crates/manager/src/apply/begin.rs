use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use csm_api::{EventType, Growth, GrowthSpec, StorageEvent, VolumeReference, label};
use csm_core::world::ClusterKey;
use csm_gather::watched::Watched;
use csm_runtime::Failure;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use kube::api::{ListParams, ObjectMeta};

use super::{Writer, creating, owner};

/// What became of a new operation.
pub enum Begun {
    /// It is recorded; nothing is patched yet.
    Recorded(Box<Growth>),
    /// The API server knows operations that we did not: decide again with them.
    Outdated(Vec<StorageEvent>),
}

impl Writer {
    /// Records a growth, before anything is touched; `evidence_at` is when that happened on which it rests, where that is
    /// known. `known` are the names of the StorageEvents that the decision rests on.
    ///
    /// The ledger is read once more, straight from the API server: a cache that lags behind, as that of a new leader may,
    /// never starts a second operation.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn begin(
        &self,
        key: &ClusterKey,
        spec: GrowthSpec,
        evidence_at: Option<Timestamp>,
        known: &(dyn Fn(&str) -> bool + Sync),
        now: Timestamp,
    ) -> Result<Begun, Failure> {
        if let Some(there) = self.unknown(key, known).await? {
            return Ok(Begun::Outdated(there));
        }
        let metadata = ObjectMeta {
            name: Some(name(key, spec.event_type(), &spec.volume, "", now)),
            namespace: Some(key.namespace.to_string()),
            labels: Some(BTreeMap::from([
                (label::CLUSTER.to_owned(), key.name.to_string()),
                (label::EVENT_TYPE.to_owned(), spec.event_type().to_string()),
            ])),
            annotations: evidence_at.map(|at| BTreeMap::from([(csm_api::EVIDENCE_AT.to_owned(), at.to_string())])),
            owner_references: Some(vec![owner(key, &spec.cluster_ref.uid)]),
            ..ObjectMeta::default()
        };
        let event = Growth {
            metadata,
            spec,
            status: None,
        };
        let created = self.write(self.api::<Growth>(&key.namespace).create(&creating(), &event)).await?;
        Ok(Begun::Recorded(Box::new(created)))
    }

    /// All StorageEvents of a Cluster, where there are some that are not known.
    pub(super) async fn unknown(
        &self,
        key: &ClusterKey,
        known: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Option<Vec<StorageEvent>>, Failure> {
        let of_cluster = ListParams::default().labels(&format!("{}={}", label::CLUSTER, key.name));
        let watched = self.api::<Watched<StorageEvent>>(&key.namespace);
        let there = csm_runtime::error::call(watched.list(&of_cluster)).await?.items;
        // One that cannot be read is in the ledger already, as far as it can be. The label is for finding; what an event is
        // about stands in its spec.
        let readable = there.into_iter().filter_map(|event| match event {
            Watched::Readable(event) => Some(event),
            Watched::Unreadable(_) => None,
        });
        let there: Vec<StorageEvent> = readable
            .filter(|event| event.spec.cluster_ref.as_ref().is_some_and(|of| *of.name == *key.name))
            .collect();
        let is_news = there.iter().any(|event| !known(event.metadata.name.as_deref().unwrap_or_default()));
        Ok(is_news.then_some(there))
    }
}

/// `<cluster>-<type>-<yyyymmdd-hhmmss>-<suffix>`: two volumes of a Cluster may begin in one second, and two `parts` of one.
pub(super) fn name(key: &ClusterKey, event_type: EventType, volume: &VolumeReference, part: &str, now: Timestamp) -> String {
    let mut hasher = DefaultHasher::new();
    (key, volume.role, &volume.tablespace, part, now.as_nanosecond()).hash(&mut hasher);
    let time = now.to_zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M%S").to_string();
    format!("{}-{event_type}-{time}-{:05x}", key.name, hasher.finish() & 0xf_ffff)
}
