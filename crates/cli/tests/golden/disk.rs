//! `kubectl cnpg disk status`, as a person sees it.

use csm_api::{Reason, State};
use kubectl_cnpg_storage::args::Format;
use kubectl_cnpg_storage::cmds::{Answer, disk_of_one, disk_table};
use kubectl_cnpg_storage::read::{Gap, Manager, Scope};
use serde_json::{Value, json};

use crate::fixture::{Disk, Fixture, GIB, MIB, NAMESPACE, Said, ago, disk, of};
use crate::{Case, cases, shown, view};

fn one(fixture: &Fixture, format: Format) -> Answer {
    disk_of_one(&fixture.facts, true, &view(format, None)).expect("an answer")
}

/// A resize that ended so many seconds ago.
fn resize(age: i64, instance: &str, volume: &str, from: &str, to: &str, result: &str, reason: &str) -> Value {
    let (volume_type, tablespace) = match volume.split_once('/') {
        Some((role, name)) => (role, Some(name)),
        None => (volume, None),
    };
    json!({"timestamp": ago(age), "instance": instance, "volumeType": volume_type, "tablespace": tablespace,
        "from": from, "to": to, "result": result, "reason": reason})
}

/// The newest cluster of a fixture: what is known of the WAL of an instance, and how its resizes ended.
fn with(mut fixture: Fixture, instance: &str, health: &Value, resizes: &[Value]) -> Fixture {
    let status = fixture.facts.storages.last_mut().and_then(|s| s.status.as_mut()).expect("a status");
    let disks = &mut status.disk_status.as_mut().expect("figures").instances;
    disks.get_mut(instance).expect("the instance").wal_health = of(health.clone());
    status.auto_resize_events = of(Value::from(resizes));
    fixture
}

fn healthy(fixture: Fixture) -> Fixture {
    let health = json!({"archiveHealthy": true, "pendingWALFiles": 3, "inactiveSlotCount": 0, "lastArchivedTime": ago(41)});
    let resizes = [
        resize(266_300, "billing-1", "data", "16Gi", "25Gi", "success", "UsageThreshold"),
        resize(266_350, "billing-3", "data", "16Gi", "25Gi", "success", "UsageThreshold"),
        resize(
            266_390,
            "billing-2",
            "data",
            "16Gi",
            "25Gi",
            "failure",
            "the API server did not take the patch",
        ),
        resize(
            400_000,
            "billing-1",
            "tablespace/archive",
            "3Gi",
            "5Gi",
            "success",
            "UsageThreshold",
        ),
        resize(
            400_010,
            "billing-2",
            "tablespace/archive",
            "3Gi",
            "5Gi",
            "success",
            "UsageThreshold",
        ),
        resize(500_000, "billing-1", "wal", "2Gi", "4Gi", "success", "UsageThreshold"),
    ];
    with(cases::balanced(fixture), "billing-1", &health, &resizes)
}

/// WAL cannot leave: the archive fails, and two slots that nobody reads from hold more of it. The volume is at its limit.
fn failing(fixture: Fixture) -> Fixture {
    let wal = Said {
        limit: Some("8Gi"),
        ..Said::held(
            "8Gi",
            "12Gi",
            State::AtLimit,
            Reason::AtLimit,
            "wal is 96 % full: its ceiling of 8Gi leaves no room",
        )
    };
    let data = Said::balanced("30Gi", "data is 20 % full: nothing to do below 85 %");
    let mut full = disk(Disk(7 * GIB + 700 * MIB, 310 * MIB, 14));
    full["atLimit"] = json!(true);
    full["resizeBlocked"] = json!(true);
    full["blockReason"] = json!("AtLimit");
    full["budgetRemaining"] = json!(2);
    full["resizeCount"] = json!(5);
    let fixture = fixture
        .cluster("events", 2)
        .pvc("events", 1, "data", "30Gi", "30Gi")
        .pvc("events", 2, "data", "30Gi", "30Gi")
        .pvc("events", 1, "wal", "8Gi", "8Gi")
        .pvc("events", 2, "wal", "8Gi", "8Gi")
        .storage(
            "events",
            &json!({"data": data.json(), "wal": cases::caused(wal.json(), "InactiveSlot", "nobody reads from the replication slot old_standby of events-1, and it holds 5.3 GiB of WAL on wal; start its reader again, or, where it has none any more, drop it: SELECT pg_drop_replication_slot('old_standby')")}),
            &json!({
                "events-1": {"dataVolume": disk(Disk(6 * GIB, 24 * GIB, 14)), "walVolume": full},
                "events-2": {"dataVolume": disk(Disk(5 * GIB + 900 * MIB, 24 * GIB + 100 * MIB, 25)), "walVolume": disk(Disk(GIB, 7 * GIB, 25))},
            }),
        );
    let health = json!({"archiveHealthy": false, "pendingWALFiles": 431, "inactiveSlotCount": 2,
        "inactiveSlots": [{"slotName": "old_standby", "retentionBytes": 5 * GIB + 300 * MIB}, {"slotName": "reports", "retentionBytes": GIB + 200 * MIB}],
        "lastArchivedTime": ago(11_000), "lastFailedTime": ago(95)});
    with(
        fixture,
        "events-1",
        &health,
        &[resize(7_300, "events-1", "wal", "6Gi", "8Gi", "success", "UsageThreshold")],
    )
}

/// No archive is configured.
fn unarchived(fixture: Fixture) -> Fixture {
    let fixture = cases::held(fixture);
    let health = json!({"inactiveSlotCount": 1, "inactiveSlots": [{"slotName": "cdc", "retentionBytes": 900 * MIB}]});
    with(fixture, "orders-1", &health, &[])
}

#[test]
fn one_cluster() {
    let golden: [(&str, Case, u8); 6] = [
        ("disk_healthy", healthy, 0),
        ("disk_archive_failing", failing, 3),
        ("disk_stale", cases::blind, 3),
        ("disk_nothing_known_of_wal", cases::balanced, 0),
        ("disk_unarchived", unarchived, 0),
        ("disk_silent", cases::silent, 3),
    ];
    for (name, case, status) in golden {
        let answer = one(&case(Fixture::new()), Format::Table);
        assert_eq!(answer.status, status, "{name}");
        insta::assert_snapshot!(name, shown(&answer));
    }
    insta::assert_snapshot!("disk_archive_failing_wide", shown(&one(&failing(Fixture::new()), Format::Wide)));
    insta::assert_snapshot!("disk_archive_failing_json", shown(&one(&failing(Fixture::new()), Format::Json)));
}

#[test]
fn a_cluster_without_volumes() {
    insta::assert_snapshot!(shown(&one(&Fixture::new().cluster("empty", 1), Format::Table)));
}

/// The status of those who did not ask for a check is that of the command alone.
#[test]
fn without_check_nobody_is_needed() {
    let fixture = failing(Fixture::new());
    let answer = disk_of_one(&fixture.facts, false, &view(Format::Table, None)).expect("an answer");
    assert_eq!(answer.status, 0);
    let mut healthy = healthy(Fixture::new());
    healthy.facts.manager = Manager::Stopped { renewed: None };
    assert_eq!(one(&healthy, Format::Table).status, 3, "nothing is watched");
}

#[test]
fn where_pvcs_cannot_be_read_the_managers_word_is_shown() {
    let mut fixture = failing(Fixture::new());
    fixture.facts.pvcs.clear();
    fixture.facts.gaps = vec![Gap {
        what: "PersistentVolumeClaims",
        why: "you are not allowed to read them".to_owned(),
        means: "volumes are those that the manager last wrote of",
    }];
    let text = shown(&one(&fixture, Format::Table));
    for row in ["events-1   data ", "events-1   wal ", "events-2   data ", "events-2   wal "] {
        assert!(text.contains(row), "{row}: {text}");
    }
    assert!(
        text.contains("Note: PersistentVolumeClaims: you are not allowed to read them; volumes are"),
        "{text}"
    );
}

fn everything() -> Fixture {
    [
        healthy,
        failing,
        unarchived,
        cases::blind,
        cases::at_limit,
        cases::silent,
        cases::unmanaged,
    ]
    .into_iter()
    .fold(Fixture::new(), |fixture, case| case(fixture))
}

#[test]
fn all_clusters_the_most_endangered_first() {
    let fleet = everything();
    let namespace = Scope::Namespace(NAMESPACE.to_owned());
    for (name, scope, format) in [
        ("disk_fleet", &namespace, Format::Table),
        ("disk_fleet_of_all_namespaces", &Scope::All, Format::Wide),
    ] {
        let answer = disk_table(&fleet.facts, scope, true, &view(format, None)).expect("an answer");
        insta::assert_snapshot!(name, shown(&answer));
    }
    let yaml = disk_table(&fleet.facts, &namespace, true, &view(Format::Yaml, None)).expect("an answer");
    assert!(yaml.text.contains("    pendingWALFiles: 431\n"), "{}", yaml.text);
    assert_eq!(yaml.status, 3);
}

#[test]
fn no_clusters_at_all() {
    let scope = Scope::Namespace("empty".to_owned());
    let answer = disk_table(&Fixture::new().facts, &scope, true, &view(Format::Table, None)).expect("an answer");
    insta::assert_snapshot!(shown(&answer), @r"
    Note: there are no CNPG Clusters in namespace empty
    [exit status 0]
    ");
}
