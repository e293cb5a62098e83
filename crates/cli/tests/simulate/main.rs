//! `simulate`, through the program itself.

#[allow(dead_code)] // other tests need more of it
#[path = "../common/mod.rs"]
mod common;
mod memory;
mod traces;

use std::fmt::Write as _;

use serde_json::Value;

use common::{Folder, scenario};

const POLICY: &str = "apiVersion: cnpg.supporttools.io/v1alpha1
kind: StoragePolicy
metadata: {name: default, namespace: shop}
spec:
  thresholds: {expansion: 85}
  expansion: {percentage: 50, minIncrementGi: 5, maxSize: 100Gi, cooldownMinutes: 30}
";

const SCENARIO: &str = scenario!(
    "orders-1: {used: 7Gi, available: 3Gi}, orders-2: {used: 6Gi, available: 4Gi}",
    "    namespace: elsewhere"
);

/// JSON without what would fill pages.
fn without_courses(text: &str) -> String {
    let mut data: Value = serde_json::from_str(text).expect("JSON");
    for set in ["volumes", "against"] {
        for volume in data[set].as_array_mut().into_iter().flatten() {
            let course = volume["course"].take();
            volume["course"] = Value::from(format!("{} parts", course.as_array().expect("a list").len()));
        }
    }
    serde_json::to_string_pretty(&data).expect("JSON")
}

#[test]
fn nothing_but_a_policy() {
    let folder = Folder::new();
    folder.file("policy.yaml", POLICY);
    let (status, text, said) = folder.run("simulate -f policy.yaml --size 10Gi --fill 1Gi/h --for 24h", "");
    assert_eq!(status, Some(0), "{said}");
    insta::assert_snapshot!("nothing_but_a_policy", format!("{text}--- standard error\n{said}"));
}

#[test]
fn two_policies_side_by_side() {
    let folder = Folder::new();
    folder.file("policy.yaml", POLICY);
    let other = "apiVersion: cnpg.supporttools.io/v1alpha1\nkind: StoragePolicy\nmetadata: {name: other, namespace: elsewhere}\nspec:\n  selector: {matchLabels: {tier: gold}}\n  storage: {request: 10Gi, limit: 18Gi, targetBuffer: 20}\n";
    folder.file("other.yaml", other);
    let line = "simulate -f policy.yaml --against other.yaml --size 10Gi --instances 1 --fill 1Gi/h --svg plot.svg";
    let (status, text, said) = folder.run(line, "");
    assert_eq!(status, Some(0), "{said}");
    insta::assert_snapshot!("two_policies", format!("{text}--- standard error\n{said}"));
    insta::assert_snapshot!("two_policies_svg", folder.read("plot.svg"));
    // All of it again, the same.
    let (_, again, _) = folder.run(line, "");
    assert_eq!(text, again);
}

#[test]
fn many_volumes_of_a_scenario() {
    let folder = Folder::new();
    folder.file("policy.yaml", POLICY);
    folder.file("scenario.yaml", SCENARIO);
    let mut trace = String::from("time,cluster,volume,used\n");
    for minute in 0..120_u64 {
        let time = 1_772_366_400 + minute * 60;
        writeln!(trace, "{time},shop/orders,data,{}Mi", 8000 + minute * 10).expect("a text");
        writeln!(trace, "{time},shop/orders,wal,{}Mi", 1000 + minute * 50).expect("a text");
        writeln!(trace, "{time},returns,,{}", 5_u64 << 30).expect("a text");
    }
    folder.file("trace.csv", trace);
    let (status, text, said) = folder.run("simulate -f policy.yaml scenario.yaml --trace trace.csv -o json", "");
    assert_eq!(status, Some(0), "{said}");
    insta::assert_snapshot!("many_volumes", without_courses(&text));
    assert!(
        said.contains("no policy of the files selects elsewhere/returns data, so nothing is done"),
        "{said}"
    );
    let (_, table, _) = folder.run("simulate -f policy.yaml scenario.yaml --trace trace.csv", "");
    insta::assert_snapshot!("many_volumes_table", table);
    // The policies of the second set, for the Clusters of the first.
    folder.file("none.yaml", POLICY.replace("namespace: shop", "namespace: nowhere"));
    let (status, text, said) = folder.run(
        "simulate -f policy.yaml scenario.yaml --against none.yaml --trace trace.csv -o json",
        "",
    );
    assert_eq!(status, Some(0), "{said}");
    let data: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(data["volumes"][1]["cluster"], "orders");
    assert_eq!(data["against"][1]["heldSeconds"]["NoPolicy"], 7140);
    assert_eq!(data["against"][1]["sizeAfter"], 10_u64 << 30);
}

#[test]
fn what_does_not_go_together() {
    let folder = Folder::new();
    folder.file("policy.yaml", POLICY);
    folder.file("scenario.yaml", SCENARIO);
    folder.file("trace.csv", "time,used\n0,1Gi\n");
    let wrong = [
        ("simulate -f policy.yaml --fill 1Gi/h", "with --size 10Gi"),
        (
            "simulate -f policy.yaml scenario.yaml --fill 1Gi/h --size 10Gi",
            "--size is for a made-up Cluster",
        ),
        (
            "simulate -f policy.yaml scenario.yaml --fill 1Gi/h --instances 2",
            "--instances is for a made-up Cluster",
        ),
        (
            "simulate -f policy.yaml scenario.yaml --fill 1Gi/h --volume tablespace/x",
            "has a volume tablespace/x",
        ),
        (
            "simulate -f policy.yaml scenario.yaml --trace trace.csv",
            "elsewhere/returns, shop/orders; write it in a column cluster",
        ),
        ("simulate -f - --trace -", "can be read but once"),
        (
            "simulate -f policy.yaml --size 10Gi --fill 1Gi",
            "write so much in a second, minute, hour or day, such as 1Gi/h",
        ),
        ("simulate -f policy.yaml", "<--trace <FILE>|--fill <RATE>>"),
    ];
    for (line, says) in wrong {
        let (status, text, said) = folder.run(line, "");
        assert_eq!((status, text.as_str()), (Some(2), ""), "{line}: {said}");
        assert!(said.contains(says), "{line}: {said}");
    }
    let (status, text, said) = folder.run("simulate -f policy.yaml --size 10Gi --trace missing.csv", "");
    assert_eq!(
        (status, text.as_str(), said.contains("cannot read missing.csv")),
        (Some(1), "", true),
        "{said}"
    );
    let (status, text, said) = folder.run("simulate -f policy.yaml --size 10Gi --fill 1Gi/h --svg no/such/folder.svg", "");
    assert_eq!(
        (status, text.as_str(), said.contains("cannot write no/such/folder.svg")),
        (Some(1), "", true),
        "{said}"
    );
}

#[test]
fn settings_that_hold_a_volume_are_said() {
    let folder = Folder::new();
    folder.file("policy.yaml", POLICY.replace("expansion: 85", "expansion: 99, emergency: 90"));
    let (status, text, said) = folder.run("simulate -f policy.yaml --size 10Gi --fill 1Gi/h -o json", "");
    assert_eq!(status, Some(2));
    let data: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(data["problems"].as_array().map(Vec::len), Some(1), "{said}");
    assert_eq!(data["volumes"][0]["heldSeconds"]["PolicyInvalid"], 86_400);
    assert!(said.contains("Problem: "), "{said}");
}

#[test]
fn a_dry_run_is_said() {
    let folder = Folder::new();
    folder.file("policy.yaml", POLICY.replace("spec:", "spec:\n  dryRun: true"));
    let (status, _, said) = folder.run("simulate -f policy.yaml --size 10Gi --fill 1Gi/h", "");
    assert_eq!(status, Some(0));
    assert!(said.contains("dryRun is set"), "{said}");
}

/// What the README shows is what comes out, but for the message on standard error.
#[test]
fn the_readme_tells_the_truth() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).expect("the README");
    let after = |text: &str| readme.split_once(text).expect(text).1.to_owned();
    let policy = after("$ cat > policy.yaml <<EOF\n");
    let shown = after("$ storage simulate ");
    let (arguments, shown) = shown.split_once('\n').expect("a line");
    let folder = Folder::new();
    folder.file("policy.yaml", policy.split_once("EOF\n").expect("the end of the policy").0);
    let (status, text, said) = folder.run(&format!("simulate {arguments}"), "");
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(shown.split_once("```").expect("the end of the block").0, text);
    assert_eq!(folder.run("lint -f policy.yaml", "").0, Some(0));
}
