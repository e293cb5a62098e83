//! What is allowed and seldom meant, every kind of it; and policies against each other.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use csm_api::{ClusterStoragePolicy, ClusterStoragePolicySpec, Settings, StoragePolicy, StoragePolicySpec};
use csm_core::resolve::{Identity, Origin, Policy, Resolution, matching, resolve};
use csm_core::validate::{
    Problem, Subject, VolumeFacts, Warning, WarningKind, check_policies, validate_cluster_storage_policy, validate_storage_policy, warn,
    warn_cluster, warn_cluster_storage_policy, warn_storage_policy,
};
use csm_core::world::{Class, ClusterKey, Fleet, VolumeKey, WalHealth, World};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{WorldExt as _, member, size, volume, world};

/// Kind, place and value, as the tables below say them.
fn short(warnings: &[Warning]) -> Vec<String> {
    let short = |w: &Warning| format!("{:?} {} {}", w.kind, w.problem.field, w.problem.value);
    warnings.iter().map(short).collect()
}

/// One object by itself: kind, field and value of all its warnings.
const ALONE: [(&str, &[&str]); 29] = [
    ("{}", &["Unbounded expansion.maxSize not set"]),
    ("expansion: {percentage: 30}", &["Unbounded expansion.maxSize not set"]),
    ("expansion: {enabled: false}", &[]),
    ("expansion: {maxSize: 11Gi}", &[]),
    ("expansion: {maxSize: 9999Mi}", &[]),
    ("expansion: {maxSize: nothing}", &[]),
    ("expansion: {maxSize: 10.5Gi}", &["BetweenGibibytes expansion.maxSize \"10.5Gi\""]),
    ("expansion: {maxSize: '12e9'}", &["BetweenGibibytes expansion.maxSize \"12e9\""]),
    ("expansion: {maxSize: 8Gi, minIncrementGi: 7}", &[]),
    (
        "expansion: {maxSize: 8Gi, minIncrementGi: 8}",
        &["BelowOneStep expansion.maxSize 8Gi"],
    ),
    ("storage: {request: 3Gi, limit: 13Gi}", &[]),
    (
        "storage: {request: 3Gi, limit: 14.5Gi}",
        &["BetweenGibibytes storage.limit \"14.5Gi\""],
    ),
    (
        "walStorage: {resize: {enabled: true}}",
        &["Unbounded walStorage.resize.expansion.limit not set"],
    ),
    ("{expansion: {maxSize: 15Gi}, walStorage: {resize: {enabled: true}}}", &[]),
    ("walStorage: {resize: {enabled: true, expansion: {limit: 16Gi}}}", &[]),
    (
        "walStorage: {resize: {enabled: true, expansion: {limit: 17.5Gi}}}",
        &["BetweenGibibytes walStorage.resize.expansion.limit \"17.5Gi\""],
    ),
    (
        "tablespaces: [{name: logs, storage: {resize: {enabled: true, expansion: {limit: 2Gi, minStep: 3Gi}}}}]",
        &["BelowOneStep tablespaces[logs].storage.resize.expansion.limit 2Gi"],
    ),
    (
        "storage: {resize: {enabled: true, expansion: {limit: 4Gi, step: 4Gi}}}",
        &["BelowOneStep storage.resize.expansion.limit 4Gi"],
    ),
    (
        "storage: {resize: {enabled: true, expansion: {limit: 6Gi, step: 100%, minStep: 5Gi}}}",
        &[],
    ),
    (
        "storage: {resize: {enabled: true, expansion: {limit: 40Gi, step: 101%}}}",
        &["LargeStep storage.resize.expansion.step \"101%\""],
    ),
    (
        "storage: {resize: {enabled: true, expansion: {limit: 41Gi, step: 7Gi, minStep: 2Gi, maxStep: 9Gi}}}",
        &[
            "IgnoredStepBound storage.resize.expansion.minStep \"2Gi\"",
            "IgnoredStepBound storage.resize.expansion.maxStep \"9Gi\"",
        ],
    ),
    (
        "storage: {resize: {expansion: {limit: 42Gi}, strategy: {maxActionsPerDay: 0}}}",
        &["NoRateLimit storage.resize.strategy.maxActionsPerDay 0"],
    ),
    (
        "walStorage: {limit: 43Gi, emergencyGrow: {maxActionsPerDay: 0}}",
        &["NoRateLimit walStorage.emergencyGrow.maxActionsPerDay 0"],
    ),
    (
        "walStorage: {limit: 44Gi, emergencyGrow: {maxActionsPerDay: 3, reservedActionsForEmergency: 3}}",
        &["NoPlannedGrowth walStorage.emergencyGrow.reservedActionsForEmergency 3"],
    ),
    (
        "walStorage: {limit: 45Gi, emergencyGrow: {maxActionsPerDay: 3, reservedActionsForEmergency: 2}}",
        &[],
    ),
    (
        "walStorage: {limit: 46Gi, emergencyGrow: {maxActionsPerDay: 0, reservedActionsForEmergency: 0}}",
        &["NoRateLimit walStorage.emergencyGrow.maxActionsPerDay 0"],
    ),
    ("walStorage: {limit: 47Gi, emergencyGrow: {reservedActionsForEmergency: 4}}", &[]),
    ("{expansion: {enabled: false}, walStorage: {resize: {enabled: true}}}", &[]),
    ("thresholds: {warning: 60}", &["Unbounded expansion.maxSize not set"]),
];

#[test]
fn one_object_by_itself() {
    for (yaml, expected) in ALONE {
        let spec: StoragePolicySpec = serde_saphyr::from_str(yaml).unwrap();
        assert_eq!(short(&warn_storage_policy(&spec)), expected, "{yaml}");
        let spec: ClusterStoragePolicySpec = serde_saphyr::from_str(yaml).unwrap();
        assert_eq!(short(&warn_cluster_storage_policy(&spec)), expected, "{yaml}");
    }
}

#[test]
fn a_postgres_storage_that_says_nothing_of_growth_is_no_policy() {
    let of = |yaml: &str| short(&warn(&serde_saphyr::from_str::<Settings>(yaml).unwrap()));
    assert!(of("{}").is_empty());
    assert!(of("thresholds: {warning: 61}").is_empty());
    assert_eq!(of("expansion: {percentage: 31}"), ["Unbounded expansion.maxSize not set"]);
    assert_eq!(
        of("storage: {resize: {enabled: true}}"),
        ["Unbounded storage.resize.expansion.limit not set"]
    );
}

#[test]
fn bounds_are_limits() {
    let of = |yaml: &str| {
        short(&warn_cluster_storage_policy(
            &serde_saphyr::from_str::<ClusterStoragePolicySpec>(yaml).unwrap(),
        ))
    };
    assert!(of("bounds: {maxSize: 18Gi}").is_empty());
    assert_eq!(of("bounds: {maxSize: 19.5Gi}"), ["BetweenGibibytes bounds.maxSize \"19.5Gi\""]);
    assert_eq!(of("bounds: {maxActionsPerDay: 6}"), ["Unbounded expansion.maxSize not set"]);
}

#[test]
fn a_warning_in_words() {
    let spec: StoragePolicySpec =
        serde_saphyr::from_str("{expansion: {maxSize: 10.5Gi}, storage: {resize: {expansion: {step: 7Gi, minStep: 2Gi}}}}").unwrap();
    let said: Vec<String> = warn_storage_policy(&spec).iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "expansion.maxSize is not on a whole GiB: storage drivers round up, so growth ends at 10Gi (it is \"10.5Gi\"; for example \"11Gi\")",
            "storage.resize.expansion.minStep has no effect: resize.expansion.step is a size (7Gi), and only a percentage has bounds (it is \"2Gi\"; for example step: \"20%\")",
        ]
    );
}

fn policy(name: &str, spec: &Value) -> Policy {
    let policy: StoragePolicy = serde_json::from_value(json!({
        "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "StoragePolicy",
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
    }))
    .unwrap();
    assert_eq!(validate_storage_policy(&policy.spec), []);
    Policy::from_storage_policy(&policy)
}

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

/// Whom policies select: its namespace has no labels.
fn identity<'a>(key: &'a ClusterKey, labels: &'a BTreeMap<String, String>) -> Identity<'a> {
    Identity {
        key,
        labels,
        namespace_labels: &NO_LABELS,
    }
}

/// What is said of one Cluster without labels.
fn warned(world: &World) -> Vec<Warning> {
    warn_cluster(&Subject::of(world, identity(&world.cluster.key, &NO_LABELS)))
}

/// A Cluster of namespace `shop` for a test: its name, whether it has a WAL volume, its PostgresStorage's spec.
struct Case {
    key: ClusterKey,
    labels: BTreeMap<String, String>,
    resolution: Resolution,
    volumes: Vec<VolumeFacts>,
}

impl Case {
    fn new(name: &str, wal: bool, own: Option<&Value>, policies: &[Policy]) -> Self {
        let key = ClusterKey::new("shop", name);
        let labels = BTreeMap::from([("app".to_owned(), name.to_owned())]);
        let matched = matching(&identity(&key, &labels), policies.iter());
        let own = own.map(|spec| {
            let origin = Origin::postgres_storage("shop", name);
            (origin, serde_json::from_value::<Settings>(spec.clone()).unwrap())
        });
        let resolution = resolve(
            &matched,
            own.as_ref().map(|(origin, settings)| (origin, settings)),
            &Settings::default(),
        );
        let facts = |key| VolumeFacts {
            key,
            size: size("20Gi"),
            class: None,
        };
        let volumes = std::iter::once(VolumeKey::DATA).chain(wal.then_some(VolumeKey::WAL)).map(facts);
        Self {
            volumes: volumes.collect(),
            labels,
            resolution,
            key,
        }
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            identity: identity(&self.key, &self.labels),
            resolution: &self.resolution,
            volumes: Cow::Borrowed(&self.volumes),
            archiving: None,
        }
    }
}

fn checked(policies: &[Policy], cases: &[Case]) -> (Vec<Problem>, Vec<Warning>) {
    let subjects: Vec<Subject<'_>> = cases.iter().map(Case::subject).collect();
    check_policies(&policies.iter().collect::<Vec<_>>(), &subjects)
}

/// One Cluster, its data volume of 20Gi: settings, archiving, and kind, field and value of its warnings.
#[rstest]
#[case("expansion: {maxSize: 21Gi}", &[])]
#[case("expansion: {maxSize: 20Gi}", &["NeverGrows expansion.maxSize 20Gi"])]
#[case("storage: {request: 5Gi, limit: 19Gi}", &["NeverGrows storage.limit 19Gi"])]
#[case("storage: {resize: {enabled: true, expansion: {limit: 18Gi}}}", &["NeverGrows storage.resize.expansion.limit 18Gi"])]
#[case("storage: {resize: {enabled: true, triggers: {minAvailable: 19Gi}}}", &[])]
#[case("storage: {resize: {enabled: true, triggers: {minAvailable: 20Gi}}}", &["FiresAtOnce storage.resize.triggers.minAvailable 20Gi"])]
#[case("storage: {request: 1Gi, limit: 60Gi, emergencyGrow: {criticalMinimumFree: 5Gi}}", &[])]
#[case(
    "storage: {request: 1Gi, limit: 60Gi, emergencyGrow: {criticalMinimumFree: 6Gi}}",
    &["LargeMinimumFree storage.emergencyGrow.criticalMinimumFree 6Gi"]
)]
#[case(
    "storage: {resize: {enabled: true, strategy: {walSafetyPolicy: {requireArchiveHealthy: true}}}}",
    &["NothingArchived storage.resize.strategy.walSafetyPolicy.requireArchiveHealthy true"]
)]
#[case("storage: {resize: {enabled: true, strategy: {walSafetyPolicy: {requireArchiveHealthy: false}}}}", &[])]
#[case("storage: {resize: {enabled: true, strategy: {walSafetyPolicy: {acknowledgeWALRisk: true}}}}", &[])]
fn one_cluster(#[case] settings: &str, #[case] expected: &[&str]) {
    let world = world(vec![member("orders-1", "20Gi", "1Gi")]).policy(settings).change(|w| {
        w.cluster.wal = Some(WalHealth::default());
    });
    let warnings = warned(&world);
    assert_eq!(short(&warnings), expected);
    for warning in &warnings {
        let origins: Vec<String> = warning.problem.origins.iter().map(ToString::to_string).collect();
        assert_eq!(origins, ["StoragePolicy shop/standard"]);
        assert!(warning.problem.reason.contains("shop/orders"), "{warning}");
    }
    // What is not known is not complained of.
    let unknown = world.change(|w| w.cluster.wal = None);
    assert!(!warned(&unknown).iter().any(|w| w.kind == WarningKind::NothingArchived));
}

#[test]
fn a_wal_volume_leaves_nothing_to_acknowledge() {
    let settings = "storage: {resize: {enabled: true, strategy: {walSafetyPolicy: {acknowledgeWALRisk: true}}}}";
    let world = world(vec![member("orders-1", "20Gi", "1Gi")]).policy(settings).change(|w| {
        w.volumes.push(volume(VolumeKey::WAL, vec![member("orders-1", "4Gi", "1Gi")]));
    });
    let warnings = warned(&world);
    assert_eq!(
        short(&warnings),
        ["NothingToAcknowledge storage.resize.strategy.walSafetyPolicy.acknowledgeWALRisk true"]
    );
}

#[test]
fn storage_classes_are_the_clusters_own() {
    let class = |name: &str, expandable, shared_filesystem| Class {
        name: name.into(),
        expandable,
        shared_filesystem,
        provider_limit: None,
        fleet: Fleet::default(),
    };
    let world = world(vec![member("orders-1", "20Gi", "1Gi")]).change(|w| {
        w.volumes[0].members[0].class = class("slow", false, false);
        let mut other = volume(VolumeKey::tablespace("logs"), vec![member("orders-1", "4Gi", "1Gi")]);
        other.members[0].class = class("local-path", true, true);
        w.volumes.push(other);
    });
    let warnings = warned(&world);
    assert_eq!(
        short(&warnings),
        [
            "NotExpandable storage.storageClass slow",
            "SharedFilesystem tablespaces[logs].storage.storageClass local-path"
        ]
    );
    assert!(warnings.iter().all(|w| w.problem.origins.is_empty()));
}

#[test]
fn wal_risk_is_an_error_where_it_is_everywhere() {
    let risky = json!({"storage": {"resize": {"enabled": true}}});
    let policies = [policy("risky", &risky)];
    let both = |first_wal| [Case::new("a", first_wal, None, &policies), Case::new("b", false, None, &policies)];
    let (problems, warnings) = checked(&policies, &both(false));
    assert_eq!((problems.len(), warnings.len()), (1, 0));
    assert_eq!(
        (&*problems[0].field, problems[0].origins[0].to_string()),
        ("storage.resize.enabled", "StoragePolicy shop/risky".to_owned())
    );
    assert!(problems[0].reason.contains("shop/a, shop/b"), "{}", problems[0]);
    let (problems, warnings) = checked(&policies, &both(true));
    assert_eq!((problems.len(), warnings.len()), (0, 1));
    assert_eq!(warnings[0].kind, WarningKind::WalRisk);
    assert!(warnings[0].problem.reason.contains("in shop/b holds"), "{}", warnings[0]);
    // In a PostgresStorage it is always one.
    let own = [Case::new("c", false, Some(&risky), &[]), Case::new("d", true, Some(&risky), &[])];
    let (problems, warnings) = checked(&[], &own);
    assert_eq!((problems.len(), warnings.len()), (1, 0));
    assert_eq!(problems[0].origins[0].to_string(), "PostgresStorage shop/c");
    // Acknowledged, by whomever.
    let acknowledged = json!({"storage": {"resize": {"strategy": {"walSafetyPolicy": {"acknowledgeWALRisk": true}}}}});
    let cases = [Case::new("a", false, Some(&acknowledged), &policies)];
    assert_eq!(checked(&policies, &cases), (Vec::new(), Vec::new()));
}

#[test]
fn two_of_one_rank_conflict() {
    let selecting =
        |app: &str| json!({"selector": {"matchExpressions": [{"key": app, "operator": "Exists"}]}, "expansion": {"maxSize": "99Gi"}});
    let policies = [
        policy("one", &selecting("app")),
        policy("two", &selecting("app")),
        policy("three", &selecting("team")),
    ];
    let cases = [Case::new("a", true, None, &policies), Case::new("b", true, None, &policies)];
    let (problems, warnings) = checked(&policies, &cases);
    assert_eq!((problems.len(), warnings.len()), (1, 0), "once for all Clusters");
    assert_eq!(
        (&*problems[0].field, problems[0].origins[0].to_string()),
        ("selector", "StoragePolicy shop/two".to_owned())
    );
    assert_eq!(
        problems[0].reason,
        "StoragePolicy shop/two and StoragePolicy shop/one are of one rank (StoragePolicy with a selector) and both match shop/a, shop/b, which is held for it"
    );
}

#[test]
fn exclusions_of_nobody() {
    let fleet: ClusterStoragePolicy = serde_json::from_value(json!({
        "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "ClusterStoragePolicy", "metadata": {"name": "fleet"},
        "spec": {"excludeClusters": [{"name": "a", "namespace": "shop"}, {"name": "gone", "namespace": "shop"}, {"name": "any"}]},
    }))
    .unwrap();
    assert_eq!(validate_cluster_storage_policy(&fleet.spec).len(), 1, "the one without a namespace");
    let policies = [Policy::from_cluster_storage_policy(&fleet)];
    let (problems, warnings) = checked(&policies, &[Case::new("a", true, None, &[])]);
    assert_eq!(
        (problems.len(), short(&warnings)),
        (0, vec!["UnknownCluster excludeClusters shop/gone".to_owned()])
    );
    assert_eq!(warnings[0].problem.origins[0].to_string(), "ClusterStoragePolicy fleet");
    assert_eq!(checked(&policies, &[]), (Vec::new(), Vec::new()), "nothing is known of any Cluster");
}

/// A kind that no test above makes would go unseen.
#[test]
fn every_kind_has_a_case() {
    let source = include_str!("warnings.rs");
    let missing: BTreeSet<String> = WarningKind::ALL
        .iter()
        .map(|kind| format!("{kind:?}"))
        .filter(|name| !source.contains(&format!("\"{name} ")) && !source.contains(&format!(".kind, WarningKind::{name}")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
