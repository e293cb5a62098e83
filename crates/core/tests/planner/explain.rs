//! Sentences and figures, as people read them.

use std::sync::Arc;

use csm_api::{Reason, Verdict};
use csm_core::explain::{gates, inputs, sentence};
use csm_core::plan::Decision;
use csm_core::resolve::{Conflict, Origin, OriginKind, Rank, Resolution};
use csm_core::world::{Fencing, ResizeStage, VolumeKey, World};
use rstest::rstest;

use crate::support::*;

fn conflict() -> Resolution {
    let policy = |name| Origin::object(OriginKind::StoragePolicy, Some("shop"), name);
    Resolution::Conflict(vec![Conflict {
        rank: Rank::StoragePolicy,
        policies: vec![policy("a"), policy("b")],
    }])
}

const WANTS: &str =
    "data is 90 % full (18 of 20 GiB, orders-1), which reaches 85 % (thresholds.expansion): should grow from 20Gi to 30Gi, but ";

#[rstest]
#[case::grow(world(vec![member("orders-1", "10Gi", "8910Mi")]), "data is 87 % full (8.7 of 10 GiB, orders-1), which reaches 85 % (thresholds.expansion): grows from 10Gi to 15Gi")]
#[case::grow_to_the_ceiling(wants().policy("expansion: {maxSize: 25Gi}"), "data is 90 % full (18 of 20 GiB, orders-1), which reaches 85 % (thresholds.expansion): grows from 20Gi to 25Gi, which is its ceiling: 25Gi (expansion.maxSize of StoragePolicy shop/standard)")]
#[case::catch_up(lags(), "data of orders-2 is smaller than the volume (30Gi): grows to 30Gi")]
#[case::catch_up_of_three(world(vec![member("o-1", "30Gi", "1Gi"), member("o-2", "20Gi", "1Gi"), member("o-3", "20Gi", "1Gi"), member("o-4", "20Gi", "1Gi")]), "data of o-2, o-3 and o-4 is smaller than the volume (30Gi): grows to 30Gi")]
#[case::beside(
    world(vec![member("o-1", "30Gi", "27Gi"), member("o-2", "20Gi", "1Gi")]).policy("expansion: {maxSize: 30Gi}"),
    "data of o-2 is smaller than the volume (30Gi): grows to 30Gi; data is 90 % full (27 of 30 GiB, o-1), which reaches 85 % (thresholds.expansion) and should grow to 45Gi, but its ceiling of 30Gi (expansion.maxSize of StoragePolicy shop/standard) leaves no room; raise expansion.maxSize, or free space"
)]
#[case::balanced(calm(), "data is 20 % full (4 of 20 GiB, orders-1): nothing to do below 85 %")]
#[case::balanced_and_resizing(calm().operation(unfinished(growth(at("11:59:00"), "13Gi", "20Gi"))), "data is 20 % full (4 of 20 GiB, orders-1): nothing to do below 85 %; a resize is under way")]
#[case::balanced_and_stuck(calm().operation(unfinished(growth(at("11:00:00"), "13Gi", "20Gi"))), "data is 20 % full (4 of 20 GiB, orders-1): nothing to do below 85 %, but a resize is stuck; see kubectl describe pvc")]
#[case::balanced_and_paused(calm().pause("true", None), "data is 20 % full (4 of 20 GiB, orders-1): nothing to do below 85 %; the Cluster is paused")]
#[case::balanced_and_blind(calm().change(|w| w.cluster.primary = Some("orders-7".into())), "data is 20 % full (4 of 20 GiB, orders-1): nothing to do below 85 %, but the primary has no fresh figures")]
#[case::tablespace(calm().data(|v| v.key = VolumeKey::tablespace("archive")), "tablespace archive is 20 % full (4 of 20 GiB, orders-1): nothing to do below 85 %")]
#[case::small(world(vec![member("orders-1", "500Mi", "100Mi")]), "data is 20 % full (100 of 500 MiB, orders-1): nothing to do below 85 %")]
#[case::large(world(vec![member("orders-1", "2560Gi", "640Gi")]).policy("{}"), "data is 25 % full (0.6 of 2.5 TiB, orders-1): nothing to do below 85 %")]
#[case::no_policy(calm().change(|w| w.resolution = Arc::new(Resolution::NoPolicy)), "data is 20 % full (4 of 20 GiB, orders-1): no policy matches the Cluster, so it is only monitored; create a StoragePolicy in its namespace to have it managed")]
#[case::conflict(calm().change(|w| w.resolution = Arc::new(conflict())), "data is 20 % full (4 of 20 GiB, orders-1): StoragePolicy shop/a and StoragePolicy shop/b match the Cluster with the same rank; change a selector, or name the Cluster in excludeClusters of one")]
#[case::invalid(calm().policy("thresholds: {warning: 0}"), "data is 20 % full (4 of 20 GiB, orders-1): its settings are not valid: thresholds.warning must be between 1 and 99 percent (it is 0; for example 70), from StoragePolicy shop/standard; correct that, and it goes on")]
#[case::never_seen(calm().member(0, |m| m.observation = None), "data: there are no figures of its filesystems yet (orders-1); see whether its pod runs and its node answers")]
#[case::stale(calm().member(0, |m| m.observation.as_mut().unwrap().at = at("11:00:00")), "data: there are no fresh figures of its filesystems, the newest are of 2026-03-01T11:00:00Z (orders-1); see whether its pod runs and its node answers")]
fn sentences(#[case] world: World, #[case] expected: &str) {
    assert_eq!(sentence(&decide(&world)), expected);
}

#[rstest]
#[case::deleting(wants().change(|w| w.cluster.deleting = true), "the Cluster is being deleted; its volumes are left alone")]
#[case::disabled(wants().policy("expansion: {enabled: false}"), "growth is switched off; set expansion.enabled: true to allow it")]
#[case::paused(wants().pause("true", None), "the Cluster is paused; remove the annotation storage.cnpg.supporttools.io/paused to go on")]
#[case::paused_until(wants().pause("true", Some("2026-03-02T00:00:00Z")), "the Cluster is paused until 2026-03-02T00:00:00Z; remove the annotation storage.cnpg.supporttools.io/paused to go on before")]
#[case::hibernated(wants().change(|w| w.cluster.hibernated = true), "the Cluster is hibernated (cnpg.io/hibernation: on); it is looked at again when its pods are back")]
#[case::fenced(wants().change(|w| w.cluster.fencing = Fencing::read(Some(r#"["orders-1"]"#))), "instance orders-1 is fenced; lift the fence to go on")]
#[case::all_fenced(wants().change(|w| w.cluster.fencing = Fencing::All), "all instances are fenced; lift the fence to go on")]
#[case::fencing_unreadable(wants().change(|w| w.cluster.fencing = Fencing::read(Some("orders-1"))), "the annotation cnpg.io/fencedInstances is no JSON list (\"orders-1\"), which counts as all fenced; correct or remove it")]
#[case::in_use(wants().change(|w| w.cluster.resize_in_use_volumes = false), "the Cluster says spec.storage.resizeInUseVolumes: false; set it to true to allow growth")]
#[case::not_bound(wants().member(0, |m| m.bound = false), "PVC orders-1-pvc is not bound to a volume; see kubectl describe pvc orders-1-pvc")]
#[case::block(wants().member(0, |m| m.block = true), "PVC orders-1-pvc is a raw block device, which has no filesystem to grow; it would have to be made anew with volumeMode: Filesystem")]
#[case::class(wants().member(0, |m| m.class.expandable = false), "storage class fast does not allow expansion; set allowVolumeExpansion: true on it where its driver can expand")]
#[case::twin(wants().member(0, |m| m.twin = true), "orders-1 reports the figures of a filesystem that is not its own: volumes of storage class fast share one, so its figures say nothing of this volume; use a class that gives each volume its own")]
#[case::in_progress(wants().data(|v| v.members[0] = v.members[0].clone().resizing_since(None)), "a resize is under way (orders-1: waiting for the node to grow the filesystem); nothing else is begun before it ends")]
#[case::recorded(wants().operation(unfinished(growth(at("11:59:00"), "13Gi", "20Gi"))), "a resize is under way since 2026-03-01T11:59:00Z (StorageEvent growth-2026-03-01T11:59:00Z); nothing else is begun before it ends")]
#[case::retry(wants().data(|v| v.retry_after = Some(at("12:05:00"))), "the last growth was refused (its StorageEvent says why); the next try is at 2026-03-01T12:05:00Z, or when what refused it (such as a quota) changes")]
#[case::limit(wants().policy("expansion: {maxSize: 20Gi}"), "its ceiling of 20Gi (expansion.maxSize of StoragePolicy shop/standard) leaves no room; raise expansion.maxSize, or free space")]
#[case::learned(wants().data(|v| v.learned_ceiling = Some(size("20Gi"))), "its ceiling of 20Gi (the largest size that the storage has allowed) leaves no room; free space, or give the storage more room")]
#[case::fallback(wants().policy("{}").data(|v| v.fallback_ceiling = Some(size("20Gi"))), "its ceiling of 20Gi (the manager's default ceiling) leaves no room; set expansion.maxSize to allow more, or free space")]
#[case::cooldown(wants().operation(growth(at("11:50:00"), "13Gi", "20Gi")), "the last growth is too recent, of 2026-03-01T11:50:00Z; it goes on at 2026-03-01T12:20:00Z (expansion.cooldownMinutes: 30)")]
#[case::dry_run(wants().policy("dryRun: true"), "this is a dry run; set dryRun: false to let it happen")]
fn what_holds(#[case] world: World, #[case] expected: &str) {
    assert_eq!(sentence(&decide(&world)), format!("{WANTS}{expected}"));
}

#[test]
fn a_shared_filesystem() {
    let world = world(vec![
        member("dev-1", "10Gi", "9Gi").change(|m| m.observation.as_mut().unwrap().available = size("191Gi")),
    ]);
    assert_eq!(
        sentence(&decide(&world)),
        "data is 4 % full (9 of 200 GiB, dev-1): the filesystem of dev-1 (200 GiB) is larger than its PVC (10Gi): volumes of storage class fast share one, so its figures say nothing of this volume; use a class that gives each volume its own"
    );
}

#[test]
fn a_stuck_resize_says_what_the_storage_says() {
    let world = wants().data(|v| {
        v.members[0] = v.members[0].clone().resizing_since(Some(at("11:40:00")));
        let resize = v.members[0].resize.as_mut().unwrap();
        (resize.stage, resize.error) = (ResizeStage::Controller, Some("volume is busy".into()));
    });
    assert_eq!(
        sentence(&decide(&world)),
        format!(
            "{WANTS}a resize has made no progress since 2026-03-01T11:40:00Z (orders-1: the storage driver is resizing the volume: volume is busy); see kubectl describe pvc, and the log of the storage driver"
        )
    );
}

#[test]
fn a_catch_up_that_is_held() {
    let text = sentence(&decide(&lags().pause("true", None)));
    assert_eq!(
        text,
        "data has members that are smaller than 30Gi and should grow to it (orders-2), but the Cluster is paused; remove the annotation storage.cnpg.supporttools.io/paused to go on"
    );
}

#[test]
fn the_largest_volume() {
    let text = sentence(&decide(
        &world(vec![member("o-1", "9223372036854775807", "9223372036854775807")]).policy("{}"),
    ));
    assert!(
        text.ends_with("but it has reached the largest size that Kubernetes can express; free space"),
        "{text}"
    );
}

#[test]
fn figures_by_name() {
    let world = wants().pause("true", Some("2026-03-02T00:00:00Z"));
    let text: Vec<String> = inputs(&decide(&world)).into_iter().map(|(k, v)| format!("{k}={v}")).collect();
    let expected = [
        "availableBytes=2147483648",
        "ceiling=200Gi",
        "ceilingFrom=expansion.maxSize",
        "ceilingSetBy=StoragePolicy shop/standard",
        "effectiveSize=20Gi",
        "fired=UsageThreshold",
        "heldBy=Paused",
        "instance=orders-1",
        "pausedUntil=2026-03-02T00:00:00Z",
        "percentUsed=90",
        "thresholds.expansion=85",
        "usedBytes=19327352832",
        "wantedSize=30Gi",
    ];
    assert_eq!(text, expected);
    assert_eq!(inputs(&decide(&wants()))["to"], "30Gi");
}

#[rstest]
#[case::conflict(calm().change(|w| w.resolution = Arc::new(conflict())), "conflicting", "StoragePolicy shop/a, StoragePolicy shop/b")]
#[case::invalid(calm().policy("expansion: {parallelism: 0}"), "problems", "expansion.parallelism must be between 1 and 20 (it is 0; for example 1), from StoragePolicy shop/standard")]
#[case::all_fenced(wants().change(|w| w.cluster.fencing = Fencing::All), "fencedInstances", "*")]
#[case::unreadable(wants().change(|w| w.cluster.fencing = Fencing::read(Some("x"))), "fencedInstances", "x")]
#[case::fenced(wants().change(|w| w.cluster.fencing = Fencing::read(Some(r#"["orders-1"]"#))), "heldInstance", "orders-1")]
#[case::not_bound(wants().member(0, |m| m.bound = false), "heldPvc", "orders-1-pvc")]
#[case::class(wants().member(0, |m| m.class.expandable = false), "storageClass", "fast")]
#[case::shared(calm().member(0, |m| m.twin = true), "filesystemBytes", "21474836480")]
#[case::operation(wants().operation(unfinished(growth(at("11:59:00"), "13Gi", "20Gi"))), "operation", "growth-2026-03-01T11:59:00Z")]
#[case::stage(wants().data(|v| v.members[0] = v.members[0].clone().resizing_since(None)), "stage", "waiting for the node to grow the filesystem")]
#[case::unknown_start(wants().data(|v| v.members[0] = v.members[0].clone().resizing_since(None)), "resizingSince", "unknown")]
#[case::stale(calm().member(0, |m| m.observation.as_mut().unwrap().at = at("11:00:00")), "newestFigures", "2026-03-01T11:00:00Z")]
#[case::never(calm().member(0, |m| m.observation = None), "newestFigures", "never")]
#[case::cooldown(wants().operation(growth(at("11:50:00"), "13Gi", "20Gi")), "opensAt", "2026-03-01T12:20:00Z")]
fn figures_of_a_gate(#[case] world: World, #[case] name: &str, #[case] value: &str) {
    assert_eq!(inputs(&decide(&world)).get(name).map(String::as_str), Some(value));
}

fn report(world: &World, gate: Reason) -> (Option<Reason>, String) {
    let reports = gates(world, noon(), &VolumeKey::DATA).unwrap();
    let report = reports.into_iter().find(|r| r.gate == gate.as_str()).unwrap();
    let inputs: Vec<String> = report.inputs.into_iter().map(|(k, v)| format!("{k}={v}")).collect();
    (report.holds, inputs.join("; "))
}

#[rstest]
#[case(Reason::NoPolicy, calm(), "policies=StoragePolicy shop/standard")]
#[case(Reason::PolicyConflict, calm(), "conflicting=none")]
#[case(Reason::PolicyInvalid, calm(), "problems=none")]
#[case(Reason::ClusterDeleting, calm(), "deleting=false")]
#[case(Reason::Disabled, calm(), "expansion.enabled=true")]
#[case(Reason::Paused, calm(), "paused=false")]
#[case(Reason::Hibernated, calm(), "hibernated=false")]
#[case(Reason::Fenced, calm(), "fencedInstances=none")]
#[case(Reason::InUseResizeDisabled, calm(), "resizeInUseVolumes=true")]
#[case(Reason::NotBound, calm(), "notBound=none")]
#[case(Reason::BlockVolume, calm(), "blockDevices=none")]
#[case(Reason::StorageClassNotExpandable, calm(), "storageClasses=fast (expandable)")]
#[case(
    Reason::SharedFilesystem,
    calm(),
    "classKnownAsShared=none; largerThanPvc=none; sameFiguresAsAnother=none"
)]
#[case(
    Reason::ResizeInProgress,
    calm(),
    "resizing=none; since=unknown; stuckAfter=10m; unfinishedOperation=none"
)]
#[case(Reason::RetryLater, calm(), "retryAfter=none")]
#[case(Reason::StaleObservation, calm(), "limit=5m; observedAt=orders-1: 2026-03-01T11:59:30Z (fresh)")]
#[case(Reason::AtLimit, calm(), "ceiling=200Gi; ceilingFrom=expansion.maxSize; effectiveSize=20Gi")]
#[case(Reason::AtLimit, calm().policy("{}"), "ceiling=none")]
#[case(Reason::Cooldown, calm(), "ends=none; expansion.cooldownMinutes=30; lastGrowth=none")]
#[case(Reason::DryRun, calm(), "dryRun=false")]
fn what_a_gate_looks_at(#[case] gate: Reason, #[case] world: World, #[case] inputs: &str) {
    assert_eq!(report(&world, gate), (None, inputs.to_owned()));
}

#[rstest]
#[case(Reason::NoPolicy, wants().change(|w| w.resolution = Arc::new(Resolution::NoPolicy)), "policies=none")]
#[case(Reason::Paused, calm().pause("yes", Some("2026-03-02T00:00:00Z")), "pause-until=2026-03-02T00:00:00Z; paused=yes")]
#[case(Reason::Fenced, calm().change(|w| w.cluster.fencing = Fencing::read(Some(r#"["orders-1", "b"]"#))), "fencedInstances=orders-1, b")]
#[case(Reason::Fenced, calm().change(|w| w.cluster.fencing = Fencing::All), "fencedInstances=all")]
#[case(Reason::Fenced, calm().change(|w| w.cluster.fencing = Fencing::read(Some("b"))), "fencedInstances=unreadable, taken as all: \"b\"")]
#[case(Reason::StorageClassNotExpandable, calm().member(0, |m| m.class.expandable = false), "storageClasses=fast (not expandable)")]
#[case(Reason::Cooldown, calm().operation(growth(at("11:50:00"), "13Gi", "20Gi")), "ends=2026-03-01T12:20:00Z; expansion.cooldownMinutes=30; lastGrowth=2026-03-01T11:50:00Z")]
fn what_would_hold(#[case] gate: Reason, #[case] world: World, #[case] inputs: &str) {
    assert_eq!(report(&world, gate), (Some(gate), inputs.to_owned()));
}

/// Where settings could not be resolved, nothing is supposed, and every gate still has its inputs.
#[test]
fn gates_without_settings() {
    let world = wants().change(|w| w.resolution = Arc::new(conflict()));
    for report in gates(&world, noon(), &VolumeKey::DATA).unwrap() {
        assert_eq!(report.holds.is_some(), report.gate == "PolicyConflict");
        assert!(!report.inputs.is_empty());
    }
    assert_eq!(
        report(&world, Reason::PolicyConflict).1,
        "conflicting=StoragePolicy shop/a, StoragePolicy shop/b"
    );
}

#[test]
fn figures_that_are_not_fresh_say_so() {
    let world = world(vec![
        member("a", "20Gi", "4Gi"),
        member("b", "20Gi", "4Gi").unseen(),
        member("c", "20Gi", "4Gi").seen_at(at("09:00:00")),
    ]);
    let text = report(&world, Reason::StaleObservation).1;
    assert_eq!(
        text,
        "limit=5m; observedAt=a: 2026-03-01T11:59:30Z (fresh), b: never, c: 2026-03-01T09:00:00Z (not fresh)"
    );
}

/// A person reads every decision: no sentence is empty, and each names its volume.
#[test]
fn every_decision_has_a_sentence() {
    let says = |d: &Decision| {
        let text = sentence(d);
        assert!(text.starts_with("data"), "{text}");
        assert!(!text.contains("  ") && !text.contains("it is held ("), "{text}");
    };
    for world in [
        calm(),
        wants(),
        lags(),
        wants().policy("dryRun: true"),
        lags().policy("dryRun: true"),
    ] {
        let decision = decide(&world);
        says(&decision);
        assert!(decision.verdict != Verdict::Hold || decision.wanted.is_some());
    }
}
