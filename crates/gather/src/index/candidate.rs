//! What would come of a policy object that somebody wants to write, for the Clusters that there are.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use csm_api::{ClusterStoragePolicy, PostgresStorage, StoragePolicy};
use csm_core::resolve::{self, Conflict, Identity, Origin, OriginKind, Policy, Resolution};
use csm_core::validate::{self, Problem, Subject, VolumeFacts, Warning, WarningKind};
use csm_core::world::{ClusterKey, VolumeKey};
use csm_units::Bytes;

use super::{Index, Slot};
use crate::views::Labels;
use crate::world::{VolumeSettings, class_of};

/// An object that somebody wants to write. Its metadata has its name, and its namespace where it has one.
#[derive(Clone, Debug)]
pub enum Candidate {
    /// A StoragePolicy.
    StoragePolicy(Box<StoragePolicy>),
    /// A ClusterStoragePolicy.
    ClusterStoragePolicy(Box<ClusterStoragePolicy>),
    /// A PostgresStorage.
    PostgresStorage(Box<PostgresStorage>),
}

/// What is wrong with it, and what is seldom meant. A problem names the objects that it came from where others have a part
/// in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// It is not to be written.
    pub problems: Vec<Problem>,
    /// It may be written.
    pub warnings: Vec<Problem>,
}

impl Candidate {
    /// What it is to others.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self {
            Self::StoragePolicy(object) => Policy::from_storage_policy(object).origin,
            Self::ClusterStoragePolicy(object) => Policy::from_cluster_storage_policy(object).origin,
            Self::PostgresStorage(object) => Origin::from(&**object),
        }
    }

    /// What is wrong with it by itself, whatever Clusters there are.
    #[must_use]
    pub fn alone(&self) -> Verdict {
        let problems = match self {
            Self::StoragePolicy(object) => validate::validate_storage_policy(&object.spec),
            Self::ClusterStoragePolicy(object) => validate::validate_cluster_storage_policy(&object.spec),
            Self::PostgresStorage(object) => validate::validate(&object.spec.settings),
        };
        Verdict {
            problems,
            warnings: self.warnings().into_iter().map(|w| w.problem).collect(),
        }
    }

    /// What it says by itself that is seldom meant.
    fn warnings(&self) -> Vec<Warning> {
        match self {
            Self::StoragePolicy(object) => validate::warn_storage_policy(&object.spec),
            Self::ClusterStoragePolicy(object) => validate::warn_cluster_storage_policy(&object.spec),
            Self::PostgresStorage(object) => validate::warn(&object.spec.settings),
        }
    }

    fn policy(&self) -> Option<Policy> {
        match self {
            Self::StoragePolicy(object) => Some(Policy::from_storage_policy(object)),
            Self::ClusterStoragePolicy(object) => Some(Policy::from_cluster_storage_policy(object)),
            Self::PostgresStorage(_) => None,
        }
    }
}

/// A Cluster that the candidate has a say in, with the settings that would come of it.
struct Affected<'a> {
    key: &'a ClusterKey,
    labels: Arc<Labels>,
    namespace_labels: &'a Labels,
    resolution: Arc<Resolution>,
    volumes: Vec<VolumeFacts>,
    archives_wal: bool,
    /// Others of the candidate's rank.
    rivals: Vec<Origin>,
}

impl Affected<'_> {
    fn subject<'s>(&'s self, resolution: &'s Resolution) -> Subject<'s> {
        Subject {
            identity: Identity {
                key: self.key,
                labels: &self.labels,
                namespace_labels: self.namespace_labels,
            },
            resolution,
            volumes: Cow::Borrowed(&self.volumes),
            archiving: Some(self.archives_wal),
        }
    }
}

/// What was found of one version of an object.
struct Findings {
    verdict: Verdict,
    /// Policies of the same rank, each with a Cluster that both match.
    overlaps: BTreeSet<(Origin, ClusterKey)>,
}

impl Index {
    /// What would come of writing `candidate`. What was wrong in the same words with `before`, the object as it stands, is
    /// no more than a warning: a change that makes nothing worse is not refused.
    #[must_use]
    pub fn judge(&self, candidate: &Candidate, before: Option<&Candidate>, settings: &VolumeSettings) -> Verdict {
        let known = before.map(|before| self.findings(before, &BTreeSet::new(), settings));
        let nothing = BTreeSet::new();
        let overlaps = known.as_ref().map_or(&nothing, |known| &known.overlaps);
        let Findings { mut verdict, .. } = self.findings(candidate, overlaps, settings);
        if let Some(known) = known {
            let (old, new): (Vec<Problem>, Vec<Problem>) = verdict
                .problems
                .into_iter()
                .partition(|problem| known.verdict.problems.contains(problem));
            verdict.problems = new;
            verdict.warnings.splice(0..0, old);
        }
        verdict
    }

    /// `known`: overlaps that there are already.
    fn findings(&self, candidate: &Candidate, known: &BTreeSet<(Origin, ClusterKey)>, settings: &VolumeSettings) -> Findings {
        let origin = candidate.origin();
        let policy = candidate.policy();
        let affected = match (candidate, &policy) {
            (Candidate::PostgresStorage(storage), _) => self.of_storage(&origin, storage, settings),
            (_, Some(policy)) => self.of_policy(policy, settings),
            (_, None) => Vec::new(),
        };
        let subjects: Vec<Subject<'_>> = affected.iter().map(|a| a.subject(&a.resolution)).collect();
        let ours = |problem: &Problem| problem.origins.contains(&origin);
        let mut verdict = candidate.alone();

        for subject in &subjects {
            for problem in wrong(subject).filter(|p| ours(p)) {
                push(&mut verdict.problems, problem.clone(), &origin);
            }
        }
        let policies: Vec<&Policy> = policy.iter().collect();
        let (risks, risky) = validate::wal_risk(&policies, &subjects);
        let (refused, others): (Vec<Problem>, Vec<Problem>) = risks.into_iter().partition(ours);
        for problem in refused {
            push(&mut verdict.problems, problem, &origin);
        }
        let overlaps = affected
            .iter()
            .flat_map(|a| a.rivals.iter().map(|rival| (rival.clone(), a.key.clone())));
        let overlaps: BTreeSet<(Origin, ClusterKey)> = overlaps.collect();
        if let Some(policy) = &policy {
            let conflicting = conflicting(policy, &affected, known);
            let conflicting: Vec<Subject<'_>> = conflicting.iter().map(|(a, conflict)| a.subject(conflict)).collect();
            for mut problem in validate::conflicts(&conflicting) {
                // Whichever of them comes last by name: here it is the one that is being written.
                problem.origins.clear();
                push(&mut verdict.problems, problem, &origin);
            }
        }

        if validate::is_bounded_everywhere(&origin, &subjects) {
            let alone = candidate.warnings();
            let unbounded = |problem: &Problem| alone.iter().any(|w| w.kind == WarningKind::Unbounded && w.problem == *problem);
            verdict.warnings.retain(|warning| !unbounded(warning));
        }
        let own_cluster = origin.kind == OriginKind::PostgresStorage;
        let of_clusters = subjects.iter().flat_map(validate::warn_cluster);
        let unknown = policies.iter().filter(|_| !self.slots.is_empty());
        let unknown = unknown.flat_map(|policy| validate::unknown_exclusions(policy, |key| self.exists(key)));
        let warnings = of_clusters.chain(risky).chain(unknown).map(|w| w.problem).chain(others);
        for warning in warnings {
            if own_cluster || warning.origins.is_empty() || ours(&warning) {
                push(&mut verdict.warnings, warning, &origin);
            }
        }
        Findings { verdict, overlaps }
    }

    /// The Clusters that a policy would match.
    fn of_policy(&self, policy: &Policy, settings: &VolumeSettings) -> Vec<Affected<'_>> {
        let others: Vec<&Policy> = self
            .policies
            .values()
            .map(|entry| entry.policy.as_ref())
            .filter(|other| other.origin != policy.origin)
            .collect();
        let namespace = policy.origin.namespace.as_deref();
        let mut slots: Vec<_> = self
            .slots
            .iter()
            .filter(|(key, _)| namespace.is_none_or(|namespace| namespace == &*key.namespace))
            .collect();
        slots.sort_by_key(|(key, _)| *key);
        // Most Clusters have the same policies and nothing of their own.
        let mut resolved: HashMap<Vec<&Origin>, Arc<Resolution>> = HashMap::new();
        let mut affected = Vec::new();
        for (key, slot) in slots {
            let Some((labels, namespace_labels)) = self.labels(key, slot) else {
                continue;
            };
            let identity = Identity {
                key,
                labels: &labels,
                namespace_labels,
            };
            if !policy.matches(&identity) {
                continue;
            }
            let matching = resolve::matching(&identity, others.iter().copied().chain([policy]));
            let rivals = matching.iter().filter(|p| p.rank() == policy.rank() && p.origin != policy.origin);
            let rivals = rivals.map(|p| p.origin.clone()).collect();
            let resolution = match slot.own_settings() {
                _ if slot.storage_problem.is_some() => Arc::new(Resolution::NoPolicy),
                Some(storage) => {
                    let origin = Origin::postgres_storage(&key.namespace, &key.name);
                    Arc::new(resolve::resolve(&matching, Some((&origin, &storage.spec.settings)), &self.defaults))
                }
                None => {
                    let names = matching.iter().map(|p| &p.origin).collect();
                    let resolve = || Arc::new(resolve::resolve(&matching, None, &self.defaults));
                    resolved.entry(names).or_insert_with(resolve).clone()
                }
            };
            affected.push(Affected {
                key,
                labels: labels.clone(),
                namespace_labels,
                resolution,
                volumes: self.volumes(slot, settings),
                archives_wal: slot.cluster.as_ref().is_some_and(|cluster| cluster.archives_wal),
                rivals,
            });
        }
        affected
    }

    /// The Cluster of a PostgresStorage, where it is known.
    fn of_storage(&self, origin: &Origin, storage: &PostgresStorage, settings: &VolumeSettings) -> Vec<Affected<'_>> {
        let key = ClusterKey::new(origin.namespace.clone().unwrap_or_default(), origin.name.clone());
        let Some((key, slot)) = self.slots.get_key_value(&key) else {
            return Vec::new();
        };
        let Some((labels, namespace_labels)) = self.labels(key, slot) else {
            return Vec::new();
        };
        let identity = Identity {
            key,
            labels: &labels,
            namespace_labels,
        };
        let matching = resolve::matching(&identity, self.policies.values().map(|entry| entry.policy.as_ref()));
        let resolution = resolve::resolve(&matching, Some((origin, &storage.spec.settings)), &self.defaults);
        vec![Affected {
            key,
            labels: labels.clone(),
            namespace_labels,
            resolution: Arc::new(resolution),
            volumes: self.volumes(slot, settings),
            archives_wal: slot.cluster.as_ref().is_some_and(|cluster| cluster.archives_wal),
            rivals: Vec::new(),
        }]
    }

    fn exists(&self, key: &ClusterKey) -> bool {
        self.slots.get(key).is_some_and(|slot| slot.cluster.is_some())
    }

    /// What policies select a Cluster by; none where it does not exist, or not for long.
    fn labels(&self, key: &ClusterKey, slot: &Slot) -> Option<(Arc<Labels>, &Labels)> {
        static NONE: Labels = Labels::new();
        let cluster = slot.cluster.as_ref().filter(|cluster| !cluster.deleting)?;
        Some((cluster.labels.open()?, self.namespaces.get(&key.namespace).unwrap_or(&NONE)))
    }

    /// The volumes of a Cluster: its PVCs, and what it asks for where there are none.
    fn volumes(&self, slot: &Slot, settings: &VolumeSettings) -> Vec<VolumeFacts> {
        let mut volumes: Vec<VolumeFacts> = Vec::new();
        let mut add = |key: &VolumeKey, size: Bytes, class| match volumes.iter_mut().find(|v| v.key == *key) {
            Some(volume) => volume.add(size, class),
            None => volumes.push(VolumeFacts {
                key: key.clone(),
                size,
                class,
            }),
        };
        for claim in slot.pvcs.values() {
            let class = claim.class.as_ref().and_then(|name| Some((name, self.class(name)?)));
            let class = class.map(|(name, view)| class_of(name, Some(view), settings));
            add(&claim.volume, claim.request.max(claim.capacity), class);
        }
        for (key, size) in slot.cluster.iter().flat_map(|cluster| cluster.spec_sizes.iter()) {
            if slot.pvcs.values().all(|claim| claim.volume != *key) {
                add(key, *size, None);
            }
        }
        volumes.sort_by(|a, b| a.key.cmp(&b.key));
        volumes
    }
}

/// What is wrong with what the objects of a Cluster come to.
fn wrong<'s>(subject: &'s Subject<'_>) -> impl Iterator<Item = &'s Problem> {
    let (shared, settings) = match subject.resolution {
        Resolution::Invalid(problems) => (problems.as_slice(), None),
        Resolution::Settings(settings) => (&[] as &[Problem], Some(settings)),
        Resolution::NoPolicy | Resolution::Conflict(_) => (&[] as &[Problem], None),
    };
    let volumes = subject.volumes.iter().filter_map(move |v| settings?.volumes.of(&v.key).err());
    shared.iter().chain(volumes.flatten())
}

/// The Clusters that a policy newly shares with others of its rank, as conflicts.
fn conflicting<'a>(
    policy: &Policy,
    affected: &'a [Affected<'a>],
    known: &BTreeSet<(Origin, ClusterKey)>,
) -> Vec<(&'a Affected<'a>, Resolution)> {
    let new = |a: &Affected<'_>| a.rivals.iter().any(|rival| !known.contains(&(rival.clone(), a.key.clone())));
    let conflict = |a: &'a Affected<'a>| {
        let mut policies = a.rivals.clone();
        policies.push(policy.origin.clone());
        policies.sort();
        let rank = policy.rank();
        (a, Resolution::Conflict(vec![Conflict { rank, policies }]))
    };
    affected.iter().filter(|a| new(a)).map(conflict).collect()
}

/// Adds what is not there yet. The object itself need not be named: everybody knows which one is being written.
fn push(all: &mut Vec<Problem>, mut problem: Problem, origin: &Origin) {
    if problem.origins == [origin.clone()] {
        problem.origins.clear();
    }
    if !all.contains(&problem) {
        all.push(problem);
    }
}
