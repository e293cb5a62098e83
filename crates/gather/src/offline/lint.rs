//! What is wrong, and what is seldom meant, in files: each at the field that says it.

use std::collections::BTreeMap;

use csm_api::{ClusterStoragePolicy, PostgresStorage, Role, StoragePolicy};
use csm_core::resolve::{Identity, Origin, OriginKind, Policy};
use csm_core::validate::{self, Problem, VolumeFacts, Warning, WarningKind};
use csm_core::world::{Class, ClusterKey, VolumeKey};
use jiff::Timestamp;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;

use super::build::{self, Source};
use super::decode::{Nulls, decode};
use super::figures::Figures;
use super::mistake::Mistake;
use super::objects::Objects;
use super::strict;
use super::tree::{Node, Place, Value, documents};
use super::{DEFAULT_NAMESPACE, File};
use crate::views::{ClassView, namespace_labels};
use crate::world::VolumeSettings;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It is not valid: refused, or its volumes are held.
    Error,
    /// It is valid, and seldom meant.
    Warning,
}

/// One thing that is wrong, or seldom meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the file.
    pub file: String,
    /// Line and column, from 1; none where the file as a whole is wrong.
    pub place: Option<(u64, u64)>,
    /// How bad it is.
    pub severity: Severity,
    /// The object, such as `StoragePolicy shop/orders`; none where no object can be read.
    pub object: Option<String>,
    /// The field from `spec` on; empty where the message names it.
    pub field: String,
    /// What is wrong, and what could stand there instead.
    pub message: String,
}

/// What [`lint`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linted {
    /// By file, line and column.
    pub findings: Vec<Finding>,
    /// What was not looked at.
    pub notes: Vec<String>,
}

/// Everything that is wrong in files, or seldom meant: unreadable text, unknown keys, each object by itself, and, where
/// all can be read, what the objects come to together. `clock` is the time where no Scenario says another.
#[must_use]
pub fn lint(files: &[File], clock: Timestamp) -> Linted {
    let mut objects = Objects::default();
    let mut found = Found::default();
    for file in files {
        objects.add(file);
        found.file(file);
    }
    let mut notes = std::mem::take(&mut objects.notes);
    let mut mistakes = std::mem::take(&mut objects.mistakes);
    if mistakes.is_empty() {
        found.together(&mut objects, clock, &mut mistakes);
    } else {
        notes.push("the objects were not looked at together, since some cannot be read".to_owned());
    }
    found.findings.extend(mistakes.into_iter().map(of_mistake));
    found.findings.extend(found.unbounded.into_iter().map(|(_, finding)| finding));
    let order = |name: &str| files.iter().position(|f| f.name == name);
    found.findings.sort_by(|a, b| {
        let key = |f: &Finding| (order(&f.file), f.place, f.severity);
        key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
    });
    // What is wrong in one object is wrong for each Cluster that it resolves to.
    found.findings.dedup();
    Linted {
        findings: found.findings,
        notes,
    }
}

fn of_mistake(mistake: Mistake) -> Finding {
    let Mistake { file, place, message } = mistake;
    Finding {
        file,
        place,
        severity: Severity::Error,
        object: None,
        field: String::new(),
        message,
    }
}

/// An object in a file.
struct Object {
    file: String,
    node: Node,
}

#[derive(Default)]
struct Found {
    /// Our own objects; the last of a name counts.
    ours: BTreeMap<Origin, Object>,
    clusters: BTreeMap<ClusterKey, Object>,
    findings: Vec<Finding>,
    /// Objects that set no limit themselves: another may.
    unbounded: Vec<(Origin, Finding)>,
}

impl Found {
    /// Each object of a file by itself. What cannot be read is left to [`Objects`].
    fn file(&mut self, file: &File) {
        let Ok(text) = str::from_utf8(&file.text) else { return };
        for document in documents(text.trim_start_matches('\u{feff}')).unwrap_or_default() {
            self.document(file, document, None);
        }
    }

    fn document(&mut self, file: &File, node: Node, implied: Option<&str>) {
        let Some(kind) = node.get("kind").and_then(Node::text).or(implied).map(str::to_owned) else {
            return;
        };
        let name = |key: &str| {
            let name = node.get("metadata").and_then(|m| m.get(key)).and_then(Node::text);
            name.filter(|name| !name.is_empty()).map(str::to_owned)
        };
        let namespace = name("namespace").unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let (policy, schema) = match kind.as_str() {
            "StoragePolicy" => (OriginKind::StoragePolicy, &strict::STORAGE_POLICY),
            "ClusterStoragePolicy" => (OriginKind::ClusterStoragePolicy, &strict::CLUSTER_STORAGE_POLICY),
            "PostgresStorage" => (OriginKind::PostgresStorage, &strict::POSTGRES_STORAGE),
            "Cluster" => {
                let version = node.get("apiVersion").and_then(Node::text).unwrap_or_default();
                if version.starts_with(super::objects::CNPG_GROUP)
                    && let Some(name) = name("name")
                {
                    let key = ClusterKey::new(namespace, name);
                    let file = file.name.clone();
                    self.clusters.insert(key, Object { file, node });
                }
                return;
            }
            "Scenario" => return self.scenario(file, node),
            kind => {
                let element = kind.strip_suffix("List").map(str::to_owned);
                if let Some(element) = element {
                    for item in super::objects::items(node) {
                        self.document(file, item, Some(&element).filter(|e| !e.is_empty()).map(String::as_str));
                    }
                }
                return;
            }
        };
        let Some(name) = name("name") else { return };
        if !strict::mistakes(&node, schema).is_empty() {
            return;
        }
        let namespace = Some(namespace.as_str()).filter(|_| policy != OriginKind::ClusterStoragePolicy);
        let origin = Origin::object(policy, namespace, &name);
        let object = Object {
            file: file.name.clone(),
            node,
        };
        if let Some((problems, warnings)) = alone(policy, &object.node) {
            let problems = problems.iter().map(|p| finding(Severity::Error, p, &object, &origin));
            self.findings.extend(problems);
            for Warning { kind, problem } in warnings {
                let finding = finding(Severity::Warning, &problem, &object, &origin);
                if kind == WarningKind::Unbounded {
                    self.unbounded.push((origin.clone(), finding));
                } else {
                    self.findings.push(finding);
                }
            }
        }
        self.ours.insert(origin, object);
    }

    /// The Clusters of a Scenario.
    fn scenario(&mut self, file: &File, node: Node) {
        let Value::Map(entries) = node.value else { return };
        let clusters = entries.into_iter().find(|e| e.key == "clusters").map(|e| e.node.value);
        let Some(Value::List(clusters)) = clusters else { return };
        for node in clusters {
            let text = |key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
            if let Some(name) = text("name") {
                let namespace = text("namespace").unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
                let file = file.name.clone();
                self.clusters.insert(ClusterKey::new(namespace, name), Object { file, node });
            }
        }
    }

    /// What all objects come to together.
    fn together(&mut self, objects: &mut Objects, clock: Timestamp, mistakes: &mut Vec<Mistake>) {
        let mut index = super::index(objects);
        let mut subjects = super::manifests(&mut index, objects, &Figures::new(), clock, &mut Vec::new());
        if let Some(found) = &objects.scenario {
            let source = Source {
                file: &found.file,
                node: &found.node,
                scenario: &found.scenario,
                now: found.scenario.now,
            };
            subjects.append(&mut build::subjects(&source, &mut index, mistakes));
            super::twice(&subjects, &found.file, mistakes);
        }
        let labels: BTreeMap<String, BTreeMap<String, String>> =
            objects.namespaces.iter().map(|n| (n.name_any(), namespace_labels(n))).collect();
        let scenario = objects.scenario.iter().flat_map(|s| &s.scenario.clusters);
        let of_scenario = scenario.map(|c| (c.namespace.clone(), c.namespace_labels.clone()));
        let labels: BTreeMap<_, _> = labels.into_iter().chain(of_scenario).collect();
        let nothing = BTreeMap::new();
        let facts: Vec<validate::Subject<'_>> = subjects
            .iter()
            .map(|subject| {
                let key = &subject.world.cluster.key;
                let identity = Identity {
                    key,
                    labels: subject.object.metadata.labels.as_ref().unwrap_or(&nothing),
                    namespace_labels: labels.get(&*key.namespace).unwrap_or(&nothing),
                };
                facts(subject, identity, &objects.classes)
            })
            .collect();
        for subject in &subjects {
            for invalid in super::invalid(&subject.world) {
                for problem in &invalid.problems {
                    self.add(Severity::Error, problem, Some(&invalid.cluster));
                }
            }
        }
        for subject in &facts {
            for Warning { kind: _, problem } in validate::warn_cluster(subject) {
                self.add(Severity::Warning, &problem, Some(subject.identity.key));
            }
        }
        self.unbounded
            .retain(|(origin, _)| !validate::is_bounded_everywhere(origin, &facts));
        let policies: Vec<_> = index.policies().into_iter().map(|(_, entry, _)| entry.policy).collect();
        let policies: Vec<&Policy> = policies.iter().map(AsRef::as_ref).collect();
        let (problems, warnings) = validate::check_policies(&policies, &facts);
        for problem in &problems {
            self.add(Severity::Error, problem, None);
        }
        for warning in &warnings {
            self.add(Severity::Warning, &warning.problem, None);
        }
    }

    /// At each object that it came from; where there is none, at the Cluster.
    fn add(&mut self, severity: Severity, problem: &Problem, cluster: Option<&ClusterKey>) {
        let mut found = Vec::new();
        for origin in &problem.origins {
            let object = self.ours.get(origin);
            found.extend(object.map(|object| finding(severity, problem, object, origin)));
        }
        if found.is_empty()
            && let Some(cluster) = cluster
            && let Some(object) = self.clusters.get(cluster)
        {
            found.push(finding(severity, problem, object, &format_args!("Cluster {cluster}")));
        }
        self.findings.append(&mut found);
    }
}

/// What one object says wrong by itself; none where it cannot be read.
fn alone(kind: OriginKind, node: &Node) -> Option<(Vec<Problem>, Vec<Warning>)> {
    match kind {
        OriginKind::StoragePolicy => {
            let policy: StoragePolicy = decode(node, Nulls::Missing).ok()?;
            let warnings = validate::warn_storage_policy(&policy.spec);
            Some((validate::validate_storage_policy(&policy.spec), warnings))
        }
        OriginKind::ClusterStoragePolicy => {
            let policy: ClusterStoragePolicy = decode(node, Nulls::Missing).ok()?;
            let warnings = validate::warn_cluster_storage_policy(&policy.spec);
            Some((validate::validate_cluster_storage_policy(&policy.spec), warnings))
        }
        _ => {
            let storage: PostgresStorage = decode(node, Nulls::Missing).ok()?;
            Some((
                validate::validate_postgres_storage(&storage.spec),
                validate::warn(&storage.spec.settings),
            ))
        }
    }
}

/// What can be wrong for a Cluster: its PVCs, and what it asks for where the files have none.
fn facts<'a>(subject: &'a super::Subject, identity: Identity<'a>, classes: &[StorageClass]) -> validate::Subject<'a> {
    let mut facts = validate::Subject::of(&subject.world, identity);
    for (key, size) in subject.snapshot.cluster.spec_sizes.iter() {
        if facts.volumes.iter().all(|v| v.key != *key) {
            facts.volumes.to_mut().push(VolumeFacts {
                key: key.clone(),
                size: *size,
                class: class_of(&subject.object, key, classes),
            });
        }
    }
    // A volume of no size that can be read is one all the same.
    if subject.object.spec.wal_storage.is_some() && facts.volumes.iter().all(|v| v.key != VolumeKey::WAL) {
        facts.volumes.to_mut().push(VolumeFacts {
            key: VolumeKey::WAL,
            size: csm_units::Bytes::ZERO,
            class: None,
        });
    }
    facts
}

/// The storage class that a Cluster asks for, where the files have it.
fn class_of(cluster: &csm_cnpg::Cluster, key: &VolumeKey, classes: &[StorageClass]) -> Option<Class> {
    let spec = &cluster.spec;
    let storage = match key.role {
        Role::Data => spec.storage.as_ref(),
        Role::Wal => spec.wal_storage.as_ref(),
        Role::Tablespace => {
            let mut all = spec.tablespaces.iter().flatten();
            all.find(|t| Some(t.name.as_str()) == key.tablespace.as_deref())?.storage.as_ref()
        }
    };
    let name = storage?.storage_class.as_deref()?;
    let class = classes.iter().find(|c| c.name_any() == name)?;
    let settings = VolumeSettings::default();
    Some(crate::world::class_of(&name.into(), Some(&ClassView::of(class)), &settings))
}

fn finding(severity: Severity, problem: &Problem, object: &Object, name: &dyn std::fmt::Display) -> Finding {
    let said = Problem {
        // The object is named beside the message.
        origins: Vec::new(),
        ..problem.clone()
    };
    let Place { line, column } = place(&object.node, &problem.field);
    Finding {
        file: object.file.clone(),
        place: Some((line, column)),
        severity,
        object: Some(name.to_string()),
        field: problem.field.to_string(),
        message: said.to_string(),
    }
}

/// Where a field of `spec` stands: its key, or that of the nearest block around it.
fn place(object: &Node, field: &str) -> Place {
    let Some((mut at, mut node)) = object.entry("spec") else {
        return object.at;
    };
    let mut rest = field;
    while !rest.is_empty() {
        // A name in brackets may have dots.
        let (key, after) = match rest.split_once("].") {
            Some((key, after)) if key.starts_with("tablespaces[") => (key, after),
            _ => rest.split_once('.').unwrap_or((rest, "")),
        };
        rest = after;
        let (key, name) = key.split_once('[').map_or((key, None), |(key, name)| (key, Some(name)));
        let Some(next) = node.entry(key) else { break };
        (at, node) = next;
        if let Some(name) = name {
            // What is said of one tablespace may be from the entry for all that have none.
            let Some(entry) = named(node, name).or_else(|| named(node, "*")) else {
                break;
            };
            (at, node) = (entry.at, entry);
        }
    }
    at
}

/// The entry of a list with this name.
fn named<'a>(list: &'a Node, name: &str) -> Option<&'a Node> {
    let Value::List(items) = &list.value else { return None };
    items.iter().find(|item| item.get("name").and_then(Node::text) == Some(name))
}

impl Node {
    /// Where a key stands, and its value, where this is a map that has it.
    fn entry(&self, key: &str) -> Option<(Place, &Self)> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|e| e.key == key).map(|e| (e.at, &e.node))
    }
}
