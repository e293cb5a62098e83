//! What a person asks the manager for: a StorageEvent with the trigger `manual`, and its end.

use std::collections::BTreeMap;
use std::time::Duration;

use csm_api::{ClusterReference, Phase, StorageEvent, StorageEventSpec, StorageEventStatus, label};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt as _;
use tokio::time::{Instant, sleep};

use crate::args::DryRun;
use crate::connect::Connection;
use crate::error::Error;
use crate::read::{self, Manager};
use crate::render::ago;
use crate::write;

/// How often it is looked at: a person waits.
const LOOK: Duration = Duration::from_secs(1);
/// The status of a command where what was asked for failed.
pub(super) const FAILED: u8 = 1;

/// The StorageEvent: `<cluster>-<type>-<yyyymmdd-hhmmss>-<suffix>`, owned by the Cluster.
pub(super) fn record(connection: &Connection, cluster: &ClusterReference, spec: StorageEventSpec, now: Timestamp) -> StorageEvent {
    let (cluster, kind) = (cluster.clone(), spec.event_type);
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
        spec,
        status: None,
    }
}

/// How a record is written, and what is waited for.
pub(super) struct Asking<'a> {
    pub connection: &'a Connection,
    pub dry_run: DryRun,
    /// How long its end is waited for, if at all.
    pub wait: Option<Duration>,
    /// The name of the manager's lease.
    pub lease: &'a str,
    /// What goes on where the record is deleted meanwhile.
    pub gone: &'static str,
}

/// What became of a record.
#[derive(Default)]
pub(super) struct Became {
    /// Its name, where it was kept.
    pub event: Option<String>,
    /// How it ended, where that was waited for.
    pub status: Option<StorageEventStatus>,
    /// How to follow it, where it was not.
    pub follow: Option<String>,
}

impl Asking<'_> {
    /// Writes the record, and waits for its end.
    pub async fn of(&self, record: &StorageEvent) -> Result<Became, Error> {
        if self.dry_run == DryRun::Client {
            return Ok(Became::default());
        }
        let name = write::record(self.connection, record, self.dry_run).await?.name_any();
        if self.dry_run == DryRun::Server {
            return Ok(Became::default());
        }
        let status = match self.wait {
            Some(longest) => Some(self.end_of(&name, longest).await?),
            None => None,
        };
        let namespace = &self.connection.namespace;
        let how = || format!("To follow it: kubectl get storageevent {name} -n {namespace} -w");
        let follow = status.is_none().then(how);
        let event = Some(name);
        Ok(Became { event, status, follow })
    }

    async fn end_of(&self, name: &str, longest: Duration) -> Result<StorageEventStatus, Error> {
        let deadline = Instant::now() + longest;
        loop {
            let Some(event) = read::event(self.connection, name).await? else {
                return Err(Error::Stands {
                    what: format!("StorageEvent {name}"),
                    why: format!("it is gone: somebody deleted it; {}", self.gone),
                });
            };
            let status = event.status.unwrap_or_default();
            if status.phase.is_some_and(Phase::is_end) {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(self.not_yet(name, longest, status.phase).await);
            }
            sleep(LOOK).await;
        }
    }

    async fn not_yet(&self, name: &str, longest: Duration, phase: Option<Phase>) -> Error {
        let (event, seconds) = (name.to_owned(), longest.as_secs());
        if let Some(phase) = phase.filter(|phase| *phase != Phase::Pending) {
            return Error::NotYet { event, phase, seconds };
        }
        let now = Timestamp::now();
        Error::NotTakenUp {
            event,
            namespace: self.connection.namespace.clone(),
            seconds,
            manager: whether_it_runs(&read::manager(self.connection, self.lease, now).await, now),
        }
    }
}

/// Whether there is a manager, and where to look.
#[must_use]
pub fn whether_it_runs(manager: &Manager, now: Timestamp) -> String {
    match manager {
        Manager::Running { holder, .. } => format!("the manager runs ({holder}); its log says what it does"),
        Manager::Stopped { renewed } => {
            let since = renewed.map_or_else(String::new, |at| format!(" (last {})", ago(at, now)));
            format!("the manager does not run, since nobody renews its lease{since}; look at its Deployment and its log")
        }
        Manager::NoLease { name } => {
            format!("no manager runs, since there is no lease {name} (--lease-name); look at its Deployment and its log")
        }
        Manager::Unknown | Manager::NotAsked => {
            "whether the manager runs cannot be seen from here; ask who may read its lease, or look at its Deployment and its log"
                .to_owned()
        }
    }
}
