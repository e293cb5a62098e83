//! `status`: all clusters, or one.

use jiff::Timestamp;
use serde::Serialize;

use super::fleet::{One, Shown};
use super::{Answer, View, exit_status, notes};
use crate::error::Error;
use crate::explanation::{DynamicSizing, Explanation, OperationReport, Setting, explain};
use crate::read::{Details, Facts, Scope};
use crate::render;
use crate::report::{ClusterReport, fleet};
use crate::thought::think;

/// What programs get of one cluster.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained<'a> {
    #[serde(flatten)]
    cluster: &'a ClusterReport,
    dynamic_sizing: &'a DynamicSizing,
    settings: &'a [Setting],
    operations: Vec<&'a OperationReport>,
    figures_observed_at: Option<Timestamp>,
}

/// All clusters in scope, the most endangered first.
///
/// # Errors
/// Where the answer cannot be written in the form that was asked for.
pub fn table(facts: &Facts, scope: &Scope, check: bool, view: &View) -> Result<Answer, Error> {
    let shown = Shown {
        is_needy: |cluster: &ClusterReport| !cluster.needs_person.is_empty(),
        more: "status CLUSTER says more, explain CLUSTER all",
        text: render::fleet,
    };
    shown.answer(&fleet(facts, view.now), facts, scope, check, view)
}

/// One cluster in detail.
///
/// # Errors
/// Where the answer cannot be written in the form that was asked for.
pub fn one(facts: &Facts, details: &Details, check: bool, view: &View) -> Result<Answer, Error> {
    let reports = fleet(facts, view.now);
    let thought = think(facts, details, view.now);
    let (Some(report), Some(thought)) = (reports.first(), thought) else {
        return Ok(Answer::default());
    };
    let explanation: Explanation = explain(facts, &thought, view.now);
    let notes = notes(facts, view.now);
    let data = One {
        manager: &facts.manager,
        notes: &notes,
        cluster: Explained {
            cluster: report,
            dynamic_sizing: &explanation.dynamic_sizing,
            settings: &explanation.settings,
            operations: explanation.volumes.iter().filter_map(|v| v.operation.as_ref()).collect(),
            figures_observed_at: explanation.observed_at,
        },
    };
    let text = view.write(&data, |page| render::cluster(report, &explanation, page))?;
    Ok(Answer {
        text,
        notes,
        status: exit_status(check, !report.needs_person.is_empty() || facts.manager.is_away()),
        ..Answer::default()
    })
}
