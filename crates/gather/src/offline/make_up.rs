//! Clusters that there are not, for policies to be tried on.

use std::collections::{BTreeMap, BTreeSet};

use csm_api::Role;
use csm_cnpg::label;
use csm_core::world::VolumeKey;
use csm_units::Bytes;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Map, Value, json};

use super::objects::Objects;
use super::{DEFAULT_NAMESPACE, File};

/// The name of a Cluster that nobody has named.
const NAME: &str = "example";
/// The file that a made-up Cluster is said to be in.
const FILE: &str = "the made-up Cluster";
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

/// What is made up where files have neither a Cluster nor a Scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MakeUp {
    /// The size of each volume.
    pub size: Bytes,
    /// How many instances a Cluster has that names none.
    pub instances: u32,
    /// The Clusters, at least one.
    pub clusters: Vec<MadeUp>,
}

/// A Cluster that is made up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MadeUp {
    /// Its namespace; else that of the policies.
    pub namespace: Option<String>,
    /// Its name; else one that the policies select.
    pub name: Option<String>,
    /// Its volumes besides data, each with the instances that are named.
    pub volumes: BTreeMap<VolumeKey, BTreeSet<String>>,
}

impl MakeUp {
    /// A Scenario of these Clusters, with the labels that the policies among `objects` ask for; and what was made up.
    pub(super) fn scenario(&self, objects: &Objects, now: Timestamp) -> (File, Vec<String>) {
        let mut notes = Vec::new();
        let clusters: Vec<Value> = self.clusters.iter().map(|c| self.cluster(c, objects, &mut notes)).collect();
        let scenario = json!({"kind": "Scenario", "now": now, "clusters": clusters});
        let file = File {
            name: FILE.to_owned(),
            text: scenario.to_string().into_bytes(),
            from_folder: false,
        };
        (file, notes)
    }

    fn cluster(&self, cluster: &MadeUp, objects: &Objects, notes: &mut Vec<String>) -> Value {
        let wanted = Wanted::of(cluster, objects);
        let Wanted { namespace, name, .. } = &wanted;
        let named: BTreeSet<&String> = cluster.volumes.values().flatten().collect();
        let instances: Vec<String> = if named.is_empty() {
            (1..=self.instances.max(1)).map(|i| format!("{name}-{i}")).collect()
        } else {
            named.into_iter().cloned().collect()
        };
        let members: Map<String, Value> = instances.iter().map(|i| (i.clone(), json!({}))).collect();
        let volume = json!({"size": self.size, "members": members});
        let mut volumes = Map::new();
        let mut tablespaces = Map::new();
        for key in cluster.volumes.keys().chain([&VolumeKey::DATA]) {
            match (&key.tablespace, key.role) {
                (Some(tablespace), _) => tablespaces.insert(tablespace.to_string(), volume.clone()),
                (None, Role::Wal) => volumes.insert("wal".to_owned(), volume.clone()),
                (None, Role::Data | Role::Tablespace) => volumes.insert("data".to_owned(), volume.clone()),
            };
        }
        volumes.insert("tablespaces".to_owned(), Value::Object(tablespaces));
        let labels = wanted.labels.iter().map(|(key, value)| format!("{key}={value}"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        let count = instances.len();
        notes.push(format!(
            "the files have no Cluster, so one was made up: {namespace}/{name} with {count} instance{}, each volume of {}{}",
            if count == 1 { "" } else { "s" },
            self.size,
            if labels.is_empty() {
                String::new()
            } else {
                format!(", labelled {labels}")
            },
        ));
        json!({
            "name": name, "namespace": namespace, "labels": wanted.labels, "namespaceLabels": wanted.namespace_labels,
            "volumes": volumes,
        })
    }
}

/// What a Cluster must be like for the policies to select it.
struct Wanted {
    namespace: String,
    name: String,
    labels: BTreeMap<String, String>,
    namespace_labels: BTreeMap<String, String>,
}

impl Wanted {
    /// Of several policies of a kind, the first one is to select it; the others may.
    fn of(cluster: &MadeUp, objects: &Objects) -> Self {
        let here = |namespace: Option<&String>| cluster.namespace.is_none() || cluster.namespace.as_ref() == namespace;
        let policy = objects.policies.iter().find(|p| here(p.metadata.namespace.as_ref()));
        let wide = objects.cluster_policies.first();
        let storage = objects.storages.iter().find(|s| here(s.metadata.namespace.as_ref()));
        let mut labels = BTreeMap::new();
        let mut namespace_labels = BTreeMap::new();
        ask(&mut labels, policy.and_then(|p| p.spec.selector.as_ref()));
        ask(&mut labels, wide.and_then(|p| p.spec.selector.as_ref()));
        ask(&mut namespace_labels, wide.and_then(|p| p.spec.namespace_selector.as_ref()));
        let asked_name = labels.remove(label::CLUSTER);
        let asked_namespace = namespace_labels.remove(NAMESPACE_LABEL);
        let of_policy = policy.and_then(|p| p.metadata.namespace.clone());
        let of_storage = || storage.and_then(|s| s.metadata.namespace.clone());
        let namespace = cluster.namespace.clone().or(of_policy).or_else(of_storage).or(asked_namespace);
        let named = || storage.and_then(|s| s.metadata.name.clone());
        let name = cluster.name.clone().or(asked_name).or_else(named);
        Self {
            namespace: namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            name: name.unwrap_or_else(|| NAME.to_owned()),
            labels,
            namespace_labels,
        }
    }
}

/// Adds labels that a selector asks for; those that are there stay.
fn ask(labels: &mut BTreeMap<String, String>, selector: Option<&LabelSelector>) {
    let Some(selector) = selector else { return };
    for (key, value) in selector.match_labels.iter().flatten() {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    for expression in selector.match_expressions.iter().flatten() {
        let value = match expression.operator.as_str() {
            "In" => expression.values.iter().flatten().next().cloned(),
            "Exists" => Some("true".to_owned()),
            _ => None,
        };
        if let Some(value) = value {
            labels.entry(expression.key.clone()).or_insert(value);
        }
    }
}
