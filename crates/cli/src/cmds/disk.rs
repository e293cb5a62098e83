//! `kubectl cnpg disk status`: the disks of all clusters, or of one.

use serde::Serialize;

use super::{Answer, View, exit_status, notes};
use crate::args::{DiskArguments, DiskCommand};
use crate::connect::connect;
use crate::disk::{DiskReport, disks};
use crate::error::Error;
use crate::read::{self, Facts, Manager, Scope};
use crate::render;

/// What programs get of all clusters.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fleet<'a> {
    manager: &'a Manager,
    notes: &'a [String],
    clusters: &'a [DiskReport],
}

/// What programs get of one cluster.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct One<'a> {
    manager: &'a Manager,
    notes: &'a [String],
    #[serde(flatten)]
    cluster: &'a DiskReport,
}

/// Runs `kubectl cnpg disk`.
///
/// # Errors
/// See [`Error`].
pub async fn disk(arguments: &DiskArguments) -> Result<Answer, Error> {
    let DiskCommand::Status(status) = &arguments.command;
    let connection = connect(&status.common).await?;
    let lease = &status.common.lease_name;
    let view = View::of(&status.common);
    if let Some(name) = &status.cluster {
        let facts = read::disks(&connection, name, lease, view.now).await?;
        return disk_of_one(&facts, status.check, &view);
    }
    let scope = if status.all_namespaces {
        Scope::All
    } else {
        Scope::Namespace(connection.namespace.clone())
    };
    let facts = read::fleet(&connection, &scope, lease, view.now).await?;
    disk_table(&facts, &scope, status.check, &view)
}

/// All clusters in scope, the most endangered first.
///
/// # Errors
/// Where the answer cannot be written in the form that was asked for.
pub fn disk_table(facts: &Facts, scope: &Scope, check: bool, view: &View) -> Result<Answer, Error> {
    let clusters = disks(facts, view.now);
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
        clusters => render::disks(clusters, *scope == Scope::All, page),
    })?;
    let needy = clusters.iter().filter(|c| !c.needs_person.is_empty()).count();
    if needy > 0 {
        let (count, verb) = (clusters.len(), if needy == 1 { "needs" } else { "need" });
        notes.push(format!("{needy} of {count} {verb} a person (!); disk status CLUSTER says more"));
    }
    Ok(Answer {
        text,
        notes,
        status: exit_status(check, needy > 0 || facts.manager.is_away()),
        ..Answer::default()
    })
}

/// One cluster in detail.
///
/// # Errors
/// Where the answer cannot be written in the form that was asked for.
pub fn disk_of_one(facts: &Facts, check: bool, view: &View) -> Result<Answer, Error> {
    let reports = disks(facts, view.now);
    let Some(report) = reports.first() else {
        return Ok(Answer::default());
    };
    let notes = notes(facts, view.now);
    let data = One {
        manager: &facts.manager,
        notes: &notes,
        cluster: report,
    };
    let text = view.write(&data, |page| render::disk(report, &facts.manager, page))?;
    Ok(Answer {
        text,
        notes,
        status: exit_status(check, !report.needs_person.is_empty() || facts.manager.is_away()),
        ..Answer::default()
    })
}
