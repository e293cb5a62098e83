use std::fmt::Write as _;

use csm_gather::offline::{File, read};

use super::{CLOCK, at, complaints, file, good};

/// A Scenario, with something in the place of its cluster's keys.
fn cluster(keys: &str) -> String {
    format!(
        "kind: Scenario\nnow: \"2026-03-01T12:00:00Z\"\nclusters:\n  - name: orders\n    {keys}\n    volumes:\n      data: {{size: 10Gi, members: {{orders-1: {{used: 3Gi, available: 7Gi}}}}}}\n"
    )
}

fn volume(volume: &str) -> String {
    format!("kind: Scenario\nnow: \"2026-03-01T12:00:00Z\"\nclusters:\n  - name: orders\n    volumes:\n      data: {volume}\n")
}

fn policy(spec: &str) -> String {
    format!(
        "{}---\napiVersion: cnpg.supporttools.io/v1alpha1\nkind: StoragePolicy\nmetadata: {{name: p, namespace: shop}}\nspec:\n  {spec}\n",
        cluster("labels: {}")
    )
}

#[test]
fn unknown_keys_are_named_with_their_place() {
    let cases = [
        (
            "kind: Scenario\nnow: \"2026-03-01T12:00:00Z\"\nclusters: []\nexpext: []\n".to_owned(),
            "f.yaml:4:1: unknown key expext; did you mean expect?",
        ),
        (
            cluster("nmaespace: shop"),
            "f.yaml:5:5: unknown key clusters[0].nmaespace; did you mean namespace?",
        ),
        (
            cluster("archiving: {pendingFiles: 3}"),
            "f.yaml:5:17: unknown key clusters[0].archiving.pendingFiles; did you mean pending?",
        ),
        (
            cluster("slots: [{name: a, kept: 4Gi}]"),
            "f.yaml:5:23: unknown key clusters[0].slots[0].kept",
        ),
        (
            cluster("diskFull: [{instance: orders-1, volum: data}]"),
            "f.yaml:5:37: unknown key clusters[0].diskFull[0].volum; did you mean volume?",
        ),
        (
            cluster("operations: [{wen: 3}]"),
            "f.yaml:5:19: unknown key clusters[0].operations[0].wen",
        ),
        (
            volume("{siz: 10Gi, members: {}}"),
            "f.yaml:6:14: unknown key clusters[0].volumes.data.siz; did you mean size?",
        ),
        (
            volume("{size: 10Gi, members: {orders-1: {used: 3Gi, availble: 7Gi}}}"),
            "f.yaml:6:58: unknown key clusters[0].volumes.data.members.orders-1.availble; did you mean available?",
        ),
        (
            policy("thresholds: {expansoin: 85}"),
            "f.yaml:13:16: unknown key spec.thresholds.expansoin; did you mean expansion?",
        ),
        (
            policy("tablespaces: [{name: a, storge: {}}]"),
            "f.yaml:13:27: unknown key spec.tablespaces[0].storge; did you mean storage?",
        ),
        (
            policy("selector: {matchLables: {tier: prod}}"),
            "f.yaml:13:14: unknown key spec.selector.matchLables; did you mean matchLabels?",
        ),
        (policy("bounds: {maxSize: 5Gi}"), "f.yaml:13:3: unknown key spec.bounds"),
        (
            policy("dryRun: false\nspce: {}"),
            "f.yaml:14:1: unknown key spce; did you mean spec?",
        ),
        (
            "apiVersion: cnpg.supporttools.io/v1alpha1\nkind: PostgresStorage\nmetadata: {name: a, namspace: b}\n".to_owned(),
            "f.yaml:3:21: unknown key metadata.namspace; did you mean namespace?",
        ),
        (
            "apiVersion: cnpg.supporttools.io/v1alpha1\nkind: ClusterStoragePolicy\nmetadata: {name: a}\nspec: {bounds: {maxActions: 3}}\n"
                .to_owned(),
            "f.yaml:4:17: unknown key spec.bounds.maxActions; did you mean maxActionsPerDay?",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(complaints(&text), [expected], "{text}");
    }
}

#[test]
fn wrong_values_are_named_with_their_place() {
    let cases = [
        (
            volume("{size: 10Gx, members: {}}"),
            "f.yaml:6:20: clusters[0].volumes.data.size: \"10Gx\" has an unknown unit",
        ),
        (
            volume("{size: -5, members: {}}"),
            "f.yaml:6:20: clusters[0].volumes.data.size: a size cannot be negative",
        ),
        (
            volume("{size: 10Gi, members: {orders-1: {used: 99999999999999999999999999, available: 1Gi}}}"),
            "f.yaml:6:53: clusters[0].volumes.data.members.orders-1.used: ",
        ),
        (
            volume("{size: 10Gi, members: {orders-1: {inodes: -3}}}"),
            "f.yaml:6:55: clusters[0].volumes.data.members.orders-1.inodes: invalid value",
        ),
        (
            volume("{size: 10Gi, members: [orders-1]}"),
            "f.yaml:6:35: clusters[0].volumes.data.members: ",
        ),
        (
            volume("{members: {orders-1: {used: 3Gi, available: 7Gi}}}"),
            "f.yaml:6:34: orders-1 has no size",
        ),
        (
            volume("{size: 10Gi, volumeMode: Disk, members: {}}"),
            "f.yaml:6:38: clusters[0].volumes.data.volumeMode: \"Disk\" is none of Filesystem, Block",
        ),
        (
            cluster("breaker: Ajar"),
            "f.yaml:5:14: clusters[0].breaker: \"Ajar\" is none of Closed, Open, HalfOpen",
        ),
        (cluster("deleting: maybe"), "f.yaml:5:15: clusters[0].deleting: invalid type"),
        (
            cluster("storageClass: fast"),
            "f.yaml:5:19: storage class fast is not listed; add it to storageClasses",
        ),
        (
            cluster("diskFull: [orders-9]"),
            "f.yaml:5:16: diskFull: orders-9 is no member of data",
        ),
        (
            cluster("diskFull: [{instance: orders-1, volume: log}]"),
            "f.yaml:5:45: clusters[0].diskFull[0].volume: \"log\" names no volume",
        ),
        (
            cluster("operations: [{volume: data, at: \"2026-03-01T03:00:00Z\", from: 8Gi}]"),
            "f.yaml:5:18: operations[0]: to is missing",
        ),
        (
            cluster("operations: [{volume: data, at: yesterday}]"),
            "f.yaml:5:37: clusters[0].operations[0].at: ",
        ),
        (
            cluster("operations: [{volume: data, at: \"2026-03-01T03:00:00Z\", members: some}]"),
            "f.yaml:5:70: clusters[0].operations[0].members: \"some\" is neither all nor a list of instances",
        ),
        ("kind: Scenario\nnow: noon\nclusters: []\n".to_owned(), "f.yaml:2:6: now: "),
        ("kind: Scenario\nclusters: []\n".to_owned(), "f.yaml:1:1: now is missing"),
        (
            "kind: Scenario\nnow: \"2026-03-01T12:00:00Z\"\ninterval: 30\nclusters: []\n".to_owned(),
            "f.yaml:3:11: interval: ",
        ),
        (
            "kind: Scenario\nnow: \"2026-03-01T12:00:00Z\"\ninterval: 30x\nclusters: []\n".to_owned(),
            "f.yaml:3:11: interval: \"30x\" has the unknown unit",
        ),
        (
            policy("thresholds: {expansion: \"85\"}"),
            "f.yaml:13:27: spec.thresholds.expansion: \"85\" is not a whole number",
        ),
        (
            policy("thresholds: {expansion: 99999999999999999999}"),
            "f.yaml:13:27: spec.thresholds.expansion: ",
        ),
        (policy("dryRun: yess"), "f.yaml:13:11: spec.dryRun: \"yess\" is not true or false"),
        (
            policy("storage: {model: Treshold}"),
            "f.yaml:13:20: spec.storage.model: \"Treshold\" is not one of Thresholds, Resize, Target",
        ),
        (policy("storage: [1]"), "f.yaml:13:12: spec.storage: a list is not a map"),
        (
            policy("expansion: {maxSize: 1.5}"),
            "f.yaml:13:24: spec.expansion.maxSize: 1.5 is not a text or a whole number",
        ),
        (
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: a}\nspec: {resources: {requests: {storage: {}}}}\n".to_owned(),
            "f.yaml:4:40: spec.resources.requests.storage: ",
        ),
    ];
    for (text, expected) in cases {
        let found = complaints(&text);
        assert!(
            found.len() == 1 && found.iter().all(|f| f.starts_with(expected)),
            "{text}\n{found:#?}"
        );
    }
}

#[test]
fn a_class_that_is_not_listed_is_an_error_however_it_is_named() {
    let classes = "kind: Scenario\nnow: \"2026-03-01T12:00:00Z\"\nstorageClasses: [{name: gp3}]\nclusters:\n  - name: orders\n    volumes:\n      data: {size: 10Gi, storageClass: gp4, members: {}}\n      wal: {size: 10Gi, members: {}}\n";
    assert_eq!(
        complaints(classes),
        [
            "f.yaml:7:40: storage class gp4 is not listed; add it to storageClasses of the Scenario; did you mean gp3?",
            "f.yaml:5:5: storage class standard is not listed; add it to storageClasses of the Scenario",
        ]
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let text = format!("{}---\nkind: Secnario\n", policy("dryRun: 3\n  expansion: {percentag: 3}"));
    assert_eq!(
        complaints(&text),
        [
            "f.yaml:13:11: spec.dryRun: 3 is not true or false",
            "f.yaml:14:15: unknown key spec.expansion.percentag; did you mean percentage?",
            "f.yaml:16:1: kind Secnario without an apiVersion; did you mean Scenario?",
        ]
    );
}

#[test]
fn a_second_scenario_is_an_error_in_whatever_file() {
    let one = cluster("labels: {}");
    let found = read(&[file("a.yaml", &one), file("b.yaml", &one)], &[], None, at(CLOCK)).expect_err("two Scenarios");
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["b.yaml:1:1: a second Scenario; the first is in a.yaml, line 1; one is read at a time"]
    );
    assert_eq!(complaints(&format!("{one}---\n{one}")).len(), 1);
}

#[test]
fn a_cluster_that_is_there_twice_is_an_error() {
    let manifest = "---\napiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: orders}\n";
    assert_eq!(
        complaints(&format!("{}{manifest}", cluster("labels: {}"))),
        ["f.yaml: Cluster default/orders is there twice"]
    );
}

#[test]
fn what_is_no_object_is_an_error() {
    let nothing = "f.yaml: nothing to decide on: no CNPG Cluster (postgresql.cnpg.io), and no Scenario";
    let cases: [(&str, &str); 12] = [
        ("", nothing),
        ("---\n---\n# only a comment\n", nothing),
        ("a: [1\nb: 2\n", "f.yaml:2:2: not valid YAML: "),
        (
            "kind: Scenario\nkind: Scenario\n",
            "f.yaml:2:1: not valid YAML: duplicate mapping key: kind",
        ),
        ("a: *nowhere\n", "f.yaml:1:4: not valid YAML: "),
        ("\tkind: Scenario\n", "f.yaml:"),
        ("hello\n", "f.yaml:1:1: no object of Kubernetes, and no Scenario: it has no kind"),
        ("- kind: Scenario\n", "f.yaml:1:1: no object of Kubernetes"),
        ("kind: Storage\n", "f.yaml:1:1: kind Storage without an apiVersion"),
        (
            "apiVersion: cnpg.supporttools.io/v1alpha1\nkind: StoragePolcy\n",
            "f.yaml:2:7: unknown kind StoragePolcy; did you mean StoragePolicy?",
        ),
        (
            "apiVersion: cnpg.supportools.io/v1\nkind: StoragePolicy\n",
            "f.yaml:1:13: apiVersion cnpg.supportools.io/v1: StoragePolicy is of cnpg.supporttools.io/v1alpha1",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {namespace: shop}\n",
            "f.yaml:1:1: metadata.name is missing",
        ),
    ];
    for (text, expected) in cases {
        let found = complaints(text);
        assert!(
            found.len() == 1 && found.iter().all(|f| f.starts_with(expected)),
            "{text:?}: {found:#?}"
        );
    }
    for binary in [&b"\xff\xfe\x00k"[..], b"kind: Scenario\0", b"\x89PNG\r\n\x1a\n\0\0"] {
        let found = read(&[file("f.yaml", binary)], &[], None, at(CLOCK)).expect_err("no text");
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["f.yaml: not a text file; give YAML or JSON in UTF-8"]);
    }
}

#[test]
fn a_file_that_unfolds_itself_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..9 {
        let before = format!("*a{}", i - 1);
        writeln!(text, "a{i}: &a{i} [{}]", [before.as_str(); 10].join(", ")).expect("a String takes all");
    }
    assert!(
        complaints(&text).iter().all(|c| c.contains("not valid YAML")),
        "{:?}",
        complaints(&text)
    );
    let deep = format!("kind: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(complaints(&deep).len(), 1);
}

#[test]
fn what_nobody_named_may_be_something_else() {
    let from_folder = |name: &str, text: &str| File {
        from_folder: true,
        ..file(name, text)
    };
    let files = [
        from_folder("case.yaml", &cluster("labels: {}")),
        from_folder("values.yaml", "replicas: 3\n"),
        from_folder(
            "app.yaml",
            "apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: v1\nkind: Service\n---\napiVersion: v1\nkind: Service\n",
        ),
    ];
    let offline = read(&files, &[], None, at(CLOCK)).unwrap_or_else(|m| panic!("{m:?}"));
    assert_eq!(
        offline.notes,
        [
            "values.yaml: not looked at: 1 document without a kind",
            "app.yaml: not looked at: 1 Deployment, 2 Service"
        ]
    );
    let broken = [from_folder("case.yaml", "a: [")];
    assert!(read(&broken, &[], None, at(CLOCK)).is_err(), "what cannot be read is not let pass");
}

#[test]
fn a_summary_that_is_none_is_an_error() {
    let scenario = [file("f.yaml", cluster("labels: {}"))];
    for (text, expected) in [
        ("", "n1.json:1:0: not an answer of a kubelet's /stats/summary: "),
        (
            "{\"pods\": 3}",
            "n1.json:1:10: not an answer of a kubelet's /stats/summary: invalid type",
        ),
        ("not found", "n1.json:1:2: not an answer"),
    ] {
        let found = read(&scenario, &[file("n1.json", text)], None, at(CLOCK)).expect_err("no summary");
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(found.len() == 1 && found.iter().all(|f| f.starts_with(expected)), "{found:?}");
    }
}

/// No text makes the reader panic: every file of a Scenario cut off anywhere, and with any line missing.
#[test]
fn no_text_makes_it_panic() {
    let text = policy("tablespaces: [{name: a, storage: {request: 1Gi, limit: 2Gi}}]");
    good(&text);
    for cut in 0..text.len() {
        let _ = read(&[file("f", text.as_bytes().get(..cut).unwrap_or_default())], &[], None, at(CLOCK));
    }
    let lines: Vec<&str> = text.lines().collect();
    for gone in 0..lines.len() {
        let rest: Vec<&str> = lines.iter().enumerate().filter(|(i, _)| *i != gone).map(|(_, l)| *l).collect();
        let _ = read(&[file("f", rest.join("\n"))], &[], None, at(CLOCK));
    }
}
