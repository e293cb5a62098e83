//! `plan` and `explain` on files, through the program itself.

#[allow(dead_code)] // other tests need more of it
mod common;

use std::path::Path;

use serde_json::Value;

use common::{Folder, run, scenario};

const SCENARIO: &str = scenario!(
    "orders-1: {used: 8800Mi, available: 1440Mi}, orders-2: {used: 8600Mi, available: 1640Mi, observedAt: null}",
    r#"    namespace: shop
    annotations: {storage.cnpg.supporttools.io/paused: "true"}"#
);

const POLICY: &str = r"apiVersion: cnpg.supporttools.io/v1alpha1
kind: StoragePolicy
metadata: {name: shop, namespace: shop}
spec: {expansion: {maxSize: 64Gi}}
";

#[test]
fn files_folders_and_standard_input_come_to_the_same() {
    let folder = Folder::new();
    let scenario = folder.file("b-case.yaml", SCENARIO);
    let policy = folder.file("a-policy.yml", POLICY);
    folder.file("README.md", "not YAML: [");
    std::fs::create_dir(folder.path().join("below.yaml")).expect("a folder below");
    let input = format!("{SCENARIO}---\n{POLICY}");
    let ways: [(&[&str], &str); 4] = [
        (&["plan", "-f", &scenario, &policy, "-o", "json"], ""),
        (&["plan", "-f", &scenario, "--filename", &policy, "-o", "json"], ""),
        (&["plan", "-o", "json", "-f", &folder.name()], ""),
        (&["plan", "-o", "json", "-f", "-"], &input),
    ];
    let answers: Vec<_> = ways.iter().map(|(arguments, input)| run(arguments, input)).collect();
    let (status, text, said) = &answers[0];
    assert_eq!((*status, said.as_str()), (Some(0), ""));
    for answer in &answers {
        assert_eq!((answer.0, &answer.1), (*status, text), "{}", answer.2);
    }
    let printed: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(printed["now"], "2026-03-01T12:00:00Z");
    assert_eq!(printed["problems"], Value::Array(Vec::new()));
    let decision = &printed["decisions"][0];
    assert_eq!(
        (&decision["from"], &decision["to"]),
        (&Value::from(10_u64 << 30), &Value::from(15_u64 << 30)),
        "bytes"
    );
    assert_eq!(decision["settings"]["expansion.maxSize"]["from"], "StoragePolicy shop/shop");
    assert_eq!(decision["settings"]["thresholds.expansion"]["value"], "85");
    let keys: Vec<&str> = decision.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "atLimit",
            "budget",
            "cluster",
            "from",
            "members",
            "message",
            "model",
            "namespace",
            "nextActionAt",
            "passed",
            "percentUsed",
            "reason",
            "relief",
            "settings",
            "state",
            "timeToFullSeconds",
            "to",
            "urgency",
            "verdict",
            "volume",
            "wanted",
            "warnings",
            "worst"
        ]
    );
    let yaml: Value = serde_saphyr::from_str(&run(&["plan", "-o", "yaml", "-f", &scenario, &policy], "").1).expect("YAML");
    assert_eq!(yaml, printed);
}

#[test]
fn the_table_has_a_line_for_each_volume_and_says_why() {
    let (status, text, said) = run(&["plan", "-f", "-"], &format!("{SCENARIO}---\n{POLICY}"));
    assert_eq!((status, said.as_str()), (Some(0), ""));
    let lines: Vec<&str> = text.lines().collect();
    let row = |line: &str| {
        line.split("   ")
            .map(str::trim)
            .filter(|f| !f.is_empty())
            .collect::<Vec<_>>()
            .join("|")
    };
    let rows: Vec<String> = lines.iter().filter(|l| !l.starts_with(' ')).map(|l| row(l)).collect();
    assert_eq!(
        rows,
        [
            "NAMESPACE|CLUSTER|VOLUME|MODEL|VERDICT|REASON|SIZE|STATE",
            "shop|orders|data|Thresholds|Grow|UsageThreshold|10Gi -> 15Gi|NeedsGrow",
            "shop|orders|wal|Thresholds|Balanced|BelowThresholds|4Gi|Balanced",
            "shop|returns|data|Thresholds|Hold|Paused|20Gi|Paused",
        ]
    );
    let why: Vec<&&str> = lines.iter().filter(|l| l.starts_with("  ")).collect();
    assert_eq!(
        why.len(),
        4,
        "one that grows, its warning, one that is held, its WAL relief: {text}"
    );
    assert!(why[1].contains("Warning: orders-2 has no fresh figures"), "{text}");
    assert!(why[3].contains("WAL relief is wanted for returns-1"), "{text}");
    let wide = run(&["plan", "-o", "wide", "-f", "-"], SCENARIO).1;
    assert!(
        wide.lines().next().is_some_and(|l| l.contains("USE%") && l.contains("FULL IN")),
        "{wide}"
    );
}

#[test]
fn problems_are_2_and_mistakes_are_2_without_decisions() {
    let wrong = POLICY.replace("{expansion: {maxSize: 64Gi}}", "{storage: {request: 9Gi, limit: 8Gi}}");
    let (status, text, said) = run(&["plan", "-o", "json", "-f", "-"], &format!("{SCENARIO}---\n{wrong}"));
    assert_eq!(status, Some(2));
    let printed: Value = serde_json::from_str(&text).expect("JSON");
    let about: Vec<(&str, &str)> = printed["problems"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|p| (p["cluster"].as_str().unwrap_or(""), p["volume"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(about, [("orders", "data"), ("returns", "data")]);
    assert_eq!(printed["decisions"].as_array().map(Vec::len), Some(3), "the decisions all the same");
    assert_eq!(said.lines().filter(|l| l.starts_with("Problem: shop/")).count(), 2, "{said}");

    let folder = Folder::new();
    let file = folder.file("case.yaml", format!("{SCENARIO}expext: []\n"));
    let (status, text, said) = run(&["plan", "-o", "json", "-f", &file], "");
    assert_eq!((status, text.as_str()), (Some(2), ""));
    assert_eq!(said, format!("error: {file}:14:1: unknown key expext; did you mean expect?\n"));
    let (status, text, said) = run(&["explain", "orders", "-f", "-"], "kind: Scenario\nfoo: 1\n");
    assert_eq!((status, text.as_str()), (Some(2), ""));
    assert!(said.starts_with("error: standard input:2:1: unknown key foo"), "{said}");
}

#[test]
fn what_cannot_be_read_is_1_and_named() {
    let folder = Folder::new();
    let missing = folder.path().join("missing.yaml").display().to_string();
    for (path, expected) in [
        (missing.clone(), format!("error: cannot read {missing}: ")),
        (folder.name(), format!("error: folder {} has no .yaml", folder.name())),
    ] {
        let (status, text, said) = run(&["plan", "-f", &path], "");
        assert_eq!((status, text.as_str()), (Some(1), ""));
        assert!(said.starts_with(&expected), "{said}");
    }
    let scenario = folder.file("case.yaml", SCENARIO);
    let (status, _, said) = run(&["plan", "-f", &scenario, "--stats", &missing], "");
    assert_eq!(status, Some(1));
    assert!(said.contains(&missing), "{said}");
    let binary = folder.file("binary.yaml", [0_u8, 159, 146, 150]);
    let (status, _, said) = run(&["plan", "-f", &binary], "");
    assert_eq!(
        (status, said),
        (Some(2), format!("error: {binary}: not a text file; give YAML or JSON in UTF-8\n"))
    );
}

#[test]
fn wrong_usage_is_2() {
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/resize-limit.yaml");
    let scenario = scenario.display().to_string();
    for wrong in [
        &["plan"][..],
        &["plan", "-f"],
        &["plan", "--stats", &scenario],
        &["plan", "-f", &scenario, "--now", "noon"],
        &["plan", "-f", &scenario, "-o", "xml"],
        &["plan", "-f", &scenario, "--context", "prod"],
        &["explain", "catalog", "--now", "2026-03-01T12:00:00Z"],
        &["explain", "catalog", "-f", &scenario, "--kubeconfig", "/nowhere/config"],
    ] {
        let (status, text, said) = run(wrong, "");
        assert_eq!((status, text.is_empty(), said.is_empty()), (Some(2), true, false), "{wrong:?}");
    }
}

#[test]
fn the_time_can_be_set() {
    let (_, text, _) = run(&["plan", "-o", "json", "--now", "2026-03-02T12:00:00Z", "-f", "-"], SCENARIO);
    let printed: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(printed["now"], "2026-03-02T12:00:00Z");
}

#[test]
fn a_cluster_of_files_is_explained_like_one_of_a_cluster() {
    let input = format!("{SCENARIO}---\n{POLICY}");
    let (status, text, _) = run(&["explain", "orders", "-f", "-"], &input);
    assert_eq!(status, Some(0));
    for part in [
        "shop/orders",
        "StoragePolicy shop/shop",
        "10Gi to 15Gi",
        "orders-2",
        "NoPolicy",
        "DryRun",
        "no fresh figures",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert!(!text.contains("lease"), "nothing is said of a manager:\n{text}");
    let (status, text, _) = run(&["explain", "returns", "-n", "shop", "-o", "json", "-f", "-"], &input);
    let printed: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (status, &printed["cluster"], &printed["volumes"][0]["reason"]),
        (Some(0), &"returns".into(), &"Paused".into())
    );
    for (arguments, expected) in [
        (
            &["explain", "oders", "-f", "-"][..],
            "error: the files have no CNPG Cluster oders; did you mean orders?\n",
        ),
        (
            &["explain", "orders", "-n", "db", "-f", "-"],
            "error: the files have no Cluster orders in namespace db, but in shop; choose that with -n\n",
        ),
    ] {
        let (status, text, said) = run(arguments, &input);
        assert_eq!((status, text.as_str(), said.as_str()), (Some(1), "", expected));
    }
    let two = format!("{input}---\napiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {{name: orders, namespace: db}}\n");
    let (status, _, said) = run(&["explain", "orders", "-f", "-"], &two);
    assert_eq!(status, Some(1));
    assert!(said.contains("in each of the namespaces db, shop; choose one with -n"), "{said}");
}
