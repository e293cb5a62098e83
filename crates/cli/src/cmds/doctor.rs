//! `doctor`: what is wrong around one cluster, or all of them, and how to mend it.

use serde::Serialize;

use super::{Answer, View, exit_status};
use crate::doctor::{Diagnosis, Subject, examine};
use crate::error::Error;
use crate::read::{Details, Facts, Surroundings};
use crate::render;
use crate::thought::think;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfCluster<'a> {
    namespace: &'a str,
    cluster: &'a str,
    #[serde(flatten)]
    diagnosis: &'a Diagnosis,
    notes: &'a [String],
}

/// What is wrong around the one cluster of `facts`.
///
/// # Errors
/// Where the answer cannot be written in the form that was asked for.
pub fn doctor(facts: &Facts, details: &Details, surroundings: &Surroundings, check: bool, view: &View) -> Result<Answer, Error> {
    let Some(thought) = think(facts, details, view.now) else {
        return Ok(Answer::default());
    };
    let diagnosis = examine(&Subject {
        facts,
        details,
        surroundings,
        thought: &thought,
        now: view.now,
    });
    let key = &thought.world.cluster.key;
    // Whether the manager runs is a finding of its own.
    let notes: Vec<String> = facts
        .gaps
        .iter()
        .map(|gap| format!("{}: {}; {}", gap.what, gap.why, gap.means))
        .collect();
    let data = OfCluster {
        namespace: &key.namespace,
        cluster: &key.name,
        diagnosis: &diagnosis,
        notes: &notes,
    };
    let text = view.write(&data, |page| render::doctor(&key.name, &key.namespace, &diagnosis, page))?;
    Ok(Answer {
        text,
        notes,
        status: exit_status(check, diagnosis.needs_person()),
        ..Answer::default()
    })
}
