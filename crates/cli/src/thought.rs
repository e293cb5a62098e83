//! What the planner would do now: the manager's own planner, on the world as the API server shows it.

use std::collections::HashSet;

use csm_api::{BreakerScope, BreakerState, CircuitBreakerStatus, PostgresStorageStatus, Reason, Settings};
use csm_core::breaker::{Circuit, Opened};
use csm_core::plan::{CeilingSource, Decision, Plan, plan};
use csm_core::resolve::{Origin, OriginKind, Resolution};
use csm_core::world::{ClusterKey, Fleet, Member, Observation, World};
use csm_gather::index::{Index, PvcNow, Sample, Snapshot};
use csm_gather::offline::Subject;
use csm_gather::views::{ClassView, ClusterView, PodView, cluster_key, namespace_labels};
use csm_gather::world::{VolumeSettings, world};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use crate::figures::{Claim, Figures, Trust, claims, sizing_of};
use crate::read::{Details, Facts};
use crate::wal;

/// The world of one cluster, and what the planner makes of it.
pub struct Thought {
    /// The objects that it was made of.
    pub snapshot: Snapshot,
    /// The planner's world.
    pub world: World,
    /// What the planner would do.
    pub plan: Plan,
    /// The figures that it rests on.
    pub figures: Figures,
    /// The cluster's PVCs.
    pub claims: Vec<Claim>,
}

/// Thinks about the one cluster of `facts`; none where there is none.
#[must_use]
pub fn think(facts: &Facts, details: &Details, now: Timestamp) -> Option<Thought> {
    let cluster = facts.clusters.first()?;
    let key = cluster_key(cluster.metadata.namespace.as_deref().unwrap_or_default(), &cluster.name_any());
    let mut claims = claims(&facts.pvcs);
    let claims = claims
        .remove(&(key.namespace.to_string(), key.name.to_string()))
        .unwrap_or_default();
    let figures = Figures::of(facts.storages.first(), &claims, &facts.manager, now);
    let mut index = index(facts, details, &key, now);
    put_figures(&mut index, &key, &claims, &figures);
    let snapshot = index.snapshot(&key)?;
    let mut world = world(&snapshot, &shipped(), now);
    let status = facts.storages.first().and_then(|s| s.status.as_ref());
    complete(&mut world, &figures, status, now);
    if let Some(status) = status {
        join_fleet(&mut world, status);
        world.cluster.wal = wal::known(&world, status, &facts.manager);
    }
    let plan = plan(&world, now);
    Some(Thought {
        snapshot,
        world,
        plan,
        figures,
        claims,
    })
}

impl Thought {
    /// Thinks about a cluster that files describe.
    #[must_use]
    pub fn of_subject(subject: &Subject, now: Timestamp) -> Self {
        let Subject {
            world,
            snapshot,
            object: _,
        } = subject;
        let claim = |pvc: &PvcNow| Claim {
            name: pvc.name.to_string(),
            created: None,
            view: pvc.view.clone(),
        };
        Self {
            plan: plan(world, now),
            figures: Figures::of_world(world, now),
            claims: snapshot.pvcs.iter().map(claim).collect(),
            world: world.clone(),
            snapshot: snapshot.clone(),
        }
    }
}

/// The manager's own settings cannot be seen from here: these are as it ships.
fn shipped() -> VolumeSettings {
    VolumeSettings {
        // What it comes to stands in the status.
        default_ceiling_factor: 0,
        ..VolumeSettings::default()
    }
}

/// An index with everything in it but the figures.
fn index(facts: &Facts, details: &Details, key: &ClusterKey, now: Timestamp) -> Index {
    // Nothing is known of the manager's own defaults.
    let mut index = Index::new(Settings::default());
    if let Some(namespace) = &details.namespace {
        index.put_namespace(&key.namespace, Some(namespace_labels(namespace)));
    }
    for policy in &details.policies {
        index.put_policy(policy);
    }
    for policy in &details.cluster_policies {
        index.put_cluster_policy(policy);
    }
    for cluster in &facts.clusters {
        index.put_cluster(key, Some(ClusterView::of(cluster)));
    }
    for storage in &facts.storages {
        index.put_storage(storage.clone());
    }
    for pvc in &facts.pvcs {
        index.put_pvc(pvc, now);
    }
    for pod in &details.pods {
        if let Some(view) = PodView::of(pod) {
            index.put_pod(&key.namespace, &pod.name_any(), view);
        }
    }
    for event in &details.events {
        index.put_event(event.clone());
    }
    if let Some(classes) = &details.classes {
        for class in classes {
            index.put_class(&class.name_any(), Some(ClassView::of(class)));
        }
        return index;
    }
    let used = facts.pvcs.iter().filter_map(|pvc| pvc.spec.as_ref()?.storage_class_name.as_deref());
    for name in used {
        let assumed = ClassView {
            provisioner: "".into(),
            expandable: true,
        };
        index.put_class(name, Some(assumed));
    }
    index
}

/// The figures as samples.
fn put_figures(index: &mut Index, key: &ClusterKey, claims: &[Claim], figures: &Figures) {
    let sample = |claim: &Claim| {
        let disk = &figures.get(&claim.view.instance, &claim.view.volume)?.disk;
        let bytes = |n: i64| Bytes::new(u64::try_from(n).unwrap_or(0));
        let inodes = disk.inodes_total.zip(disk.inodes_used);
        let inodes = inodes.and_then(|(total, used)| {
            Some(csm_core::world::Inodes {
                total: u64::try_from(total).ok()?,
                used: u64::try_from(used).ok()?,
            })
        });
        Some(Sample {
            observation: Observation {
                used: bytes(disk.used_bytes),
                available: bytes(disk.available_bytes),
                capacity: bytes(disk.total_bytes),
                inodes,
                at: disk.observed_at.0,
            },
            twin: false,
        })
    };
    let samples: Vec<(&str, Sample)> = claims
        .iter()
        .filter_map(|claim| sample(claim).map(|s| (claim.name.as_str(), s)))
        .collect();
    let samples = samples.into_iter().map(|(name, sample)| ((&*key.namespace, name), sample));
    index.put_samples(samples, SignedDuration::MAX);
}

/// What only the manager knows, and what it lets show in the status.
fn complete(world: &mut World, figures: &Figures, status: Option<&PostgresStorageStatus>, now: Timestamp) {
    for volume in &mut world.volumes {
        let sizing = status.and_then(|s| sizing_of(s, &volume.key));
        let said = |name: &str| sizing.and_then(|s| s.last_decision.inputs.get(name));
        if said("ceilingFrom").is_some_and(|from| from == CeilingSource::Fallback.as_str()) {
            volume.fallback_ceiling = sizing.and_then(|s| s.limit);
        }
        // It sees all volumes of a node, we see one cluster's.
        let shared = sizing.is_some_and(|s| s.last_decision.reason == Reason::SharedFilesystem);
        let shared = shared.then(|| said("heldInstance")).flatten();
        for member in &mut volume.members {
            let trust = figures.get(&member.instance, &volume.key).map(|f| f.trust);
            if trust == Some(Trust::TakenAsCurrent) {
                take_as_current(member, now);
            }
            member.twin = shared.is_some_and(|instance| **instance == *member.instance);
        }
    }
    let twins: HashSet<_> = world
        .volumes
        .iter()
        .flat_map(|v| &v.members)
        .filter(|m| world.volumes.iter().flat_map(|v| &v.members).any(|other| m.twin_of(other)))
        .map(|m| m.uid.clone())
        .collect();
    for member in world.volumes.iter_mut().flat_map(|v| &mut v.members) {
        member.twin |= twins.contains(&member.uid);
    }
}

/// What the Cluster has to do with all others: no one Cluster's objects show it, and its status says how far it holds it.
fn join_fleet(world: &mut World, status: &PostgresStorageStatus) {
    let sizings = world.volumes.iter().filter_map(|volume| sizing_of(status, &volume.key));
    let sizings: Vec<_> = sizings.collect();
    let held_by = |reason: Reason| sizings.iter().map(|s| &s.last_decision).find(|d| d.reason == reason);
    let global = |breaker: &&CircuitBreakerStatus| breaker.scope == Some(BreakerScope::Global) && breaker.state != BreakerState::Closed;
    if let Some(breaker) = status.circuit_breaker.as_ref().filter(global) {
        let opened = match breaker.failures {
            // How many grew is not told: it would change all the time.
            0 => Opened::Runaway { grown: 0, managed: 0 },
            _ => Opened::Failures {
                resets_at: breaker.resets_at.as_ref().map(|at| at.0),
            },
        };
        world.global_breaker = Circuit {
            failures: u32::try_from(breaker.failures).unwrap_or(0),
            opened: Some((breaker.opened_at.as_ref().map_or(Timestamp::MIN, |at| at.0), opened)),
            tried_until: held_by(Reason::CircuitOpen).map(|_| Timestamp::MAX),
            closed_at: None,
        };
    }
    if let Some(held) = held_by(Reason::FleetLimit) {
        let said = |name: &str| held.inputs.get(name).and_then(|text| text.parse().ok());
        let fleet = Fleet {
            in_progress: said("resizesInProgress").unwrap_or(0),
            ahead: said("clustersAhead").unwrap_or(0),
            limit: said("fleetLimit"),
        };
        match held.inputs.get("storageClass") {
            None => world.fleet = fleet,
            Some(class) => {
                let members = world.volumes.iter_mut().flat_map(|v| &mut v.members);
                for member in members.filter(|m| *m.class.name == **class) {
                    member.class.fleet = fleet;
                }
            }
        }
    }
}

/// Unless they were taken before the last resize had ended.
fn take_as_current(member: &mut Member, now: Timestamp) {
    let after = member.last_resize_at;
    if let Some(observation) = member.observation.as_mut().filter(|o| after.is_none_or(|end| o.at > end)) {
        observation.at = now;
    }
}

impl Thought {
    /// The planner's decision for a volume.
    #[must_use]
    pub fn decision(&self, volume: &csm_core::world::VolumeKey) -> Option<&Decision> {
        self.plan.decisions.iter().find(|d| d.volume == *volume)
    }

    /// The settings, with their origins, where they could be resolved.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String, Origin)> {
        match &*self.world.resolution {
            Resolution::Settings(resolved) => resolved.fields(),
            Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_) => Vec::new(),
        }
    }

    /// Whether any setting is the built-in one, in the place of which the manager may have its own.
    #[must_use]
    pub fn rests_on_defaults(&self) -> bool {
        self.fields().iter().any(|(_, _, origin)| origin.kind == OriginKind::BuiltIn)
    }
}
