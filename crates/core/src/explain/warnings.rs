//! What a person should know besides the verdict.

use csm_api::{Reason, annotation};

use super::figures::and;
use super::settings::{ceiling, own};
use crate::decision::{Decision, Warning};

/// Each warning of a decision, in words.
#[must_use]
pub fn warnings(decision: &Decision) -> Vec<String> {
    decision.warnings.iter().map(|warning| words(warning, decision)).collect()
}

fn words(Warning { reason, members }: &Warning, decision: &Decision) -> String {
    let (names, several) = (and(members), members.len() > 1);
    match reason {
        Reason::MemberAboveLimit => {
            let (is, asides) = if several { ("are", "they are") } else { ("is", "it is") };
            let ceiling = decision.ceiling.map_or_else(String::new, |_| format!(" of {}", ceiling(decision)));
            format!(
                "{names} {is} larger than the ceiling{ceiling}: {asides} set aside, and the others do not grow to that size; raise the ceiling to have them do so"
            )
        }
        Reason::MemberNotObserved => {
            let (has, pods) = if several {
                ("have", "their pods run")
            } else {
                ("has", "its pod runs")
            };
            format!("{names} {has} no fresh figures, and the volume is judged by the others; see whether {pods}")
        }
        Reason::WalHealthUnknown => format!(
            "nothing is known of WAL archiving and replication slots, so {} holds nothing; see whether the primary runs, and whether the manager can reach port 8000 of its pod",
            own(decision, "resize.strategy.walSafetyPolicy")
        ),
        Reason::FieldIgnored => {
            let fields: Vec<String> = decision.facts.ignored.iter().map(|field| own(decision, field)).collect();
            let (has, them) = if fields.len() > 1 { ("have", "them") } else { ("has", "it") };
            let model = decision.model.map_or("another", |model| model.as_str());
            format!(
                "{} {has} no effect in model {model}; remove {them}, or set {} to the model that is meant",
                and(&fields),
                own(decision, "model")
            )
        }
        Reason::PauseUnreadable => {
            let text = decision.facts.pause.as_deref().unwrap_or_default();
            format!(
                "the annotation {} says {text:?}, which is neither \"true\" nor \"false\": it counts as a pause; write one of them, or remove it",
                annotation::PAUSED
            )
        }
        other => other.to_string(),
    }
}
