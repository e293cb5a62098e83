//! `pause`, `resume` and `reset-breaker`: annotations that the manager reads.

use std::collections::BTreeMap;
use std::fmt::Debug;

use csm_api::ClusterStoragePolicy;
use csm_cnpg::Cluster;
use jiff::Timestamp;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::{Answer, View, notes};
use crate::args::{Common, DryRun, Pause, ResetBreaker, Resume};
use crate::connect::{Connection, connect};
use crate::error::Error;
use crate::levers::{self, Change, Lever};
use crate::read::{self, Facts};
use crate::render;
use crate::write::{self, Place};

const CLUSTERS: &str = "clusters.postgresql.cnpg.io";
const CLUSTER_POLICIES: &str = "clusterstoragepolicies.cnpg.supporttools.io";

/// Runs `pause`.
///
/// # Errors
/// Where `--until` is not in the future, or the Cluster cannot be written.
pub async fn pause(arguments: &Pause) -> Result<Answer, Error> {
    let view = View::of(&arguments.common);
    let until = arguments
        .until
        .map(|until| until.moment(view.now))
        .transpose()
        .map_err(Error::Usage)?;
    let reason = arguments.reason.as_deref();
    let subject = Subject::cluster(&arguments.common, &arguments.cluster).await?;
    let change = subject.change(arguments.write.dry_run, |there| levers::pause(there, until, reason, view.now));
    let change = change.await?;
    let resume = format!("kubectl cnpg storage resume {}", subject.argument());
    let ends = match until {
        Some(_) => format!("It resumes by itself then, or at once with: {resume}"),
        None => format!("To end it: {resume}"),
    };
    let follows = vec![
        "Nothing of it is grown meanwhile, whatever fills up: emergencies and rescues are held as well, and alerts say so.".to_owned(),
        "Metrics, alerts and status go on; so do PVCs that are being resized already.".to_owned(),
        ends,
    ];
    subject.answer(change, arguments.write.dry_run, follows, &view).await
}

/// Runs `resume`.
///
/// # Errors
/// Where the Cluster cannot be written.
pub async fn resume(arguments: &Resume) -> Result<Answer, Error> {
    let view = View::of(&arguments.common);
    let subject = Subject::cluster(&arguments.common, &arguments.cluster).await?;
    let change = subject.change(arguments.write.dry_run, |there| levers::resume(there, view.now));
    let change = change.await?;
    let follows = vec![format!(
        "The manager decides on it again within seconds; kubectl cnpg storage explain {} shows what it would do.",
        subject.argument()
    )];
    subject.answer(change, arguments.write.dry_run, follows, &view).await
}

/// Runs `reset-breaker`.
///
/// # Errors
/// Where the Cluster, or any ClusterStoragePolicy, cannot be written.
pub async fn reset_breaker(arguments: &ResetBreaker) -> Result<Answer, Error> {
    let view = View::of(&arguments.common);
    let dry_run = arguments.write.dry_run;
    let recorded = "The manager closes that breaker, records it as a StorageEvent and removes the annotation; growths are tried again. \
                    What made them fail still stands in theirs: kubectl get storageevents"
        .to_owned();
    let Some(cluster) = &arguments.cluster else {
        let connection = connect(&arguments.common).await?;
        let policies = read::cluster_policies(&connection).await?;
        // One that is asked already; else the first by name.
        let asked = |policy: &&ClusterStoragePolicy| levers::reset_breaker(policy.annotations()).writes.is_empty();
        let chosen = policies
            .iter()
            .find(asked)
            .or_else(|| policies.iter().min_by_key(|policy| policy.name_any()));
        let name = chosen.ok_or(Error::NoClusterStoragePolicy)?.name_any();
        let subject = Subject {
            object: format!("ClusterStoragePolicy {name}"),
            api: Api::<ClusterStoragePolicy>::all(connection.client.clone()),
            place: Place {
                what: CLUSTER_POLICIES,
                scope: "the whole cluster".to_owned(),
            },
            name,
            lease: arguments.common.lease_name.clone(),
            connection,
        };
        let change = subject.change(dry_run, levers::reset_breaker).await?;
        let fleet = "It is for the breaker of the whole fleet; those of single Clusters are theirs.".to_owned();
        return subject.answer(change, dry_run, vec![fleet, recorded], &view).await;
    };
    let subject = Subject::cluster(&arguments.common, cluster).await?;
    let change = subject.change(dry_run, levers::reset_breaker).await?;
    let own =
        "It is for the Cluster's own breaker. That of the whole fleet (circuitBreaker.scope: global, or too many Clusters that grow at \
               once) stays as it is, and holds this Cluster too: kubectl cnpg storage reset-breaker --global"
            .to_owned();
    subject.answer(change, dry_run, vec![own, recorded], &view).await
}

/// The object that a lever writes to.
struct Subject<K> {
    /// "Cluster shop/orders".
    object: String,
    name: String,
    api: Api<K>,
    place: Place,
    lease: String,
    connection: Connection,
}

impl Subject<Cluster> {
    async fn cluster(common: &Common, name: &str) -> Result<Self, Error> {
        let connection = connect(common).await?;
        let namespace = connection.namespace.clone();
        Ok(Self {
            object: format!("Cluster {namespace}/{name}"),
            name: name.to_owned(),
            api: Api::namespaced(connection.client.clone(), &namespace),
            place: Place {
                what: CLUSTERS,
                scope: format!("namespace {namespace}"),
            },
            lease: common.lease_name.clone(),
            connection,
        })
    }

    /// The Cluster as an argument of another command.
    fn argument(&self) -> String {
        format!("{} -n {}", self.name, self.connection.namespace)
    }
}

impl<K> Subject<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    async fn change(&self, dry_run: DryRun, change: impl Fn(&BTreeMap<String, String>) -> Change) -> Result<Change, Error> {
        let changed = write::annotate(&self.connection, self.api.clone(), &self.place, &self.name, dry_run, change).await?;
        match changed {
            Some(change) => Ok(change),
            None => Err(read::missing(&self.connection, &self.name).await),
        }
    }

    async fn answer(&self, change: Change, dry_run: DryRun, follows: Vec<String>, view: &View) -> Result<Answer, Error> {
        let Change { before, after, writes } = change;
        let lever = Lever {
            object: self.object.clone(),
            before,
            after,
            changed: !writes.is_empty(),
            dry_run: tried(dry_run),
            annotations: writes,
            follows,
        };
        Ok(Answer {
            text: view.write(&lever, |page| render::lever(&lever, page))?,
            notes: away(&self.connection, &self.lease, view.now).await,
            ..Answer::default()
        })
    }
}

/// How a write was only tried.
pub(super) fn tried(dry_run: DryRun) -> Option<&'static str> {
    match dry_run {
        DryRun::None => None,
        DryRun::Client => Some("client"),
        DryRun::Server => Some("server"),
    }
}

/// Whether there is a manager that reads what was written.
async fn away(connection: &Connection, lease: &str, now: Timestamp) -> Vec<String> {
    let facts = Facts {
        manager: read::manager(connection, lease, now).await,
        ..Facts::default()
    };
    notes(&facts, now)
}
