//! Reads Scenario files (planner.md, section 9), as far as the planner knows their fields. Strict: a key that
//! is not known is an error, in the Scenario and in the policies beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use csm_api::{ClusterStoragePolicy, PostgresStorage, Settings, StoragePolicy, Urgency, annotation};
use csm_core::resolve::{Identity, Origin, Policy, matching, resolve};
use csm_core::world::{
    Archiving, Breaker, Class, Cluster, ClusterKey, Fencing, Fleet, Inodes, Limits, Member, Observation, Operation, Pause, ProviderLimit,
    Resize, ResizeStage, Sample, Slot, Volume, VolumeKey, WalHealth, World,
};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A Scenario as the planner sees it.
#[derive(Debug)]
pub struct Scenario {
    pub now: Timestamp,
    pub worlds: Vec<World>,
    pub expect: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[allow(dead_code)]
    kind: String,
    now: Timestamp,
    #[serde(default)]
    interval: Option<String>,
    #[serde(default)]
    storage_classes: Option<Vec<StorageClass>>,
    #[serde(default)]
    provider_limits: Vec<ScenarioProviderLimit>,
    #[serde(default)]
    fleet: Option<ScenarioFleet>,
    #[serde(default)]
    global_breaker: ScenarioBreaker,
    clusters: Vec<ScenarioCluster>,
    #[serde(default)]
    expect: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScenarioProviderLimit {
    provisioner: String,
    max_actions: u32,
    period: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScenarioFleet {
    #[serde(default)]
    in_progress: u32,
    limit: Option<u32>,
}

#[derive(Clone, Copy, Default, Deserialize)]
enum ScenarioBreaker {
    #[default]
    Closed,
    Open,
    HalfOpen,
}

impl From<ScenarioBreaker> for Breaker {
    fn from(breaker: ScenarioBreaker) -> Self {
        match breaker {
            ScenarioBreaker::Closed => Self::Closed,
            ScenarioBreaker::Open => Self::Open,
            ScenarioBreaker::HalfOpen => Self::HalfOpen,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DiskFull {
    Instance(String),
    #[serde(rename_all = "camelCase")]
    Volume {
        instance: String,
        volume: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScenarioArchiving {
    #[serde(default)]
    configured: bool,
    #[serde(default)]
    last_archived: Option<Timestamp>,
    #[serde(default)]
    last_failed: Option<Timestamp>,
    #[serde(default)]
    pending: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScenarioSlot {
    name: String,
    active: bool,
    retained: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StorageClass {
    name: String,
    #[serde(default)]
    provisioner: Option<String>,
    #[serde(default)]
    allow_volume_expansion: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScenarioCluster {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    namespace_labels: BTreeMap<String, String>,
    #[serde(default)]
    deleting: bool,
    #[serde(default)]
    resize_in_use_volumes: Option<bool>,
    #[serde(default)]
    primary: Option<String>,
    #[serde(default)]
    storage_class: Option<String>,
    #[serde(default)]
    disk_full: Vec<DiskFull>,
    #[serde(default)]
    archiving: Option<ScenarioArchiving>,
    #[serde(default = "yes")]
    wal_health_known: bool,
    #[serde(default)]
    slots: Vec<ScenarioSlot>,
    #[serde(default)]
    breaker: ScenarioBreaker,
    volumes: Volumes,
    #[serde(default)]
    operations: Vec<ScenarioOperation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Volumes {
    data: ScenarioVolume,
    #[serde(default)]
    wal: Option<ScenarioVolume>,
    #[serde(default)]
    tablespaces: BTreeMap<String, ScenarioVolume>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScenarioVolume {
    size: Bytes,
    #[serde(default)]
    volume_mode: Option<VolumeMode>,
    #[serde(default)]
    storage_class: Option<String>,
    #[serde(default)]
    learned_ceiling: Option<Bytes>,
    #[serde(default)]
    retry_after: Option<Timestamp>,
    #[serde(default)]
    bound: Option<bool>,
    #[serde(default)]
    history: Vec<(Timestamp, Bytes)>,
    /// In the order of the file: the first one of data is the primary where none is named.
    members: Members,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
enum VolumeMode {
    Filesystem,
    Block,
}

struct Members(Vec<(String, ScenarioMember)>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScenarioMember {
    #[serde(default)]
    used: Option<Bytes>,
    #[serde(default)]
    available: Option<Bytes>,
    #[serde(default)]
    size: Option<Bytes>,
    #[serde(default)]
    request: Option<Bytes>,
    #[serde(default)]
    capacity: Option<Bytes>,
    #[serde(default)]
    bound: Option<bool>,
    #[serde(default)]
    inodes: Option<u64>,
    #[serde(default)]
    inodes_used: Option<u64>,
    #[serde(default)]
    node: Option<String>,
    /// Missing: 30 s ago. Null: never.
    #[serde(default = "half_a_minute_ago")]
    observed_at: Option<ObservedAt>,
    #[serde(default)]
    last_resize_at: Option<Timestamp>,
    #[serde(default)]
    resizing_since: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ObservedAt {
    At(Timestamp),
    #[serde(skip)]
    Default,
}

#[allow(clippy::unnecessary_wraps)] // serde asks for the type of the field
fn half_a_minute_ago() -> Option<ObservedAt> {
    Some(ObservedAt::Default)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScenarioOperation {
    volume: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    at: Timestamp,
    from: Bytes,
    to: Bytes,
    #[serde(default)]
    accepted: Option<bool>,
    #[serde(default)]
    done: Option<bool>,
    #[serde(default)]
    urgency: Option<Urgency>,
    #[serde(default)]
    members: Option<Value>,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("members by instance")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    members.push(entry);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// The policies of a file.
#[derive(Default)]
struct Policies {
    policies: Vec<Policy>,
    own: Vec<PostgresStorage>,
}

impl Scenario {
    /// Reads one file.
    pub fn read(text: &str) -> Result<Self, String> {
        // A document is read twice: once for its kind, once as what it is, from its own text.
        let documents = text.split("\n---").map(|d| d.trim_start_matches('-'));
        let mut policies = Policies::default();
        let mut scenario = None;
        for document in documents {
            let value: Value = serde_saphyr::from_str(document).map_err(|e| e.to_string())?;
            match value["kind"].as_str() {
                Some("Scenario") if scenario.is_some() => return Err("a second Scenario".to_owned()),
                Some("Scenario") => scenario = Some(serde_saphyr::from_str::<Document>(document).map_err(|e| e.to_string())?),
                Some("StoragePolicy") => policies
                    .policies
                    .push(Policy::from_storage_policy(&strict::<StoragePolicy>(&value)?)),
                Some("ClusterStoragePolicy") => {
                    let policy = strict::<ClusterStoragePolicy>(&value)?;
                    policies.policies.push(Policy::from_cluster_storage_policy(&policy));
                }
                Some("PostgresStorage") => policies.own.push(strict(&value)?),
                other => return Err(format!("unknown kind {other:?}")),
            }
        }
        let document = scenario.ok_or("no Scenario")?;
        let mut limits = Limits::default();
        if let Some(interval) = &document.interval {
            limits.interval = interval.parse::<SignedDuration>().map_err(|e| e.to_string())?;
        }
        let classes = document.storage_classes.as_deref();
        let limit_of = |provisioner: &str| {
            let found = document.provider_limits.iter().find(|l| l.provisioner == provisioner);
            found.map(|l| ProviderLimit {
                max_actions: l.max_actions,
                period: l.period.parse::<csm_core::schedule::Duration>().unwrap().get(),
            })
        };
        let fleet = document.fleet.as_ref().map_or_else(Fleet::default, |f| Fleet {
            in_progress: f.in_progress,
            limit: f.limit.or(Some(10)),
        });
        let worlds = document.clusters.iter().map(|c| {
            let mut world = c.world(&policies, classes, &limit_of, limits, document.now)?;
            world.fleet = fleet;
            world.global_breaker = document.global_breaker.into();
            Ok(world)
        });
        let mut worlds = worlds.collect::<Result<Vec<World>, String>>()?;
        mark_twins(&mut worlds);
        Ok(Self {
            now: document.now,
            worlds,
            expect: document.expect,
        })
    }
}

/// Reads an object whose type ignores what it does not know, and refuses what it ignored.
fn strict<T: DeserializeOwned + Serialize>(value: &Value) -> Result<T, String> {
    let object: T = serde_json::from_value(value.clone()).map_err(|e| e.to_string())?;
    let known = serde_json::to_value(&object).map_err(|e| e.to_string())?;
    match ignored("", value, &known) {
        Some(path) => Err(format!("unknown key {path}")),
        None => Ok(object),
    }
}

fn ignored(path: &str, given: &Value, known: &Value) -> Option<String> {
    let (Value::Object(given), Value::Object(known)) = (given, known) else {
        return None;
    };
    given.iter().find_map(|(key, value)| {
        let path = format!("{path}{key}");
        match known.get(key) {
            Some(known) => ignored(&format!("{path}."), value, known),
            None => Some(path),
        }
    })
}

/// Which PVCs report the same filesystem, over all clusters.
fn mark_twins(worlds: &mut [World]) {
    let all: Vec<Member> = worlds.iter().flat_map(|w| &w.volumes).flat_map(|v| v.members.clone()).collect();
    let members = worlds.iter_mut().flat_map(|w| &mut w.volumes).flat_map(|v| &mut v.members);
    for member in members {
        member.twin = all.iter().any(|other| member.twin_of(other));
    }
}

fn yes() -> bool {
    true
}

impl ScenarioCluster {
    fn wal(&self) -> Option<WalHealth> {
        let archiving = self.archiving.as_ref().filter(|a| a.configured).map(|a| Archiving {
            last_archived: a.last_archived,
            last_failed: a.last_failed,
            pending: a.pending,
        });
        let slot = |s: &ScenarioSlot| Slot {
            name: s.name.as_str().into(),
            active: s.active,
            retained: s.retained,
        };
        self.wal_health_known.then(|| WalHealth {
            archiving,
            slots: self.slots.iter().map(slot).collect(),
        })
    }

    fn world(
        &self,
        policies: &Policies,
        classes: Option<&[StorageClass]>,
        limit_of: &dyn Fn(&str) -> Option<ProviderLimit>,
        limits: Limits,
        now: Timestamp,
    ) -> Result<World, String> {
        let key = ClusterKey::new(self.namespace.as_deref().unwrap_or("default"), self.name.as_str());
        let identity = Identity {
            key: &key,
            labels: &self.labels,
            namespace_labels: &self.namespace_labels,
        };
        let matching = matching(&identity, policies.policies.iter());
        let own = policies
            .own
            .iter()
            .find(|o| o.metadata.name.as_deref() == Some(&*key.name) && o.metadata.namespace.as_deref() == Some(&*key.namespace));
        let own = own.map(|o| (Origin::from(o), o.spec.settings.clone()));
        let resolution = resolve(&matching, own.as_ref().map(|(origin, s)| (origin, s)), &Settings::default());
        let annotation = |name: &str| self.annotations.get(name).map(String::as_str);
        let first = self.volumes.data.members.0.first().map(|(name, _)| name.clone());
        let mut volumes = Vec::new();
        let named = [
            (VolumeKey::DATA, Some(&self.volumes.data)),
            (VolumeKey::WAL, self.volumes.wal.as_ref()),
        ];
        let tablespaces = self
            .volumes
            .tablespaces
            .iter()
            .map(|(name, v)| (VolumeKey::tablespace(name.as_str()), Some(v)));
        for (volume_key, volume) in named.into_iter().chain(tablespaces) {
            if let Some(volume) = volume {
                let class = volume.storage_class.as_deref().or(self.storage_class.as_deref());
                let class = class_of(class.unwrap_or("standard"), classes, limit_of)?;
                volumes.push(volume.volume(&key, volume_key, &class, now));
            }
        }
        for full in &self.disk_full {
            let has_wal = volumes.iter().any(|v| v.key == VolumeKey::WAL);
            let (instance, key) = match full {
                DiskFull::Instance(instance) if has_wal => (instance, VolumeKey::WAL),
                DiskFull::Instance(instance) => (instance, VolumeKey::DATA),
                DiskFull::Volume { instance, volume } => (
                    instance,
                    volume.parse().map_err(|e: csm_core::world::VolumeKeyError| e.to_string())?,
                ),
            };
            let members = volumes.iter_mut().filter(|v| v.key == key).flat_map(|v| &mut v.members);
            for member in members.filter(|m| *m.instance == **instance) {
                member.disk_full = true;
            }
        }
        let operations = self.operations.iter().enumerate().map(|(i, o)| o.operation(i, &key));
        Ok(World {
            cluster: Cluster {
                uid: format!("uid-{}", self.name).into(),
                deleting: self.deleting,
                hibernated: annotation("cnpg.io/hibernation") == Some("on"),
                pause: Pause::read(annotation(annotation::PAUSED), annotation(annotation::PAUSE_UNTIL)),
                fencing: Fencing::read(annotation("cnpg.io/fencedInstances")),
                resize_in_use_volumes: self.resize_in_use_volumes.unwrap_or(true),
                primary: self.primary.clone().or(first).map(Into::into),
                breaker: self.breaker.into(),
                wal: self.wal(),
                key: key.clone(),
            },
            resolution: Arc::new(resolution),
            volumes,
            operations: operations.collect::<Result<_, _>>()?,
            limits,
            fleet: Fleet::default(),
            global_breaker: Breaker::default(),
        })
    }
}

fn class_of(name: &str, classes: Option<&[StorageClass]>, limit_of: &dyn Fn(&str) -> Option<ProviderLimit>) -> Result<Class, String> {
    let mut provisioner = "csi.example.com";
    let expandable = match classes {
        None if name == "standard" => true,
        listed => {
            let class = listed.unwrap_or_default().iter().find(|c| c.name == name);
            let class = class.ok_or_else(|| format!("storage class {name} is not listed"))?;
            provisioner = class.provisioner.as_deref().unwrap_or(provisioner);
            class.allow_volume_expansion.unwrap_or(true)
        }
    };
    Ok(Class {
        name: name.into(),
        expandable,
        shared_filesystem: false,
        provider_limit: limit_of(provisioner),
    })
}

impl ScenarioVolume {
    fn volume(&self, cluster: &ClusterKey, key: VolumeKey, class: &Class, now: Timestamp) -> Volume {
        let member = |(instance, m): &(String, ScenarioMember)| {
            let size = m.size.unwrap_or(self.size);
            let observation = m.observed_at.as_ref().map(|at| {
                let (used, available) = (m.used.unwrap_or_default(), m.available.unwrap_or_default());
                Observation {
                    used,
                    available,
                    capacity: m.capacity.unwrap_or(used.saturating_add(available)),
                    inodes: m.inodes.map(|total| Inodes {
                        total,
                        used: m.inodes_used.unwrap_or(0),
                    }),
                    at: match at {
                        ObservedAt::At(at) => *at,
                        ObservedAt::Default => now - SignedDuration::from_secs(30),
                    },
                }
            });
            let pvc: Arc<str> = format!("{instance}-{}", key.to_string().replace('/', "-")).into();
            Member {
                uid: uid(cluster, &key, instance),
                pvc,
                instance: instance.as_str().into(),
                node: m.node.as_deref().map(Into::into),
                request: m.request.unwrap_or(size),
                size,
                bound: m.bound.or(self.bound).unwrap_or(true),
                block: self.volume_mode == Some(VolumeMode::Block),
                class: class.clone(),
                observation,
                last_resize_at: m.last_resize_at,
                resize: m.resizing_since.map(|since| Resize {
                    since: Some(since),
                    stage: ResizeStage::Controller,
                    error: None,
                }),
                twin: false,
                pod_running: observation.is_some(),
                disk_full: false,
                history: self.history.iter().map(|(at, used)| Sample { at: *at, used: *used }).collect(),
            }
        };
        Volume {
            members: self.members.0.iter().map(member).collect(),
            learned_ceiling: self.learned_ceiling,
            fallback_ceiling: None,
            retry_after: self.retry_after,
            key,
        }
    }
}

fn uid(cluster: &ClusterKey, volume: &VolumeKey, instance: &str) -> Arc<str> {
    format!("{cluster}:{volume}:{instance}").into()
}

impl ScenarioOperation {
    fn operation(&self, index: usize, cluster: &ClusterKey) -> Result<Operation, String> {
        if self.kind.as_deref().is_some_and(|kind| kind != "expansion") {
            return Err(format!("operation type {:?}", self.kind));
        }
        let volume: VolumeKey = self.volume.parse().map_err(|e: csm_core::world::VolumeKeyError| e.to_string())?;
        let members = match &self.members {
            None => None,
            Some(Value::String(all)) if all == "all" => None,
            Some(Value::Array(names)) => {
                let uid = |name: &Value| Some(uid(cluster, &volume, name.as_str()?));
                Some(
                    names
                        .iter()
                        .map(uid)
                        .collect::<Option<Vec<_>>>()
                        .ok_or("a member that is no name")?,
                )
            }
            Some(other) => return Err(format!("members: {other}")),
        };
        Ok(Operation {
            id: format!("operation-{index}").into(),
            urgency: self.urgency.unwrap_or(Urgency::Planned),
            started_at: self.at,
            from: self.from,
            to: self.to,
            members,
            accepted: self.accepted.unwrap_or(true),
            done: self.done.unwrap_or(true),
            volume,
        })
    }
}
