//! The policies that apply, what they say that is seldom meant, and what stops all growth.

use std::collections::BTreeMap;

use csm_core::breaker::Breaker;
use csm_core::resolve::{Identity, Resolution};
use csm_core::validate::{Subject as Judged, WarningKind, warn_cluster};

use super::{Check, Diagnosis, Level, Subject};

pub(super) fn examine(subject: &Subject<'_>, diagnosis: &mut Diagnosis) {
    let world = &subject.thought.world;
    let name = &world.cluster.key.name;
    match &*world.resolution {
        Resolution::NoPolicy => diagnosis.add(
            Level::Warning,
            Check::Policy,
            "no policy selects this Cluster: its volumes are watched, and never grown",
            "Write a StoragePolicy whose selector matches the Cluster's labels, or a PostgresStorage of its name (docs/policies.md). A policy without a selector holds for its whole namespace",
        ),
        Resolution::Conflict(conflicts) => {
            for conflict in conflicts {
                let policies: Vec<String> = conflict.policies.iter().map(ToString::to_string).collect();
                diagnosis.add(
                    Level::Problem,
                    Check::Policy,
                    format!("policies of one rank select this Cluster, and hold all growth: {}", policies.join(" and ")),
                    "Change the selector of all but one of them, or name the Cluster in their excludeClusters",
                );
            }
        }
        Resolution::Invalid(problems) => {
            for problem in problems {
                diagnosis.add(
                    Level::Problem,
                    Check::Policy,
                    format!("a policy is not valid, and holds all growth: {problem}"),
                    "Correct that field; kubectl cnpg storage lint -f FILE tells of all that is wrong in a file",
                );
            }
        }
        Resolution::Settings(settings) => {
            if settings.dry_run.value {
                diagnosis.add(
                    Level::Warning,
                    Check::Policy,
                    format!("dryRun holds all growth, rescues included ({})", settings.dry_run.origin),
                    "Set dryRun: false there once its decisions are as you want them",
                );
            }
            for volume in &world.volumes {
                for problem in settings.volumes.of(&volume.key).err().into_iter().flatten() {
                    diagnosis.add(
                        Level::Problem,
                        Check::Policy,
                        format!("the settings of {} are not valid, and hold its growth: {problem}", volume.key),
                        "Correct that field; kubectl cnpg storage lint -f FILE tells of all that is wrong in a file",
                    );
                }
            }
            warnings(subject, diagnosis);
        }
    }
    if world.cluster.pause.in_force(subject.now) {
        diagnosis.add(
            Level::Warning,
            Check::Policy,
            "growth is paused, emergencies and rescues included",
            format!("kubectl cnpg storage resume {name}"),
        );
    }
    let breakers = [
        (&world.cluster.breaker, "", "its"),
        (&world.global_breaker, " --global", "the global"),
    ];
    for (breaker, global, whose) in breakers {
        if breaker.state(subject.now) == Breaker::Open {
            diagnosis.add(
                Level::Problem,
                Check::Policy,
                format!("{whose} circuit breaker is open: growths had failed in a row, and only rescues go on"),
                format!(
                    "See why they failed (kubectl get storageevents), mend that, then kubectl cnpg storage reset-breaker {}",
                    if global.is_empty() { name.as_ref() } else { global.trim_start() }
                ),
            );
        }
    }
}

/// What `lint` and the webhook warn of.
fn warnings(subject: &Subject<'_>, diagnosis: &mut Diagnosis) {
    let world = &subject.thought.world;
    let none = BTreeMap::new();
    let identity = Identity {
        key: &world.cluster.key,
        labels: &none,
        namespace_labels: &none,
    };
    for warning in warn_cluster(&Judged::of(world, identity)) {
        let (level, check) = match warning.kind {
            WarningKind::NotExpandable | WarningKind::SharedFilesystem => (Level::Problem, Check::StorageClass),
            WarningKind::NeverGrows => (Level::Problem, Check::Ceiling),
            // Whether there is an archive is told by itself.
            WarningKind::NothingArchived => continue,
            WarningKind::WalRisk => (Level::Warning, Check::SingleVolume),
            WarningKind::FiresAtOnce | WarningKind::LargeMinimumFree | WarningKind::NoPlannedGrowth => (Level::Warning, Check::Policy),
            WarningKind::Unbounded
            | WarningKind::BetweenGibibytes
            | WarningKind::BelowOneStep
            | WarningKind::NoRateLimit
            | WarningKind::LargeStep
            | WarningKind::IgnoredStepBound
            | WarningKind::NothingToAcknowledge
            | WarningKind::UnknownCluster => (Level::Advice, Check::Policy),
        };
        let problem = warning.problem;
        let origins: Vec<String> = problem.origins.iter().map(ToString::to_string).collect();
        let at = if origins.is_empty() {
            String::new()
        } else {
            format!(", in {}", origins.join(" and "))
        };
        let fix = match (&*problem.example, check) {
            (_, Check::StorageClass) => "Move the Cluster to a storage class with allowVolumeExpansion: true whose volumes have filesystems of their own (a new Cluster with bootstrap.recovery or pg_basebackup); for the same class, its administrator may set allowVolumeExpansion".to_owned(),
            ("", _) => format!("Change {}{at}", problem.field),
            (example, _) => format!("Set {} to another value, such as {example}{at}", problem.field),
        };
        diagnosis.add(level, check, problem.reason, fix);
    }
}
