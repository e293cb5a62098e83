//! The clusters that the golden texts show.

use csm_api::{Reason, State, Verdict};
use serde_json::{Value, json};

use crate::fixture::{Disk, Fixture, GIB, MIB, NAMESPACE, Said, action, ago, disk};

/// Three instances with a WAL volume, all at rest: figures of an hour ago still hold.
pub fn balanced(fixture: Fixture) -> Fixture {
    let mut fixture = fixture.cluster("billing", 3);
    for instance in 1..=3 {
        fixture = fixture
            .pvc("billing", instance, "data", "25Gi", "25Gi")
            .pvc("billing", instance, "wal", "4Gi", "4Gi");
    }
    let data = Said {
        action: Some(action("ScheduledGrow", "16Gi", "25Gi", "Success", 266_400, "billing-expansion-1")),
        ..Said::balanced("25Gi", "data is 48 % full (12 of 25 GiB, billing-2): nothing to do below 85 %")
    };
    let wal = Said {
        age: 180_000,
        ..Said::balanced("4Gi", "wal is 11 % full (0.4 of 4 GiB, billing-1): nothing to do below 85 %")
    };
    fixture
        .storage(
            "billing",
            &json!({"data": data.json(), "wal": wal.json()}),
            &json!({
                "billing-1": {"dataVolume": disk(Disk(18 * GIB, 7 * GIB - 130 * MIB, 3700)), "walVolume": disk(Disk(700 * MIB, 3300 * MIB, 3700))},
                "billing-2": {"dataVolume": disk(Disk(17 * GIB + 200 * MIB, 8 * GIB - 330 * MIB, 3710)), "walVolume": disk(Disk(640 * MIB, 3360 * MIB, 3710))},
                "billing-3": {"dataVolume": disk(Disk(18 * GIB + 50 * MIB, 7 * GIB - 180 * MIB, 3690)), "walVolume": disk(Disk(612 * MIB, 3388 * MIB, 3690))},
            }),
        )
        .policy("default", &json!({"expansion": {"maxSize": "100Gi", "cooldownMinutes": 45}}))
}

/// A volume with why it fills.
pub fn caused(mut volume: Value, cause: &str, message: &str) -> Value {
    volume["rootCause"] =
        json!({"cause": cause, "instance": "orders-1", "bytes": 3_221_225_472_u64, "message": message, "since": ago(410)});
    volume
}

/// Full again within the cooldown.
pub fn held(fixture: Fixture) -> Fixture {
    let started = 1500;
    let data = Said {
        action: Some(action(
            "ScheduledGrow",
            "10Gi",
            "15Gi",
            "Success",
            started,
            "orders-expansion-20260301-113500-9k2m",
        )),
        next: Some(300),
        ..Said::held(
            "15Gi",
            "23Gi",
            State::Blocked,
            Reason::Cooldown,
            "data is 85 % full (12.7 of 14.9 GiB, orders-1): should grow from 15Gi to 23Gi, but the last growth is too recent; it goes on at 2026-03-01T12:05:00Z (expansion.cooldownMinutes)",
        )
    };
    fixture
        .cluster("orders", 2)
        .pvc("orders", 1, "data", "15Gi", "15Gi")
        .pvc("orders", 2, "data", "15Gi", "15Gi")
        .storage(
            "orders",
            &json!({"data": caused(data.json(), "TempFiles", "3 GiB came to data of orders-1 in 8 min that are in no database: temporary files, most likely; find the query (log_temp_files, pg_stat_statements.temp_blks_written), and bound it with temp_file_limit")}),
            &json!({
                "orders-1": {"dataVolume": disk(Disk(13 * GIB + 600 * MIB, 1250 * MIB, 21))},
                "orders-2": {"dataVolume": disk(Disk(13 * GIB + 20 * MIB, 1830 * MIB, 34))},
            }),
        )
        .policy("default", &json!({"expansion": {"maxSize": "100Gi"}}))
        .event(&expansion(
            "orders",
            "10Gi",
            "15Gi",
            started,
            &json!("Completed"),
            &json!([
                pvc_status("orders-2", "Completed", "10Gi", "15Gi", Some("filesystem")),
                pvc_status("orders-1", "Completed", "10Gi", "15Gi", Some("filesystem")),
            ]),
        ))
}

/// One PVC has grown, the other waits for its node.
pub fn resizing(fixture: Fixture) -> Fixture {
    let data = Said {
        limit: Some("200Gi"),
        action: Some(action(
            "ScheduledGrow",
            "20Gi",
            "30Gi",
            "Pending",
            72,
            "payments-expansion-20260301-115848-9k2m",
        )),
        age: 70,
        ..Said::held(
            "30Gi",
            "30Gi",
            State::Resizing,
            Reason::ResizeInProgress,
            "data is 88 % full (17.5 of 19.9 GiB, payments-1): should grow from 30Gi to 45Gi, but a resize is under way since 2026-03-01T11:58:48Z (payments-1: waiting for the node to grow the filesystem)",
        )
    };
    let mut fixture = fixture
        .cluster("payments", 2)
        .pvc("payments", 1, "data", "30Gi", "20Gi")
        .pvc("payments", 2, "data", "30Gi", "30Gi")
        .storage(
            "payments",
            &json!({"data": data.json()}),
            &json!({
                "payments-1": {"dataVolume": disk(Disk(17 * GIB + 560 * MIB, 2400 * MIB, 12))},
                "payments-2": {"dataVolume": disk(Disk(17 * GIB + 90 * MIB, 13 * GIB, 13))},
            }),
        )
        .policy("default", &json!({"expansion": {"maxSize": "200Gi", "percentage": 40}}))
        .event(&expansion(
            "payments",
            "20Gi",
            "30Gi",
            72,
            &json!("InProgress"),
            &json!([
                pvc_status("payments-2", "Completed", "20Gi", "30Gi", Some("filesystem")),
                pvc_status("payments-1", "WaitingForNode", "20Gi", "20Gi", None),
            ]),
        ));
    if let Some(status) = fixture
        .facts
        .pvcs
        .iter_mut()
        .find(|p| p.metadata.name.as_deref() == Some("payments-1"))
        .and_then(|p| p.status.as_mut())
    {
        status.allocated_resource_statuses = Some([("storage".to_owned(), "NodeResizePending".to_owned())].into());
    }
    fixture
}

/// Nothing manages it, and the manager says nothing.
pub fn unmanaged(fixture: Fixture) -> Fixture {
    fixture.cluster("scratch", 1).pvc("scratch", 1, "data", "8Gi", "8Gi")
}

/// Two policies match with the same rank.
pub fn conflicting(fixture: Fixture) -> Fixture {
    let data = Said {
        limit: None,
        target: None,
        urgency: None,
        ..Said::held(
            "12Gi",
            "12Gi",
            State::Blocked,
            Reason::PolicyConflict,
            "data is 41 % full (4.9 of 12 GiB, ledger-1): StoragePolicy shop/gold and StoragePolicy shop/silver match the Cluster with the same rank; change a selector, or name the Cluster in excludeClusters of one",
        )
    };
    fixture
        .cluster("ledger", 1)
        .pvc("ledger", 1, "data", "12Gi", "12Gi")
        .storage(
            "ledger",
            &json!({"data": data.json()}),
            &json!({"ledger-1": {"dataVolume": disk(Disk(4 * GIB + 900 * MIB, 7 * GIB + 60 * MIB, 44))}}),
        )
        .policy("gold", &json!({"thresholds": {"expansion": 75}}))
        .policy("silver", &json!({"thresholds": {"expansion": 88}}))
}

/// The replica's node is gone: its figures are old, the primary never had any.
pub fn blind(fixture: Fixture) -> Fixture {
    let data = Said {
        verdict: Verdict::Hold,
        reason: Reason::StaleObservation,
        state: State::WaitingForDiskStatus,
        age: 5400,
        limit: None,
        ..Said::balanced(
            "9Gi",
            "data: there are no fresh figures of its filesystems, the newest are of 2026-03-01T10:25:00Z (mail-2); see whether its pod runs and its node answers",
        )
    };
    fixture
        .cluster("mail", 2)
        .pvc("mail", 1, "data", "9Gi", "9Gi")
        .pvc("mail", 2, "data", "9Gi", "9Gi")
        .storage(
            "mail",
            &json!({"data": data.json()}),
            &json!({"mail-2": {"dataVolume": disk(Disk(7 * GIB, 2 * GIB - 40 * MIB, 5700))}}),
        )
        .policy("default", &json!({"dryRun": false}))
}

/// At its ceiling, and nearly full.
pub fn at_limit(fixture: Fixture) -> Fixture {
    let data = Said {
        limit: Some("40Gi"),
        ..Said::held(
            "40Gi",
            "60Gi",
            State::AtLimit,
            Reason::AtLimit,
            "data is 97 % full (38.8 of 40 GiB, stock-1): should grow from 40Gi to 60Gi, but its ceiling of 40Gi (expansion.maxSize) leaves no room; raise expansion.maxSize, or free space",
        )
    };
    fixture.cluster("stock", 1).pvc("stock", 1, "data", "40Gi", "40Gi").storage(
        "stock",
        &json!({"data": data.json()}),
        &json!({"stock-1": {"dataVolume": disk(Disk(39 * GIB - 200 * MIB, GIB + 200 * MIB, 8))}}),
    )
}

/// Paused by a person, over its threshold.
pub fn paused(fixture: Fixture) -> Fixture {
    let data = Said {
        limit: Some("80Gi"),
        ..Said::held(
            "18Gi",
            "27Gi",
            State::Paused,
            Reason::Paused,
            "data is 91 % full (16.4 of 18 GiB, stage-1): should grow from 18Gi to 27Gi, but the Cluster is paused",
        )
    };
    fixture.cluster("stage", 1).pvc("stage", 1, "data", "18Gi", "18Gi").storage(
        "stage",
        &json!({"data": data.json()}),
        &json!({"stage-1": {"dataVolume": disk(Disk(16 * GIB + 420 * MIB, GIB + 560 * MIB, 51))}}),
    )
}

/// A person made a PostgresStorage, and no manager has come.
pub fn silent(fixture: Fixture) -> Fixture {
    fixture
        .cluster("fresh", 1)
        .pvc("fresh", 1, "data", "6Gi", "6Gi")
        .silent_storage("fresh")
}

/// A volume that converges to a free-space target, with a window and a budget, beside one that grows in steps.
pub fn sized(fixture: Fixture) -> Fixture {
    let mut data = Said::held(
        "40Gi",
        "42Gi",
        State::PendingGrowth,
        Reason::MaintenanceWindowClosed,
        "data is 85 % full: should grow, but the maintenance window is closed",
    )
    .json();
    data["timeToFull"] = json!("31h");
    data["limit"] = json!("90Gi");
    let wal = Said {
        limit: Some("50Gi"),
        ..Said::balanced("8Gi", "wal is 25 % full: nothing to do up to 75 %")
    };
    let grown = [(82_000, "26Gi", "30Gi"), (50_000, "30Gi", "36Gi"), (9_000, "36Gi", "40Gi")];
    let fixture = fixture
        .cluster("app", 2)
        .pvc("app", 1, "data", "40Gi", "40Gi")
        .pvc("app", 2, "data", "40Gi", "40Gi")
        .pvc("app", 1, "wal", "8Gi", "8Gi")
        .pvc("app", 2, "wal", "8Gi", "8Gi")
        .storage(
            "app",
            &json!({"data": data, "wal": wal.json()}),
            &json!({
                "app-1": {"dataVolume": disk(Disk(34 * GIB + 100 * MIB, 5 * GIB + 700 * MIB, 22)), "walVolume": disk(Disk(2 * GIB, 5 * GIB + 900 * MIB, 22))},
                "app-2": {"dataVolume": disk(Disk(34 * GIB, 5 * GIB + 800 * MIB, 33)), "walVolume": disk(Disk(GIB + 300 * MIB, 6 * GIB + 600 * MIB, 33))},
            }),
        )
        .policy(
            "default",
            &json!({
                "storage": {"request": "12Gi", "limit": "90Gi", "targetBuffer": 15,
                    "maintenanceWindow": {"schedule": "0 3 * * *", "duration": "90m", "timezone": "UTC"},
                    "emergencyGrow": {"maxActionsPerDay": 5, "reservedActionsForEmergency": 1}},
                "walStorage": {"resize": {"enabled": true, "triggers": {"usageThreshold": 75, "minAvailable": "900Mi"},
                    "expansion": {"step": "30%", "limit": "50Gi"}, "strategy": {"mode": "Predictive"}}, "targetBuffer": 25},
            }),
        );
    grown.into_iter().fold(fixture, |fixture, (age, from, to)| {
        let done = [
            pvc_status("app-2", "Completed", from, to, Some("filesystem")),
            pvc_status("app-1", "Completed", from, to, Some("filesystem")),
        ];
        fixture.event(&expansion("app", from, to, age, &json!("Completed"), &json!(done)))
    })
}

fn expansion(cluster: &str, from: &str, to: &str, age: i64, phase: &Value, pvcs: &Value) -> Value {
    let stamp = ago(age);
    let affected: Vec<_> = pvcs
        .as_array()
        .expect("a list")
        .iter()
        .map(|p| json!({"name": p["name"], "uid": p["uid"], "instance": p["name"], "originalSize": from}))
        .collect();
    let over = phase == "Completed";
    json!({
        "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "StorageEvent",
        "metadata": {"namespace": NAMESPACE, "name": format!("{cluster}-expansion-{}-{}-9k2m", stamp[..10].replace('-', ""), stamp[11..19].replace(':', "")),
            "creationTimestamp": stamp},
        "spec": {"clusterRef": {"name": cluster, "uid": format!("uid-{cluster}")}, "eventType": "expansion", "trigger": "threshold-breach",
            "volume": {"role": "data"}, "reason": "UsageThreshold", "message": "it was full",
            "expansion": {"originalSize": from, "requestedSize": to, "parallelism": 1, "affectedPVCs": affected}},
        "status": {"phase": phase, "startTime": stamp, "completionTime": over.then(|| ago(age - 95)), "pvcStatuses": pvcs},
    })
}

fn pvc_status(name: &str, phase: &str, from: &str, size: &str, by: Option<&str>) -> Value {
    json!({"name": name, "uid": format!("uid-{name}"), "phase": phase, "originalSize": from, "newSize": size, "verifiedBy": by, "patchedAt": ago(65)})
}
