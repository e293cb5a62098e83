//! `expand`: writes the record of a growth, which the manager carries out.

use csm_api::Phase;

use super::asked::{Asking, Became, FAILED, record};
use super::levers::tried;
use super::{Answer, View, notes};
use crate::args::Expand;
use crate::connect::connect;
use crate::error::Error;
use crate::levers::{Expansion, ask};
use crate::read;
use crate::render;
use crate::thought::think;

/// Runs `expand`.
///
/// # Errors
/// Where something stands against it, or its record cannot be written.
pub async fn expand(arguments: &Expand) -> Result<Answer, Error> {
    let common = &arguments.common;
    let dry_run = arguments.write.dry_run;
    let connection = connect(common).await?;
    let view = View::of(common);
    let (facts, details) = Box::pin(read::cluster(&connection, &arguments.cluster, &common.lease_name, view.now)).await?;
    let mut notes = notes(&facts, view.now);
    let what = || {
        let (volume, namespace, cluster) = (&arguments.volume, &connection.namespace, &arguments.cluster);
        format!("the growth of {volume} of Cluster {namespace}/{cluster} to {}", arguments.to)
    };
    let stands = |why: String| Error::Stands { what: what(), why };
    let Some(thought) = think(&facts, &details, view.now) else {
        return Err(stands("the Cluster could not be read".to_owned()));
    };
    let asked = ask(&thought, &arguments.volume, arguments.to, view.now).map_err(|refusal| stands(refusal.message))?;
    if !asked.passed.is_empty() {
        notes.push("what a person asks for goes ahead of what only paces growth; what the text names still stands".to_owned());
    }
    let spec = asked.spec.clone();
    let record = record(&connection, &spec.cluster_ref.clone(), spec.into(), view.now);
    let asking = Asking {
        connection: &connection,
        dry_run,
        wait: arguments.wait.then(|| arguments.timeout.get().unsigned_abs()),
        lease: &common.lease_name,
        gone: "PVCs that were patched already still grow",
    };
    let Became { event, status, follow } = asking.of(&record).await?;
    let status = status.unwrap_or_default();
    let expansion = Expansion {
        asked,
        event,
        dry_run: tried(dry_run),
        phase: status.phase,
        message: status.conditions.first().map(|c| c.message.clone()),
        follow,
    };
    Ok(Answer {
        text: view.write(&expansion, |page| render::expansion(&expansion, page))?,
        notes,
        status: if expansion.phase == Some(Phase::Failed) { FAILED } else { 0 },
        ..Answer::default()
    })
}
