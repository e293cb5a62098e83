//! Which documents are which objects.

use std::collections::BTreeMap;

use csm_api::{ClusterStoragePolicy, PostgresStorage, StorageEvent, StoragePolicy};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::core::ObjectMeta;
use serde::de::DeserializeOwned;

use super::decode::{Nulls, decode};
use super::mistake::{Mistake, did_you_mean};
use super::scenario::Scenario;
use super::strict;
use super::tree::{Entry, Node, Value, documents};
use super::{DEFAULT_NAMESPACE, File};
use crate::views::{NamespaceObject, PodObject};

/// Our own kinds, and the only version that they have.
const OURS: [&str; 4] = ["StoragePolicy", "ClusterStoragePolicy", "PostgresStorage", "StorageEvent"];
const OUR_VERSION: &str = "cnpg.supporttools.io/v1alpha1";
const OUR_GROUP: &str = "cnpg.supporttools.io/";
pub(super) const CNPG_GROUP: &str = "postgresql.cnpg.io/";

/// A Scenario, and the tree that it was read from.
pub(super) struct FoundScenario {
    pub file: String,
    pub node: Node,
    pub scenario: Scenario,
}

/// Everything that files hold.
#[derive(Default)]
pub(super) struct Objects {
    pub scenario: Option<FoundScenario>,
    pub policies: Vec<StoragePolicy>,
    pub cluster_policies: Vec<ClusterStoragePolicy>,
    pub storages: Vec<PostgresStorage>,
    pub events: Vec<StorageEvent>,
    pub clusters: Vec<csm_cnpg::Cluster>,
    pub pvcs: Vec<PersistentVolumeClaim>,
    pub pods: Vec<PodObject>,
    pub classes: Vec<StorageClass>,
    pub namespaces: Vec<NamespaceObject>,
    pub mistakes: Vec<Mistake>,
    pub notes: Vec<String>,
    /// Where each object was found: kind, namespace, name.
    seen: BTreeMap<(String, String, String), String>,
    /// How many objects of a kind were not looked at, in the file that is being read.
    ignored: BTreeMap<String, usize>,
}

impl Objects {
    /// What these files hold.
    pub fn of(files: &[File]) -> Self {
        let mut objects = Self::default();
        for file in files {
            objects.add(file);
        }
        objects
    }

    /// Whether there is anything to decide on.
    pub fn have_clusters(&self) -> bool {
        self.scenario.is_some() || !self.clusters.is_empty()
    }

    /// Takes over Clusters and what belongs to them; not what settings come from.
    pub fn take_clusters(&mut self, others: Self) {
        self.scenario = others.scenario;
        self.clusters = others.clusters;
        self.events = others.events;
        self.pvcs.extend(others.pvcs);
        self.pods.extend(others.pods);
        self.classes.extend(others.classes);
        self.namespaces.extend(others.namespaces);
        self.mistakes.extend(others.mistakes);
        self.notes.extend(others.notes);
    }

    /// Adds what a file holds.
    pub fn add(&mut self, file: &File) {
        let name = &file.name;
        let text = match str::from_utf8(&file.text) {
            Ok(text) if !text.contains('\0') => text.trim_start_matches('\u{feff}'),
            _ => {
                let message = "not a text file; give YAML or JSON in UTF-8";
                return self.mistakes.push(Mistake::new(name, None, message));
            }
        };
        match documents(text) {
            Err((at, message)) => self.mistakes.push(Mistake::new(name, at, message)),
            Ok(documents) if documents.is_empty() => self.notes.push(format!("{name} is empty")),
            Ok(documents) => {
                for document in documents {
                    self.document(file, document, None);
                }
            }
        }
        let ignored = std::mem::take(&mut self.ignored);
        if !ignored.is_empty() {
            let kinds = ignored.iter().map(|(kind, count)| format!("{count} {kind}"));
            let kinds = kinds.collect::<Vec<_>>().join(", ");
            self.notes.push(format!("{name}: not looked at: {kinds}"));
        }
    }

    /// One document or element of a list; `implied` are apiVersion and kind where it has none.
    fn document(&mut self, file: &File, node: Node, implied: Option<(&str, &str)>) {
        let text = |key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
        let version = text("apiVersion").or(implied.map(|(version, _)| version.to_owned()));
        let Some(kind) = text("kind").or(implied.map(|(_, kind)| kind.to_owned())) else {
            if file.from_folder {
                *self.ignored.entry("document without a kind".to_owned()).or_default() += 1;
            } else {
                self.mistake(file, &node, "no object of Kubernetes, and no Scenario: it has no kind");
            }
            return;
        };
        let version = version.as_deref();
        if kind.ends_with("List") && matches!(node.get("items"), Some(Node { value: Value::List(_), .. })) {
            let element = kind.trim_end_matches("List").to_owned();
            let version = version.map(str::to_owned);
            let implied = version.as_deref().zip(Some(element.as_str()).filter(|e| !e.is_empty()));
            for item in items(node) {
                self.document(file, item, implied);
            }
            return;
        }
        match (kind.as_str(), version) {
            ("Scenario", None) => self.scenario(file, node),
            (kind, version) if OURS.contains(&kind) => {
                if version.is_none_or(|v| v == OUR_VERSION) {
                    self.ours(file, &node, kind);
                } else {
                    let at = node.get("apiVersion").unwrap_or(&node);
                    let message = format!("apiVersion {}: {kind} is of {OUR_VERSION}", version.unwrap_or_default());
                    self.mistake(file, at, message);
                }
            }
            (kind @ "Cluster", Some(version)) if version.starts_with(CNPG_GROUP) => {
                let cluster = self.namespaced(file, &node, kind, |c: &mut csm_cnpg::Cluster| &mut c.metadata);
                self.clusters.extend(cluster);
            }
            (kind @ "PersistentVolumeClaim", Some("v1")) => {
                let pvc = self.namespaced(file, &node, kind, |p: &mut PersistentVolumeClaim| &mut p.metadata);
                self.pvcs.extend(pvc);
            }
            (kind @ "Pod", Some("v1")) => {
                let pod = self.namespaced(file, &node, kind, |p: &mut PodObject| kube::Resource::meta_mut(p));
                self.pods.extend(pod);
            }
            (kind @ "Namespace", Some("v1")) => {
                let namespace = self.global(file, &node, kind, |n: &mut NamespaceObject| kube::Resource::meta_mut(n));
                self.namespaces.extend(namespace);
            }
            (kind @ "StorageClass", Some("storage.k8s.io/v1")) => {
                let class = self.global(file, &node, kind, |c: &mut StorageClass| &mut c.metadata);
                self.classes.extend(class);
            }
            // The node of a pod is known by its name alone.
            ("Node", Some("v1")) => {}
            (kind, None) => {
                let near = did_you_mean(kind, OURS.into_iter().chain(["Scenario"]));
                self.mistake(file, &node, format!("kind {kind} without an apiVersion{near}"));
            }
            (kind, Some(version)) if version.starts_with(OUR_GROUP) => {
                let near = did_you_mean(kind, OURS);
                self.mistake(file, node.get("kind").unwrap_or(&node), format!("unknown kind {kind}{near}"));
            }
            (kind, Some(_)) => *self.ignored.entry(kind.to_owned()).or_default() += 1,
        }
    }

    fn mistake(&mut self, file: &File, node: &Node, message: impl Into<String>) {
        self.mistakes.push(Mistake::new(&file.name, Some(node.at), message));
    }

    fn scenario(&mut self, file: &File, node: Node) {
        if let Some(first) = &self.scenario {
            let message = format!(
                "a second Scenario; the first is in {}, line {}; one is read at a time",
                first.file, first.node.at.line
            );
            return self.mistake(file, &node, message);
        }
        match decode(&node, Nulls::Kept) {
            Ok(scenario) => {
                self.scenario = Some(FoundScenario {
                    file: file.name.clone(),
                    node,
                    scenario,
                });
            }
            Err(failure) => self.mistakes.push(Mistake::new(&file.name, failure.at, failure.to_string())),
        }
    }

    fn ours(&mut self, file: &File, node: &Node, kind: &str) {
        let schema = match kind {
            "StoragePolicy" => Some(&strict::STORAGE_POLICY),
            "ClusterStoragePolicy" => Some(&strict::CLUSTER_STORAGE_POLICY),
            "PostgresStorage" => Some(&strict::POSTGRES_STORAGE),
            _ => None,
        };
        let found = schema.map(|schema| strict::mistakes(node, schema)).unwrap_or_default();
        if !found.is_empty() {
            let mistakes = found
                .into_iter()
                .map(|wrong| Mistake::new(&file.name, Some(wrong.at), wrong.message));
            return self.mistakes.extend(mistakes);
        }
        match kind {
            "StoragePolicy" => {
                let policy = self.namespaced(file, node, kind, |p: &mut StoragePolicy| &mut p.metadata);
                self.policies.extend(policy);
            }
            "ClusterStoragePolicy" => {
                let policy = self.global(file, node, kind, |p: &mut ClusterStoragePolicy| &mut p.metadata);
                self.cluster_policies.extend(policy);
            }
            "PostgresStorage" => {
                let storage = self.namespaced(file, node, kind, |s: &mut PostgresStorage| &mut s.metadata);
                self.storages.extend(storage);
            }
            _ => {
                let event = self.namespaced(file, node, kind, |e: &mut StorageEvent| &mut e.metadata);
                self.events.extend(event);
            }
        }
    }

    fn namespaced<T: DeserializeOwned>(&mut self, file: &File, node: &Node, kind: &str, meta: fn(&mut T) -> &mut ObjectMeta) -> Option<T> {
        let mut object = self.object(file, node)?;
        meta(&mut object).namespace.get_or_insert_with(|| DEFAULT_NAMESPACE.to_owned());
        self.identify(file, node, kind, meta(&mut object));
        Some(object)
    }

    fn global<T: DeserializeOwned>(&mut self, file: &File, node: &Node, kind: &str, meta: fn(&mut T) -> &mut ObjectMeta) -> Option<T> {
        let mut object = self.object(file, node)?;
        meta(&mut object).namespace = None;
        self.identify(file, node, kind, meta(&mut object));
        Some(object)
    }

    fn object<T: DeserializeOwned>(&mut self, file: &File, node: &Node) -> Option<T> {
        let name = node.get("metadata").and_then(|m| m.get("name")).and_then(Node::text);
        if name.is_none_or(str::is_empty) {
            self.mistake(file, node, "metadata.name is missing");
            return None;
        }
        match decode(node, Nulls::Missing) {
            Ok(object) => Some(object),
            Err(failure) => {
                self.mistakes.push(Mistake::new(&file.name, failure.at, failure.to_string()));
                None
            }
        }
    }

    /// An identity for what was written by hand, and a note where the same object is there twice.
    fn identify(&mut self, file: &File, node: &Node, kind: &str, meta: &mut ObjectMeta) {
        let namespace = meta.namespace.clone().unwrap_or_default();
        let name = meta.name.clone().unwrap_or_default();
        let here = format!("{}:{}", file.name, node.at.line);
        let full = if namespace.is_empty() {
            name.clone()
        } else {
            format!("{namespace}/{name}")
        };
        meta.uid.get_or_insert_with(|| format!("{kind}:{full}"));
        if let Some(before) = self.seen.insert((kind.to_owned(), namespace, name), here.clone()) {
            self.notes
                .push(format!("{kind} {full} is there twice: {before} and {here}; the last one counts"));
        }
        // The last one counts, whichever version it says that it has.
        meta.resource_version = None;
        meta.generation = None;
    }
}

/// The elements of a list of objects.
pub(super) fn items(node: Node) -> Vec<Node> {
    let Value::Map(entries) = node.value else { return Vec::new() };
    let items = entries.into_iter().find(|e: &Entry| e.key == "items").map(|e| e.node.value);
    match items {
        Some(Value::List(items)) => items,
        _ => Vec::new(),
    }
}
