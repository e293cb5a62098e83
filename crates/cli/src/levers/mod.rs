//! The manual levers: what each writes, from what is there. Pure.

mod expand;
mod relieve;

use std::collections::BTreeMap;

use csm_api::annotation;
use csm_core::world::Pause;
use jiff::Timestamp;
use serde::Serialize;

use crate::render::moment_and_age;

pub use expand::{Asked, Expansion, Member, Passed, ask};
pub use relieve::{Relief, ReliefAsked, ask_relief};

/// The annotations of an object.
pub type Annotations = BTreeMap<String, String>;

/// What a lever does to annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What was, in words.
    pub before: String,
    /// What is then, in words.
    pub after: String,
    /// The annotations that are written; none: removed. Empty where all is as it should be.
    pub writes: BTreeMap<&'static str, Option<String>>,
}

/// What a lever did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lever {
    /// The object: "Cluster shop/orders".
    pub object: String,
    /// What was.
    pub before: String,
    /// What is now.
    pub after: String,
    /// Whether anything had to be written.
    pub changed: bool,
    /// Whether it was only tried: "client" or "server".
    pub dry_run: Option<&'static str>,
    /// The annotations as written; null is removed.
    pub annotations: BTreeMap<&'static str, Option<String>>,
    /// What follows, a sentence each.
    pub follows: Vec<String>,
}

/// Those of `wanted` that are not so yet.
fn writes(there: &Annotations, wanted: [(&'static str, Option<String>); 3]) -> BTreeMap<&'static str, Option<String>> {
    let differs = |(name, value): &(&'static str, Option<String>)| there.get(*name) != value.as_ref();
    wanted.into_iter().filter(differs).collect()
}

fn describe(annotations: &Annotations, now: Timestamp) -> String {
    let get = |name: &str| annotations.get(name).map(String::as_str);
    let pause = Pause::read(get(annotation::PAUSED), get(annotation::PAUSE_UNTIL));
    let why = get(annotation::PAUSE_REASON).map_or_else(String::new, |why| format!(": {why}"));
    match pause {
        Pause::No => "not paused".to_owned(),
        Pause::Paused { until: Some(until), .. } if until <= now => {
            format!("not paused any more, since the pause ended at {}", moment_and_age(until, now))
        }
        Pause::Paused { until: Some(until), .. } => format!("paused until {}{why}", moment_and_age(until, now)),
        Pause::Paused { until: None, .. } => format!("paused until it is resumed{why}"),
    }
}

/// Pauses, until a moment or until it is resumed. What is not given is removed.
#[must_use]
pub fn pause(there: &Annotations, until: Option<Timestamp>, reason: Option<&str>, now: Timestamp) -> Change {
    let wanted = [
        (annotation::PAUSED, Some("true".to_owned())),
        (annotation::PAUSE_UNTIL, until.map(|at| at.to_string())),
        (annotation::PAUSE_REASON, reason.map(str::to_owned)),
    ];
    change(there, wanted, now)
}

/// Ends a pause.
#[must_use]
pub fn resume(there: &Annotations, now: Timestamp) -> Change {
    let wanted = [annotation::PAUSED, annotation::PAUSE_UNTIL, annotation::PAUSE_REASON];
    change(there, wanted.map(|name| (name, None)), now)
}

fn change(there: &Annotations, wanted: [(&'static str, Option<String>); 3], now: Timestamp) -> Change {
    let wanted_all = wanted.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?)));
    Change {
        before: describe(there, now),
        after: describe(&wanted_all.collect(), now),
        writes: writes(there, wanted),
    }
}

/// Asks the manager to close a circuit breaker.
#[must_use]
pub fn reset_breaker(there: &Annotations) -> Change {
    let asked = there.get(annotation::RESET_CIRCUIT_BREAKER).is_some_and(|value| value == "true");
    let reset = (annotation::RESET_CIRCUIT_BREAKER, Some("true".to_owned()));
    Change {
        before: if asked {
            "a reset was asked for, and waits for the manager"
        } else {
            "no reset was asked for"
        }
        .to_owned(),
        after: "a reset is asked for".to_owned(),
        writes: if asked { BTreeMap::new() } else { BTreeMap::from([reset]) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-03-01T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn annotations(pairs: &[(&str, &str)]) -> Annotations {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    /// What the API server makes of a merge patch.
    fn written(mut there: Annotations, change: &Change) -> Annotations {
        for (name, value) in &change.writes {
            match value {
                Some(value) => there.insert((*name).to_owned(), value.clone()),
                None => there.remove(*name),
            };
        }
        there
    }

    #[test]
    fn a_pause_is_written_once_and_taken_back_whole() {
        let before = annotations(&[("team", "a"), (annotation::PAUSE_REASON, "old")]);
        let until = Some(at("2026-03-01T14:00:00Z"));
        let paused = pause(&before, until, Some("a move"), at(NOW));
        assert_eq!(paused.before, "not paused");
        assert_eq!(paused.after, "paused until 2026-03-01T14:00:00Z (in 120m): a move");
        let there = written(before, &paused);
        assert!(pause(&there, until, Some("a move"), at(NOW)).writes.is_empty(), "idempotent");
        let read = Pause::read(
            there.get(annotation::PAUSED).map(String::as_str),
            there.get(annotation::PAUSE_UNTIL).map(String::as_str),
        );
        assert!(read.in_force(at("2026-03-01T13:59:59Z")) && !read.in_force(at("2026-03-01T14:00:00Z")));

        let for_good = pause(&there, None, None, at(NOW));
        assert_eq!(for_good.after, "paused until it is resumed");
        assert_eq!(for_good.writes.values().filter(|value| value.is_none()).count(), 2);

        let resumed = resume(&there, at("2026-03-02T00:00:00Z"));
        assert!(
            resumed
                .before
                .starts_with("not paused any more, since the pause ended at 2026-03-01T14:00:00Z")
        );
        let there = written(there, &resumed);
        assert_eq!(there, annotations(&[("team", "a")]), "what is not ours stays");
        assert!(resume(&there, at(NOW)).writes.is_empty(), "idempotent");
    }

    #[test]
    fn a_reset_is_asked_for_once() {
        let first = reset_breaker(&annotations(&[(annotation::RESET_CIRCUIT_BREAKER, "no")]));
        assert_eq!(first.writes.len(), 1);
        let there = written(Annotations::new(), &first);
        assert!(reset_breaker(&there).writes.is_empty());
    }
}
