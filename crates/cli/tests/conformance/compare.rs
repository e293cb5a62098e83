//! The comparison of what is printed with an expectation: objects by the keys that are given, lists by length and
//! order, sizes by value.

use csm_units::Bytes;
use serde_json::Value;

/// Notes where the decision that an expectation is about is not what it says.
pub fn decision(expected: &Value, decisions: &Value, differences: &mut Vec<String>) {
    let about = |d: &&Value| {
        let cluster = format!("{}/{}", text(&d["namespace"]), text(&d["cluster"]));
        cluster == text(&expected["cluster"]) && d["volume"] == expected["volume"]
    };
    let name = format!("{} {}", text(&expected["cluster"]), text(&expected["volume"]));
    let Some(actual) = decisions.as_array().and_then(|all| all.iter().find(about)) else {
        return differences.push(format!("{name}: there is no decision on it"));
    };
    let Value::Object(expected) = expected else { return };
    for (key, value) in expected.iter().filter(|(key, _)| *key != "cluster") {
        match actual.get(key) {
            Some(found) => compare(&format!("{name}: {key}"), value, found, differences),
            None => differences.push(format!("{name}: {key}: there is no such key")),
        }
    }
}

fn compare(path: &str, expected: &Value, actual: &Value, differences: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (key, value) in expected {
                let path = format!("{path}.{key}");
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
    let last = path.rsplit(['.', ' ']).next().unwrap_or(path);
    matches!(last, "from" | "to" | "request")
}

fn size(value: &Value) -> Option<Bytes> {
    serde_json::from_value(value.clone()).ok()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
