//! `explain`: what the planner would do now, and why not more.

use csm_gather::offline::{Offline, Subject};
use serde::Serialize;

use super::plan::INVALID;
use super::{Answer, View, notes};
use crate::decisions::InvalidBlock;
use crate::error::Error;
use crate::explanation::{Explanation, explain as explained};
use crate::read::{Details, Facts, Manager, near};
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
    let mut notes = notes(facts, view.now);
    notes.extend(hidden(facts, &thought));
    page(facts, &thought, notes, view)
}

/// The same of a cluster that files describe.
///
/// # Errors
/// Where the files have no such cluster, or the answer cannot be written in the form that was asked for.
pub fn explain_file(offline: &Offline, namespace: Option<&str>, name: &str, view: &View) -> Result<Answer, Error> {
    let subject = find(offline, namespace, name)?;
    let thought = Thought::of_subject(subject, offline.now);
    let facts = Facts {
        clusters: vec![subject.object.clone()],
        storages: subject.snapshot.storage.iter().map(|s| (**s).clone()).collect(),
        manager: Manager::NotAsked,
        ..Facts::default()
    };
    let mut notes = offline.notes.clone();
    notes.extend(hidden(&facts, &thought));
    let mut answer = page(&facts, &thought, notes, view)?;
    let of_it = offline.problems.iter().filter(|p| p.cluster == subject.world.cluster.key);
    answer.problems = of_it.map(|p| InvalidBlock::of(p).line()).collect();
    if !answer.problems.is_empty() {
        answer.status = INVALID;
    }
    Ok(answer)
}

/// The one cluster of this name.
fn find<'a>(offline: &'a Offline, namespace: Option<&str>, name: &str) -> Result<&'a Subject, Error> {
    let key = |s: &'a Subject| &s.world.cluster.key;
    let named: Vec<&Subject> = offline.subjects.iter().filter(|s| *key(s).name == *name).collect();
    let here = named.iter().find(|s| namespace.is_none_or(|n| *key(s).namespace == *n));
    let among = |subjects: &[&'a Subject]| {
        let namespaces: Vec<&str> = subjects.iter().map(|s| &*key(s).namespace).collect();
        namespaces.join(", ")
    };
    match (here, namespace) {
        (Some(_), None) if named.len() > 1 => Err(Error::NotInFiles {
            what: format!("more than one Cluster {name}, in each of the namespaces {}", among(&named)),
            remedy: "; choose one with -n".to_owned(),
        }),
        (Some(subject), _) => Ok(subject),
        (None, Some(namespace)) if !named.is_empty() => Err(Error::NotInFiles {
            what: format!("no Cluster {name} in namespace {namespace}, but in {}", among(&named)),
            remedy: "; choose that with -n".to_owned(),
        }),
        (None, _) => {
            let names: Vec<String> = offline.subjects.iter().map(|s| key(s).name.to_string()).collect();
            let near = near(name, &names);
            Err(Error::NotInFiles {
                what: format!("no CNPG Cluster {name}"),
                remedy: if near.is_empty() {
                    "; plan lists those that there are".to_owned()
                } else {
                    format!("; did you mean {}?", near.join(" or "))
                },
            })
        }
    }
}

fn page(facts: &Facts, thought: &Thought, notes: Vec<String>, view: &View) -> Result<Answer, Error> {
    let explanation = explained(facts, thought, view.now);
    let data = WithNotes {
        notes: &notes,
        explanation: &explanation,
    };
    let text = view.write(&data, |page| render::explanation(&explanation, page))?;
    Ok(Answer {
        text,
        notes,
        ..Answer::default()
    })
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
