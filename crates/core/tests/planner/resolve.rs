//! From policies to settings: selection, ranks, conflicts, inheritance, defaults that give way.

use std::collections::BTreeMap;
use std::sync::Arc;

use csm_api::{ClusterStoragePolicy, PostgresStorage, Settings, StoragePolicy};
use csm_core::resolve::{Identity, Origin, OriginKind, Policy, Rank, Resolution, Resolved, matching, resolve};
use csm_core::world::ClusterKey;
use rstest::rstest;

fn namespaced(name: &str, spec: &str) -> Policy {
    let spec: serde_json::Value = serde_saphyr::from_str(spec).unwrap();
    let policy: StoragePolicy = serde_json::from_value(serde_json::json!({
        "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "StoragePolicy",
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
    }))
    .unwrap();
    Policy::from_storage_policy(&policy)
}

fn fleet(name: &str, spec: &str) -> Policy {
    let spec: serde_json::Value = serde_saphyr::from_str(spec).unwrap();
    let policy: ClusterStoragePolicy = serde_json::from_value(serde_json::json!({
        "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "ClusterStoragePolicy",
        "metadata": {"name": name}, "spec": spec,
    }))
    .unwrap();
    Policy::from_cluster_storage_policy(&policy)
}

fn settings(yaml: &str) -> Settings {
    serde_saphyr::from_str(yaml).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// Cluster shop/orders, tier=prod; its namespace has env=live.
fn select(policies: &[Policy]) -> Vec<&Policy> {
    let key = ClusterKey::new("shop", "orders");
    let (labels, namespace_labels) = (labels(&[("tier", "prod")]), labels(&[("env", "live")]));
    let identity = Identity {
        key: &key,
        labels: &labels,
        namespace_labels: &namespace_labels,
    };
    matching(&identity, policies.iter())
}

fn names(policies: &[Policy]) -> Vec<String> {
    select(policies).iter().map(|p| p.origin.name.to_string()).collect()
}

#[rstest]
#[case::none("{}", true)]
#[case::empty("selector: {}", true)]
#[case::empty_parts("selector: {matchLabels: {}, matchExpressions: []}", true)]
#[case::label("selector: {matchLabels: {tier: prod}}", true)]
#[case::other_value("selector: {matchLabels: {tier: test}}", false)]
#[case::other_label("selector: {matchLabels: {tier: prod, team: a}}", false)]
#[case::implied_label("selector: {matchLabels: {cnpg.io/cluster: orders}}", true)]
#[case::implied_label_of_another("selector: {matchLabels: {cnpg.io/cluster: carts}}", false)]
#[case::within("selector: {matchExpressions: [{key: tier, operator: In, values: [test, prod]}]}", true)]
#[case::not_within("selector: {matchExpressions: [{key: tier, operator: In, values: [test]}]}", false)]
#[case::absent_within("selector: {matchExpressions: [{key: team, operator: In, values: [a]}]}", false)]
#[case::not_in("selector: {matchExpressions: [{key: tier, operator: NotIn, values: [test]}]}", true)]
#[case::not_in_but_is("selector: {matchExpressions: [{key: tier, operator: NotIn, values: [test, prod]}]}", false)]
#[case::not_in_absent("selector: {matchExpressions: [{key: team, operator: NotIn, values: [a]}]}", true)]
#[case::exists("selector: {matchExpressions: [{key: tier, operator: Exists}]}", true)]
#[case::exists_implied("selector: {matchExpressions: [{key: cnpg.io/cluster, operator: Exists}]}", true)]
#[case::exists_not("selector: {matchExpressions: [{key: team, operator: Exists}]}", false)]
#[case::does_not_exist("selector: {matchExpressions: [{key: team, operator: DoesNotExist}]}", true)]
#[case::does_not_exist_but_does("selector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}", false)]
#[case::all_must_hold("selector: {matchLabels: {tier: prod}, matchExpressions: [{key: team, operator: Exists}]}", false)]
#[case::excluded("excludeClusters: [{name: orders}]", false)]
#[case::excluded_with_namespace("excludeClusters: [{name: orders, namespace: shop}]", false)]
#[case::excluded_elsewhere("excludeClusters: [{name: orders, namespace: lab}]", true)]
#[case::another_excluded("excludeClusters: [{name: carts}]", true)]
#[case::unknown_operator("selector: {matchExpressions: [{key: tier, operator: Is, values: [prod]}]}", false)]
#[case::in_nothing("selector: {matchExpressions: [{key: tier, operator: In, values: []}]}", false)]
#[case::exists_with_values("selector: {matchExpressions: [{key: tier, operator: Exists, values: [a]}]}", false)]
fn selection(#[case] spec: &str, #[case] matches: bool) {
    assert_eq!(names(&[namespaced("p", spec)]) == ["p"], matches);
    assert_eq!(names(&[fleet("p", spec)]) == ["p"], matches);
}

#[rstest]
#[case::none("{}", true, Rank::ClusterStoragePolicy)]
#[case::empty("{namespaceSelector: {}, selector: {}}", true, Rank::ClusterStoragePolicy)]
#[case::namespace("namespaceSelector: {matchLabels: {env: live}}", true, Rank::ClusterStoragePolicyWithSelector)]
#[case::other_namespace("namespaceSelector: {matchLabels: {env: dev}}", false, Rank::ClusterStoragePolicyWithSelector)]
#[case::by_name(
    "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}",
    true,
    Rank::ClusterStoragePolicyWithSelector
)]
#[case::both(
    "{namespaceSelector: {matchLabels: {env: live}}, selector: {matchLabels: {tier: test}}}",
    false,
    Rank::ClusterStoragePolicyWithSelector
)]
#[case::selector("selector: {matchLabels: {tier: prod}}", true, Rank::ClusterStoragePolicyWithSelector)]
#[case::cluster_label_of_the_namespace(
    "namespaceSelector: {matchLabels: {cnpg.io/cluster: orders}}",
    false,
    Rank::ClusterStoragePolicyWithSelector
)]
#[case::broken(
    "namespaceSelector: {matchExpressions: [{key: env, operator: Is}]}",
    false,
    Rank::ClusterStoragePolicyWithSelector
)]
fn namespaces(#[case] spec: &str, #[case] matches: bool, #[case] rank: Rank) {
    let policy = fleet("p", spec);
    assert_eq!(policy.rank(), rank);
    assert_eq!(!names(&[policy]).is_empty(), matches);
}

#[test]
fn a_policy_of_another_namespace_does_not_match() {
    let mut policy = namespaced("p", "{}");
    policy.origin.namespace = Some("lab".into());
    assert!(names(&[policy]).is_empty());
}

#[test]
fn an_exclusion_without_a_namespace_excludes_in_all() {
    let policy = fleet("p", "excludeClusters: [{name: orders}]");
    assert_eq!(policy.problems.len(), 1);
    assert!(policy.problems[0].to_string().contains("needs a namespace"));
    assert!(names(&[policy]).is_empty());
}

#[test]
fn the_most_specific_first() {
    let policies = [
        fleet("fleet", "{}"),
        namespaced("namespace", "{}"),
        fleet("live", "namespaceSelector: {matchLabels: {env: live}}"),
        namespaced("prod", "selector: {matchLabels: {tier: prod}}"),
    ];
    assert_eq!(names(&policies), ["prod", "namespace", "live", "fleet"]);
    let ranks: Vec<Rank> = select(&policies).iter().map(|p| p.rank()).collect();
    assert!(ranks.windows(2).all(|pair| pair[0] > pair[1]));
    assert!(Rank::PostgresStorage > ranks[0]);
    let texts: Vec<String> = ranks.iter().map(ToString::to_string).collect();
    assert_eq!(texts[0], "StoragePolicy with a selector");
    assert_eq!(texts[3], "ClusterStoragePolicy without a selector");
}

fn resolved(policies: &[Policy], own: Option<&str>, defaults: &str) -> Resolution {
    let origin = Origin::postgres_storage("shop", "orders");
    let own = own.map(settings);
    resolve(&select(policies), own.as_ref().map(|s| (&origin, s)), &settings(defaults))
}

fn good(resolution: Resolution) -> Resolved {
    match resolution {
        Resolution::Settings(resolved) => resolved,
        other => panic!("{other:?}"),
    }
}

fn field(resolved: &Resolved, name: &str) -> (String, String) {
    let fields = resolved.fields();
    let (_, value, origin) = fields.iter().find(|(n, _, _)| *n == name).unwrap();
    (value.clone(), origin.to_string())
}

#[test]
fn built_in_defaults() {
    let resolved = good(resolved(&[namespaced("p", "{}")], None, "{}"));
    let expected = [
        ("dryRun", "false"),
        ("thresholds.warning", "70"),
        ("thresholds.critical", "80"),
        ("thresholds.expansion", "85"),
        ("thresholds.emergency", "90"),
        ("expansion.enabled", "true"),
        ("expansion.percentage", "50"),
        ("expansion.minIncrementGi", "5"),
        ("expansion.maxSize", "none"),
        ("expansion.cooldownMinutes", "30"),
        ("expansion.parallelism", "1"),
        ("expansion.applyTo", "PersistentVolumeClaims"),
        ("walCleanup.enabled", "true"),
        ("walCleanup.retainCount", "10"),
        ("walCleanup.requireArchived", "true"),
        ("walCleanup.cooldownMinutes", "15"),
        ("circuitBreaker.maxFailures", "3"),
        ("circuitBreaker.resetMinutes", "60"),
        ("circuitBreaker.scope", "per-cluster"),
        ("emergencyRunway", "true"),
    ];
    let fields = resolved.fields();
    let actual: Vec<(&str, &str)> = fields.iter().map(|(name, value, _)| (*name, value.as_str())).collect();
    assert_eq!(actual, expected);
    assert!(fields.iter().all(|(_, _, origin)| *origin == Origin::built_in()));
    assert_eq!(resolved.policies.len(), 1);
}

#[test]
fn what_a_removal_of_wal_goes_by_comes_from_whoever_sets_it() {
    let resolved = good(resolved(
        &[
            fleet("fleet", "{walCleanup: {enabled: false, retainCount: 40, cooldownMinutes: 5}}"),
            namespaced("p", "{walCleanup: {retainCount: 30}}"),
        ],
        Some("{walCleanup: {requireArchived: false}}"),
        "{walCleanup: {cooldownMinutes: 90, requireArchived: true}}",
    ));
    let told = |name| field(&resolved, &format!("walCleanup.{name}"));
    let of = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(told("enabled"), of("false", "ClusterStoragePolicy fleet"));
    assert_eq!(told("retainCount"), of("30", "StoragePolicy shop/p"));
    assert_eq!(told("requireArchived"), of("false", "PostgresStorage shop/orders"));
    assert_eq!(told("cooldownMinutes"), of("5", "ClusterStoragePolicy fleet"));
    let rules = resolved.wal_cleanup.rules();
    assert_eq!((rules.retain_count, rules.require_archived), (30, false));
}

#[test]
fn a_breaker_that_clusters_share_is_for_the_platform_team() {
    let global = "{circuitBreaker: {scope: global, maxFailures: 5}}";
    let shared = good(resolved(
        &[fleet("fleet", global), namespaced("p", "{circuitBreaker: {maxFailures: 2}}")],
        None,
        "{}",
    ));
    assert_eq!(
        field(&shared, "circuitBreaker.scope"),
        ("global".to_owned(), "ClusterStoragePolicy fleet".to_owned())
    );
    assert_eq!(field(&shared, "circuitBreaker.maxFailures").0, "2");
    let says = "circuitBreaker.scope can be global in a ClusterStoragePolicy only";
    for (policies, own) in [(vec![namespaced("p", global)], None), (vec![namespaced("p", "{}")], Some(global))] {
        let Resolution::Invalid(problems) = resolved(&policies, own, "{}") else {
            panic!("it does not validate");
        };
        assert_eq!(problems.iter().map(|p| p.reason.as_str()).collect::<Vec<_>>(), [says]);
    }
    // The API server says the same.
    let schema = serde_json::to_string(&csm_api::all_crds()).unwrap();
    assert_eq!(schema.matches(says).count(), 2);
}

#[test]
fn each_field_of_the_most_specific_object_that_sets_it() {
    let policies = [
        fleet(
            "fleet",
            "{dryRun: true, expansion: {percentage: 11, maxSize: 500Gi, parallelism: 2, applyTo: ClusterSpec}}",
        ),
        fleet("live", "{namespaceSelector: {matchLabels: {env: live}}, thresholds: {warning: 61}}"),
        namespaced(
            "namespace",
            "{thresholds: {warning: 62, critical: 71}, expansion: {percentage: 12, minIncrementGi: 7}}",
        ),
        namespaced(
            "prod",
            "{selector: {matchLabels: {tier: prod}}, thresholds: {critical: 72, expansion: 83}, expansion: {percentage: 13}}",
        ),
    ];
    let own = "{dryRun: false, thresholds: {expansion: 84}, expansion: {percentage: 14, cooldownMinutes: 9}}";
    let resolved = good(resolved(&policies, Some(own), "expansion: {enabled: true, cooldownMinutes: 8}"));
    let expect = |name: &str, value: &str, origin: &str| assert_eq!(field(&resolved, name), (value.to_owned(), origin.to_owned()));
    expect("dryRun", "false", "PostgresStorage shop/orders");
    expect("thresholds.warning", "62", "StoragePolicy shop/namespace");
    expect("thresholds.critical", "72", "StoragePolicy shop/prod");
    expect("thresholds.expansion", "84", "PostgresStorage shop/orders");
    expect("thresholds.emergency", "90", "built in");
    expect("expansion.enabled", "true", "the manager's defaults");
    expect("expansion.percentage", "14", "PostgresStorage shop/orders");
    expect("expansion.minIncrementGi", "7", "StoragePolicy shop/namespace");
    expect("expansion.maxSize", "500Gi", "ClusterStoragePolicy fleet");
    expect("expansion.cooldownMinutes", "9", "PostgresStorage shop/orders");
    expect("expansion.parallelism", "2", "ClusterStoragePolicy fleet");
    expect("expansion.applyTo", "ClusterSpec", "ClusterStoragePolicy fleet");
    let policies: Vec<String> = resolved.policies.iter().map(ToString::to_string).collect();
    assert_eq!(
        policies,
        [
            "PostgresStorage shop/orders",
            "StoragePolicy shop/prod",
            "StoragePolicy shop/namespace",
            "ClusterStoragePolicy live",
            "ClusterStoragePolicy fleet"
        ]
    );
}

#[test]
fn no_policy() {
    assert_eq!(resolved(&[], None, "expansion: {percentage: 20}"), Resolution::NoPolicy);
    // A PostgresStorage with an empty spec is none, however the emptiness is written.
    for empty in ["{}", "{thresholds: {}, expansion: {}}", "{thresholds: null, dryRun: null}"] {
        assert_eq!(resolved(&[], Some(empty), "{}"), Resolution::NoPolicy);
    }
    // One that says anything is.
    assert!(matches!(resolved(&[], Some("dryRun: false"), "{}"), Resolution::Settings(_)));
    // So is any other policy object, even an empty one.
    let empty = good(resolved(&[fleet("fleet", "{}")], Some("{}"), "{}"));
    assert_eq!(empty.policies.len(), 1);
}

#[test]
fn two_of_one_rank_conflict_whatever_they_set() {
    let policies = [
        namespaced("b", "{}"),
        namespaced("a", "{}"),
        fleet("c", "{}"),
        fleet("d", "{}"),
        namespaced("alone", "selector: {matchLabels: {tier: prod}}"),
    ];
    let Resolution::Conflict(conflicts) = resolved(&policies, Some("dryRun: true"), "{}") else {
        panic!("no conflict");
    };
    let found: Vec<(Rank, Vec<&str>)> = conflicts
        .iter()
        .map(|c| (c.rank, c.policies.iter().map(|p| &*p.name).collect()))
        .collect();
    assert_eq!(
        found,
        [(Rank::StoragePolicy, vec!["a", "b"]), (Rank::ClusterStoragePolicy, vec!["c", "d"])]
    );
    // A broken selector selects nothing, and so conflicts with nothing.
    let broken = namespaced("broken", "selector: {matchExpressions: [{key: tier, operator: Is}]}");
    assert_eq!(broken.problems.len(), 1);
    assert!(matches!(
        resolved(&[namespaced("a", "{}"), broken], None, "{}"),
        Resolution::Settings(_)
    ));
}

#[rstest]
#[case::emergency("thresholds: {expansion: 92}", [70, 80, 92, 92])]
#[case::emergency_stays("thresholds: {expansion: 88}", [70, 80, 88, 90])]
#[case::critical_and_warning("thresholds: {expansion: 60}", [58, 59, 60, 90])]
#[case::critical_just_below("thresholds: {expansion: 81}", [70, 80, 81, 90])]
#[case::critical_just_at("thresholds: {expansion: 80}", [70, 79, 80, 90])]
#[case::the_lowest("thresholds: {expansion: 3}", [1, 2, 3, 90])]
#[case::warning_alone("thresholds: {critical: 50}", [49, 50, 85, 90])]
#[case::set_ones_stay("thresholds: {warning: 10, critical: 20, expansion: 30, emergency: 40}", [10, 20, 30, 40])]
#[case::equal_to_the_emergency("thresholds: {expansion: 90, emergency: 90}", [70, 80, 90, 90])]
fn a_default_gives_way_to_a_set_value(#[case] spec: &str, #[case] expected: [u16; 4]) {
    let of = |defaults: &str| {
        let thresholds = good(resolved(&[namespaced("p", spec)], None, defaults)).thresholds;
        [thresholds.warning, thresholds.critical, thresholds.expansion, thresholds.emergency].map(|f| f.value.get())
    };
    assert_eq!(of("{}"), expected);
    // The manager's own defaults give way as well: they are set in every installation.
    assert_eq!(
        of("thresholds: {warning: 70, critical: 80, expansion: 85, emergency: 90}"),
        expected
    );
}

#[test]
fn the_managers_defaults_replace_the_built_in_ones() {
    let defaults =
        "{dryRun: true, thresholds: {warning: 50, critical: 60, expansion: 65, emergency: 95}, expansion: {enabled: false, maxSize: 1Ti}}";
    let resolved = good(resolved(&[namespaced("p", "{}")], None, defaults));
    for (name, value) in [
        ("dryRun", "true"),
        ("thresholds.expansion", "65"),
        ("expansion.enabled", "false"),
        ("expansion.maxSize", "1Ti"),
    ] {
        assert_eq!(field(&resolved, name), (value.to_owned(), "the manager's defaults".to_owned()));
    }
}

#[rstest]
#[case::set_above_a_default("thresholds: {critical: 85}", "thresholds", "critical (85) must be below expansion (85)", &["StoragePolicy shop/p", "built in"])]
#[case::set_below_a_default("thresholds: {emergency: 84}", "thresholds", "expansion (85) must not be above emergency (84)", &["built in", "StoragePolicy shop/p"])]
#[case::warning_does_not_move_critical("thresholds: {warning: 80}", "thresholds", "warning (80) must be below critical (80)", &["StoragePolicy shop/p", "built in"])]
#[case::bounds("thresholds: {expansion: 100}", "thresholds.expansion", "must be between 3 and 99 percent", &["StoragePolicy shop/p"])]
#[case::percentage("expansion: {percentage: 1001}", "expansion.percentage", "must be between 1 and 1000 percent", &["StoragePolicy shop/p"])]
#[case::increment("expansion: {minIncrementGi: 0}", "expansion.minIncrementGi", "must be between 1 and 65536 (GiB)", &["StoragePolicy shop/p"])]
#[case::cooldown("expansion: {cooldownMinutes: -1}", "expansion.cooldownMinutes", "must be between 0 and 10080 (a week)", &["StoragePolicy shop/p"])]
#[case::parallelism("expansion: {parallelism: 21}", "expansion.parallelism", "must be between 1 and 20", &["StoragePolicy shop/p"])]
#[case::unparsable("expansion: {maxSize: 10GB}", "expansion.maxSize", "unknown unit", &["StoragePolicy shop/p"])]
#[case::zero("expansion: {maxSize: 0}", "expansion.maxSize", "is not a positive quantity", &["StoragePolicy shop/p"])]
fn what_does_not_validate(#[case] spec: &str, #[case] name: &str, #[case] says: &str, #[case] origins: &[&str]) {
    let Resolution::Invalid(problems) = resolved(&[namespaced("p", spec)], None, "{}") else {
        panic!("valid");
    };
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].field, name);
    let text = problems[0].to_string();
    assert!(text.contains(says) && origins.iter().all(|o| text.contains(o)), "{text}");
}

/// Fine each on its own, wrong together: both objects are named.
#[test]
fn a_mistake_of_two_objects() {
    let policies = [
        fleet("fleet", "thresholds: {critical: 88}"),
        namespaced("p", "thresholds: {expansion: 82}"),
    ];
    assert!(policies.iter().all(|p| p.problems.is_empty()));
    let Resolution::Invalid(problems) = resolved(&policies, None, "{}") else {
        panic!("valid");
    };
    let origins: Vec<String> = problems[0].origins.iter().map(ToString::to_string).collect();
    assert_eq!(origins, ["ClusterStoragePolicy fleet", "StoragePolicy shop/p"]);
}

#[test]
fn a_wrong_value_that_is_overridden_does_not_count() {
    let policies = [
        fleet(
            "fleet",
            "{thresholds: {warning: 0, expansion: 200}, expansion: {maxSize: nonsense, percentage: 0}}",
        ),
        namespaced(
            "p",
            "{thresholds: {warning: 60, expansion: 85}, expansion: {maxSize: 10Gi, percentage: 20}}",
        ),
    ];
    assert_eq!(policies[0].problems.len(), 4);
    assert!(matches!(resolved(&policies, None, "{}"), Resolution::Settings(_)));
}

#[test]
fn origins_in_words() {
    let own: PostgresStorage = serde_json::from_value(serde_json::json!({
        "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "PostgresStorage",
        "metadata": {"name": "orders", "namespace": "shop"}, "spec": {},
    }))
    .unwrap();
    assert_eq!(Origin::from(&own).to_string(), "PostgresStorage shop/orders");
    assert_eq!(
        Origin::object(OriginKind::StoragePolicy, Some("a"), "b").to_string(),
        "StoragePolicy a/b"
    );
    assert_eq!(namespaced("p", "{}").settings, Arc::new(Settings::default()));
}
