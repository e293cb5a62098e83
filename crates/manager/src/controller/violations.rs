//! Plans that violate an invariant, each told once: the look at a Cluster finds the same one again and again.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use csm_api::EventReason;
use csm_core::world::ClusterKey;

use crate::apply::{Note, Severity};

/// What was told of each Cluster.
#[derive(Default)]
pub(super) struct Violations(Mutex<HashMap<ClusterKey, String>>);

impl Violations {
    /// The Event of the violations of a plan; none where the plan has none, or the same were told before.
    pub fn news(&self, key: &ClusterKey, violations: &[impl Display]) -> Option<Note> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if violations.is_empty() {
            told.remove(key);
            return None;
        }
        let each: Vec<String> = violations.iter().map(ToString::to_string).collect();
        let text = each.join("; ");
        let before = told.insert(key.clone(), text.clone());
        (before.as_ref() != Some(&text)).then(|| Note {
            severity: Severity::Warning,
            reason: EventReason::AutoResizeBlocked,
            message: format!("Nothing of this Cluster is grown, for a bug in the storage manager: its plan violates an invariant: {text}. Please report it"),
        })
    }

    /// A Cluster is gone.
    pub fn forget(&self, key: &ClusterKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_is_told_once_and_again_when_it_comes_back() {
        let violations = Violations::default();
        let key = ClusterKey {
            namespace: "shop".into(),
            name: "orders".into(),
        };
        let told = |violated: &[&str]| violations.news(&key, violated).map(|note| note.message);
        assert!(told(&["shrinks"]).is_some_and(|message| message.contains("an invariant: shrinks. ")));
        assert_eq!(told(&["shrinks"]), None);
        assert!(told(&["shrinks", "passes the ceiling"]).is_some());
        assert_eq!(told(&[]), None);
        assert!(told(&["shrinks"]).is_some());
        violations.forget(&key);
        assert!(told(&["shrinks"]).is_some());
    }
}
