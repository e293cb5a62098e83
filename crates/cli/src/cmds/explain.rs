//! `explain`: what the planner would do now, and why not more.

use serde::Serialize;

use super::{Answer, View, notes};
use crate::error::Error;
use crate::explanation::{Explanation, explain as explained};
use crate::read::{Details, Facts};
use crate::render;
use crate::thought::{Thought, think};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WithNotes<'a> {
    notes: &'a [String],
    #[serde(flatten)]
    explanation: &'a Explanation,
}

/// What the planner would do now with each volume of one cluster.
///
/// # Errors
/// Where the answer cannot be written in the form that was asked for.
pub fn explain(facts: &Facts, details: &Details, view: &View) -> Result<Answer, Error> {
    let Some(thought) = think(facts, details, view.now) else {
        return Ok(Answer::default());
    };
    let explanation = explained(facts, &thought, view.now);
    let mut notes = notes(facts, view.now);
    notes.extend(hidden(facts, &thought));
    let data = WithNotes {
        notes: &notes,
        explanation: &explanation,
    };
    let text = view.write(&data, |page| render::explanation(&explanation, page))?;
    Ok(Answer { text, notes, status: 0 })
}

/// What the manager knows and the API server does not show.
fn hidden(facts: &Facts, thought: &Thought) -> Vec<String> {
    let mut notes = Vec::new();
    if thought.rests_on_defaults() {
        notes.push(
            "\"built in\" stands where no object sets a field; the manager's own defaults come before that, and cannot be seen from here"
                .to_owned(),
        );
    }
    // A decision of the manager's shows one of its settings.
    let fields = thought.fields();
    let ours = fields.iter().find(|(name, _, _)| *name == THRESHOLD);
    let status = facts.storages.first().and_then(|s| s.status.as_ref());
    let sizing = status.and_then(|s| s.storage_sizing.as_ref()).and_then(|s| s.data.as_ref());
    let its = sizing.and_then(|s| s.last_decision.inputs.get(THRESHOLD));
    if let (Some((_, ours, _)), Some(its)) = (ours, its)
        && ours != its
    {
        notes.push(format!(
            "the manager's last decision rests on {THRESHOLD}: {its}, not {ours}: its own defaults differ, or the policies have changed since"
        ));
    }
    notes
}

const THRESHOLD: &str = "thresholds.expansion";
