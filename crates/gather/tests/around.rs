//! What a Cluster says of one of its instances beside that itself: a proof rests on it, so that what is not known is not guessed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // tests

use csm_cnpg::{Backup, Cluster};
use csm_core::wal::Feed;
use csm_gather::relief::{Archived, Around, Reading};
use rstest::rstest;
use serde_json::{Value, json};

fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Three instances, of which the first is primary, that archive their WAL; and `more` on top.
fn cluster(more: &Value) -> Cluster {
    let mut cluster = json!({
        "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {"backup": {"barmanObjectStore": {}}},
        "status": {"currentPrimary": "orders-1", "targetPrimary": "orders-1", "instanceNames": ["orders-1", "orders-2", "orders-3"]},
    });
    for part in ["metadata", "spec", "status"] {
        for (key, value) in more[part].as_object().into_iter().flatten() {
            cluster[part][key] = value.clone();
        }
    }
    object(cluster)
}

fn usual() -> Cluster {
    cluster(&json!({}))
}

fn segment(number: u32) -> String {
    format!("0000000100000000{number:08X}")
}

/// An instance that says so of its slots and standbys; segments 1 to 4 lie there, and the first two are archived.
fn reading(position: &Value, slots: &Value, senders: &Value) -> Reading {
    let moving = json!({
        "part": "moving", "checkpoint": {"redo": "0/4000028", "timeline": 1, "file": segment(4)}, "slots": slots, "senders": senders,
        "receiver": null, "recovered": null, "backups": [], "label": false, "summaries": null,
        "settings": {"version": 170_005, "walKeepSize": 0, "maxWalSize": 1 << 30, "maxSlotWalKeepSize": -1, "segmentSize": 16 << 20,
            "archiveMode": "on", "summarizes": "off", "bin": "/usr/lib/postgresql/17/bin", "data": "/var/lib/postgresql/data/pgdata"},
    });
    let files: Vec<String> = (1..=4).map(segment).collect();
    let marks = [1, 2].map(|number| segment(number) + ".done");
    let directory = json!({"part": "directory", "marks": marks, "files": files});
    let parts = [moving, position.clone(), directory].map(|part| part.to_string());
    Reading::parse(&parts.join("\n")).unwrap()
}

fn slot(name: &str, restart: Option<&str>, lost: bool) -> Value {
    json!({"name": name, "type": "physical", "active": false, "temporary": false, "restart": restart, "lost": lost})
}

/// What the primary says, who keeps these slots.
fn primary(slots: &[Value]) -> Reading {
    let position = json!({"part": "position", "recovery": false, "written": "0/4000200", "file": segment(4)});
    let senders = json!([
        {"name": "orders-2", "state": "streaming", "flushed": "0/4000100", "slot": "_cnpg_orders_2"},
        {"name": "orders-3", "state": "catchup", "flushed": "0/2000000", "slot": "_cnpg_orders_3"},
        {"name": "pg_basebackup", "state": "backup", "flushed": null, "slot": null},
    ]);
    reading(&position, &json!(slots), &senders)
}

fn standby() -> Reading {
    let position = json!({"part": "position", "recovery": true, "received": "0/4000100", "replayed": "0/4000100"});
    reading(&position, &json!([]), &json!([]))
}

/// What is around the first instance, a primary.
fn of_primary(cluster: &Cluster) -> Around {
    Around::of("orders-1", &primary(&[]), None, cluster, [], &[])
}

/// What is around the second, a standby, where the primary answers.
fn of_standby(cluster: &Cluster, primary: Option<&Reading>) -> Around {
    Around::of("orders-2", &standby(), primary, cluster, [], &[])
}

#[test]
fn who_archives_is_the_primary() {
    assert_eq!(of_primary(&usual()).archived, Some(Archived::Here));
    // Of the third segment on, it has archived nothing yet.
    let unarchived = segment(3);
    let said = of_standby(&usual(), Some(&primary(&[]))).archived;
    assert!(
        matches!(said, Some(Archived::Elsewhere(segment)) if segment.to_string() == unarchived),
        "{said:?}"
    );
}

#[test]
fn nobody_archives_without_a_store_or_by_annotation() {
    let skipped = cluster(&json!({"metadata": {"annotations": {"cnpg.io/skipWalArchiving": "enabled"}}}));
    for cluster in [cluster(&json!({"spec": {"backup": null}})), skipped] {
        assert_eq!(of_primary(&cluster).archived, Some(Archived::Nobody));
        assert_eq!(of_standby(&cluster, None).archived, Some(Archived::Nobody));
    }
}

/// During a switchover nobody can say who archives; nor where the instance and the Cluster do not agree on its role.
#[rstest]
#[case::switchover(json!({"status": {"targetPrimary": "orders-2"}}))]
#[case::no_primary(json!({"status": {"currentPrimary": null}}))]
#[case::an_empty_primary(json!({"status": {"currentPrimary": ""}}))]
#[case::replica_cluster(json!({"spec": {"replica": {"enabled": true, "source": "elsewhere"}}}))]
#[case::another_is_primary(json!({"status": {"currentPrimary": "orders-3", "targetPrimary": "orders-3"}}))]
fn who_archives_is_not_known(#[case] more: Value) {
    assert_eq!(of_primary(&cluster(&more)).archived, None);
}

#[test]
fn a_standby_does_not_know_who_archives_where_the_primary_does_not_say() {
    assert_eq!(of_standby(&usual(), None).archived, None);
    // It says that it is none.
    assert_eq!(of_standby(&usual(), Some(&standby())).archived, None);
    // The Cluster calls this one its primary, and it is in recovery.
    assert_eq!(Around::of("orders-1", &standby(), None, &usual(), [], &[]).archived, None);
}

#[test]
fn a_target_that_is_not_said_is_no_switchover() {
    for target in [json!(null), json!("")] {
        let cluster = cluster(&json!({"status": {"targetPrimary": target}}));
        assert_eq!(of_primary(&cluster).archived, Some(Archived::Here), "{target}");
    }
}

#[test]
fn every_other_instance_save_the_primary_is_there_once() {
    let names = |around: &Around| around.instances.iter().map(|i| i.name.to_string()).collect::<Vec<_>>();
    // Those that have volumes and those that the Cluster names: one of either may be late.
    let known = ["orders-1", "orders-2", "orders-7"].map(std::sync::Arc::from);
    let around = Around::of("orders-1", &primary(&[]), None, &usual(), known.clone(), &[]);
    assert_eq!(names(&around), ["orders-2", "orders-3", "orders-7"]);
    let around = Around::of("orders-2", &standby(), None, &usual(), known, &[]);
    assert_eq!(names(&around), ["orders-3", "orders-7"]);
    let unnamed = cluster(&json!({"status": {"instanceNames": null}}));
    assert_eq!(names(&of_primary(&unnamed)), [""; 0]);
}

#[test]
fn an_instance_has_its_slot_and_what_it_has_flushed_by_the_primarys_word() {
    let around = of_standby(&usual(), Some(&primary(&[])));
    assert_eq!(around.instances.len(), 1);
    assert_eq!(around.instances[0].slot.as_deref(), Some("_cnpg_orders_3"));
    assert_eq!(around.instances[0].flushed, primary(&[]).flushed("orders-3"));
    assert!(around.instances[0].flushed.is_some());
    assert_eq!(of_standby(&usual(), None).instances[0].flushed, None);
    let without = json!({"spec": {"replicationSlots": {"highAvailability": {"enabled": false}}}});
    assert_eq!(of_standby(&cluster(&without), None).instances[0].slot, None);
    let prefixed = json!({"spec": {"replicationSlots": {"highAvailability": {"enabled": true, "slotPrefix": "_ha_"}}}});
    assert_eq!(
        of_standby(&cluster(&prefixed), None).instances[0].slot.as_deref(),
        Some("_ha_orders_3")
    );
}

#[test]
fn a_standby_is_fed_by_a_slot_that_reserves_wal_on_the_primary() {
    let feed = |slots: &[Value]| of_standby(&usual(), Some(&primary(slots))).feed;
    assert_eq!(feed(&[slot("_cnpg_orders_2", Some("0/3000000"), false)]), Feed::Slot);
    assert_eq!(feed(&[]), Feed::Nothing);
    assert_eq!(feed(&[slot("_cnpg_orders_3", Some("0/3000000"), false)]), Feed::Nothing);
    assert_eq!(feed(&[slot("_cnpg_orders_2", None, false)]), Feed::Nothing);
    assert_eq!(feed(&[slot("_cnpg_orders_2", Some("0/3000000"), true)]), Feed::Nothing);
    assert_eq!(of_standby(&usual(), None).feed, Feed::Nothing);
}

#[test]
fn backups_count_that_may_run_and_are_of_this_cluster() {
    let backup = |name: &str, cluster: &str, phase: Option<&str>| {
        let status = phase.map(|phase| json!({"phase": phase}));
        object::<Backup>(json!({"metadata": {"name": name}, "spec": {"cluster": {"name": cluster}}, "status": status}))
    };
    let backups = [
        backup("new", "orders", None),
        backup("running", "orders", Some("running")),
        backup("unheard-of", "orders", Some("finalizing")),
        backup("done", "orders", Some("completed")),
        backup("failed", "orders", Some("failed")),
        backup("others", "billing", Some("running")),
    ];
    let around = Around::of("orders-1", &primary(&[]), None, &usual(), [], &backups);
    let names: Vec<_> = around.backups.iter().map(|backup| (&*backup.name, backup.start)).collect();
    assert_eq!(names, [("new", None), ("running", None), ("unheard-of", None)]);
}
