use std::collections::BTreeMap;
use std::time::Duration;

use csm_api::{StorageEvent, StorageEventSpec, StorageEventStatus, VolumeReference, label};
use csm_core::world::ClusterKey;
use csm_runtime::{Failure, FailureClass, LeaseLost};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{ListParams, ObjectMeta};

use super::begin::name;
use super::{Writer, creating, owner};

/// What became of a new relief of WAL.
pub enum BegunRelief {
    /// It is recorded; nothing is run yet.
    Recorded(Box<StorageEvent>),
    /// The API server knows StorageEvents that we did not: decide again with them.
    Outdated(Vec<StorageEvent>),
}

/// What became of the status of a relief.
pub enum ReliefStatus {
    /// It is written.
    Written(Box<StorageEvent>),
    /// It is not, or nobody knows, and nobody else has written it: it may be tried again, from this version.
    Unwritten(Box<StorageEvent>, Failure),
    /// Somebody else has written it since, or removed the record.
    Overtaken,
}

impl Writer {
    /// How long what only the holder of the lease may do may take now.
    ///
    /// # Errors
    /// [`LeaseLost`].
    pub fn permit(&self) -> Result<Duration, LeaseLost> {
        self.guard.permit()
    }

    /// Records a relief of WAL, before anything is run. As with growths, the ledger is read once more.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn begin_relief(
        &self,
        key: &ClusterKey,
        uid: &str,
        volume: &VolumeReference,
        spec: StorageEventSpec,
        known: &(dyn Fn(&str) -> bool + Sync),
        now: Timestamp,
    ) -> Result<BegunRelief, Failure> {
        if let Some(there) = self.unknown(key, known).await? {
            return Ok(BegunRelief::Outdated(there));
        }
        let instance = spec.wal_cleanup.as_ref().map_or("", |asked| asked.instance.as_str());
        let metadata = ObjectMeta {
            name: Some(name(key, spec.event_type, volume, instance, now)),
            namespace: Some(key.namespace.to_string()),
            labels: Some(BTreeMap::from([
                (label::CLUSTER.to_owned(), key.name.to_string()),
                (label::EVENT_TYPE.to_owned(), spec.event_type.to_string()),
            ])),
            owner_references: Some(vec![owner(key, uid)]),
            ..ObjectMeta::default()
        };
        let event = StorageEvent {
            metadata,
            spec,
            status: None,
        };
        let api = self.api::<StorageEvent>(&key.namespace);
        let created = self.write(api.create(&creating(), &event)).await?;
        Ok(BegunRelief::Recorded(Box::new(created)))
    }

    /// Writes the status of a relief, provided that nobody else has since.
    ///
    /// # Errors
    /// The lease is lost.
    pub async fn relief_status(&self, event: &StorageEvent, status: &StorageEventStatus) -> Result<ReliefStatus, LeaseLost> {
        let api = self.api::<StorageEvent>(&event.namespace().unwrap_or_default());
        let failure = match self.write_status(&api, event, status).await {
            Ok(written) => return Ok(ReliefStatus::Written(Box::new(written))),
            Err(Failure::NotLeader(lost)) => return Err(lost),
            Err(failure) => failure,
        };
        match failure.class() {
            FailureClass::NotFound => return Ok(ReliefStatus::Overtaken),
            FailureClass::Conflict | FailureClass::Transient => {}
            _ => return Ok(ReliefStatus::Unwritten(Box::new(event.clone()), failure)),
        }
        // It may have been written all the same, or somebody else wrote it: what is there says which.
        match csm_runtime::error::call(api.get_opt(&event.name_any())).await {
            Ok(Some(current)) if current.uid() == event.uid() && current.status == as_read(status) => {
                Ok(ReliefStatus::Written(Box::new(current)))
            }
            Ok(Some(current)) if current.uid() == event.uid() && current.status == event.status => {
                Ok(ReliefStatus::Unwritten(Box::new(current), failure))
            }
            Ok(_) => Ok(ReliefStatus::Overtaken),
            Err(_) => Ok(ReliefStatus::Unwritten(Box::new(event.clone()), failure)),
        }
    }

    /// The Cluster as it is now.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn cluster_now(&self, key: &ClusterKey) -> Result<csm_cnpg::Cluster, Failure> {
        csm_runtime::error::call(self.api::<csm_cnpg::Cluster>(&key.namespace).get(&key.name)).await
    }

    /// The backups of its namespace.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn backups_now(&self, key: &ClusterKey) -> Result<Vec<csm_cnpg::Backup>, Failure> {
        let api = self.api::<csm_cnpg::Backup>(&key.namespace);
        Ok(csm_runtime::error::call(api.list(&ListParams::default())).await?.items)
    }
}

/// As it comes back: times have whole seconds there.
fn as_read(status: &StorageEventStatus) -> Option<StorageEventStatus> {
    serde_json::from_value(serde_json::to_value(status).ok()?).ok()
}
