//! What a Cluster has to do with all others: nothing but its status shows it, and `explain` believes that.

use csm_api::Reason;
use csm_core::explain::sentence;
use csm_core::world::VolumeKey;
use kubectl_cnpg_storage::thought::think;
use serde_json::{Value, json};

use crate::fixture::{Disk, Fixture, GIB, ago, disk, now, of};

/// A Cluster at 90 % whose manager says this of it: its breaker, its last decision, and what that rests on.
fn decided(breaker: &Value, reason: &str, inputs: &Value) -> (Reason, String) {
    let sizing = json!({"data": {"effectiveSize": "10Gi", "targetSize": "15Gi", "limit": "100Gi", "actualSizes": {}, "state": "Blocked",
        "lastDecision": {"verdict": "Hold", "reason": reason, "urgency": "planned", "wanted": "15Gi", "inputs": inputs,
            "message": "as it was", "at": ago(30)}}});
    let mut fixture = Fixture::new()
        .cluster("orders", 1)
        .pvc("orders", 1, "data", "10Gi", "10Gi")
        .storage(
            "orders",
            &sizing,
            &json!({"orders-1": {"dataVolume": disk(Disk(9 * GIB, GIB, 20))}}),
        )
        .policy("default", &json!({"expansion": {"maxSize": "100Gi"}}));
    let status = fixture.facts.storages[0].status.as_mut().expect("a status");
    status.circuit_breaker = (!breaker.is_null()).then(|| of(breaker.clone()));
    let thought = think(&fixture.facts, &fixture.details, now()).expect("a cluster");
    let decision = thought.decision(&VolumeKey::DATA).expect("a decision");
    (decision.reason, sentence(decision))
}

#[test]
fn the_breaker_of_all_clusters_is_known_by_the_status() {
    let none = json!({});
    let (reason, _) = decided(
        &json!({"scope": "per-cluster", "state": "Closed", "failures": 0}),
        "Cooldown",
        &none,
    );
    assert_eq!(reason, Reason::UsageThreshold, "nothing holds it");

    let failed = json!({"scope": "global", "state": "Open", "failures": 4, "openedAt": ago(600), "resetsAt": ago(-3000)});
    let (reason, said) = decided(&failed, "CircuitOpen", &none);
    assert_eq!(reason, Reason::CircuitOpen);
    let expected =
        "the circuit breaker of the whole fleet is open, since 4 growths failed in a row; one is tried again at 2026-03-01T12:50:00Z";
    assert!(said.contains(expected), "{said}");

    let runaway = json!({"scope": "global", "state": "Open", "failures": 0, "openedAt": ago(600)});
    let (reason, said) = decided(&runaway, "CircuitOpen", &none);
    assert_eq!(reason, Reason::CircuitOpen);
    assert!(
        said.contains("since too large a share of all managed Clusters grew within an hour"),
        "{said}"
    );

    // Half open: one may try, and where the manager holds this one, another does.
    let half = json!({"scope": "global", "state": "HalfOpen", "failures": 4, "openedAt": ago(6000), "resetsAt": ago(60)});
    assert_eq!(decided(&half, "Cooldown", &none).0, Reason::UsageThreshold);
    assert_eq!(decided(&half, "CircuitOpen", &none).0, Reason::CircuitOpen);
}

#[test]
fn the_limit_of_the_fleet_is_known_by_the_last_decision() {
    let inputs = json!({"resizesInProgress": "7", "fleetLimit": "7", "clustersAhead": "2"});
    let (reason, said) = decided(&json!(null), "FleetLimit", &inputs);
    assert_eq!(reason, Reason::FleetLimit);
    let expected = "7 resizes are under way in the fleet, 2 Clusters wait that are full sooner, and there may be 7 at a time";
    assert!(said.contains(expected), "{said}");

    let of_class = json!({"resizesInProgress": "3", "fleetLimit": "3", "storageClass": "fast"});
    let (reason, said) = decided(&json!(null), "FleetLimit", &of_class);
    assert_eq!(reason, Reason::FleetLimit);
    assert!(said.contains("3 resizes are under way in the storage class fast"), "{said}");

    assert_eq!(
        decided(&json!(null), "FleetLimit", &json!({})).0,
        Reason::UsageThreshold,
        "it says nothing that could be believed"
    );
}
