//! Worlds from files: Kubernetes manifests with kubelets' summaries, or a Scenario. Nothing is read here but text that
//! the caller has; nothing is printed.
//!
//! Manifests go through the same [`index`](crate::index) and [`views`](crate::views) as what the manager watches, so
//! that both see the same world. What a Scenario leaves out is as its format says.

mod build;
mod decode;
mod figures;
mod lint;
mod make_up;
mod mistake;
mod objects;
mod one;
mod scenario;
mod strict;
mod tree;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use csm_api::Settings;
use csm_core::resolve::Resolution;
use csm_core::validate::Problem;
use csm_core::world::{ClusterKey, Member, VolumeKey, World};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;

pub use self::lint::{Finding, Linted, Severity, lint};
pub use self::make_up::{MadeUp, MakeUp};
pub use self::mistake::Mistake;

use self::build::Source;
use self::figures::Figures;
use self::objects::Objects;
pub(crate) use self::one::read as read_one;
pub(crate) use self::strict::{CLUSTER_STORAGE_POLICY, POSTGRES_STORAGE, STORAGE_POLICY, Spec};
use crate::index::{Index, Sample, Snapshot};
use crate::views::{ClassView, ClusterView, PodView, PvcView, cluster_key, namespace_labels};
use crate::world::{VolumeSettings, world};

/// Where an object without a namespace lives.
const DEFAULT_NAMESPACE: &str = "default";
/// What is to be known where volumes have no figures.
const NO_FIGURES: &str =
    "no figures of filesystems were given, so nothing is known of how full volumes are; give kubelets' summaries with --stats";

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, for messages.
    pub name: String,
    /// What it holds.
    pub text: Vec<u8>,
    /// Nobody named it: it lay in a folder. There, what is no object is let pass.
    pub from_folder: bool,
}

/// What files come to.
#[derive(Debug)]
pub struct Offline {
    /// The time that it all is about.
    pub now: Timestamp,
    /// The Clusters, by namespace and name.
    pub subjects: Vec<Subject>,
    /// Settings that do not validate, and hold volumes.
    pub problems: Vec<InvalidSettings>,
    /// What limits the answer.
    pub notes: Vec<String>,
    /// A Scenario's `expect`, for tests.
    pub expect: Vec<serde_json::Value>,
    /// The files have no Clusters: these were made up.
    pub made_up: bool,
}

/// One Cluster.
#[derive(Debug)]
pub struct Subject {
    /// The planner's world.
    pub world: World,
    /// The objects that it was made of. A Scenario has but the Cluster and its settings.
    pub snapshot: Snapshot,
    /// The Cluster itself.
    pub object: csm_cnpg::Cluster,
}

/// Settings of one volume, or those that all volumes of a Cluster share, that do not validate.
#[derive(Clone, Debug, PartialEq)]
pub struct InvalidSettings {
    /// The Cluster.
    pub cluster: ClusterKey,
    /// The volume; none: all of them.
    pub volume: Option<VolumeKey>,
    /// What is wrong, at least one thing.
    pub problems: Vec<Problem>,
}

/// Reads manifests or a Scenario, and summaries of kubelets. The time is `now`, else the Scenario's, else that of the
/// newest figures, else `clock`.
///
/// # Errors
/// Everything that is wrong in the files; then nothing is to be decided on them.
pub fn read(files: &[File], stats: &[File], now: Option<Timestamp>, clock: Timestamp) -> Result<Offline, Vec<Mistake>> {
    complete(Objects::of(files), files, stats, now, clock, false)
}

/// The same of policies that are to be tried over time. Where `files` have no Clusters, those of `others` count (without their policies);
/// where these have none either, Clusters are made up.
///
/// # Errors
/// As of [`read`].
pub fn read_to_try(
    files: &[File],
    others: &[File],
    stats: &[File],
    make_up: Option<&MakeUp>,
    clock: Timestamp,
) -> Result<Offline, Vec<Mistake>> {
    let mut objects = Objects::of(files);
    if !objects.have_clusters() {
        objects.take_clusters(Objects::of(others));
    }
    let make_up = make_up.filter(|_| !objects.have_clusters());
    if let Some(make_up) = make_up {
        let (file, notes) = make_up.scenario(&objects, clock);
        objects.add(&file);
        objects.notes.extend(notes);
    }
    let mut offline = complete(objects, files, stats, None, clock, make_up.is_some())?;
    // How full volumes are is what is tried.
    offline.notes.retain(|note| note != NO_FIGURES);
    Ok(offline)
}

fn complete(
    mut objects: Objects,
    files: &[File],
    stats: &[File],
    now: Option<Timestamp>,
    clock: Timestamp,
    made_up: bool,
) -> Result<Offline, Vec<Mistake>> {
    let mut mistakes = std::mem::take(&mut objects.mistakes);
    let figures = figures::figures(stats, &mut mistakes);
    let scenario = objects.scenario.take();
    let said = scenario.as_ref().map(|found| found.scenario.now);
    let now = now.or(said).or_else(|| figures::newest(&figures)).unwrap_or(clock);
    let mut notes = std::mem::take(&mut objects.notes);

    let mut index = index(&objects);
    let mut subjects = Vec::new();
    if mistakes.is_empty() {
        subjects = manifests(&mut index, &objects, &figures, now, &mut notes);
        if let Some(found) = &scenario {
            let source = Source {
                file: &found.file,
                node: &found.node,
                scenario: &found.scenario,
                now,
            };
            subjects.append(&mut build::subjects(&source, &mut index, &mut mistakes));
            twice(&subjects, &found.file, &mut mistakes);
        }
        if mistakes.is_empty() && scenario.is_none() && objects.clusters.is_empty() {
            let names = files.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ");
            let message = "nothing to decide on: no CNPG Cluster (postgresql.cnpg.io), and no Scenario";
            mistakes.push(Mistake::new(&names, None, message));
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    mark_twins(&mut subjects);
    subjects.sort_by(|a, b| a.world.cluster.key.cmp(&b.world.cluster.key));
    Ok(Offline {
        now,
        problems: subjects.iter().flat_map(|s| invalid(&s.world)).collect(),
        subjects,
        notes,
        expect: scenario.map(|found| found.scenario.expect).unwrap_or_default(),
        made_up,
    })
}

/// An index with all policies and PostgresStorages.
fn index(objects: &Objects) -> Index {
    let mut index = Index::new(Settings::default());
    for policy in &objects.policies {
        index.put_policy(policy);
    }
    for policy in &objects.cluster_policies {
        index.put_cluster_policy(policy);
    }
    for storage in &objects.storages {
        index.put_storage(storage.clone());
    }
    index
}

/// What the manifests come to.
fn manifests(index: &mut Index, objects: &Objects, figures: &Figures, now: Timestamp, notes: &mut Vec<String>) -> Vec<Subject> {
    for namespace in &objects.namespaces {
        index.put_namespace(&namespace.name_any(), Some(namespace_labels(namespace)));
    }
    let key = |cluster: &csm_cnpg::Cluster| cluster_key(&cluster.namespace().unwrap_or_default(), &cluster.name_any());
    // The last of a name counts.
    let clusters: BTreeMap<ClusterKey, &csm_cnpg::Cluster> = objects.clusters.iter().map(|c| (key(c), c)).collect();
    for (key, cluster) in &clusters {
        index.put_cluster(key, Some(ClusterView::of(cluster)));
    }
    for pvc in &objects.pvcs {
        index.put_pvc(pvc, now);
    }
    for pod in &objects.pods {
        if let Some(view) = PodView::of(pod) {
            index.put_pod(&pod.namespace().unwrap_or_default(), &pod.name_any(), view);
        }
    }
    for event in &objects.events {
        index.put_event(event.clone());
    }
    put_classes(index, objects, notes);
    // What is kept of samples depends on the settings: these are resolved first.
    for key in clusters.keys() {
        let _ = index.snapshot(key);
    }
    let samples = figures::until(figures, now);
    let samples = samples.iter().map(|((namespace, name), observation)| {
        let sample = Sample {
            observation: *observation,
            twin: false,
        };
        ((*namespace, *name), sample)
    });
    index.put_samples(samples, SignedDuration::MAX);
    if !clusters.is_empty() && figures.is_empty() {
        notes.push(NO_FIGURES.to_owned());
    }

    let settings = VolumeSettings::default();
    let mut subjects = Vec::new();
    for (key, object) in clusters {
        let Some(snapshot) = index.snapshot(&key) else { continue };
        let world = world(&snapshot, &settings, now);
        if !world.volumes.is_empty() && snapshot.pods.is_empty() {
            notes.push(format!(
                "{key} has no Pods in these files, so the nodes of its instances are not known, nor which volumes share a filesystem"
            ));
        }
        if world.volumes.is_empty() {
            notes.push(format!("{key} has no PVCs in these files, so there is nothing to decide on"));
        }
        subjects.push(Subject {
            world,
            snapshot,
            object: object.clone(),
        });
    }
    subjects
}

/// The storage classes; one that the files do not have is taken to allow expansion.
fn put_classes(index: &mut Index, objects: &Objects, notes: &mut Vec<String>) {
    for class in &objects.classes {
        index.put_class(&class.name_any(), Some(ClassView::of(class)));
    }
    let given: BTreeSet<String> = objects.classes.iter().map(StorageClass::name_any).collect();
    let used = objects.pvcs.iter().filter_map(|pvc| PvcView::of(pvc)?.class);
    let missing: BTreeSet<Arc<str>> = used.filter(|name| !given.contains(&**name)).collect();
    for name in &missing {
        let assumed = ClassView {
            provisioner: "".into(),
            expandable: true,
        };
        index.put_class(name, Some(assumed));
    }
    if !missing.is_empty() {
        let names = missing.iter().map(|name| &**name).collect::<Vec<_>>().join(", ");
        notes.push(format!(
            "StorageClasses that are not in these files are taken to allow expansion, and to give each volume its own filesystem: {names}"
        ));
    }
}

/// Complains of Clusters that are there twice.
fn twice(subjects: &[Subject], file: &str, mistakes: &mut Vec<Mistake>) {
    let mut seen = BTreeSet::new();
    for subject in subjects {
        let key = &subject.world.cluster.key;
        if !seen.insert(key) {
            mistakes.push(Mistake::new(file, None, format!("Cluster {key} is there twice")));
        }
    }
}

/// Which PVCs report the same filesystem, over all Clusters ([`Member::twin_of`]).
fn mark_twins(subjects: &mut [Subject]) {
    type Filesystem = (Arc<str>, Bytes, Bytes);
    let filesystem = |m: &Member| -> Option<Filesystem> {
        let figures = m.figures()?;
        Some((m.node.clone()?, figures.capacity, figures.available))
    };
    let mut same: HashMap<Filesystem, Vec<Member>> = HashMap::new();
    let members = || subjects.iter().flat_map(|s| &s.world.volumes).flat_map(|v| &v.members);
    for member in members() {
        if let Some(filesystem) = filesystem(member) {
            same.entry(filesystem).or_default().push(member.clone());
        }
    }
    let members = subjects.iter_mut().flat_map(|s| &mut s.world.volumes).flat_map(|v| &mut v.members);
    for member in members {
        let others = filesystem(member).and_then(|filesystem| same.get(&filesystem));
        member.twin = others.into_iter().flatten().any(|other| member.twin_of(other));
    }
}

/// What gate 3 holds: a Cluster's shared settings, or the blocks of single volumes.
fn invalid(world: &World) -> Vec<InvalidSettings> {
    let key = &world.cluster.key;
    let of = |volume: Option<&VolumeKey>, problems: &[Problem]| InvalidSettings {
        cluster: key.clone(),
        volume: volume.cloned(),
        problems: problems.to_vec(),
    };
    match &*world.resolution {
        Resolution::NoPolicy | Resolution::Conflict(_) => Vec::new(),
        Resolution::Invalid(problems) => vec![of(None, problems)],
        Resolution::Settings(resolved) => {
            let mut volumes: Vec<&VolumeKey> = world.volumes.iter().map(|v| &v.key).collect();
            volumes.sort();
            let wrong = volumes.into_iter().filter_map(|v| Some((v, resolved.volumes.of(v).err()?)));
            wrong.map(|(volume, problems)| of(Some(volume), problems)).collect()
        }
    }
}
