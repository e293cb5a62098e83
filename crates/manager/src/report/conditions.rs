//! The conditions of a PostgresStorage.

use csm_api::{ApplyTo, Condition, ConditionStatus, Reason, State, Verdict, condition};
use csm_core::breaker::{Breaker, Circuit, Opened};
use csm_core::last_seen::{LastSeen, Seen};
use csm_core::plan::{Decision, Plan};
use csm_core::resolve::Resolution;
use csm_core::spec_size::{Standing, standing};
use csm_core::world::{Member, VolumeKey, World};
use csm_gather::views::ClusterView;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::blocked_by;

/// Reason of the condition `MetricsFresh` where figures no longer come.
pub const METRICS_LOST: &str = "MetricsLost";

/// A condition before it is written: its status, a word why, and a sentence.
type Verdicts = (ConditionStatus, &'static str, String);

/// All conditions, as if each had changed now.
/// `cluster` says the sizes in the Cluster's spec; `refused` are those that could not be raised, a sentence each.
pub fn of(
    resolution: &Resolution,
    world: &World,
    plan: &Plan,
    (cluster, refused): (&ClusterView, &[String]),
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let (resolved, why) = resolved(resolution);
    let last_seen: Vec<_> = world
        .volumes
        .iter()
        .map(|volume| (&volume.key, LastSeen::of(world, volume, now)))
        .collect();
    let ready = match resolved {
        None => holds("Managed", "the manager handles this Cluster's volumes"),
        Some(reason) => fails(reason.as_str(), why.clone()),
    };
    let conflicting = if resolved == Some(Reason::PolicyConflict) {
        holds(Reason::PolicyConflict.as_str(), why.clone())
    } else {
        fails("NoConflict", "no two policies of one rank match this Cluster")
    };
    let policy_resolved = (
        ConditionStatus::from(resolved.is_none()),
        resolved.map_or("Resolved", Reason::as_str),
        why,
    );
    let conditions = [
        (condition::READY, ready),
        (condition::HEALTHY, healthy(resolution, world, &last_seen)),
        (condition::POLICY_RESOLVED, policy_resolved),
        (condition::CONFLICTING, conflicting),
        (condition::RESIZING, resizing(plan)),
        (condition::BLOCKED, blocked(plan)),
        (condition::CIRCUIT_OPEN, circuit_open(world, now)),
        (condition::METRICS_FRESH, metrics_fresh(world, &last_seen)),
    ];
    let spec = spec_follows(world, cluster, refused, now).map(|verdicts| (condition::SPEC_FOLLOWS, verdicts));
    let archive = archive_healthy(world, cluster).map(|verdicts| (condition::ARCHIVE_HEALTHY, verdicts));
    let conditions = conditions
        .into_iter()
        .chain(archive)
        .chain(spec)
        .map(|(type_, (status, reason, message))| Condition {
            type_: type_.to_owned(),
            status,
            reason: reason.to_owned(),
            message,
            last_transition_time: Time(now),
            observed_generation: generation,
        });
    conditions.collect()
}

fn holds(reason: &'static str, message: impl Into<String>) -> Verdicts {
    (ConditionStatus::True, reason, message.into())
}

fn fails(reason: &'static str, message: impl Into<String>) -> Verdicts {
    (ConditionStatus::False, reason, message.into())
}

fn list(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

/// Why the settings could not be resolved, and a sentence either way.
fn resolved(resolution: &Resolution) -> (Option<Reason>, String) {
    match resolution {
        Resolution::Settings(_) => (None, "the settings of all matching policies were resolved".to_owned()),
        Resolution::NoPolicy => (
            Some(Reason::NoPolicy),
            "no policy matches this Cluster; its volumes are watched, and nothing is done".to_owned(),
        ),
        Resolution::Conflict(conflicts) => {
            let pairs = conflicts
                .iter()
                .map(|c| c.policies.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "));
            (
                Some(Reason::PolicyConflict),
                format!(
                    "{} have the same rank and match this Cluster; exclude it from all but one",
                    pairs.collect::<Vec<_>>().join("; ")
                ),
            )
        }
        Resolution::Invalid(problems) => (
            Some(Reason::PolicyInvalid),
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        ),
    }
}

/// Whether a volume is in danger: an instance is down because it is full, or it was, by the last figures of all members,
/// however old: that figures stop coming makes nothing well. No percentages here: they would change the condition all the
/// time.
fn healthy(resolution: &Resolution, world: &World, last_seen: &[(&VolumeKey, LastSeen)]) -> Verdicts {
    let below = "no volume has reached its critical threshold";
    let Resolution::Settings(settings) = resolution else {
        return holds("BelowThresholds", below);
    };
    let full = down(world, |member| member.disk_full);
    if !full.is_empty() {
        return fails(
            Reason::DiskFull.as_str(),
            format!("full, and an instance is down because of it: {full}"),
        );
    }
    let critical = settings.thresholds.critical.value;
    let in_danger = last_seen.iter().filter_map(|(volume, seen)| {
        let Seen { member, figures, fresh } = seen.fullest?;
        if !critical.reached_by(figures.used, figures.available) {
            return None;
        }
        let at = figures.at.strftime("%Y-%m-%dT%H:%M:%SZ");
        Some(if fresh {
            volume.to_string()
        } else {
            format!("{volume} ({}, by its last figures, of {at})", member.instance)
        })
    });
    let in_danger = list(in_danger);
    if !in_danger.is_empty() {
        return fails("StorageCritical", format!("at or above the critical threshold: {in_danger}"));
    }
    let suspected = down(world, |member| member.findings.is_some());
    if !suspected.is_empty() {
        return (
            ConditionStatus::Unknown,
            "InstanceDown",
            format!("an instance is down, perhaps because it is full: {suspected}"),
        );
    }
    let unknown = last_seen.iter().filter(|(_, seen)| seen.fullest.is_none());
    let unknown = list(unknown.map(|(volume, _)| volume.to_string()));
    if !unknown.is_empty() {
        return (
            ConditionStatus::Unknown,
            Reason::NoObservation.as_str(),
            format!("there never were figures of {unknown}"),
        );
    }
    let old = unseen(last_seen);
    if old.is_empty() {
        holds("BelowThresholds", below)
    } else {
        holds(
            "BelowThresholds",
            format!("{below}, by the last figures; without fresh ones: {old}"),
        )
    }
}

/// Volumes with such members, and their instances.
fn down(world: &World, is_down: impl Fn(&Member) -> bool) -> String {
    let volumes = world.volumes.iter().filter_map(|volume| {
        let instances = volume
            .members
            .iter()
            .filter(|member| is_down(member))
            .map(|member| member.instance.to_string());
        let instances = list(instances);
        (!instances.is_empty()).then(|| format!("{} ({instances})", volume.key))
    });
    list(volumes)
}

/// Volumes of which a member has no fresh figures, with the instances.
fn unseen(last_seen: &[(&VolumeKey, LastSeen)]) -> String {
    let unseen = last_seen.iter().filter(|(_, seen)| !seen.unseen.is_empty());
    list(unseen.map(|(volume, seen)| format!("{volume} ({})", seen.unseen.join(", "))))
}

/// `last_seen` is of the world's volumes, in their order. Figures that came before and no longer do are lost; those that never
/// came, such as after a start of the manager, are not there yet.
fn metrics_fresh(world: &World, last_seen: &[(&VolumeKey, LastSeen)]) -> Verdicts {
    let stale = unseen(last_seen);
    if stale.is_empty() {
        holds("Fresh", "every volume has fresh figures")
    } else {
        let lost = world.volumes.iter().zip(last_seen).any(|(volume, (_, seen))| {
            let mut members = volume.members.iter();
            members.any(|m| m.figures().is_some() && seen.unseen.contains(&m.instance))
        });
        fails(
            if lost { METRICS_LOST } else { Reason::NoObservation.as_str() },
            format!("without fresh figures: {stale}; nothing is done on old ones"),
        )
    }
}

/// Whether WAL archiving works; nothing where there is none, or nobody asks. No times here: they would change the condition
/// all the time.
fn archive_healthy(world: &World, cluster: &ClusterView) -> Option<Verdicts> {
    let is_managed = matches!(&*world.resolution, Resolution::Settings(_));
    if !is_managed || !cluster.archives_wal {
        return None;
    }
    let Some(archiving) = world.cluster.wal.as_ref().and_then(|wal| wal.archiving) else {
        let message = "the primary does not say how its WAL archiving is: see whether it runs, and the manager can reach its port 8000";
        return Some((ConditionStatus::Unknown, Reason::WalHealthUnknown.as_str(), message.to_owned()));
    };
    Some(if archiving.is_failing() {
        fails(
            Reason::ArchiveUnhealthy.as_str(),
            "WAL archiving fails, and WAL stays on its volume until it works again: see the log of the primary",
        )
    } else {
        holds("Archiving", "the last try to archive a file did not fail")
    })
}

/// Whether the sizes in the Cluster's spec follow those of its volumes; nothing where they are not to.
fn spec_follows(world: &World, cluster: &ClusterView, refused: &[String], now: Timestamp) -> Option<Verdicts> {
    let Resolution::Settings(settings) = &*world.resolution else {
        return None;
    };
    if settings.expansion.apply_to.value != ApplyTo::ClusterSpec {
        return None;
    }
    if !refused.is_empty() {
        return Some(fails("Refused", refused.join("; ")));
    }
    let never = world.volumes.iter().filter_map(|volume| {
        let standing = standing(world, volume, *cluster.spec_sizes.get(&volume.key)?, now);
        Some((&volume.key, standing.never()?, standing))
    });
    let never: Vec<_> = never.collect();
    let Some((_, reason, _)) = never.first() else {
        return Some(holds(
            "Follows",
            "the sizes in the Cluster's spec are raised once its volumes have grown",
        ));
    };
    let each = never.iter().map(|(volume, _, standing)| match standing {
        Standing::AboveCeiling { size, ceiling } => {
            let (source, ceiling) = (ceiling.source.as_str(), ceiling.size);
            format!("that of {volume} is not raised to {size}, above the ceiling of {ceiling} ({source})")
        }
        _ => format!("that of {volume} stays as it is: without a ceiling of yours it would rise without end; set expansion.maxSize"),
    });
    Some(fails(reason, format!("of the sizes in the Cluster's spec, {}", list(each))))
}

fn resizing(plan: &Plan) -> Verdicts {
    let resizing = plan.decisions.iter().filter(|d| d.state == State::Resizing);
    let resizing = list(resizing.map(|d| d.volume.to_string()));
    if resizing.is_empty() {
        fails("Idle", "no volume is being resized")
    } else {
        holds("ResizeInProgress", format!("being resized: {resizing}"))
    }
}

/// A growth that is wanted is held, whatever goes on beside it; or one would be.
fn blocked(plan: &Plan) -> Verdicts {
    let would_be = |d: &Decision| (d.verdict == Verdict::Hold && d.state == State::Blocked).then_some(d.reason);
    let held = plan
        .decisions
        .iter()
        .filter_map(|d| Some((d, blocked_by(d).or_else(|| would_be(d))?)));
    let held: Vec<_> = held.collect();
    let Some((_, reason)) = held.first() else {
        return fails("NotBlocked", "nothing that is wanted is held");
    };
    let each = held.iter().map(|(decision, reason)| {
        let what = if decision.acts() { "a growth of " } else { "" };
        format!("{what}{} is held: {reason}", decision.volume)
    });
    holds(reason.as_str(), list(each))
}

/// The breaker that is not closed, and whether it is the one of all Clusters; where both are, the one that holds.
pub fn breaker(world: &World, now: Timestamp) -> Option<(&Circuit, bool)> {
    let breakers = [(&world.cluster.breaker, false), (&world.global_breaker, true)];
    let open = breakers.into_iter().filter(|(circuit, _)| circuit.state(now) != Breaker::Closed);
    open.max_by_key(|(circuit, global)| (circuit.state(now) == Breaker::Open, !global))
}

/// Why a breaker is not closed, in a sentence.
pub fn why_open(circuit: &Circuit, global: bool, now: Timestamp) -> Option<String> {
    let (_, opened) = circuit.opened?;
    let whose = if global {
        "the circuit breaker of all Clusters"
    } else {
        "the circuit breaker"
    };
    Some(match opened {
        Opened::Runaway { .. } => format!("{whose} is open: too large a share of all managed Clusters grew within an hour (runaway stop)"),
        Opened::Failures { resets_at } => {
            let state = match (circuit.state(now), resets_at) {
                (Breaker::HalfOpen, _) => "is half open, and one growth may try".to_owned(),
                (_, Some(at)) => format!("is open until {at}"),
                (_, None) => "is open".to_owned(),
            };
            format!("{whose} {state}: growths that failed in a row: {}", circuit.failures)
        }
    })
}

fn circuit_open(world: &World, now: Timestamp) -> Verdicts {
    match breaker(world, now).and_then(|(circuit, global)| Some((circuit, why_open(circuit, global, now)?))) {
        None => fails("Closed", "growth is not held by a circuit breaker"),
        Some((circuit, why)) if circuit.state(now) == Breaker::HalfOpen => holds("HalfOpen", why),
        Some((_, why)) => holds("Open", why),
    }
}

#[cfg(test)]
mod tests {
    use csm_core::plan::plan;
    use csm_units::Bytes;
    use rstest::rstest;

    use super::*;
    use crate::report::testing::{now, subject};

    /// A condition of a Cluster with these volumes: its status, its reason and its message.
    fn told(policy: &str, cluster: &str, type_: &str) -> (ConditionStatus, String, String) {
        let subject = subject(policy, cluster);
        let plan = plan(&subject.world, now());
        let conditions = of(
            &subject.snapshot.resolution,
            &subject.world,
            &plan,
            (&subject.snapshot.cluster, &[]),
            None,
            now(),
        );
        let found = conditions.into_iter().find(|c| c.type_ == type_);
        found.map_or_else(|| panic!("no {type_}"), |c| (c.status, c.reason, c.message))
    }

    const POLICY: &str = "{expansion: {maxSize: 200Gi}}";
    const ONE_A_DAY: &str =
        "{storage: {request: 10Gi, limit: 200Gi, emergencyGrow: {maxActionsPerDay: 1, reservedActionsForEmergency: 0}}}";
    const GROWN_TODAY: &str = "operations: [{volume: data, at: 2026-03-01T03:00:00Z, from: 80Gi, to: 100Gi}]";
    const CALM: &str = "orders-1: {used: 40Gi, available: 60Gi}";

    fn data(members: &str) -> String {
        format!("volumes: {{data: {{size: 100Gi, members: {{{members}}}}}}}")
    }

    #[rstest]
    #[case::calm(POLICY, data(CALM), None)]
    #[case::grows(POLICY, data("orders-1: {used: 86Gi, available: 14Gi}"), None)]
    // The state of these is Emergency; what is wanted is held all the same.
    #[case::an_emergency_over_the_budget(ONE_A_DAY, format!("{}, {GROWN_TODAY}", data("orders-1: {used: 96Gi, available: 4Gi}")), Some(("BudgetExhausted", "data is held: BudgetExhausted")))]
    #[case::an_emergency_at_the_limit("{storage: {request: 10Gi, limit: 100Gi}}", data("orders-1: {used: 96Gi, available: 4Gi}"), Some(("AtLimit", "data is held: AtLimit")))]
    #[case::beside_a_catch_up("{expansion: {maxSize: 100Gi}}", data("orders-1: {used: 86Gi, available: 14Gi}, orders-2: {size: 50Gi, used: 5Gi, available: 45Gi}"), Some(("AtLimit", "a growth of data is held: AtLimit")))]
    #[case::two_volumes("{dryRun: true}", "volumes: {data: {size: 10Gi, members: {orders-1: {used: 9Gi, available: 1Gi}}}, wal: {size: 10Gi, members: {orders-1: {used: 9Gi, available: 1Gi}}}}".to_owned(), Some(("DryRun", "data is held: DryRun, wal is held: DryRun")))]
    // Nothing is wanted, and nothing could be.
    #[case::would_be("{storage: {targetBuffer: 4, request: 1Gi, limit: 2Gi}}", data(CALM), Some(("PolicyInvalid", "data is held: PolicyInvalid")))]
    fn what_holds(#[case] policy: &str, #[case] cluster: String, #[case] held: Option<(&str, &str)>) {
        let found = told(policy, &cluster, condition::BLOCKED);
        let expected = match held {
            Some((reason, message)) => holds_as(reason, message),
            None => (
                ConditionStatus::False,
                "NotBlocked".to_owned(),
                "nothing that is wanted is held".to_owned(),
            ),
        };
        assert_eq!(found, expected);
    }

    fn holds_as(reason: &str, message: &str) -> (ConditionStatus, String, String) {
        (ConditionStatus::True, reason.to_owned(), message.to_owned())
    }

    const OLD: &str = "observedAt: 2026-03-01T11:50:00Z";
    const BELOW: &str = "no volume has reached its critical threshold";

    #[rstest]
    #[case::calm(CALM.to_owned(), ConditionStatus::True, BELOW)]
    #[case::full("orders-1: {used: 80Gi, available: 20Gi}".to_owned(), ConditionStatus::False, "at or above the critical threshold: data")]
    #[case::full_and_silent(format!("orders-1: {{used: 97Gi, available: 3Gi, {OLD}}}"), ConditionStatus::False, "at or above the critical threshold: data (orders-1, by its last figures, of 2026-03-01T11:50:00Z)")]
    #[case::the_silent_one_is_full(format!("{CALM}, orders-2: {{used: 97Gi, available: 3Gi, {OLD}}}"), ConditionStatus::False, "at or above the critical threshold: data (orders-2, by its last figures, of 2026-03-01T11:50:00Z)")]
    #[case::a_lagging_one_is_full(format!("{CALM}, orders-2: {{size: 50Gi, used: 48Gi, available: 2Gi}}"), ConditionStatus::False, "at or above the critical threshold: data")]
    #[case::calm_and_silent(format!("{CALM}, orders-2: {{used: 5Gi, available: 95Gi, {OLD}}}"), ConditionStatus::True, "no volume has reached its critical threshold, by the last figures; without fresh ones: data (orders-2)")]
    #[case::never_seen("orders-1: {used: 5Gi, available: 95Gi, observedAt: null}".to_owned(), ConditionStatus::Unknown, "there never were figures of data")]
    fn danger_is_judged_by_the_last_figures(#[case] members: String, #[case] status: ConditionStatus, #[case] message: &str) {
        let found = told(POLICY, &data(&members), condition::HEALTHY);
        assert_eq!((found.0, found.2.as_str()), (status, message));
    }

    #[test]
    fn what_is_down_for_being_full_is_in_danger_whatever_its_last_figures_say() {
        let found = told(POLICY, &format!("diskFull: [orders-1], {}", data(CALM)), condition::HEALTHY);
        let message = "full, and an instance is down because of it: data (orders-1)";
        assert_eq!(found, (ConditionStatus::False, "DiskFull".to_owned(), message.to_owned()));
    }

    #[rstest]
    #[case::all(POLICY, data(CALM), None)]
    #[case::seen_just_before_a_resize_ended(
        POLICY,
        data("orders-1: {used: 40Gi, available: 60Gi, lastResizeAt: 2026-03-01T11:59:50Z}"),
        None
    )]
    #[case::hibernated(POLICY, format!("annotations: {{cnpg.io/hibernation: 'on'}}, {}", data(&format!("orders-1: {{used: 5Gi, available: 95Gi, {OLD}}}"))), Some("data (orders-1)"))]
    #[case::a_catch_up_is_wanted(
        POLICY,
        data(
            "orders-1: {used: 5Gi, available: 95Gi, observedAt: null}, orders-2: {size: 50Gi, used: 5Gi, available: 45Gi, observedAt: null}"
        ),
        Some("data (orders-1, orders-2)")
    )]
    #[case::a_floor_is_wanted(
        "{storage: {request: 150Gi, limit: 200Gi}}",
        data("orders-1: {used: 5Gi, available: 95Gi, observedAt: null}"),
        Some("data (orders-1)")
    )]
    #[case::one_of_two(POLICY, data(&format!("{CALM}, orders-2: {{used: 5Gi, available: 95Gi, {OLD}}}")), Some("data (orders-2)"))]
    fn figures_are_fresh_where_every_member_has_fresh_ones(#[case] policy: &str, #[case] cluster: String, #[case] stale: Option<&str>) {
        let found = told(policy, &cluster, condition::METRICS_FRESH);
        let message = match stale {
            Some(stale) => format!("without fresh figures: {stale}; nothing is done on old ones"),
            None => "every volume has fresh figures".to_owned(),
        };
        assert_eq!((found.0, found.2), (ConditionStatus::from(stale.is_none()), message));
        // What never came is not lost.
        let reason = match (stale, cluster.contains(OLD)) {
            (None, _) => "Fresh",
            (Some(_), true) => METRICS_LOST,
            (Some(_), false) => "NoObservation",
        };
        assert_eq!(found.1, reason);
    }

    #[rstest]
    #[case::not_asked(POLICY, &["never"], None)]
    #[case::asked("{expansion: {maxSize: 200Gi, applyTo: ClusterSpec}}", &[], Some(("Follows", "are raised once")))]
    #[case::refused("{expansion: {maxSize: 200Gi, applyTo: ClusterSpec}}", &["no", "nor this"], Some(("Refused", "no; nor this")))]
    #[case::no_ceiling_of_anybody("{expansion: {applyTo: ClusterSpec}}", &[], Some(("NoCeiling", "that of data stays as it is: without a ceiling of yours it would rise without end; set expansion.maxSize")))]
    #[case::above("{expansion: {maxSize: 50Gi, applyTo: ClusterSpec}}", &[], Some(("AboveCeiling", "that of data is not raised to 100Gi, above the ceiling of 50Gi (expansion.maxSize)")))]
    #[case::held("{dryRun: true, expansion: {maxSize: 50Gi, applyTo: ClusterSpec}}", &[], Some(("Follows", "are raised once")))]
    fn a_spec_that_is_to_follow_says_whether_it_does(
        #[case] policy: &str,
        #[case] refused: &[&str],
        #[case] expected: Option<(&'static str, &str)>,
    ) {
        let mut subject = subject(policy, &data(CALM));
        for volume in &mut subject.world.volumes {
            volume.fallback_ceiling = Some(Bytes::gib(100));
        }
        let refused: Vec<String> = refused.iter().map(|text| (*text).to_owned()).collect();
        let mut cluster = ClusterView::clone(&subject.snapshot.cluster);
        cluster.spec_sizes.insert(VolumeKey::DATA, Bytes::gib(10));
        let said = spec_follows(&subject.world, &cluster, &refused, now());
        let Some((reason, words)) = expected else {
            assert_eq!(said, None);
            return;
        };
        let said = said.unwrap_or_else(|| panic!("nothing, not {reason}"));
        assert_eq!((said.0, said.1), (ConditionStatus::from(reason == "Follows"), reason));
        assert!(said.2.contains(words), "{}", said.2);
    }

    #[rstest]
    #[case::works("archiving: {configured: true, lastArchived: '2026-03-01T11:59:00Z', lastFailed: '2026-03-01T11:58:00Z'}", Some((ConditionStatus::True, "Archiving")))]
    #[case::nothing_was_tried("archiving: {configured: true}", Some((ConditionStatus::True, "Archiving")))]
    #[case::fails("archiving: {configured: true, lastArchived: '2026-03-01T11:59:00Z', lastFailed: '2026-03-01T11:59:01Z'}", Some((ConditionStatus::False, "ArchiveUnhealthy")))]
    #[case::unknown("walHealthKnown: false", Some((ConditionStatus::Unknown, "WalHealthUnknown")))]
    fn the_archive_is_told_where_there_is_one(#[case] wal: &str, #[case] expected: Option<(ConditionStatus, &'static str)>) {
        let subject = subject(POLICY, &format!("{wal}, {}", data(CALM)));
        let mut cluster = ClusterView::clone(&subject.snapshot.cluster);
        assert_eq!(archive_healthy(&subject.world, &cluster), None, "it archives nothing");
        cluster.archives_wal = true;
        let said = archive_healthy(&subject.world, &cluster).map(|(status, reason, _)| (status, reason));
        assert_eq!(said, expected);
        let unmanaged = World {
            resolution: Resolution::NoPolicy.into(),
            ..subject.world
        };
        assert_eq!(archive_healthy(&unmanaged, &cluster), None, "nobody asks");
    }
}
