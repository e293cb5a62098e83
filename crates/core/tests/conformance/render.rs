//! A decision in the words of `plan -o json`, and the comparison of it with an expectation.

use csm_core::plan::{Decision, time_to_full};
use csm_core::world::World;
use csm_units::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The keys of an expectation, for one decision.
pub fn decision(world: &World, now: Timestamp, d: &Decision) -> Value {
    let wanted = d
        .wanted
        .map(|w| json!({"reason": w.reason, "urgency": w.urgency, "to": w.to, "heldBy": w.held_by}));
    let members: Vec<Value> = d
        .members
        .iter()
        .map(|m| json!({"name": &*m.instance, "request": m.request, "to": m.to}))
        .collect();
    let warnings: Vec<Value> = d
        .warnings
        .iter()
        .map(|w| json!({"reason": w.reason, "members": w.members.iter().map(|m| &**m).collect::<Vec<&str>>()}))
        .collect();
    json!({
        "cluster": world.cluster.key.to_string(),
        "volume": d.volume.to_string(),
        "model": d.model,
        "verdict": d.verdict,
        "reason": d.reason,
        "urgency": d.urgency,
        "state": d.state,
        "from": d.from,
        "to": d.to,
        "wanted": wanted,
        "passed": d.passed,
        "atLimit": d.at_limit,
        "members": members,
        "worst": d.worst.as_deref(),
        "percentUsed": d.percent_used,
        "timeToFullSeconds": time_to_full(world, now, &d.volume).map(|t| t.as_secs()),
        "nextActionAt": d.next_action_at,
        "budget": {"actionsLast24h": d.budget.actions_last_24h, "availableForPlanned": d.budget.available_for_planned, "availableForEmergency": d.budget.available_for_emergency, "resetsAt": d.budget.resets_at},
        "warnings": warnings,
    })
}

/// Notes where `actual` is not what is expected: objects by the keys that are given, lists by length and
/// order, sizes by value.
pub fn compare(path: &str, expected: &Value, actual: &Value, differences: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (key, value) in expected {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match actual.get(key) {
                    Some(found) => compare(&path, value, found, differences),
                    None => differences.push(format!("{path}: there is no such key")),
                }
            }
        }
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            for (i, (e, a)) in expected.iter().zip(actual).enumerate() {
                compare(&format!("{path}[{i}]"), e, a, differences);
            }
        }
        _ if is_size(path) && size(expected) == size(actual) => {}
        _ if expected == actual => {}
        _ => differences.push(format!("{path}: expected {expected}, found {actual}")),
    }
}

fn is_size(path: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or(path);
    matches!(last, "from" | "to" | "request")
}

fn size(value: &Value) -> Option<Bytes> {
    serde_json::from_value(value.clone()).ok()
}
