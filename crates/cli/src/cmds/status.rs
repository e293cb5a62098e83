//! `status`: all clusters, or one.

use jiff::Timestamp;
use serde::Serialize;

use super::{Answer, View, exit_status, notes};
use crate::error::Error;
use crate::explanation::{DynamicSizing, Explanation, OperationReport, Setting, explain};
use crate::read::{Details, Facts, Manager, Scope};
use crate::render;
use crate::report::{ClusterReport, fleet};
use crate::thought::think;

/// What programs get of all clusters.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fleet<'a> {
    manager: &'a Manager,
    notes: &'a [String],
    clusters: &'a [ClusterReport],
}

/// What programs get of one cluster.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct One<'a> {
    manager: &'a Manager,
    notes: &'a [String],
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
    let clusters = fleet(facts, view.now);
    let mut notes = notes(facts, view.now);
    if clusters.is_empty() {
        notes.insert(0, format!("there are no CNPG Clusters in {scope}"));
    }
    let data = Fleet {
        manager: &facts.manager,
        notes: &notes,
        clusters: &clusters,
    };
    let text = view.write(&data, |page| match clusters.as_slice() {
        [] => String::new(),
        clusters => render::fleet(clusters, *scope == Scope::All, page),
    })?;
    let needy = clusters.iter().filter(|c| !c.needs_person.is_empty()).count();
    if needy > 0 {
        let (count, verb) = (clusters.len(), if needy == 1 { "needs" } else { "need" });
        notes.push(format!(
            "{needy} of {count} {verb} a person (!); status CLUSTER says more, explain CLUSTER all"
        ));
    }
    Ok(Answer {
        text,
        notes,
        problems: Vec::new(),
        summary: None,
        status: exit_status(check, needy > 0 || facts.manager.is_away()),
    })
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
        cluster: report,
        dynamic_sizing: &explanation.dynamic_sizing,
        settings: &explanation.settings,
        operations: explanation.volumes.iter().filter_map(|v| v.operation.as_ref()).collect(),
        figures_observed_at: explanation.observed_at,
    };
    let text = view.write(&data, |page| render::cluster(report, &explanation, page))?;
    Ok(Answer {
        text,
        notes,
        problems: Vec::new(),
        summary: None,
        status: exit_status(check, !report.needs_person.is_empty() || facts.manager.is_away()),
    })
}
