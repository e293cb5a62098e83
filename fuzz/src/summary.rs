//! The kubelet's summary: the parser that skips and borrows reads the same figures as one that reads everything.

use std::borrow::Cow;

use csm_core::world::{Inodes, Observation};
use csm_gather::summary::{Figure, parse};
use csm_units::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// An answer of `/stats/summary`.
pub(crate) fn run(data: &[u8]) {
    let parsed = parse(data);
    // What is no JSON as a whole (a broken text where nobody looks) may be skipped or refused.
    let Ok(tree) = serde_json::from_slice::<Value>(data) else { return };
    let Ok(expected) = summary(&tree) else {
        assert!(parsed.is_err(), "figures of what is no summary: {parsed:?}");
        return;
    };
    // A key that is there twice is refused, and the tree cannot show it: the same without it.
    let printed = tree.to_string();
    let again = parse(printed.as_bytes());
    assert_eq!(again.as_ref().ok(), Some(&expected), "{again:?}");
    if let Ok(figures) = parsed {
        assert_eq!(figures.len(), expected.len());
    }
}

/// Not of the type that it must have.
struct Refused;

/// The figures in a tree, by the rules of `summary::parse`: what it leaves out, and what it refuses.
fn summary(tree: &Value) -> Result<Vec<Figure<'_>>, Refused> {
    let mut figures = Vec::new();
    for pod in list(map(tree)?.get("pods").ok_or(Refused)?)? {
        for volume in optional(map(pod)?, "volume", list)?.into_iter().flatten() {
            figures.extend(figure(map(volume)?)?);
        }
    }
    Ok(figures)
}

fn figure(volume: &Map<String, Value>) -> Result<Option<Figure<'_>>, Refused> {
    let number = |key| optional(volume, key, |v| v.as_u64().ok_or(Refused));
    let at = optional(volume, "time", |v| text(v)?.parse::<Timestamp>().map_err(|_| Refused))?;
    let (available, capacity, used) = (number("availableBytes")?, number("capacityBytes")?, number("usedBytes")?);
    let (inodes, inodes_used) = (number("inodes")?, number("inodesUsed")?);
    let claim = optional(volume, "pvcRef", |v| {
        let claim = map(v)?;
        let part = |key| claim.get(key).ok_or(Refused).and_then(text);
        Ok((part("namespace")?, part("name")?))
    })?;
    let (Some((namespace, name)), Some(used), Some(available), Some(at)) = (claim, used, available, at) else {
        return Ok(None);
    };
    if used == 0 && available == 0 {
        return Ok(None);
    }
    let inodes = match (inodes, inodes_used) {
        (Some(total), Some(used)) if total > 0 => Some(Inodes { total, used }),
        _ => None,
    };
    Ok(Some(Figure {
        namespace: Cow::Borrowed(namespace),
        name: Cow::Borrowed(name),
        observation: Observation {
            used: Bytes::new(used),
            available: Bytes::new(available),
            capacity: capacity.map_or(Bytes::new(used).saturating_add(Bytes::new(available)), Bytes::new),
            inodes,
            at,
        },
    }))
}

fn optional<'a, T>(of: &'a Map<String, Value>, key: &str, read: impl Fn(&'a Value) -> Result<T, Refused>) -> Result<Option<T>, Refused> {
    match of.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some),
    }
}

fn map(value: &Value) -> Result<&Map<String, Value>, Refused> {
    value.as_object().ok_or(Refused)
}

fn list(value: &Value) -> Result<&Vec<Value>, Refused> {
    value.as_array().ok_or(Refused)
}

fn text(value: &Value) -> Result<&str, Refused> {
    value.as_str().ok_or(Refused)
}
