//! `expand`: writes the record of a growth, which the manager carries out.

use std::collections::BTreeMap;
use std::time::Duration;

use csm_api::{Growth, Phase, StorageEvent, label};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt as _;
use tokio::time::{Instant, sleep};

use super::levers::tried;
use super::{Answer, View, notes};
use crate::args::{DryRun, Expand};
use crate::connect::{Connection, connect};
use crate::error::Error;
use crate::levers::{Asked, Expansion, ask};
use crate::read;
use crate::render;
use crate::thought::think;
use crate::write;

/// How often a growth is looked at that is waited for: a person waits, and it takes a minute or so.
const LOOK: Duration = Duration::from_secs(1);
/// The status where what was waited for failed.
const FAILED: u8 = 1;

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
    let mut expansion = Expansion {
        asked,
        event: None,
        dry_run: tried(dry_run),
        phase: None,
        message: None,
        follow: None,
    };
    if dry_run != DryRun::Client {
        let event = record(&connection, &expansion.asked, view.now);
        let event = write::record(&connection, &event, dry_run).await?;
        if dry_run == DryRun::None {
            let name = event.name_any();
            expansion.follow = Some(format!(
                "To follow it: kubectl get storageevent {name} -n {} -w",
                connection.namespace
            ));
            if arguments.wait {
                let end = ended(&connection, &name, arguments.timeout.get().unsigned_abs()).await?;
                let status = end.status.unwrap_or_default();
                expansion.phase = status.phase;
                expansion.message = status.conditions.first().map(|c| c.message.clone());
                expansion.follow = None;
            }
            expansion.event = Some(name);
        }
    }
    Ok(Answer {
        text: view.write(&expansion, |page| render::expansion(&expansion, page))?,
        notes,
        status: if expansion.phase == Some(Phase::Failed) { FAILED } else { 0 },
        ..Answer::default()
    })
}

/// The StorageEvent: `<cluster>-<type>-<yyyymmdd-hhmmss>-<suffix>`, owned by the Cluster.
fn record(connection: &Connection, asked: &Asked, now: Timestamp) -> StorageEvent {
    let spec = asked.spec.clone();
    let (cluster, kind) = (spec.cluster_ref.clone(), spec.event_type());
    let time = now.to_zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M%S");
    let metadata = ObjectMeta {
        generate_name: Some(format!("{}-{kind}-{time}-", cluster.name)),
        namespace: Some(connection.namespace.clone()),
        labels: Some(BTreeMap::from([
            (label::CLUSTER.to_owned(), cluster.name.clone()),
            (label::EVENT_TYPE.to_owned(), kind.to_string()),
        ])),
        owner_references: Some(vec![OwnerReference {
            api_version: "postgresql.cnpg.io/v1".to_owned(),
            kind: "Cluster".to_owned(),
            name: cluster.name,
            uid: cluster.uid,
            ..OwnerReference::default()
        }]),
        ..ObjectMeta::default()
    };
    StorageEvent {
        metadata,
        spec: spec.into(),
        status: None,
    }
}

/// The growth once it has ended.
async fn ended(connection: &Connection, name: &str, longest: Duration) -> Result<Growth, Error> {
    let deadline = Instant::now() + longest;
    loop {
        let Some(event) = read::event(connection, name).await? else {
            return Err(Error::Stands {
                what: format!("StorageEvent {name}"),
                why: "it is gone: somebody deleted it; PVCs that were patched already still grow".to_owned(),
            });
        };
        let phase = event.status.as_ref().and_then(|status| status.phase);
        if phase.is_some_and(Phase::is_end) {
            return Ok(event);
        }
        if Instant::now() >= deadline {
            let phase = phase.unwrap_or(Phase::Pending);
            return Err(Error::NotYet {
                event: name.to_owned(),
                phase,
                seconds: longest.as_secs(),
            });
        }
        sleep(LOOK).await;
    }
}
