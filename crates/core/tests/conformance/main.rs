//! Conformance: the Scenario files beside this test, each of which says what the planner must decide.
//!
//! Only the cases that need nothing beyond the thresholds model are here yet.
#![allow(clippy::disallowed_methods)] // reads its own fixtures

mod render;
mod scenario;

use std::collections::BTreeSet;
use std::path::Path;

use csm_core::check::check;
use csm_core::plan::plan;
use rstest::rstest;
use scenario::Scenario;
use serde_json::Value;

#[rstest]
#[case("at-limit-below-one-unit")]
#[case("bounds-cap-every-policy")]
#[case("budget-provider-limit")]
#[case("budget-provider-limit-counts-catchups")]
#[case("budget-reserved-for-emergency")]
#[case("budget-resize-rate-limit")]
#[case("budget-split-in-status")]
#[case("catchup-leaves-out-a-fenced-replica")]
#[case("catchup-new-replica")]
#[case("defaults-give-way")]
#[case("gate-circuit-open")]
#[case("gate-disabled")]
#[case("gate-dry-run")]
#[case("gate-dry-run-is-last")]
#[case("gate-dry-run-of-a-runway")]
#[case("gate-fleet-limit")]
#[case("gate-fleet-limit-and-a-full-lagging-member")]
#[case("gate-hibernated-and-fenced")]
#[case("gate-hibernated-without-figures")]
#[case("gate-observation-missing-or-stale")]
#[case("gate-operation-not-yet-accepted")]
#[case("gate-paused")]
#[case("gate-policy-invalid-and-deleting")]
#[case("gate-policy-missing-or-conflicting")]
#[case("gate-resize-in-progress-and-stuck")]
#[case("gate-volume-cannot-grow")]
#[case("inherit-field-by-field")]
#[case("inherit-model-field")]
#[case("inherit-model-of-the-most-specific")]
#[case("left-out-fenced-replica")]
#[case("max-size-over-every-model")]
#[case("observation-blind-primary")]
#[case("outsize-member-is-set-aside")]
#[case("outsize-primary-that-fills-up")]
#[case("rescue-data-volume-full")]
#[case("rescue-primary-wal-volume-full")]
#[case("resize-absolute-step")]
#[case("resize-all-instances-together")]
#[case("resize-inode-threshold")]
#[case("resize-limit")]
#[case("resize-max-step-clamping")]
#[case("resize-min-available")]
#[case("resize-min-step-clamping")]
#[case("resize-single-volume-wal-risk")]
#[case("resize-tablespace")]
#[case("resize-time-to-full")]
#[case("resize-usage-threshold")]
#[case("retry-after-a-refusal")]
#[case("runway-archive-failure-almost-full")]
#[case("runway-leaves-out-a-fenced-replica")]
#[case("runway-passes-cooldown")]
#[case("runway-passes-the-reserved-budget")]
#[case("shared-local-path")]
#[case("target-85-percent-of-5gi")]
#[case("target-critical-96-percent")]
#[case("target-critical-minimum-free")]
#[case("target-exceed-limit-on-emergency")]
#[case("target-five-percent-and-the-unit")]
#[case("target-five-percent-floor")]
#[case("target-limit")]
#[case("target-on-ext4")]
#[case("target-request-floor")]
#[case("target-tablespace")]
#[case("threshold-cooldown-hold")]
#[case("threshold-expansion-at-85")]
#[case("threshold-max-size-cap")]
#[case("wal-archive-failure-hold")]
#[case("wal-failing-archiver-leaves-data-alone")]
#[case("wal-health-unknown-warns")]
#[case("wal-slot-and-pending-hold")]
#[case("window-buffer-lasts-until-the-next-one")]
#[case("window-on-a-resize-volume")]
#[case("window-open-grows")]
#[case("window-queues-outside")]
fn conforms(#[case] name: &str) {
    let text = std::fs::read_to_string(folder().join(format!("{name}.yaml"))).unwrap();
    let scenario = Scenario::read(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut decisions = Vec::new();
    for world in &scenario.worlds {
        let plan = plan(world, scenario.now);
        check(world, &plan, scenario.now).unwrap_or_else(|v| panic!("{name}: {v:?}"));
        decisions.extend(plan.decisions.iter().map(|d| render::decision(world, scenario.now, d)));
    }
    assert!(!scenario.expect.is_empty(), "{name} expects nothing");
    for expected in &scenario.expect {
        let same = |d: &&Value| d["cluster"] == expected["cluster"] && d["volume"] == expected["volume"];
        let actual = decisions.iter().find(same);
        let actual = actual.unwrap_or_else(|| panic!("{name}: no decision for {expected}"));
        let mut differences = Vec::new();
        render::compare("", expected, actual, &mut differences);
        assert!(
            differences.is_empty(),
            "{name}: {differences:#?}\nexpected {expected:#}\nactual {actual:#}"
        );
    }
}

/// Every file of the folder is a case above, and the other way round: a case per file, or the test is red.
#[test]
fn every_file_is_a_case() {
    let cases: BTreeSet<String> = include_str!("main.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("#[case(\"")?.strip_suffix("\")]"))
        .map(str::to_owned)
        .collect();
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    assert_eq!(cases, files);
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance"))
}

const SMALL: &str = "kind: Scenario\nnow: \"2026-03-01T12:00:00Z\"\nclusters:\n  - name: a\n    volumes: {data: {size: 10Gi, members: {a-1: {used: 1Gi, available: 9Gi}}}}\n";

#[rstest]
#[case::scenario("expext: []\n", "expext")]
#[case::two_scenarios("---\nkind: Scenario\nnow: \"2026-03-01T12:00:00Z\"\nclusters: []\n", "second Scenario")]
#[case::policy(
    "---\napiVersion: cnpg.supporttools.io/v1alpha1\nkind: StoragePolicy\nmetadata: {name: p, namespace: default}\nspec: {thresholds: {expansoin: 85}}\n",
    "spec.thresholds.expansoin"
)]
#[case::kind("---\nkind: Storage\n", "Storage")]
#[case::class("storageClasses: [{name: other}]\n", "storage class standard")]
fn a_file_with_a_mistake_is_an_error(#[case] more: &str, #[case] names: &str) {
    let error = Scenario::read(&format!("{SMALL}{more}")).unwrap_err();
    assert!(error.contains(names), "{error}");
}

#[test]
fn a_wrong_expectation_is_found() {
    let text = format!(
        "{SMALL}expect:\n  - {{cluster: default/a, volume: data, verdict: Grow, reason: NoPolicy, from: 11Gi, nonsense: 1, members: []}}\n"
    );
    let scenario = Scenario::read(&text).unwrap();
    let world = &scenario.worlds[0];
    let plan = plan(world, scenario.now);
    let actual = render::decision(world, scenario.now, &plan.decisions[0]);
    let mut differences = Vec::new();
    render::compare("", &scenario.expect[0], &actual, &mut differences);
    let of = |key: &str| differences.iter().any(|d| d.starts_with(key));
    assert!(["verdict", "from", "nonsense", "members"].into_iter().all(of), "{differences:?}");
    assert_eq!(differences.len(), 4, "{differences:?}");
}
