//! `lint`: every complaint at its own line and column, in each form, through the program itself.

#[allow(dead_code)] // other tests need more of it
mod common;

use std::fmt::Write as _;

use serde_json::{Value, json};

use common::{Ended, Folder, run};

fn lint(arguments: &[&str], input: &str) -> Ended {
    run(&[&["lint", "-f", "-"], arguments].concat(), input)
}

/// Many faults of values: what each object says by itself, and what they come to together.
const FAULTS: &str = r#"apiVersion: cnpg.supporttools.io/v1alpha1
kind: StoragePolicy
metadata: {name: standard, namespace: shop}
spec:
  selector:
    matchLabels: {tier: gold}
  excludeClusters:
    - {name: gone}
  thresholds: {warning: 80, critical: 75}
  expansion:
    maxSize: 19.5Gi
    parallelism: 21
  tablespaces:
    - name: logs.old
      storage:
        request: 1Gi
        limit: ten
    - {name: "*", storage: {targetBuffer: 4}}
---
apiVersion: cnpg.supporttools.io/v1alpha1
kind: StoragePolicy
metadata: {name: other, namespace: shop}
spec:
  selector: {matchLabels: {app: orders}}
  expansion: {enabled: false}
---
apiVersion: cnpg.supporttools.io/v1alpha1
kind: PostgresStorage
metadata: {name: returns, namespace: shop}
spec:
  storage:
    resize:
      enabled: true
      triggers:
        minAvailable: 8Gi
      expansion: {step: 200%, limit: 8Gi}
      strategy: {maxActionsPerDay: 0}
---
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: orders, namespace: shop, labels: {tier: gold, app: orders}}
spec: {instances: 3, storage: {size: 20Gi}}
---
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: returns, namespace: shop}
spec: {instances: 1, storage: {size: 8Gi}}
"#;

#[test]
fn one_file_with_many_faults() {
    let (status, text, said) = lint(&[], FAULTS);
    insta::assert_snapshot!(text);
    assert_eq!((status, said.as_str()), (Some(2), "6 errors, 6 warnings in 1 file\n"));
}

#[test]
fn what_cannot_be_read_is_among_the_errors() {
    let input = "apiVersion: cnpg.supporttools.io/v1alpha1\nkind: StoragePolicy\nmetadata: {name: a}\nspec:\n  expansoin: {}\n---\napiVersion: cnpg.supporttools.io/v1alpha1\nkind: StoragePolicy\nmetadata: {name: b}\nspec:\n  expansion: {maxSize: 0, parallelism: many}\n  dryRun: true\n---\napiVersion: cnpg.supporttools.io/v1alpha1\nkind: StoragePolicy\nmetadata: {name: c}\nspec:\n  expansion: {maxSize: 0}\n";
    let (status, text, said) = lint(&[], input);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(
        lines[0],
        "standard input:5:3: error: unknown key spec.expansoin; did you mean expansion?"
    );
    assert!(
        lines[1].starts_with("standard input:11:40: error: spec.expansion.parallelism: \"many\" is not"),
        "{text}"
    );
    assert!(
        lines[2].starts_with("standard input:18:15: error: StoragePolicy default/c: expansion.maxSize: \"0\""),
        "{text}"
    );
    assert_eq!(status, Some(2));
    assert!(
        said.contains("Note: the objects were not looked at together") && said.ends_with("3 errors, 0 warnings in 1 file\n"),
        "{said}"
    );
    let (status, text, _) = lint(&[], "spec: [1, 2\n");
    assert_eq!(status, Some(2));
    assert!(
        text.starts_with("standard input:") && text.contains(": error: not valid YAML: "),
        "{text}"
    );
}

const WARNED: &str = "apiVersion: cnpg.supporttools.io/v1alpha1\nkind: ClusterStoragePolicy\nmetadata: {name: fleet}\nspec:\n  bounds:\n    maxSize: 30.5Gi\n";

#[test]
fn json_has_a_list() {
    let (status, text, said) = lint(&["-o", "json"], WARNED);
    let printed: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        printed,
        json!([{
            "file": "standard input", "line": 6, "column": 5, "severity": "warning", "object": "ClusterStoragePolicy fleet",
            "field": "bounds.maxSize",
            "message": "bounds.maxSize is not on a whole GiB: storage drivers round up, so growth ends at 30Gi (it is \"30.5Gi\"; for example \"31Gi\")",
        }])
    );
    assert_eq!((status, said.as_str()), (Some(0), "0 errors, 1 warning in 1 file\n"));
    assert_eq!(lint(&["-o", "json", "--strict"], WARNED).0, Some(2));
}

#[test]
fn what_is_clean_is_0_in_every_form() {
    let clean = WARNED.replace("30.5Gi", "31Gi");
    for (form, expected) in [("text", ""), ("json", "[]\n"), ("github", "")] {
        let (status, text, said) = lint(&["--strict", "-o", form], &clean);
        assert_eq!(
            (status, text.as_str(), said.as_str()),
            (Some(0), expected, "0 errors, 0 warnings in 1 file\n")
        );
    }
}

#[test]
fn github_escapes_messages_and_names() {
    let folder = Folder::new();
    let policy = "apiVersion: cnpg.supporttools.io/v1alpha1\nkind: StoragePolicy\nmetadata: {name: a}\nspec:\n  storage: {resize: {expansion: {limit: \"7\\nGi\", step: 150%}}}\n";
    let file = folder.file("a,b:c%.yaml", policy);
    let (_, text, _) = run(&["lint", "-o", "github", "-f", &file], "");
    let name = file.replace("a,b:c%", "a%2Cb%3Ac%25");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].starts_with(&format!(
            "::error file={name},line=5,col=34::StoragePolicy default/a: storage.resize.expansion.limit"
        )),
        "{text}"
    );
    assert_eq!(
        lines[1],
        format!(
            "::warning file={name},line=5,col=50::StoragePolicy default/a: storage.resize.expansion.step is over 100 %25: each growth more than doubles the volume, and volumes never shrink (it is \"150%25\"; for example \"20%25\")"
        )
    );
}

/// The reject table of the API: a spec, with its wrong line marked, and what the message says.
const REFUSED: [(&str, &str); 19] = [
    (
        "thresholds:\n  warning: 0 # here",
        "thresholds.warning must be between 1 and 99 percent",
    ),
    (
        "thresholds: # here\n  warning: 80\n  critical: 80",
        "warning (80) must be below critical (80)",
    ),
    (
        "thresholds: # here\n  expansion: 91\n  emergency: 90",
        "expansion (91) must not be above emergency (90)",
    ),
    (
        "thresholds:\n  warning: 1\n  expansion: 2 # here",
        "thresholds.expansion must be between 3 and 99 percent",
    ),
    (
        "expansion:\n  parallelism: 2\n  maxSize: 100GB # here",
        "\"100GB\" is not a positive quantity; write for example \"100Gi\"",
    ),
    ("expansion:\n  maxSize: -5Gi # here", "\"-5Gi\" is not a positive quantity"),
    (
        "expansion:\n  percentage: 1001 # here",
        "expansion.percentage must be between 1 and 1000 percent",
    ),
    (
        "expansion:\n  cooldownMinutes: 10081 # here",
        "expansion.cooldownMinutes must be between 0 and 10080 (a week)",
    ),
    (
        "expansion:\n  parallelism: 21 # here",
        "expansion.parallelism must be between 1 and 20",
    ),
    (
        "expansion:\n  minIncrementGi: 0 # here",
        "expansion.minIncrementGi must be between 1 and 65536 (GiB)",
    ),
    ("expansion:\n  enabled: yes please # here", "is not true or false"),
    ("expansion:\n  percentage: fifty # here", "is not a whole number"),
    ("dryRun: true\nbounds: {} # here", "unknown key spec.bounds"),
    (
        "selector: # here\n  matchExpressions: [{key: tier, operator: Is}]",
        "the unknown operator \"Is\"",
    ),
    (
        "storage: # here\n  resize: {}\n  request: 1Gi",
        "resize and request/limit are two models",
    ),
    (
        "walStorage:\n  emergencyGrow: # here\n    maxActionsPerDay: 2\n    reservedActionsForEmergency: 3",
        "reservedActionsForEmergency must not be above maxActionsPerDay",
    ),
    ("dryRun: maybe # here", "is not true or false"),
    (
        "thresholds:\n  emergency: 100 # here",
        "thresholds.emergency must be between 1 and 99 percent",
    ),
    ("expansion:\n  maxSize: \"\" # here", "\"\" is not a positive quantity"),
];

/// The same for the settings of one volume.
const REFUSED_OF_A_VOLUME: [(&str, &str); 24] = [
    ("limit: 10Gi\nrequest: 20Gi # here", "request must not be above limit"),
    ("request: ten # here", "\"ten\" is not a positive quantity"),
    ("request: 1Gi\nlimit: 0Gi # here", "\"0Gi\" is not a positive quantity"),
    ("targetBuffer: 51 # here", "targetBuffer must be between 5 and 50 percent"),
    (
        "resize:\n  triggers:\n    minAvailable: 512Ki # here",
        "\"512Ki\" is not a quantity of 1Mi or more",
    ),
    (
        "resize:\n  triggers:\n    inodeThreshold: 100 # here",
        "inodeThreshold must be between 1 and 99 percent",
    ),
    (
        "resize:\n  triggers:\n    usageThreshold: 0 # here",
        "leave it out for the default, set enabled: false to stop",
    ),
    ("resize:\n  triggers:\n    timeToFull: soon # here", "resize.triggers.timeToFull: "),
    (
        "resize:\n  expansion:\n    step: 20 # here",
        "\"20\" is a bare number; write \"20%\" or \"20Gi\"",
    ),
    ("resize:\n  expansion:\n    step: 0 # here", "\"0\" is a bare number"),
    ("resize:\n  expansion:\n    step: 1001% # here", "\"1001%\" is neither a percentage"),
    (
        "resize:\n  expansion:\n    minStep: 1Ki # here",
        "\"1Ki\" is not a quantity of 1Mi or more",
    ),
    (
        "resize:\n  expansion:\n    maxStep: \"\" # here",
        "\"\" is not a quantity of 1Mi or more",
    ),
    ("resize:\n  expansion:\n    limit: -1 # here", "\"-1\" is not a positive quantity"),
    (
        "resize:\n  expansion: # here\n    minStep: 3Gi\n    maxStep: 2Gi",
        "minStep must not be above maxStep",
    ),
    (
        "resize:\n  strategy:\n    maxActionsPerDay: 51 # here",
        "maxActionsPerDay must be between 0 and 50",
    ),
    (
        "resize:\n  strategy:\n    walSafetyPolicy:\n      maxPendingWALFiles: -1 # here",
        "maxPendingWALFiles must be 0",
    ),
    (
        "resize:\n  strategy:\n    walSafetyPolicy:\n      maxSlotRetentionBytes: -1Gi # here",
        "\"-1Gi\" is not a quantity of 0 or more",
    ),
    (
        "emergencyGrow:\n  criticalThreshold: 79 # here",
        "criticalThreshold must be between 80 and 99 percent",
    ),
    (
        "emergencyGrow:\n  criticalMinimumFree: x # here",
        "\"x\" is not a positive quantity",
    ),
    (
        "emergencyGrow:\n  reservedActionsForEmergency: 51 # here",
        "reservedActionsForEmergency must be between 0 and 50",
    ),
    (
        "maintenanceWindow:\n  duration: 1h\n  schedule: 99 3 * * * # here",
        "maintenanceWindow.schedule: ",
    ),
    (
        "maintenanceWindow:\n  duration: 0h # here\n  schedule: 0 3 * * *",
        "maintenanceWindow.duration: ",
    ),
    ("maintenanceWindow:\n  timezone: Mars/Base # here", "maintenanceWindow.timezone: "),
];

fn indented(yaml: &str, by: usize) -> String {
    let lines: Vec<String> = yaml.lines().map(|line| format!("{:by$}{line}\n", "")).collect();
    lines.concat()
}

#[test]
fn what_the_api_server_refuses_is_an_error_at_its_line() {
    let mut cases: Vec<(String, &str)> = REFUSED.iter().map(|(yaml, words)| (indented(yaml, 2), *words)).collect();
    for (yaml, words) in REFUSED_OF_A_VOLUME {
        cases.push((format!("  storage:\n{}", indented(yaml, 4)), words));
        cases.push((format!("  walStorage:\n{}", indented(yaml, 4)), words));
        let tablespaces = format!(
            "  tablespaces:\n    - name: other\n      storage: {{}}\n    - name: archive\n      storage:\n{}",
            indented(yaml, 8)
        );
        cases.push((tablespaces, words));
    }
    // One object each, all in one file: a complaint at each marked line, and none besides.
    let mut input = String::new();
    for (i, (spec, _)) in cases.iter().enumerate() {
        let header = "apiVersion: cnpg.supporttools.io/v1alpha1\nkind: StoragePolicy\n";
        let _ = write!(input, "---\n{header}metadata: {{name: p{i}}}\nspec:\n{spec}");
    }
    let marked: Vec<u64> = (1..)
        .zip(input.lines())
        .filter(|(_, l)| l.ends_with("# here"))
        .map(|(n, _)| n)
        .collect();
    assert_eq!(marked.len(), cases.len());
    let (status, text, _) = lint(&["-o", "json"], &input);
    assert_eq!(status, Some(2));
    let printed: Value = serde_json::from_str(&text).expect("JSON");
    let errors: Vec<(u64, &str)> = printed
        .as_array()
        .expect("a list")
        .iter()
        .filter(|f| f["severity"] == "error")
        .map(|f| (f["line"].as_u64().unwrap_or(0), f["message"].as_str().unwrap_or("")))
        .collect();
    for ((spec, words), line) in cases.iter().zip(&marked) {
        let there: Vec<&str> = errors.iter().filter(|(l, _)| l == line).map(|(_, m)| *m).collect();
        assert!(
            there.iter().any(|m| m.contains(words)),
            "{spec}: line {line} says {there:?}, not {words:?}"
        );
    }
    let elsewhere: Vec<_> = errors.iter().filter(|(line, _)| !marked.contains(line)).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

#[test]
fn what_only_shows_with_other_objects_is_at_its_own_place() {
    let input = r#"kind: Scenario
now: "2026-03-01T12:00:00Z"
storageClasses: [{name: standard, allowVolumeExpansion: false}]
clusters:
  - name: orders
    namespace: shop
    volumes:
      data: {size: 12Gi, members: {orders-1: {used: 8Gi, available: 4Gi}}}
---
apiVersion: cnpg.supporttools.io/v1alpha1
kind: StoragePolicy
metadata: {name: all, namespace: shop}
spec:
  storage:
    limit: 20Gi
---
apiVersion: cnpg.supporttools.io/v1alpha1
kind: ClusterStoragePolicy
metadata: {name: fleet}
spec:
  expansion: {maxSize: 11Gi}
  excludeClusters:
    - {name: legacy}
"#;
    let (status, text, said) = lint(&[], input);
    let starts = [
        "standard input:5:5: warning: Cluster shop/orders: the storage class of data of shop/orders does not have allowVolumeExpansion",
        "standard input:14:3: error: StoragePolicy shop/all: storage: model Target needs both request and limit",
        "standard input:22:3: error: ClusterStoragePolicy fleet: excludeClusters: each entry of a ClusterStoragePolicy needs a namespace",
    ];
    assert_eq!(text.lines().count(), starts.len(), "{text}");
    for (line, start) in text.lines().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
    assert_eq!((status, said.as_str()), (Some(2), "2 errors, 1 warning in 1 file\n"));
}

#[test]
fn a_limit_of_another_object_is_a_limit() {
    let object = |kind: &str, meta: &str, spec: &str| {
        let group = if kind == "Cluster" {
            "postgresql.cnpg.io/v1"
        } else {
            "cnpg.supporttools.io/v1alpha1"
        };
        format!("---\napiVersion: {group}\nkind: {kind}\nmetadata: {{{meta}}}\nspec: {spec}\n")
    };
    let policy = object("StoragePolicy", "name: all, namespace: shop", "{thresholds: {warning: 60}}");
    let fleet = object("ClusterStoragePolicy", "name: fleet", "{expansion: {maxSize: 90Gi}}");
    let cluster = object("Cluster", "name: orders, namespace: shop", "{instances: 1, storage: {size: 12Gi}}");
    let count = |input: String| lint(&[], &input).1.matches("expansion.maxSize is not set").count();
    assert_eq!(count(format!("{policy}{fleet}{cluster}")), 0);
    assert_eq!(count(format!("{policy}{cluster}")), 1, "nobody sets one");
    assert_eq!(count(format!("{policy}{fleet}")), 1, "nothing is known of Clusters");
}

#[test]
fn a_cluster_without_pvcs_is_taken_as_it_asks() {
    let input = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: local}\nprovisioner: rancher.io/local-path\nallowVolumeExpansion: true\n---\napiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: fixed}\nprovisioner: csi.example.com\n---\napiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: orders, namespace: shop}\nspec:\n  storage: {size: 12Gi, storageClass: local}\n  tablespaces:\n    - name: logs\n      storage: {size: 3Gi, storageClass: fixed}\n";
    // Nobody means to grow what no policy manages.
    assert_eq!(lint(&[], input).1, "");
    let policy = WARNED.replace("30.5Gi", "31Gi");
    let (status, text, _) = lint(&[], &format!("{input}---\n{policy}"));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((status, lines.len()), (Some(0), 2), "{text}");
    assert!(
        lines[0].starts_with("standard input:16:25: warning: Cluster shop/orders: the storage class of data"),
        "{text}"
    );
    assert!(lines[0].contains("one filesystem") && lines[0].contains("it is local"), "{text}");
    assert!(
        lines[1].starts_with("standard input:19:28: warning: Cluster shop/orders: the storage class of tablespace/logs"),
        "{text}"
    );
    assert!(
        lines[1].contains("allowVolumeExpansion") && lines[1].contains("it is fixed"),
        "{text}"
    );
}

/// The documents of YAML that stand in a text: those in fences, and what is given to the shell between `<<EOF` and `EOF`.
fn examples(text: &str) -> Vec<String> {
    let between = |from: &str, to: &str| -> Vec<String> {
        let ends = text
            .split(from)
            .skip(1)
            .map(|part| part.split_once(to).map_or(part, |(inside, _)| inside));
        ends.filter(|inside| inside.contains("kind: ")).map(str::to_owned).collect()
    };
    let here = between("<<EOF\n", "\nEOF\n");
    between("```yaml\n", "```").into_iter().chain(here).collect()
}

#[test]
fn every_example_in_the_documents_is_valid() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = vec![root.join("README.md")];
    files.extend(
        std::fs::read_dir(root.join("docs"))
            .expect("docs")
            .map(|entry| entry.expect("a file").path()),
    );
    let mut count = 0;
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "md")) {
        for example in examples(&std::fs::read_to_string(file).expect("a text")) {
            count += 1;
            let (status, stdout, stderr) = lint(&["--strict"], &example);
            assert!(status == Some(0), "{}:\n{example}\n{stdout}{stderr}", file.display());
        }
    }
    assert!(count >= 8, "{count} examples");
}
