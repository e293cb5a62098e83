//! The conditions of a PostgresStorage.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Condition, ConditionStatus};

use crate::expect::Expect;

/// Conditions of a healthy, managed cluster.
const CONDITIONS: [(&str, bool); 8] = [
    ("Ready", true),
    ("Healthy", true),
    ("PolicyResolved", true),
    ("Conflicting", false),
    ("Resizing", false),
    ("Blocked", false),
    ("CircuitOpen", false),
    ("MetricsFresh", true),
];

/// Part of I6: the conditions of a managed cluster are right.
pub fn are_right(found: &[Condition], expect: &Expect) -> Result<()> {
    // What is said of it stands over what is so elsewhere.
    let wanted: BTreeMap<&str, bool> = CONDITIONS.iter().chain(expect.conditions).copied().collect();
    for (name, wanted) in wanted {
        let condition = found
            .iter()
            .find(|c| c.type_ == name)
            .with_context(|| format!("there is no condition {name}"))?;
        let right = condition.status == ConditionStatus::from(wanted);
        ensure!(right, "the condition {name} should be {wanted}: {condition:?}");
        ensure!(
            !condition.reason.is_empty() && !condition.message.is_empty(),
            "{condition:?} says nothing"
        );
    }
    Ok(())
}
