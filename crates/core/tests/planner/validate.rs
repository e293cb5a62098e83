//! Validation of one object on its own, and its agreement with the schema.

use csm_api::{ClusterStoragePolicySpec, Settings, StoragePolicySpec, all_crds};
use csm_core::validate::{Problem, validate, validate_cluster_storage_policy, validate_storage_policy};
use rstest::rstest;

fn problems(yaml: &str) -> Vec<Problem> {
    let settings: Settings = serde_saphyr::from_str(yaml).unwrap();
    validate(&settings)
}

#[rstest]
#[case("{}")]
#[case("dryRun: true")]
#[case("thresholds: {warning: 1, critical: 2, expansion: 3, emergency: 3}")]
#[case("thresholds: {warning: 97, critical: 98, expansion: 99, emergency: 99}")]
#[case("thresholds: {warning: 80}")]
#[case("thresholds: {critical: 99}")]
#[case("expansion: {percentage: 1, minIncrementGi: 1, cooldownMinutes: 0, parallelism: 1, maxSize: 1}")]
#[case("expansion: {percentage: 1000, minIncrementGi: 65536, cooldownMinutes: 10080, parallelism: 20, maxSize: 1.5Ti}")]
fn valid(#[case] yaml: &str) {
    assert_eq!(problems(yaml), []);
}

#[rstest]
#[case::warning_low("thresholds: {warning: 0}", "thresholds.warning must be between 1 and 99 percent")]
#[case::warning_high("thresholds: {warning: 100}", "thresholds.warning must be between 1 and 99 percent")]
#[case::critical("thresholds: {critical: -5}", "thresholds.critical must be between 1 and 99 percent")]
#[case::expansion_low("thresholds: {expansion: 2}", "thresholds.expansion must be between 3 and 99 percent")]
#[case::expansion_high("thresholds: {expansion: 100}", "thresholds.expansion must be between 3 and 99 percent")]
#[case::emergency("thresholds: {emergency: 100}", "thresholds.emergency must be between 1 and 99 percent")]
#[case::percentage_low("expansion: {percentage: 0}", "expansion.percentage must be between 1 and 1000 percent")]
#[case::percentage_high("expansion: {percentage: 1001}", "expansion.percentage must be between 1 and 1000 percent")]
#[case::increment_low("expansion: {minIncrementGi: 0}", "expansion.minIncrementGi must be between 1 and 65536 (GiB)")]
#[case::increment_high("expansion: {minIncrementGi: 65537}", "expansion.minIncrementGi must be between 1 and 65536 (GiB)")]
#[case::cooldown_low(
    "expansion: {cooldownMinutes: -1}",
    "expansion.cooldownMinutes must be between 0 and 10080 (a week)"
)]
#[case::cooldown_high(
    "expansion: {cooldownMinutes: 10081}",
    "expansion.cooldownMinutes must be between 0 and 10080 (a week)"
)]
#[case::failures_low("circuitBreaker: {maxFailures: 0}", "circuitBreaker.maxFailures must be between 1 and 100")]
#[case::failures_high("circuitBreaker: {maxFailures: 101}", "circuitBreaker.maxFailures must be between 1 and 100")]
#[case::reset_low(
    "circuitBreaker: {resetMinutes: 0}",
    "circuitBreaker.resetMinutes must be between 1 and 10080 (a week)"
)]
#[case::reset_high(
    "circuitBreaker: {resetMinutes: 10081}",
    "circuitBreaker.resetMinutes must be between 1 and 10080 (a week)"
)]
#[case::retain_low("walCleanup: {retainCount: 0}", "walCleanup.retainCount must be between 1 and 10000")]
#[case::retain_high("walCleanup: {retainCount: 10001}", "walCleanup.retainCount must be between 1 and 10000")]
#[case::cleanup_cooldown_low(
    "walCleanup: {cooldownMinutes: -1}",
    "walCleanup.cooldownMinutes must be between 0 and 10080 (a week)"
)]
#[case::cleanup_cooldown_high(
    "walCleanup: {cooldownMinutes: 10081}",
    "walCleanup.cooldownMinutes must be between 0 and 10080 (a week)"
)]
#[case::parallelism_low("expansion: {parallelism: 0}", "expansion.parallelism must be between 1 and 20")]
#[case::parallelism_high("expansion: {parallelism: 21}", "expansion.parallelism must be between 1 and 20")]
fn out_of_bounds(#[case] yaml: &str, #[case] message: &str) {
    let problems = problems(yaml);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].reason, message);
    assert!(message.starts_with(&*problems[0].field));
    // The API server says the same.
    let schema = serde_json::to_string(&all_crds()).unwrap();
    assert!(schema.contains(message), "not in the schema: {message}");
}

#[rstest]
#[case::warning_critical("warning: 80, critical: 80", "warning (80) must be below critical (80)")]
#[case::warning_expansion("warning: 85, expansion: 85", "warning (85) must be below expansion (85)")]
#[case::warning_emergency("warning: 91, emergency: 90", "warning (91) must be below emergency (90)")]
#[case::critical_expansion("critical: 86, expansion: 85", "critical (86) must be below expansion (85)")]
#[case::critical_emergency("critical: 90, emergency: 90", "critical (90) must be below emergency (90)")]
#[case::expansion_emergency("expansion: 91, emergency: 90", "expansion (91) must not be above emergency (90)")]
fn not_rising(#[case] thresholds: &str, #[case] message: &str) {
    let problems = problems(&format!("thresholds: {{{thresholds}}}"));
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].reason, format!("thresholds must rise: {message}"));
    // The API server says the same, without the figures.
    let schema = serde_json::to_string(&all_crds()).unwrap();
    let words: Vec<&str> = message.split_whitespace().filter(|w| !w.starts_with('(')).collect();
    let rule = format!("thresholds must rise: {}", words.join(" "));
    assert!(schema.contains(&rule), "not in the schema: {rule}");
}

#[test]
fn everything_is_named_at_once() {
    let all = problems("{thresholds: {warning: 0, critical: 0, expansion: 2, emergency: 1}, expansion: {percentage: 0, maxSize: x}}");
    assert_eq!(all.len(), 7);
}

#[rstest]
#[case::unit("10GB", "unknown unit")]
#[case::zero("0", "\"0\" is not a positive quantity")]
#[case::zero_gib("0Gi", "\"0Gi\" is not a positive quantity")]
#[case::negative("\"-1Gi\"", "negative")]
#[case::text("big", "is not a quantity")]
#[case::too_large("9Ei", "larger than a Kubernetes quantity can be")]
#[case::empty("\"\"", "empty")]
fn sizes(#[case] text: &str, #[case] says: &str) {
    let problems = problems(&format!("expansion: {{maxSize: {text}}}"));
    assert_eq!((problems.len(), &*problems[0].field), (1, "expansion.maxSize"));
    let message = problems[0].to_string();
    assert!(
        message.contains(says) && message.contains("write for example \"100Gi\""),
        "{message}"
    );
    assert!(message.contains("is not a positive quantity"), "{message}");
}

#[test]
fn selectors_and_exclusions() {
    let spec: StoragePolicySpec = serde_saphyr::from_str(
        "{selector: {matchExpressions: [{key: tier, operator: Is}, {key: team, operator: In}, {key: env, operator: Exists, values: [a]}]}, expansion: {parallelism: 0}}",
    )
    .unwrap();
    let texts: Vec<String> = validate_storage_policy(&spec).iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 4);
    assert!(
        texts[0].contains("selector: the expression on \"tier\" has the unknown operator \"Is\"; use In, NotIn, Exists or DoesNotExist")
    );
    assert!(texts[1].contains("on \"team\" needs at least one value"));
    assert!(texts[2].contains("on \"env\" takes no values"));
    assert!(texts[3].contains("parallelism"));
    let spec: ClusterStoragePolicySpec = serde_saphyr::from_str(
        "{namespaceSelector: {matchExpressions: [{key: env, operator: Is}]}, excludeClusters: [{name: legacy}, {name: old, namespace: a}], thresholds: {warning: 0}}",
    )
    .unwrap();
    let problems = validate_cluster_storage_policy(&spec);
    let fields: Vec<&str> = problems.iter().map(|p| &*p.field).collect();
    assert_eq!(fields, ["namespaceSelector", "excludeClusters", "thresholds.warning"]);
}

#[test]
fn a_problem_in_words() {
    let problem = &problems("thresholds: {warning: 0}")[0];
    assert_eq!(
        problem.to_string(),
        "thresholds.warning must be between 1 and 99 percent (it is 0; for example 70)"
    );
}
