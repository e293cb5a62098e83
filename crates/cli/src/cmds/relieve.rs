//! `relieve-wal`: writes the record of a relief of WAL, which the manager carries out, and shows what came of it.

use csm_api::{Phase, WalCleanupOutcome};

use super::asked::{Asking, Became, FAILED, record, whether_it_runs};
use super::levers::tried;
use super::{Answer, View, notes};
use crate::args::{DryRun, RelieveWal};
use crate::connect::connect;
use crate::error::Error;
use crate::levers::{Relief, ask_relief};
use crate::read;
use crate::render;
use crate::thought::think;

/// Runs `relieve-wal`.
///
/// # Errors
/// Where something stands against it, its record cannot be written, or nobody carries it out.
pub async fn relieve_wal(arguments: &RelieveWal) -> Result<Answer, Error> {
    let common = &arguments.common;
    let dry_run = arguments.write().map_err(Error::Usage)?;
    let connection = connect(common).await?;
    let view = View::of(common);
    let (facts, details) = Box::pin(read::cluster(&connection, &arguments.cluster, &common.lease_name, view.now)).await?;
    let (namespace, cluster) = (&connection.namespace, &arguments.cluster);
    let stands = |why: String| Error::Stands {
        what: format!("WAL relief of Cluster {namespace}/{cluster}"),
        why,
    };
    let Some(thought) = think(&facts, &details, view.now) else {
        return Err(stands("the Cluster could not be read".to_owned()));
    };
    let asked = ask_relief(&thought, arguments.instance.as_deref(), arguments.yes, view.now);
    let asked = asked.map_err(|refusal| stands(refusal.message))?;
    // Unlike a growth, it is wanted now or not at all.
    if arguments.wait && dry_run == DryRun::None && facts.manager.is_away() {
        return Err(stands(format!(
            "{}. --wait=false records it nevertheless, for when the manager is back",
            whether_it_runs(&facts.manager, view.now)
        )));
    }
    let record = record(&connection, &asked.cluster_ref, asked.spec.clone(), view.now);
    let asking = Asking {
        connection: &connection,
        dry_run,
        wait: arguments.wait.then(|| arguments.timeout.get().unsigned_abs()),
        lease: &common.lease_name,
        gone: "what the manager has begun goes on",
    };
    let Became { event, status, follow } = asking.of(&record).await?;
    let mut relief = Relief {
        asked,
        event,
        dry_run: tried(dry_run),
        phase: None,
        outcome: None,
        message: None,
        wal_cleanup: None,
        follow,
    };
    if let Some(status) = status {
        relief.end(status);
    }
    if relief.outcome.as_deref() == Some(WalCleanupOutcome::Listed.as_str()) {
        let instance = &relief.asked.instance;
        relief.follow = Some(format!(
            "To free it: kubectl cnpg storage relieve-wal {cluster} -n {namespace} --instance {instance} --yes"
        ));
    }
    Ok(Answer {
        text: view.write(&relief, |page| render::relief(&relief, page))?,
        notes: notes(&facts, view.now),
        status: if relief.phase == Some(Phase::Failed) { FAILED } else { 0 },
        ..Answer::default()
    })
}
