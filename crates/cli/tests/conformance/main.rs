//! Conformance: every file beside this test is a Scenario that says what the planner must decide. Each goes the way
//! that `plan -f FILE -o json` goes.

#[allow(dead_code)] // other tests need more of it
#[path = "../common/mod.rs"]
mod common;
mod compare;

use std::path::{Path, PathBuf};

use csm_gather::offline::{Offline, read};
use kubectl_cnpg_storage::args::Format;
use kubectl_cnpg_storage::cmds::{View, plan};
use kubectl_cnpg_storage::read::files;
use serde_json::Value;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance"))
}

fn cases() -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder()).expect("the folder of this test");
    let mut cases: Vec<PathBuf> = files.map(|entry| entry.expect("an entry").path()).collect();
    cases.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    cases.sort();
    cases
}

fn offline(paths: &[PathBuf]) -> Offline {
    let files = files(paths).expect("it can be read");
    read(&files, &[], None, jiff::Timestamp::UNIX_EPOCH).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

/// What `-o json` prints.
fn text(offline: &Offline) -> String {
    let view = View {
        format: Format::Json,
        now: offline.now,
        width: None,
    };
    let answer = plan(offline, &view).expect("a plan");
    let invalid = !offline.problems.is_empty();
    assert_eq!((answer.status, answer.problems.is_empty()), (if invalid { 2 } else { 0 }, !invalid));
    answer.text
}

/// Where the decisions of a file are not what it expects.
fn differences(offline: &Offline) -> Vec<String> {
    let printed: Value = serde_json::from_str(&text(offline)).expect("JSON");
    let mut differences = Vec::new();
    if offline.expect.is_empty() {
        differences.push("it expects nothing".to_owned());
    }
    for expected in &offline.expect {
        compare::decision(expected, &printed["decisions"], &mut differences);
    }
    differences
}

#[test]
fn every_file_is_decided_as_it_expects() {
    let cases = cases();
    assert!(cases.len() >= 77, "files are missing: {}", cases.len());
    let mut failed = Vec::new();
    for case in &cases {
        let differences = differences(&offline(std::slice::from_ref(case)));
        if !differences.is_empty() {
            failed.push(format!("{}:\n  {}", case.display(), differences.join("\n  ")));
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} cases:\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n")
    );
}

#[test]
fn the_program_prints_what_the_test_compares() {
    for (name, status) in [("resize-tablespace", 0), ("gate-policy-invalid-and-deleting", 2)] {
        let path = folder().join(format!("{name}.yaml"));
        let file = path.display().to_string();
        let (ended, printed, said) = common::run(&["plan", "-o", "json", "-f", &file], "");
        assert_eq!(ended, Some(status), "{name}");
        assert_eq!(printed, text(&offline(&[path])), "{name}");
        assert_eq!(said.contains("Problem: "), status == 2, "{said}");
    }
}

#[test]
fn a_wrong_expectation_is_found() {
    let case = "kind: Scenario\nnow: \"2026-03-01T12:00:00Z\"\nclusters:\n  - name: a\n    volumes: {data: {size: 10Gi, members: {a-1: {used: 1Gi, available: 9Gi}}}}\n";
    let wrong = [
        (
            "{cluster: default/a, volume: data, verdict: Hold, reason: NoPolicy, from: 10240Mi}",
            None,
        ),
        ("{cluster: default/a, volume: data, verdict: Grow}", Some("verdict")),
        ("{cluster: default/a, volume: data, from: 11Gi}", Some("from")),
        ("{cluster: default/a, volume: data, nonsense: null}", Some("nonsense")),
        ("{cluster: default/a, volume: data, members: []}", Some("members")),
        (
            "{cluster: default/a, volume: data, members: [{name: a-2}]}",
            Some("members[0].name"),
        ),
        ("{cluster: default/a, volume: wal}", Some("no decision")),
    ];
    for (expected, found) in wrong {
        let file = csm_gather::offline::File {
            name: "case".to_owned(),
            text: format!("{case}expect: [{expected}]\n").into_bytes(),
            from_folder: false,
        };
        let offline = read(&[file], &[], None, jiff::Timestamp::UNIX_EPOCH).expect("a Scenario");
        let differences = differences(&offline);
        match found {
            None => assert!(differences.is_empty(), "{differences:?}"),
            Some(found) => {
                assert_eq!(differences.len(), 1, "{differences:?}");
                assert!(differences.iter().all(|d| d.contains(found)), "{differences:?}");
            }
        }
    }
}
