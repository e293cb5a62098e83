//! Figures of kubelets' summaries.

use std::collections::BTreeMap;

use csm_core::world::Observation;
use jiff::Timestamp;

use super::File;
use super::mistake::Mistake;
use super::tree::Place;
use crate::summary;

/// The figures of each PVC, by namespace and name, oldest first.
pub(super) type Figures = BTreeMap<(String, String), Vec<Observation>>;

/// Reads all summaries: of many nodes, of many moments.
pub(super) fn figures(files: &[File], mistakes: &mut Vec<Mistake>) -> Figures {
    let mut figures = Figures::new();
    for file in files {
        match summary::parse(&file.text) {
            Ok(found) => {
                for figure in found {
                    let key = (figure.namespace.into_owned(), figure.name.into_owned());
                    figures.entry(key).or_default().push(figure.observation);
                }
            }
            Err(error) => {
                let column = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
                let at = (error.line() > 0).then(|| Place {
                    line: column(error.line()),
                    column: column(error.column()),
                });
                let said = error.to_string();
                let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
                let message = format!("not an answer of a kubelet's /stats/summary: {said}");
                mistakes.push(Mistake::new(&file.name, at, message));
            }
        }
    }
    for all in figures.values_mut() {
        all.sort_by_key(|o| o.at);
        all.dedup();
    }
    figures
}

/// When the newest was taken.
pub(super) fn newest(figures: &Figures) -> Option<Timestamp> {
    figures.values().flatten().map(|o| o.at).max()
}

/// What is known at a moment: the figures until then, oldest first, each with the namespace and name of its PVC. Of a PVC
/// whose figures are all from later, the oldest, as if taken now.
pub(super) fn until(figures: &Figures, now: Timestamp) -> Vec<((&str, &str), Observation)> {
    let mut known = Vec::new();
    for ((namespace, name), all) in figures {
        let until = all.partition_point(|o| o.at <= now).max(1);
        known.extend(all.iter().take(until).map(|o| {
            let mut observation = *o;
            observation.at = observation.at.min(now);
            ((namespace.as_str(), name.as_str()), observation)
        }));
    }
    known.sort_by_key(|(_, observation)| observation.at);
    known
}
