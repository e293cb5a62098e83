//! Objects that cannot be read: each holds what it may be about, and nothing else.

use std::sync::Arc;

use csm_api::{EventType, Phase, PostgresStorage, PostgresStorageSpec, Reason, Role, Trigger, Urgency, label};
use csm_core::resolve::{Origin, OriginKind, Policy, Selection};
use csm_core::validate::Problem;
use csm_core::world::{ClusterKey, Operation, VolumeKey};
use csm_units::Bytes;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kept::Record;
use super::{Index, Kind, Wake};
use crate::views::{ResourceVersion, cluster_key};
use crate::watched::Unreadable;

/// What is known of a StorageEvent that cannot be read as a whole. Where it does not say, it is taken to count.
#[derive(Clone, Debug, PartialEq)]
pub struct HalfRead {
    pub name: Arc<str>,
    pub resource_version: ResourceVersion,
    /// UID of the Cluster; none: the one of its name.
    pub cluster: Option<Arc<str>>,
    /// The volume; none: all of them.
    pub volume: Option<VolumeKey>,
    pub urgency: Urgency,
    pub started_at: Timestamp,
    pub from: Bytes,
    pub to: Bytes,
    /// It says that it has ended.
    pub done: bool,
}

impl HalfRead {
    fn of(object: &Unreadable) -> Self {
        let Unreadable { metadata, object, .. } = object;
        let size = |name: &str| field::<Bytes>(object, &["spec", "expansion", name]).unwrap_or(Bytes::ZERO);
        let role = field::<Role>(object, &["spec", "volume", "role"]);
        let tablespace = field::<String>(object, &["spec", "volume", "tablespace"]);
        let created = metadata.creation_timestamp.as_ref().map(|t| t.0);
        let phase = field::<Phase>(object, &["status", "phase"]);
        Self {
            name: Arc::from(metadata.name.as_deref().unwrap_or_default()),
            resource_version: ResourceVersion::of(metadata),
            cluster: text(object, &["spec", "clusterRef", "uid"]).map(Arc::from),
            volume: role
                .filter(|role| (*role == Role::Tablespace) == tablespace.is_some())
                .map(|role| VolumeKey {
                    role,
                    tablespace: tablespace.map(Arc::from),
                }),
            urgency: urgency(object),
            started_at: field(object, &["status", "startTime"]).or(created).unwrap_or(Timestamp::UNIX_EPOCH),
            from: size("originalSize"),
            to: size("requestedSize"),
            done: phase.is_some_and(Phase::is_end),
        }
    }

    /// Its entries in the ledger of a Cluster with this UID and these volumes.
    pub fn operations<'a>(&'a self, uid: &str, volumes: impl Iterator<Item = &'a VolumeKey>) -> impl Iterator<Item = Operation> {
        let ours = self.cluster.as_deref().is_none_or(|cluster| cluster == uid);
        let concerned = volumes.filter(move |key| ours && self.volume.as_ref().is_none_or(|volume| volume == *key));
        concerned.map(|key| Operation {
            id: self.name.clone(),
            volume: key.clone(),
            urgency: self.urgency,
            started_at: self.started_at,
            from: self.from,
            to: self.to,
            members: None,
            accepted: true,
            done: self.done,
        })
    }
}

/// How pressing an operation was; where that is not known, what counts against the budgets of planned growth and of emergencies.
fn urgency(object: &Value) -> Urgency {
    let trigger = field::<Trigger>(object, &["spec", "trigger"]);
    let reason = field::<Reason>(object, &["spec", "reason"]);
    trigger.map_or(Urgency::Emergency, |trigger| Urgency::of(trigger, reason))
}

/// The Cluster that a StorageEvent is about: as it says, or as its label or its name do.
fn cluster_of(object: &Unreadable) -> Option<&str> {
    let Unreadable { metadata, object, .. } = object;
    let said = text(object, &["spec", "clusterRef", "name"]);
    let labelled = || metadata.labels.as_ref()?.get(label::CLUSTER).map(String::as_str);
    let named = || {
        let name = metadata.name.as_deref()?;
        let of = |kind: &EventType| name.rsplit_once(&format!("-{kind}-")).map(|(cluster, _)| cluster);
        EventType::ALL.iter().find_map(of)
    };
    said.or_else(labelled).or_else(named)
}

fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, key| value.get(key))
}

fn text<'a>(object: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(object, path).and_then(Value::as_str)
}

fn field<T: DeserializeOwned>(object: &Value, path: &[&str]) -> Option<T> {
    at(object, path).and_then(|value| T::deserialize(value).ok())
}

impl Index {
    /// An object of this kind is like this now, and cannot be read.
    ///
    /// A policy or a PostgresStorage holds the Clusters that it may be about. A StorageEvent counts in its Cluster's ledger.
    /// A Cluster is not managed. Of any other object, what was known before goes on.
    pub fn put_unreadable(&mut self, kind: Kind, object: &Unreadable) -> Wake {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let name = object.metadata.name.as_deref().unwrap_or_default();
        match kind {
            Kind::Cluster => {
                let key = self.key(namespace, name);
                self.slots.entry(key.clone()).or_default().is_unreadable = true;
                self.unmanage(&key)
            }
            Kind::StoragePolicy => self.put_unreadable_policy(Origin::object(OriginKind::StoragePolicy, Some(namespace), name), object),
            Kind::ClusterStoragePolicy => self.put_unreadable_policy(Origin::object(OriginKind::ClusterStoragePolicy, None, name), object),
            Kind::PostgresStorage => self.put_unreadable_storage(&cluster_key(namespace, name), object),
            Kind::StorageEvent => {
                let Some(cluster) = cluster_of(object) else { return Wake::new() };
                let key = self.key(namespace, cluster);
                self.put_record(&key, Arc::from(name), Record::HalfRead(Arc::new(HalfRead::of(object))))
            }
            Kind::Pvc | Kind::Pod | Kind::Namespace | Kind::StorageClass | Kind::Quota | Kind::Node => Wake::new(),
        }
    }

    fn put_unreadable_policy(&mut self, origin: Origin, unreadable: &Unreadable) -> Wake {
        let Unreadable { metadata, why, object } = unreadable;
        let selection = Selection {
            namespace_selector: field(object, &["spec", "namespaceSelector"]),
            selector: field(object, &["spec", "selector"]),
            exclude_clusters: field(object, &["spec", "excludeClusters"]).unwrap_or_default(),
        };
        let problems = why.iter().map(|why| Problem::unreadable(why, [])).collect();
        let status = field(object, &["status"]).unwrap_or_default();
        self.put_any_policy(metadata, Policy::unreadable(origin, &selection, problems), status)
    }

    fn put_unreadable_storage(&mut self, key: &ClusterKey, unreadable: &Unreadable) -> Wake {
        let Unreadable { metadata, why, object } = unreadable;
        let storage = PostgresStorage {
            metadata: metadata.clone(),
            spec: PostgresStorageSpec::default(),
            status: field(object, &["status"]),
        };
        let problem = Problem::unreadable(why.join("; "), [&Origin::postgres_storage(&key.namespace, &key.name)]);
        let key = self.key(&key.namespace, &key.name);
        self.put_any_storage(&key, storage, Some(problem))
    }
}
