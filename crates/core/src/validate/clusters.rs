//! What it takes Clusters to see: settings against the volumes, the storage classes and the archiving that they meet,
//! and policies against each other.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use csm_api::Role;
use csm_units::Bytes;

use super::warnings::{Warning, WarningKind};
use super::{MAX_SIZE, Problem};
use crate::resolve::{Block, Field, Identity, Origin, OriginKind, Policy, Resolution, Resolved, Sizing, VolumeRules};
use crate::world::{Class, ClusterKey, VolumeKey, World};

/// A Cluster, as far as settings can be wrong for it.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// What policies select it by.
    pub identity: Identity<'a>,
    /// What its policies come to.
    pub resolution: &'a Resolution,
    /// Its volumes.
    pub volumes: Cow<'a, [VolumeFacts]>,
    /// Whether it archives WAL; none where that is not known.
    pub archiving: Option<bool>,
}

/// A volume, as far as settings can be wrong for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFacts {
    /// Its name.
    pub key: VolumeKey,
    /// Its size, or what the Cluster asks for.
    pub size: Bytes,
    /// Its storage class, where that is known.
    pub class: Option<Class>,
}

impl VolumeFacts {
    /// One more PVC of it: the largest size counts, and the class that most says against growth.
    pub fn add(&mut self, size: Bytes, class: Option<Class>) {
        self.size = self.size.max(size);
        self.class = self
            .class
            .take()
            .into_iter()
            .chain(class)
            .max_by_key(|c| (!c.expandable, c.shared_filesystem));
    }
}

impl<'a> Subject<'a> {
    /// Of a world. Its resolution is from the policies that `identity` matches.
    #[must_use]
    pub fn of(world: &'a World, identity: Identity<'a>) -> Self {
        let facts = |volume: &crate::world::Volume| VolumeFacts {
            key: volume.key.clone(),
            size: volume.members.iter().map(crate::world::Member::bytes).max().unwrap_or_default(),
            // The class that most says against growth.
            class: volume
                .members
                .iter()
                .map(|m| &m.class)
                .max_by_key(|c| (!c.expandable, c.shared_filesystem))
                .cloned(),
        };
        Self {
            identity,
            resolution: &world.resolution,
            volumes: world.volumes.iter().map(facts).collect(),
            archiving: world.cluster.wal.as_ref().map(|wal| wal.archiving.is_some()),
        }
    }

    fn has_wal_volume(&self) -> bool {
        self.volumes.iter().any(|v| v.key == VolumeKey::WAL)
    }
}

/// The warnings of one Cluster. Each names in [`Problem::origins`] the object that its value is from; where that list
/// is empty, the field is the Cluster's own.
#[must_use]
pub fn warn_cluster(subject: &Subject<'_>) -> Vec<Warning> {
    let Resolution::Settings(resolved) = subject.resolution else {
        return Vec::new();
    };
    let mut warnings = Vec::new();
    for volume in &*subject.volumes {
        of_class(subject, volume, &mut warnings);
        let Ok(rules) = resolved.volumes.of(&volume.key) else { continue };
        if !volume.size.is_zero() {
            of_sizes(subject, volume, resolved, rules, &mut warnings);
        }
        of_wal_safety(subject, volume, rules, &mut warnings);
    }
    warnings
}

fn of_class(subject: &Subject<'_>, volume: &VolumeFacts, warnings: &mut Vec<Warning>) {
    let Some(class) = &volume.class else { return };
    let (kind, why, example) = if class.shared_filesystem {
        (
            WarningKind::SharedFilesystem,
            "puts many volumes on one filesystem",
            "a class whose volumes have filesystems of their own",
        )
    } else if class.expandable {
        return;
    } else {
        (
            WarningKind::NotExpandable,
            "does not have allowVolumeExpansion: true",
            "a class with allowVolumeExpansion: true",
        )
    };
    let key = subject.identity.key;
    let name = if class.name.is_empty() { "(none)" } else { &class.name };
    let path = Block::new(&volume.key).path();
    let reason = format!("the storage class of {} of {key} {why}: the volume is monitored only", volume.key);
    warnings.push(Warning::new(kind, "storageClass", name, reason, example).at(format!("{path}.storageClass")));
}

/// The limits, the free space that triggers and emergencies ask for.
fn of_sizes(subject: &Subject<'_>, volume: &VolumeFacts, resolved: &Resolved, rules: &VolumeRules, warnings: &mut Vec<Warning>) {
    let (key, size) = (subject.identity.key, volume.size);
    // Of a thousand Clusters few have anything to be told: texts are made for those alone.
    let of = || format!("{} of {key}, {size}", volume.key);
    let path = || Block::new(&volume.key).path();
    let limit = match &rules.sizing {
        Sizing::Thresholds => None,
        Sizing::Resize(resize) => resize.limit.as_ref().map(|f| ("resize.expansion.limit", f)),
        Sizing::Target(target) => Some(("limit", &target.limit)),
    };
    let shared = resolved.expansion.max_size.as_ref().map(|field| (MAX_SIZE, field));
    let bound = resolved.bounds.max_size.as_ref().map(|field| (super::BOUND_SIZE, field));
    let limits = [(true, limit), (false, shared), (false, bound)];
    let limits = limits.into_iter().filter_map(|(own, limit)| Some((own, limit?)));
    for (own, (name, field)) in limits.filter(|(_, (_, field))| field.value <= size) {
        let name = if own { format!("{}.{name}", path()) } else { name.to_owned() };
        let reason = format!("{name} is at or below the current size of {}: it will never grow", of());
        let example = format!("\"{}\"", size.mul_div(3, 1).round_up());
        warnings.push(set(WarningKind::NeverGrows, name, field, reason, &example));
    }
    if let Sizing::Resize(resize) = &rules.sizing
        && let Some(field) = resize.min_available.as_ref().filter(|f| f.value >= size)
    {
        let name = format!("{}.resize.triggers.minAvailable", path());
        let reason = format!("{name} is at or above the size of {}: it fires at once", of());
        let example = format!("\"{}\"", size.mul_div(1, 10).round_up());
        warnings.push(set(WarningKind::FiresAtOnce, name, field, reason, &example));
    }
    let free = rules.emergency.as_ref().and_then(|e| e.minimum_free.as_ref());
    if let Some(field) = free.filter(|f| f.value > size.mul_div(1, 4)) {
        let name = format!("{}.emergencyGrow.criticalMinimumFree", path());
        let reason = format!(
            "{name} is over a quarter of the size of {}: much that is no emergency counts as one",
            of()
        );
        let example = format!("\"{}\"", size.mul_div(1, 20).round_up());
        warnings.push(set(WarningKind::LargeMinimumFree, name, field, reason, &example));
    }
}

fn of_wal_safety(subject: &Subject<'_>, volume: &VolumeFacts, rules: &VolumeRules, warnings: &mut Vec<Warning>) {
    let Sizing::Resize(resize) = &rules.sizing else { return };
    let key = subject.identity.key;
    let name = |field: &str| format!("{}.resize.strategy.walSafetyPolicy.{field}", Block::new(&volume.key).path());
    let acknowledged = &resize.wal_safety.acknowledged;
    if acknowledged.value && volume.key.role == Role::Data && subject.has_wal_volume() {
        let name = name("acknowledgeWALRisk");
        let reason = format!("{name} has no effect on {key}, whose WAL has a volume of its own");
        warnings.push(set(WarningKind::NothingToAcknowledge, name, acknowledged, reason, "leave it out"));
    }
    // Where the default asks for it, nobody was promised anything.
    let require = &resize.wal_safety.require_archive_healthy;
    let holds_wal = volume.key.role == Role::Wal || (volume.key.role == Role::Data && !subject.has_wal_volume());
    if require.value && is_object(&require.origin) && holds_wal && subject.archiving == Some(false) {
        let name = name("requireArchiveHealthy");
        let reason = format!("{name} has nothing to check on {key}, which does not archive WAL: the check is skipped");
        warnings.push(set(
            WarningKind::NothingArchived,
            name,
            require,
            reason,
            "false, or a Cluster with a backup",
        ));
    }
}

/// What policies come to with each other and with all Clusters that are known: errors and warnings.
#[must_use]
pub fn check_policies(policies: &[&Policy], subjects: &[Subject<'_>]) -> (Vec<Problem>, Vec<Warning>) {
    let mut problems = conflicts(subjects);
    let (risks, mut warnings) = wal_risk(policies, subjects);
    problems.extend(risks);
    let known: BTreeSet<&ClusterKey> = subjects.iter().map(|s| s.identity.key).collect();
    // Where no Cluster is known at all, nothing is known of those that are left out.
    for policy in policies.iter().filter(|_| !known.is_empty()) {
        warnings.extend(unknown_exclusions(policy, |cluster| known.contains(cluster)));
    }
    (problems, warnings)
}

/// Clusters that a policy leaves out, and that are not `known`.
pub fn unknown_exclusions(policy: &Policy, known: impl Fn(&ClusterKey) -> bool) -> Vec<Warning> {
    // Without a namespace it stands for any, and is an error of its own.
    let missing = policy.exclude.iter().filter(|e| !e.namespace.is_empty() && !known(e));
    missing
        .map(|cluster| {
            let reason = format!("excludeClusters names {cluster}, and there is no such Cluster");
            let example = "a Cluster that there is";
            let warning = Warning::new(WarningKind::UnknownCluster, "excludeClusters", cluster, reason, example);
            warning.from(&policy.origin)
        })
        .collect()
}

/// Whether each Cluster that an object applies to, and there is one, has limits from elsewhere.
#[must_use]
pub fn is_bounded_everywhere(origin: &Origin, subjects: &[Subject<'_>]) -> bool {
    let mut applied = false;
    for subject in subjects {
        let Resolution::Settings(resolved) = subject.resolution else {
            continue;
        };
        if !resolved.policies.contains(origin) {
            continue;
        }
        applied = true;
        let shared = resolved.expansion.max_size.is_some() || resolved.bounds.max_size.is_some();
        let limited = |v: &VolumeFacts| resolved.volumes.of(&v.key).is_ok_and(|rules| rules.limit().is_some());
        if !shared && !subject.volumes.iter().all(limited) {
            return false;
        }
    }
    applied
}

/// Policies of one rank that match one Cluster: an error for each such set, at the last of them by name.
#[must_use]
pub fn conflicts(subjects: &[Subject<'_>]) -> Vec<Problem> {
    let mut found: BTreeMap<_, Vec<&ClusterKey>> = BTreeMap::new();
    for subject in subjects {
        if let Resolution::Conflict(conflicts) = subject.resolution {
            for conflict in conflicts {
                found
                    .entry((conflict.rank, &conflict.policies))
                    .or_default()
                    .push(subject.identity.key);
            }
        }
    }
    let problem = |((rank, policies), clusters): ((crate::resolve::Rank, &Vec<Origin>), Vec<&ClusterKey>)| {
        let (last, others) = policies.split_last()?;
        let clusters = names(&clusters);
        let others = others.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        let reason = format!("{last} and {others} are of one rank ({rank}) and both match {clusters}, which is held for it");
        let example = "a selector that leaves these Clusters to one of them";
        Some(Problem::new("selector", "overlapping", reason, example).from([last]))
    };
    found.into_iter().filter_map(problem).collect()
}

/// Growth of PGDATA that nobody has said may hide WAL that piles up: an error in a PostgresStorage, and in a policy all of whose
/// Clusters it is true of, else a warning.
#[must_use]
pub fn wal_risk(policies: &[&Policy], subjects: &[Subject<'_>]) -> (Vec<Problem>, Vec<Warning>) {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let mut at_risk: BTreeMap<&Origin, Vec<&ClusterKey>> = BTreeMap::new();
    for subject in subjects.iter().filter(|s| !s.has_wal_volume()) {
        let Resolution::Settings(resolved) = subject.resolution else {
            continue;
        };
        if let Ok(rules) = resolved.volumes.of(&VolumeKey::DATA)
            && let Sizing::Resize(resize) = &rules.sizing
            && resize.enabled.value
            && !resize.wal_safety.acknowledged.value
        {
            at_risk.entry(&resize.enabled.origin).or_default().push(subject.identity.key);
        }
    }
    for (origin, clusters) in at_risk {
        let field = "resize.enabled";
        let reason = format!(
            "{field} grows PGDATA, which in {} holds the WAL as well, so growth can hide WAL that piles up; set resize.strategy.walSafetyPolicy.acknowledgeWALRisk: true to accept that, or give the Cluster a walStorage",
            names(&clusters)
        );
        let problem = Problem::new(
            field,
            true,
            reason,
            "{enabled: true, strategy: {walSafetyPolicy: {acknowledgeWALRisk: true}}}",
        );
        let problem = problem.under("storage").from([origin]);
        let policy = policies.iter().find(|p| p.origin == *origin);
        let all = |policy: &Policy| {
            let selected = subjects.iter().filter(|s| policy.matches(&s.identity));
            selected.map(|s| s.identity.key).eq(clusters.iter().copied())
        };
        if origin.kind == OriginKind::PostgresStorage || policy.is_some_and(|p| all(p)) {
            problems.push(problem);
        } else {
            let kind = WarningKind::WalRisk;
            warnings.push(Warning { kind, problem });
        }
    }
    (problems, warnings)
}

fn names(clusters: &[&ClusterKey]) -> String {
    /// More would hide the rest of the message.
    const MOST: usize = 5;
    let named = clusters.iter().take(MOST).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match clusters.len().saturating_sub(MOST) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn is_object(origin: &Origin) -> bool {
    !matches!(origin.kind, OriginKind::BuiltIn | OriginKind::Defaults)
}

/// Of a value that somebody set.
fn set<T: std::fmt::Display>(kind: WarningKind, name: String, field: &Field<T>, reason: String, example: &str) -> Warning {
    Warning::new(kind, "", &field.value, reason, example).at(name).from(&field.origin)
}

impl Warning {
    /// Its field, where the name is not known before.
    fn at(mut self, field: String) -> Self {
        self.problem.field = Cow::Owned(field);
        self
    }

    /// The object that the value is from; a default is no object.
    fn from(mut self, origin: &Origin) -> Self {
        if is_object(origin) {
            self.problem = self.problem.from([origin]);
        }
        self
    }
}
