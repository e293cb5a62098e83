//! `kubectl cnpg disk status`: the disks of all clusters, or of one.

use super::fleet::{One, Shown, scope};
use super::{Answer, View, exit_status, notes};
use crate::args::{DiskArguments, DiskCommand};
use crate::connect::connect;
use crate::disk::{DiskReport, disks};
use crate::error::Error;
use crate::read::{self, Facts, Scope};
use crate::render;

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
    let scope = scope(status.all_namespaces, &connection);
    let facts = read::fleet(&connection, &scope, lease, view.now).await?;
    disk_table(&facts, &scope, status.check, &view)
}

/// All clusters in scope, the most endangered first.
///
/// # Errors
/// Where the answer cannot be written in the form that was asked for.
pub fn disk_table(facts: &Facts, scope: &Scope, check: bool, view: &View) -> Result<Answer, Error> {
    let shown = Shown {
        is_needy: |cluster: &DiskReport| !cluster.needs_person.is_empty(),
        more: "disk status CLUSTER says more",
        text: render::disks,
    };
    shown.answer(&disks(facts, view.now), facts, scope, check, view)
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
