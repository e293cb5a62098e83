//! The Scenario document: clusters without a cluster (specification of the planner, section 9). Every key is known, or
//! an error.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use csm_api::Urgency;
use csm_core::schedule::Duration;
use csm_core::world::{Breaker, VolumeKey};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Scenario {
    #[serde(rename = "kind")]
    _kind: String,
    pub now: Timestamp,
    #[serde(default)]
    pub interval: Option<Length>,
    #[serde(default)]
    pub storage_classes: Option<Vec<StorageClass>>,
    #[serde(default)]
    pub provider_limits: Vec<Provider>,
    #[serde(default)]
    pub fleet: Option<Fleet>,
    #[serde(default, deserialize_with = "breaker")]
    pub global_breaker: Breaker,
    pub clusters: Vec<Cluster>,
    /// Read by tests only.
    #[serde(default)]
    pub expect: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StorageClass {
    pub name: String,
    #[serde(default)]
    pub provisioner: Option<String>,
    #[serde(default)]
    pub allow_volume_expansion: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Provider {
    pub provisioner: String,
    pub max_actions: u32,
    pub period: Length,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Fleet {
    #[serde(default)]
    pub in_progress: u32,
    #[serde(default = "ten")]
    pub limit: u32,
}

fn ten() -> u32 {
    10
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Cluster {
    pub name: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub namespace_labels: BTreeMap<String, String>,
    #[serde(default)]
    pub deleting: bool,
    #[serde(default)]
    pub resize_in_use_volumes: Option<bool>,
    #[serde(default)]
    pub primary: Option<String>,
    #[serde(default)]
    pub storage_class: Option<String>,
    #[serde(default)]
    pub disk_full: Vec<DiskFull>,
    #[serde(default)]
    pub archiving: Option<Archiving>,
    #[serde(default = "yes")]
    pub wal_health_known: bool,
    #[serde(default)]
    pub slots: Vec<Slot>,
    #[serde(default, deserialize_with = "breaker")]
    pub breaker: Breaker,
    pub volumes: Volumes,
    #[serde(default)]
    pub operations: Vec<Operation>,
}

fn default_namespace() -> String {
    super::DEFAULT_NAMESPACE.to_owned()
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Archiving {
    #[serde(default)]
    pub configured: bool,
    #[serde(default)]
    pub last_archived: Option<Timestamp>,
    #[serde(default)]
    pub last_failed: Option<Timestamp>,
    #[serde(default)]
    pub pending: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Slot {
    pub name: String,
    #[serde(default)]
    pub active: bool,
    #[serde(default)]
    pub retained: Bytes,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Volumes {
    pub data: Volume,
    #[serde(default)]
    pub wal: Option<Volume>,
    #[serde(default)]
    pub tablespaces: BTreeMap<String, Volume>,
}

impl Volumes {
    /// Each with its name, and its path in the document below `volumes`.
    pub fn iter(&self) -> impl Iterator<Item = (VolumeKey, &Volume)> {
        let wal = self.wal.iter().map(|v| (VolumeKey::WAL, v));
        let tablespaces = self.tablespaces.iter().map(|(name, v)| (VolumeKey::tablespace(name.as_str()), v));
        std::iter::once((VolumeKey::DATA, &self.data)).chain(wal).chain(tablespaces)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Volume {
    /// That of members which say none of their own.
    #[serde(default)]
    pub size: Option<Bytes>,
    #[serde(default, rename = "volumeMode")]
    pub mode: VolumeMode,
    #[serde(default)]
    pub storage_class: Option<String>,
    #[serde(default)]
    pub learned_ceiling: Option<Bytes>,
    #[serde(default)]
    pub retry_after: Option<Timestamp>,
    #[serde(default = "yes")]
    pub bound: bool,
    #[serde(default)]
    pub history: Vec<(Timestamp, Bytes)>,
    pub members: Members,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum VolumeMode {
    #[default]
    Filesystem,
    Block,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Member {
    #[serde(default)]
    pub used: Option<Bytes>,
    #[serde(default)]
    pub available: Option<Bytes>,
    #[serde(default)]
    pub size: Option<Bytes>,
    #[serde(default)]
    pub request: Option<Bytes>,
    #[serde(default)]
    pub capacity: Option<Bytes>,
    #[serde(default)]
    pub bound: Option<bool>,
    #[serde(default)]
    pub inodes: Option<u64>,
    #[serde(default)]
    pub inodes_used: Option<u64>,
    #[serde(default)]
    pub node: Option<String>,
    #[serde(default)]
    pub observed_at: ObservedAt,
    #[serde(default)]
    pub estimate: Option<Estimate>,
    #[serde(default)]
    pub last_resize_at: Option<Timestamp>,
    #[serde(default)]
    pub resizing_since: Option<Timestamp>,
}

/// What is used since the figures were taken, by what the instance says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Estimate {
    pub used: Bytes,
    #[serde(default)]
    pub at: Option<Timestamp>,
    #[serde(default)]
    pub error: Bytes,
}

/// When figures were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ObservedAt {
    /// There is no such key.
    #[default]
    Unsaid,
    /// It is null: there never were any.
    Never,
    /// Then.
    At(Timestamp),
}

impl<'de> Deserialize<'de> for ObservedAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Never, Self::At))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Operation {
    pub volume: Named<VolumeKey>,
    #[serde(default, rename = "type")]
    pub kind: OperationKind,
    pub at: Timestamp,
    #[serde(default)]
    pub from: Option<Bytes>,
    #[serde(default)]
    pub to: Option<Bytes>,
    #[serde(default = "yes")]
    pub accepted: bool,
    #[serde(default = "yes")]
    pub done: bool,
    #[serde(default)]
    pub urgency: Option<Urgency>,
    #[serde(default)]
    pub members: Affected,
}

/// What a StorageEvent records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OperationKind {
    #[default]
    Expansion,
    Rescue,
    WalCleanup,
    Alert,
    CircuitBreaker,
}

/// A text of a type that is read from text.
#[derive(Debug)]
pub(super) struct Named<T>(pub T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

/// A length of time, in Go's notation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length(pub SignedDuration);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Named::<Duration>::deserialize(deserializer).map(|Named(duration)| Self(duration.get()))
    }
}

fn breaker<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Breaker, D::Error> {
    #[derive(Deserialize)]
    enum Word {
        Closed,
        Open,
        HalfOpen,
    }
    Ok(match Word::deserialize(deserializer)? {
        Word::Closed => Breaker::Closed,
        Word::Open => Breaker::Open,
        Word::HalfOpen => Breaker::HalfOpen,
    })
}

/// Members by instance, in the order of the file: the first one of data is the primary where none is named.
#[derive(Debug)]
pub(super) struct Members(pub Vec<(String, Member)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("members by instance, such as {orders-1: {used: 8Gi, available: 2Gi}}")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    members.push(entry);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// An instance that ended for lack of WAL space, or that is down because one of its volumes is full.
#[derive(Debug)]
pub(super) struct DiskFull {
    pub instance: String,
    pub volume: Option<VolumeKey>,
}

impl<'de> Deserialize<'de> for DiskFull {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            instance: String,
            volume: Named<VolumeKey>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = DiskFull;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an instance, or {instance: orders-1, volume: data}")
            }
            fn visit_str<E>(self, instance: &str) -> Result<DiskFull, E> {
                Ok(DiskFull {
                    instance: instance.to_owned(),
                    volume: None,
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DiskFull, A::Error> {
                let Full { instance, volume } = Full::deserialize(MapAccessDeserializer::new(map))?;
                Ok(DiskFull {
                    instance,
                    volume: Some(volume.0),
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The members that an operation concerns; none: all.
#[derive(Debug, Default)]
pub(super) struct Affected(pub Option<Vec<String>>);

impl<'de> Deserialize<'de> for Affected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AllOrSome;
        impl<'de> Visitor<'de> for AllOrSome {
            type Value = Affected;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("all, or a list of instances")
            }
            fn visit_unit<E>(self) -> Result<Affected, E> {
                Ok(Affected(None))
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<Affected, E> {
                match word {
                    "all" => Ok(Affected(None)),
                    other => Err(E::custom(format_args!("{other:?} is neither all nor a list of instances"))),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Affected, A::Error> {
                let mut instances = Vec::new();
                while let Some(instance) = seq.next_element()? {
                    instances.push(instance);
                }
                Ok(Affected(Some(instances)))
            }
        }
        deserializer.deserialize_any(AllOrSome)
    }
}
