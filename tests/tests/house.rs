//! Rules of the house that the compiler does not hold.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use csm_runtime::client::REQUEST_TIMEOUT;
use csm_testkit::manifest;
use csm_tests::root;
use serde_json::Value;

/// What each crate may depend on, of ours; dependencies point down only (CONTRIBUTING.md).
const BELOW: [(&str, &[&str]); 12] = [
    ("csm-units", &[]),
    ("csm-api", &["csm-units"]),
    ("csm-cnpg", &["csm-units"]),
    ("csm-core", &["csm-units", "csm-api", "csm-cnpg"]),
    ("csm-gather", &["csm-units", "csm-api", "csm-cnpg", "csm-core"]),
    ("csm-runtime", &[]),
    (
        "cnpg-storage-manager",
        &["csm-units", "csm-api", "csm-cnpg", "csm-core", "csm-gather", "csm-runtime"],
    ),
    (
        "kubectl-cnpg-storage",
        &["csm-units", "csm-api", "csm-cnpg", "csm-core", "csm-gather"],
    ),
    ("csm-testkit", &["csm-units", "csm-api", "csm-cnpg"]),
    ("csm-fuzz", &["csm-units", "csm-api", "csm-core", "csm-gather"]),
    (
        "xtask",
        &["csm-units", "csm-api", "csm-cnpg", "csm-core", "csm-testkit", "csm-fuzz"],
    ),
    (
        "csm-tests",
        &[
            "csm-units",
            "csm-api",
            "csm-cnpg",
            "csm-core",
            "csm-gather",
            "csm-runtime",
            "csm-testkit",
        ],
    ),
];

/// Crates that must stay pure, and what none of them may depend on, however indirectly.
const PURE: [&str; 2] = ["csm-units", "csm-core"];
const IMPURE: [&str; 8] = ["tokio", "kube-client", "kube-runtime", "reqwest", "hyper", "axum", "tonic", "rand"];

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let output = output.expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn dependencies_point_down_only() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let ours: BTreeSet<&str> = packages.iter().filter(|p| p["source"].is_null()).map(|p| text(p, "name")).collect();
    let listed: BTreeSet<&str> = BELOW.iter().map(|(name, _)| *name).collect();
    assert_eq!(ours, listed, "a new crate needs a reason and a row in BELOW");
    for (name, below) in BELOW {
        let package = packages
            .iter()
            .find(|p| text(p, "name") == name && p["source"].is_null())
            .expect("a workspace package");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let dependency_name = text(dependency, "name");
            if ours.contains(dependency_name) {
                assert!(
                    below.contains(&dependency_name),
                    "{name} depends on {dependency_name}, which does not lie below it"
                );
            }
        }
    }
}

#[test]
fn the_pure_crates_depend_on_nothing_that_does_io() {
    let metadata = metadata();
    let nodes = metadata["resolve"]["nodes"].as_array().expect("nodes");
    let name_of: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|p| (text(p, "id"), text(p, "name")))
        .collect();
    // The API crate derives kinds with `kube`; features are unified over the workspace, so that its edges show the client.
    // What counts for the planner is what it names itself, and what its own small dependencies bring.
    for pure in PURE {
        let root = nodes.iter().find(|n| name_of.get(text(n, "id")) == Some(&pure)).expect("the crate");
        let normal = |node: &Value| -> Vec<String> {
            let deps = node["deps"].as_array().cloned().unwrap_or_default();
            let is_normal = |d: &Value| {
                d["dep_kinds"]
                    .as_array()
                    .is_some_and(|kinds| kinds.iter().any(|k| k["kind"].is_null()))
            };
            deps.iter().filter(|d| is_normal(d)).map(|d| text(d, "pkg").to_owned()).collect()
        };
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut open = normal(root);
        while let Some(id) = open.pop() {
            let name = *name_of.get(id.as_str()).unwrap_or(&"");
            assert!(!IMPURE.contains(&name), "{pure} depends on {name}");
            if name == "csm-api" || name == "csm-cnpg" || !seen.insert(id.clone()) {
                continue;
            }
            if let Some(node) = nodes.iter().find(|n| text(n, "id") == id) {
                open.extend(normal(node));
            }
        }
    }
}

/// The manager writes objects that its own webhooks are asked about: one that hangs must be left out before it gives up.
#[test]
fn webhooks_are_waited_for_less_long_than_requests() {
    let documents = csm_tests::webhook::shipped().expect("deploy/webhook.yaml");
    let webhooks: Vec<&Value> = documents.iter().filter_map(|d| d["webhooks"].as_array()).flatten().collect();
    assert_eq!(webhooks.len(), 2, "{documents:?}");
    for webhook in webhooks {
        let seconds = webhook["timeoutSeconds"].as_u64().expect("timeoutSeconds");
        assert!(seconds < REQUEST_TIMEOUT.as_secs(), "{} waits for {seconds} s", webhook["name"]);
    }
}

/// Who may record StorageEvents is held to what a person may record: the permission stands in one file with the policy.
#[test]
fn nobody_may_record_without_the_policy_that_limits_it() {
    let files = std::fs::read_dir(root().join("deploy")).expect("deploy");
    let files = files.map(|file| file.expect("a file").path()).filter(|path| path.is_file());
    let mut granted = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).expect("text");
        let documents = manifest::documents(&text).expect("YAML");
        let of_people = |d: &&Value| d["kind"] == "ClusterRole" && d["metadata"]["labels"].is_object();
        let has = |list: &Value, word: &str| list.as_array().is_some_and(|list| list.iter().any(|entry| entry == word));
        let records = |rule: &Value| has(&rule["resources"], "storageevents") && has(&rule["verbs"], "create");
        let mut rules = documents.iter().filter(of_people).filter_map(|d| d["rules"].as_array()).flatten();
        if rules.any(records) {
            granted += 1;
            let limited = documents.iter().any(|d| d["kind"] == "ValidatingAdmissionPolicyBinding");
            assert!(limited, "{} lets people record, without the policy", file.display());
        }
    }
    assert_eq!(granted, 1);
}
