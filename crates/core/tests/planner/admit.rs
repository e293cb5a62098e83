//! What a person asks for: admitted where nothing but pace stands against it, refused in words otherwise, and never more than
//! its record may have, whatever stands there.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use csm_api::{
    AffectedPvc, ClusterReference, ExpansionSpec, Growth, GrowthSpec, Phase, PvcPhase, Reason, RetryBasis, Role, Trigger, VerifiedBy,
    VolumeReference,
};
use csm_core::admit::{Refusal, admit, next, request};
use csm_core::operation::{Context, Progress, follow};
use csm_core::resolve::{Conflict, Rank, Resolution};
use csm_core::world::{Breaker, Fencing, Fleet, Operation, ProviderLimit, Volume, VolumeKey, World};
use csm_units::Bytes;
use jiff::SignedDuration;
use proptest::prelude::*;
use rstest::rstest;

use crate::support::*;
use crate::worlds::{Dice, numbers, random_world};

static BASIS: RetryBasis = RetryBasis {
    settings: String::new(),
    storage_classes: String::new(),
    quota_room: None,
};
const STALE: SignedDuration = SignedDuration::from_mins(5);

/// Two members of 20Gi, the first one the primary, with nothing to do.
fn two() -> World {
    world(vec![member("orders-1", "20Gi", "4Gi"), member("orders-2", "20Gi", "4Gi")])
}

/// The record that a person writes in this world, as the ledger has it then.
fn written(world: &World, to: &str) -> (World, Growth) {
    let spec = request(world, &VolumeKey::DATA, size(to), noon()).unwrap().spec;
    let event = Growth::new("asked", spec);
    (recorded(world, &event), event)
}

/// The world with the record in its ledger.
fn recorded(world: &World, event: &Growth) -> World {
    let expansion = &event.spec.expansion;
    let operation = Operation {
        id: event.metadata.name.as_deref().unwrap_or_default().into(),
        volume: VolumeKey {
            role: event.spec.volume.role,
            tablespace: event.spec.volume.tablespace.as_deref().map(Into::into),
        },
        urgency: event.spec.urgency(),
        started_at: noon(),
        from: expansion.original_size,
        to: expansion.requested_size,
        members: Some(expansion.affected_pvcs.iter().map(|p| p.uid.as_str().into()).collect()),
        accepted: false,
        done: false,
    };
    world.clone().operation(operation)
}

fn patched(progress: &Progress) -> Vec<(&str, String)> {
    progress.patch.iter().map(|p| (p.pvc.as_str(), p.to.to_string())).collect()
}

fn refusal(world: &World, to: &str) -> Refusal {
    request(world, &VolumeKey::DATA, size(to), noon()).unwrap_err()
}

#[test]
fn it_grows_replicas_first_and_is_verified_by_what_the_manager_saw() {
    let (mut world, mut event) = written(&two(), "50Gi");
    assert_eq!((event.spec.trigger, event.spec.reason), (Trigger::Manual, Reason::BelowThresholds));
    assert!(event.spec.message.contains("a person asked for 50Gi"), "{}", event.spec.message);
    // Lies: the volume is as large already, and all go at once, the primary first.
    let expansion = &mut event.spec.expansion;
    expansion.parallelism = 1000;
    expansion.affected_pvcs.reverse();
    for pvc in &mut expansion.affected_pvcs {
        pvc.filesystem_bytes = Some(1);
        pvc.original_size = Bytes::mib(1);
    }
    let progress = next(&world, &event, 0, &BASIS, STALE, noon());
    assert_eq!(patched(&progress), [("orders-2-pvc", "50Gi".to_owned())]);
    assert_eq!(progress.status.phase, Some(Phase::InProgress));
    let first = &progress.status.pvc_statuses[0];
    assert_eq!(
        (first.original_size, first.filesystem_bytes),
        (Bytes::gib(20), i64::try_from(Bytes::gib(20).get()).ok())
    );
    event.status = Some(progress.status);

    // Patched, and grown by its own word; the filesystem is what it was, so nothing is verified.
    world.volumes[0].members[1].request = Bytes::gib(50);
    world.volumes[0].members[1].size = Bytes::gib(50);
    let progress = next(&world, &event, 0, &BASIS, STALE, noon());
    assert_eq!(progress.status.pvc_statuses[0].phase, PvcPhase::Verifying);
    assert_eq!(
        patched(&progress),
        [("orders-1-pvc", "50Gi".to_owned())],
        "verifying is no resize under way"
    );
    event.status = Some(progress.status);
    for member in &mut world.volumes[0].members {
        (member.request, member.size) = (Bytes::gib(50), Bytes::gib(50));
        let figures = member.observation.as_mut().unwrap();
        (figures.capacity, figures.available) = (Bytes::gib(50), Bytes::gib(46));
    }
    let progress = next(&world, &event, 0, &BASIS, STALE, noon());
    assert_eq!(progress.ended(), Some(Phase::Completed));
    let by: Vec<_> = progress.status.pvc_statuses.iter().filter_map(|s| s.verified_by).collect();
    assert_eq!(by, [VerifiedBy::Filesystem; 2]);
}

/// What only paces growth does not hold it, and is said.
#[test]
fn it_goes_ahead_of_what_paces_growth() {
    let limits = "expansion: {maxSize: 200Gi, cooldownMinutes: 600}";
    let world = two().policy(limits).operation(growth(at("11:59:00"), "10Gi", "20Gi")).change(|w| {
        w.fleet = Fleet {
            ahead: 0,
            in_progress: 5,
            limit: Some(1),
        };
        w.volumes[0].retry_after = Some(at("12:05:00"));
        w.volumes[0].members[0].observation = None;
    });
    let asked = request(&world, &VolumeKey::DATA, size("50Gi"), noon()).unwrap();
    let reasons: Vec<Reason> = asked.passed.iter().map(|(reason, _)| *reason).collect();
    for reason in [Reason::RetryLater, Reason::Cooldown, Reason::FleetLimit] {
        assert!(reasons.contains(&reason), "{reason}: {reasons:?}");
    }
    let (world, event) = written(&world, "50Gi");
    assert_eq!(next(&world, &event, 3, &BASIS, STALE, noon()).patch.len(), 1);

    let closed = two().policy("storage: {request: 10Gi, limit: 100Gi, maintenanceWindow: {schedule: '0 3 * * *'}}");
    let asked = request(&closed, &VolumeKey::DATA, size("50Gi"), noon()).unwrap();
    let (reason, text) = &asked.passed[0];
    assert!(
        *reason == Reason::MaintenanceWindowClosed && text.contains("2026-03-02T03:00:00Z"),
        "{text}"
    );
}

#[rstest]
#[case::no_policy(|w: &mut World| w.resolution = Resolution::NoPolicy.into(), Reason::NoPolicy, "no policy matches")]
#[case::conflict(|w: &mut World| w.resolution = Resolution::Conflict(vec![Conflict { rank: Rank::StoragePolicy, policies: Vec::new() }]).into(), Reason::PolicyConflict, "same rank")]
#[case::invalid(|w: &mut World| w.resolution = policy("thresholds: {warning: 0}"), Reason::PolicyInvalid, "thresholds.warning")]
#[case::deleting(|w: &mut World| w.cluster.deleting = true, Reason::ClusterDeleting, "being deleted")]
#[case::disabled(|w: &mut World| w.resolution = policy("expansion: {enabled: false}"), Reason::Disabled, "expansion.enabled: true")]
#[case::paused(|w: &mut World| *w = w.clone().pause("true", None), Reason::Paused, "paused")]
#[case::hibernated(|w: &mut World| w.cluster.hibernated = true, Reason::Hibernated, "hibernated")]
#[case::fenced(|w: &mut World| w.cluster.fencing = Fencing::All, Reason::Fenced, "fence")]
#[case::in_use(|w: &mut World| w.cluster.resize_in_use_volumes = false, Reason::InUseResizeDisabled, "resizeInUseVolumes")]
#[case::unbound(|w: &mut World| w.volumes[0].members[0].bound = false, Reason::NotBound, "not bound")]
#[case::block(|w: &mut World| w.volumes[0].members[0].block = true, Reason::BlockVolume, "block device")]
#[case::class(|w: &mut World| w.volumes[0].members[1].class.expandable = false, Reason::StorageClassNotExpandable, "allowVolumeExpansion")]
#[case::shared(|w: &mut World| w.volumes[0].members[1].twin = true, Reason::SharedFilesystem, "orders-2")]
#[case::in_flight(|w: &mut World| w.operations.push(unfinished(growth(at("11:59:30"), "10Gi", "20Gi"))), Reason::ResizeInProgress, "growth-2026")]
#[case::breaker(|w: &mut World| w.cluster.breaker = Breaker::Open.into(), Reason::CircuitOpen, "reset-circuit-breaker")]
#[case::global_breaker(|w: &mut World| w.global_breaker = Breaker::Open.into(), Reason::CircuitOpen, "reset-circuit-breaker")]
#[case::ceiling(|w: &mut World| w.resolution = policy("expansion: {maxSize: 49Gi}"), Reason::AtLimit, "expansion.maxSize")]
#[case::learned(|w: &mut World| w.volumes[0].learned_ceiling = Some(Bytes::gib(30)), Reason::AtLimit, "30Gi")]
#[case::provider(|w: &mut World| {
    w.operations.push(growth(at("11:00:00"), "10Gi", "20Gi"));
    w.volumes[0].members[0].class.provider_limit = Some(ProviderLimit { max_actions: 1, period: SignedDuration::from_hours(6) });
}, Reason::ProviderLimit, "17:00:00Z")]
#[case::dry_run(|w: &mut World| w.resolution = policy("dryRun: true"), Reason::DryRun, "dry run")]
fn it_is_refused_with_the_reason_and_nothing_is_done(#[case] change: fn(&mut World), #[case] reason: Reason, #[case] words: &str) {
    let (free, event) = written(&two(), "50Gi");
    for (i, world) in [two(), free].into_iter().enumerate() {
        let world = world.change(change);
        let found = refusal_of(&world, &event, i);
        assert_eq!(found.reason, Some(reason));
        assert!(
            found.message.contains(words) && !found.message.contains("it is held ("),
            "{}",
            found.message
        );
    }
    let world = recorded(&two().change(change), &event);
    let progress = next(&world, &event, 3, &BASIS, STALE, noon());
    assert_eq!((progress.ended(), progress.patch.len()), (Some(Phase::Failed), 0));
    let condition = &progress.status.conditions[0];
    assert_eq!(condition.reason, "Refused");
    assert!(condition.message.starts_with("not begun, nothing was changed: ") && condition.message.contains(words));
    assert!(progress.status.retry_count.is_none() && progress.status.next_retry_time.is_none());
    let ended = Growth {
        status: Some(progress.status),
        ..event
    };
    assert!(ended.was_turned_down());
}

/// As the plugin finds it, or the manager.
fn refusal_of(world: &World, event: &Growth, by: usize) -> Refusal {
    match by {
        0 => refusal(world, "50Gi"),
        _ => admit(world, event, noon()).unwrap_err(),
    }
}

#[test]
fn sizes_and_volumes_that_are_none_are_refused() {
    let words = |to: &str| refusal(&two(), to).message;
    assert!(words("20Gi").contains("has, or asks for, 20Gi already, and volumes never shrink"));
    assert!(words("1Gi").contains("volumes never shrink"));
    assert!(words("20481Mi").contains("ask for 21Gi"));
    assert!(words("201Gi").contains("expansion.maxSize"));
    assert_eq!(
        request(&two(), &VolumeKey::DATA, size("200Gi"), noon()).unwrap().decision.to,
        Some(size("200Gi"))
    );
    let odd = two().policy("expansion: {maxSize: 20481Mi}");
    assert!(
        request(&odd, &VolumeKey::DATA, size("20481Mi"), noon()).is_ok(),
        "the ceiling itself is a size"
    );
    let wal = request(&two(), &VolumeKey::WAL, size("50Gi"), noon()).unwrap_err();
    assert!(wal.message.contains("has no volume wal; those that it has: data"), "{wal}");
}

/// What a record says beside the volume and the size is not believed.
#[test]
fn a_record_that_is_not_so_is_refused_or_set_right() {
    let (world, event) = written(&two(), "50Gi");
    let with = |change: &dyn Fn(&mut GrowthSpec)| {
        let mut event = event.clone();
        change(&mut event.spec);
        event
    };
    let foreign = with(&|spec| spec.cluster_ref.uid = "another".to_owned());
    assert!(admit(&world, &foreign, noon()).unwrap_err().message.contains("another Cluster"));
    assert!(admit(&world, &with(&|spec| spec.rescue = true), noon()).is_err());
    let stale = with(&|spec| spec.expansion.original_size = Bytes::gib(10));
    assert!(admit(&world, &stale, noon()).unwrap_err().message.contains("when data had 10Gi"));
    let renamed = with(&|spec| {
        for pvc in &mut spec.expansion.affected_pvcs {
            pvc.name = "payments-1".to_owned();
        }
    });
    assert!(admit(&world, &renamed, noon()).unwrap_err().message.contains("by name and UID"));
    let again = with(&|spec| spec.expansion.affected_pvcs = vec![spec.expansion.affected_pvcs[0].clone(); 3]);
    assert_eq!(admit(&world, &again, noon()).unwrap().spec.expansion.affected_pvcs.len(), 1);
    // The reason of a rescue passes no limit.
    let full = with(&|spec| spec.reason = Reason::DiskFull);
    let limit = world
        .clone()
        .policy("{expansion: {maxSize: 40Gi}, storage: {emergencyGrow: {exceedLimitOnEmergency: true}}}");
    assert_eq!(admit(&limit, &full, noon()).unwrap_err().reason, Some(Reason::AtLimit));
    let admitted = admit(&world, &full, noon()).unwrap();
    let context = Context::of(&limit, &admitted.spec, 0, &BASIS, STALE, noon());
    assert_eq!(context.permission, Err(Reason::AtLimit), "nor later");
    // `follow` alone begins nothing.
    let progress = follow(&event, Context::of(&world, &event.spec, 0, &BASIS, STALE, noon()));
    assert_eq!((progress.patch.len(), progress.status.phase), (0, None));
}

/// A record of a random person about a random world.
fn random_record(dice: &mut Dice, world: &World) -> Growth {
    let mut pvcs = Vec::new();
    for volume in &world.volumes {
        for member in &volume.members {
            if dice.rarely(3) {
                continue;
            }
            pvcs.push(AffectedPvc {
                name: if dice.rarely(12) {
                    "elsewhere".to_owned()
                } else {
                    member.pvc.to_string()
                },
                uid: if dice.rarely(12) {
                    "no-such-uid".to_owned()
                } else {
                    member.uid.to_string()
                },
                instance: member.instance.to_string(),
                storage_class: None,
                node: None,
                original_size: Bytes::new(u64::from(dice.roll())),
                filesystem_bytes: dice.maybe(2, |d| i64::from(d.roll()) - 1000),
            });
        }
    }
    let effective = world.volumes[0]
        .members
        .iter()
        .map(csm_core::world::Member::bytes)
        .max()
        .unwrap_or_default();
    let requested = match dice.roll() % 8 {
        0 => Bytes::new(u64::from(dice.roll())),
        1 => Bytes::MAX,
        2 => effective,
        3 => effective.saturating_sub(Bytes::gib(1)),
        n => effective.mul_div(u64::from(n), 3).round_up(),
    };
    let role = dice.pick(&[Role::Data, Role::Data, Role::Data, Role::Wal, Role::Tablespace]);
    let spec = GrowthSpec {
        cluster_ref: ClusterReference {
            name: world.cluster.key.name.to_string(),
            uid: if dice.rarely(30) {
                "another".to_owned()
            } else {
                world.cluster.uid.to_string()
            },
        },
        rescue: dice.rarely(30),
        trigger: Trigger::Manual,
        volume: VolumeReference {
            role,
            tablespace: (role == Role::Tablespace).then(|| dice.pick(&["archive", "none"]).to_owned()),
        },
        reason: dice.pick(&[Reason::BelowThresholds, Reason::DiskFull, Reason::Runway, Reason::CriticalThreshold]),
        message: String::new(),
        expansion: ExpansionSpec {
            original_size: if dice.rarely(10) { Bytes::gib(1) } else { effective },
            requested_size: requested,
            parallelism: dice.pick(&[1, 0, -5, 1000]),
            affected_pvcs: pvcs,
        },
    };
    Growth::new("asked", spec)
}

/// The smallest of all ceilings that are set, by the words of the specification.
fn lowest_ceiling(world: &World, volume: &Volume) -> Option<Bytes> {
    let Resolution::Settings(settings) = &*world.resolution else {
        return None;
    };
    let rules = settings.volumes.of(&volume.key).ok()?;
    let max_size = settings.expansion.max_size.as_ref().map(|f| f.value);
    let bound = settings.bounds.max_size.as_ref().map(|f| f.value);
    let set = [max_size, rules.limit(), bound, volume.learned_ceiling];
    set.into_iter().flatten().min().or(volume.fallback_ceiling)
}

#[test]
fn no_record_does_more_than_it_may() {
    let (admitted, refused) = (AtomicU32::new(0), AtomicU32::new(0));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(40_000));
    let result = runner.run(
        &(numbers(), proptest::collection::vec(any::<u32>(), 0..60)),
        |(of_world, of_record)| {
            let world = random_world(&of_world);
            let event = random_record(&mut Dice::new(&of_record), &world);
            let world = recorded(&world, &event);
            let progress = next(&world, &event, 0, &BASIS, STALE, noon());
            if progress.ended() == Some(Phase::Failed) && progress.status.pvc_statuses.is_empty() {
                refused.fetch_add(1, Relaxed);
                prop_assert!(progress.patch.is_empty());
                let said = &progress.status.conditions[0].message;
                prop_assert!(!said.contains("bug of ours"), "{}", said);
                return Ok(());
            }
            admitted.fetch_add(1, Relaxed);
            let key = VolumeKey {
                role: event.spec.volume.role,
                tablespace: event.spec.volume.tablespace.as_deref().map(Into::into),
            };
            let volume = world.volumes.iter().find(|v| v.key == key).expect("a volume of the Cluster");
            for operation in world.operations.iter().filter(|o| o.volume == key && *o.id != *"asked") {
                prop_assert!(operation.done, "beside {}", operation.id);
            }
            prop_assert!(!world.cluster.pause.in_force(noon()) && !world.cluster.deleting && !world.cluster.hibernated);
            prop_assert_eq!(
                progress.patch.len().min(1),
                progress.patch.len(),
                "parallelism is 1 in all these worlds"
            );
            for patch in &progress.patch {
                let member = volume.members.iter().find(|m| *m.uid == *patch.uid);
                let member = member.expect("a member of the volume");
                prop_assert_eq!(&*member.pvc, patch.pvc.as_str());
                prop_assert!(patch.to > member.bytes(), "{} of {}", patch.to, member.bytes());
                prop_assert!(lowest_ceiling(&world, volume).is_none_or(|ceiling| patch.to <= ceiling));
                prop_assert!(member.bound && !member.block && member.class.expandable);
                prop_assert!(!world.cluster.fencing.covers(&member.instance));
            }
            Ok(())
        },
    );
    result.unwrap_or_else(|error| panic!("{error}"));
    let (admitted, refused) = (admitted.into_inner(), refused.into_inner());
    assert!(admitted > 1000 && refused > 1000, "{admitted} admitted, {refused} refused");
}
