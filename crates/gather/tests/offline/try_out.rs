//! Clusters that are made up for policies, and those that a second set of policies is tried on.

use csm_core::resolve::Resolution;
use csm_core::world::VolumeKey;
use csm_gather::offline::{File, MadeUp, MakeUp, Offline, read_to_try};
use csm_units::Bytes;
use jiff::Timestamp;

fn file(text: &str) -> File {
    File {
        name: "files.yaml".to_owned(),
        text: text.as_bytes().to_vec(),
        from_folder: false,
    }
}

fn policy(kind: &str, metadata: &str, spec: &str) -> String {
    format!("apiVersion: cnpg.supporttools.io/v1alpha1\nkind: {kind}\nmetadata: {metadata}\nspec: {spec}\n---\n")
}

fn make_up(cluster: MadeUp) -> MakeUp {
    MakeUp {
        size: Bytes::gib(7),
        instances: 2,
        clusters: vec![cluster],
    }
}

fn tried(text: &str, others: &str, make_up: Option<&MakeUp>) -> Offline {
    let others = if others.is_empty() { Vec::new() } else { vec![file(others)] };
    read_to_try(&[file(text)], &others, &[], make_up, Timestamp::UNIX_EPOCH).expect("valid files")
}

/// Its name, and whether there are settings for it.
fn one(offline: &Offline) -> (String, bool) {
    let [subject] = offline.subjects.as_slice() else {
        panic!("not one Cluster: {:?}", offline.subjects);
    };
    let settings = matches!(*subject.world.resolution, Resolution::Settings(_));
    (subject.world.cluster.key.to_string(), settings)
}

#[test]
fn a_made_up_cluster_is_one_that_the_policies_select() {
    let in_shop = "{name: p, namespace: shop}";
    let cases = [
        (policy("StoragePolicy", in_shop, "{}"), "shop/example"),
        (
            policy("StoragePolicy", in_shop, "{selector: {matchLabels: {tier: gold}}}"),
            "shop/example",
        ),
        (
            policy(
                "StoragePolicy",
                in_shop,
                "{selector: {matchExpressions: [{key: tier, operator: In, values: [a, b]}, {key: x, operator: Exists}, {key: z, operator: DoesNotExist}]}}",
            ),
            "shop/example",
        ),
        (
            policy("StoragePolicy", in_shop, "{selector: {matchLabels: {cnpg.io/cluster: orders}}}"),
            "shop/orders",
        ),
        (
            policy("PostgresStorage", "{name: orders, namespace: shop}", "{dryRun: false}"),
            "shop/orders",
        ),
        (
            policy(
                "ClusterStoragePolicy",
                "{name: all}",
                "{namespaceSelector: {matchLabels: {team: a}}, selector: {matchLabels: {tier: b}}}",
            ),
            "default/example",
        ),
        (
            policy(
                "ClusterStoragePolicy",
                "{name: all}",
                "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: prod}}}",
            ),
            "prod/example",
        ),
        (
            policy("StoragePolicy", in_shop, "{selector: {matchLabels: {tier: gold}}}")
                + &policy("ClusterStoragePolicy", "{name: all}", "{selector: {matchLabels: {tier: gold}}}"),
            "shop/example",
        ),
    ];
    for (text, name) in cases {
        let offline = tried(&text, "", Some(&make_up(MadeUp::default())));
        assert!(offline.made_up);
        assert_eq!(one(&offline), (name.to_owned(), true), "{text}");
        let world = &offline.subjects[0].world;
        assert_eq!(world.volumes.len(), 1);
        let members = &world.volumes[0].members;
        assert_eq!(members.len(), 2);
        assert!(members.iter().all(|m| m.size == Bytes::gib(7) && m.observation.is_none()));
        assert!(
            offline
                .notes
                .iter()
                .any(|n| n.contains(&format!("made up: {name} with 2 instances, each volume of 7Gi"))),
            "{:?}",
            offline.notes
        );
    }
}

#[test]
fn what_is_named_is_made_up_as_it_is_named() {
    let instances = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let cluster = MadeUp {
        namespace: Some("shop".to_owned()),
        name: Some("orders".to_owned()),
        volumes: [
            (VolumeKey::WAL, instances(&["orders-4"])),
            (VolumeKey::tablespace("archive"), instances(&[])),
        ]
        .into(),
    };
    let offline = tried(
        &policy("StoragePolicy", "{name: p, namespace: shop}", "{}"),
        "",
        Some(&make_up(cluster)),
    );
    assert_eq!(one(&offline), ("shop/orders".to_owned(), true));
    let volumes = &offline.subjects[0].world.volumes;
    let mut names: Vec<String> = volumes.iter().map(|v| format!("{} {}", v.key, v.members[0].pvc)).collect();
    names.sort();
    assert_eq!(
        names,
        ["data orders-4", "tablespace/archive orders-4-tbs-archive", "wal orders-4-wal"]
    );
}

#[test]
fn a_second_set_of_policies_is_tried_on_the_same_clusters() {
    let scenario = "kind: Scenario\nnow: \"2026-03-01T12:00:00Z\"\nclusters: [{name: orders, namespace: shop, volumes: {data: {size: 10Gi, members: {orders-1: {}}}}}]\n---\n";
    let mine = policy("StoragePolicy", "{name: p, namespace: shop}", "{}");
    let other = policy("StoragePolicy", "{name: p, namespace: elsewhere}", "{}");
    let made_up = make_up(MadeUp::default());
    let first = tried(&format!("{scenario}{mine}"), "", Some(&made_up));
    assert_eq!((one(&first), first.made_up), (("shop/orders".to_owned(), true), false));
    // The policies of the first set do not count.
    let second = tried(&other, &format!("{scenario}{mine}"), Some(&made_up));
    assert_eq!((one(&second), second.made_up), (("shop/orders".to_owned(), false), false));
    let nothing = read_to_try(&[file(&mine)], &[], &[], None, Timestamp::UNIX_EPOCH).expect_err("no Cluster");
    assert!(nothing[0].message.starts_with("nothing to decide on"), "{nothing:?}");
}
