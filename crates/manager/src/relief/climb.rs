//! One relief: what its run asks for is done, and what came of it is told the run.

use std::sync::Arc;
use std::time::Duration;

use csm_api::{Phase, StorageEvent, StorageEventStatus, WalCleanupOutcome};
use csm_core::relief::{Answer, Next, Order, Run, Trouble, TroubleKind, permission};
use csm_core::wal::Rules;
use csm_core::world::ClusterKey;
use csm_gather::relief::{Around, Place as Paths, Reading, commands, instance_of, is_dry_run, needs_permission, removed, started_at};
use csm_gather::world::world;
use csm_runtime::exec::{Command, Exec, ExecError};
use csm_runtime::{Failure, FailureClass, LeaseLost};
use jiff::Timestamp;
use kube::ResourceExt;

use super::{Place, note_on};
use crate::apply::{ReliefStatus, Writer};
use crate::report;
use crate::shared::Shared;

/// `psql` ends a statement that reads after 20 s, and four are sent; with the start of both.
const READ: Duration = Duration::from_mins(2);
/// The CHECKPOINT itself ends after 5 min.
const CHECKPOINT: Duration = Duration::from_mins(8);
/// One listing of a directory of tens of thousands of files, on a disk that is busy.
const LIST: Duration = Duration::from_mins(1);
/// As many files unlinked: filesystems take about a millisecond for a segment, busy ones ten.
const REMOVE: Duration = Duration::from_mins(5);
/// What a run that may only look is given: it proves nothing that anybody acts on.
const STRICT: Rules = Rules {
    retain_count: 10_000,
    require_archived: true,
};
/// Before the same is tried again.
const PAUSE: Duration = Duration::from_secs(5);
/// So often an API server is asked that is busy or away for a moment: what a relief has come to is not given up for that.
const TRIES: usize = 3;

/// A relief under way.
pub(super) struct Climb<E> {
    shared: Arc<Shared>,
    writer: Writer,
    exec: E,
    key: ClusterKey,
    /// Of the Cluster.
    uid: Arc<str>,
    instance: Arc<str>,
    /// The record, as it was written last.
    event: StorageEvent,
    /// The pod that all commands are run in: another one of its name is another instance.
    pod: Option<Arc<str>>,
    /// Where its programs and its WAL are.
    paths: Option<Paths>,
    /// What the run goes by.
    rules: Option<Rules>,
}

impl<E: Exec> Climb<E> {
    pub fn new(shared: Arc<Shared>, writer: Writer, exec: E, key: ClusterKey, (uid, instance): Place, event: StorageEvent) -> Self {
        let pod = shared.index().pod_uid(&key.namespace, &instance);
        Self {
            shared,
            writer,
            exec,
            key,
            uid,
            instance,
            event,
            pod,
            paths: None,
            rules: None,
        }
    }

    /// Drives it until it ends. Returns whether the record says so.
    ///
    /// # Errors
    /// The lease is lost: nothing more may be done.
    pub async fn climb(mut self) -> Result<bool, LeaseLost> {
        let now = Timestamp::now();
        // What a person asked for begins when it is admitted; ours with its record, whatever came between.
        let started = if needs_permission(&self.event) {
            now
        } else {
            started_at(&self.event).unwrap_or(now)
        };
        let Some(world) = self.world(now) else {
            // The Cluster is gone: nobody can be asked, and its records go with it.
            return Ok(false);
        };
        self.rules = permission(&world, &self.instance, is_dry_run(&self.event), now)
            .ok()
            .map(|(rules, _)| rules);
        let order = Order {
            namespace: self.key.namespace.clone(),
            cluster: self.key.name.clone(),
            instance: self.instance.clone(),
            // Where something stands against it, it goes no further than to look.
            rules: self.rules.unwrap_or(STRICT),
            goal: None,
            dry_run: is_dry_run(&self.event),
            started,
        };
        let journal = self.event.status.as_ref().and_then(|status| status.wal_cleanup.clone());
        let mut run = Run::begin(order, journal);
        let outcome = loop {
            let next = run.step(Timestamp::now());
            let came = match &next {
                Next::Finished(outcome) => break *outcome,
                next => self.carry_out(next).await?,
            };
            if let Err(trouble) = &came {
                tracing::warn!(namespace = %self.key.namespace, cluster = %self.key.name, instance = %self.instance, operation = self.event.name_any(), kind = ?trouble.kind, why = trouble.message, "a step of a relief of WAL did not work");
            }
            let failed = came.is_err();
            run.take(came, Timestamp::now());
            let is_same = |again: &Next| std::mem::discriminant(again) == std::mem::discriminant(&next);
            if failed && is_same(&run.step(Timestamp::now())) {
                tokio::time::sleep(PAUSE).await;
            }
        };
        self.ended(outcome).await;
        Ok(csm_gather::relief::is_done(&self.event))
    }

    fn world(&self, now: Timestamp) -> Option<csm_core::world::World> {
        let snapshot = self.shared.index().snapshot_at(&self.key, now);
        let snapshot = snapshot.filter(|snapshot| snapshot.cluster.uid == self.uid)?;
        Some(world(&snapshot, &self.shared.settings.volumes, now))
    }

    /// What stands against changing anything, now: a person may have paused the Cluster while it was under way.
    fn may_change(&self) -> Result<(), Trouble> {
        let now = Timestamp::now();
        let Some(world) = self.world(now) else {
            return Err(trouble(TroubleKind::Gone, "there is no such Cluster any more"));
        };
        match permission(&world, &self.instance, is_dry_run(&self.event), now) {
            Ok((rules, _)) if self.rules == Some(rules) => Ok(()),
            Ok(_) => Err(trouble(
                TroubleKind::Denied,
                "the settings of walCleanup have changed since it was begun; the next relief goes by them",
            )),
            Err(refusal) => Err(trouble(TroubleKind::Denied, refusal.message)),
        }
    }

    async fn carry_out(&mut self, next: &Next) -> Result<Result<Answer, Trouble>, LeaseLost> {
        self.writer.permit()?;
        let changes = matches!(next, Next::Checkpoint | Next::DryRun { .. } | Next::Remove(_));
        if changes && let Err(stands) = self.may_change() {
            return Ok(Err(stands));
        }
        match next {
            Next::Record(status) => self.record(status).await,
            Next::Read => self.read(commands::read(), READ).await,
            Next::Checkpoint => self.read(commands::checkpoint(), CHECKPOINT).await,
            Next::DryRun { cutoff } => {
                let Some(paths) = &self.paths else {
                    return Ok(Err(trouble(TroubleKind::Unsent, "where pg_wal is has not been read")));
                };
                let listed = self.run(&self.instance, commands::dry_run(paths, *cutoff), LIST).await?;
                Ok(listed.map(Answer::Listed))
            }
            Next::Remove(removal) => {
                let Some(paths) = &self.paths else {
                    return Ok(Err(trouble(TroubleKind::Unsent, "where pg_wal is has not been read")));
                };
                let said = self.run(&self.instance, commands::remove(paths, removal), REMOVE).await?;
                let unreadable = |_| trouble(TroubleKind::Unreadable, "what the removal said cannot be read");
                Ok(said.and_then(|said| removed(&said).map(Answer::Removed).map_err(unreadable)))
            }
            Next::Finished(_) => Ok(Err(trouble(TroubleKind::Unsent, "it is over"))),
        }
    }

    async fn record(&mut self, status: &StorageEventStatus) -> Result<Result<Answer, Trouble>, LeaseLost> {
        Ok(match self.writer.relief_status(&self.event, status).await? {
            ReliefStatus::Written(written) => {
                let wake = self.shared.index().put_event(written.as_ref().clone());
                self.shared.wake(wake);
                self.event = *written;
                Ok(Answer::Recorded)
            }
            ReliefStatus::Unwritten(current, failure) => {
                self.event = *current;
                Err(trouble(TroubleKind::Unanswered, failure.message()))
            }
            ReliefStatus::Overtaken => Err(trouble(
                TroubleKind::Overtaken,
                "somebody else has written the record, or removed it",
            )),
        })
    }

    /// What the instance says, and what the Cluster does.
    async fn read(&mut self, command: Vec<String>, timeout: Duration) -> Result<Result<Answer, Trouble>, LeaseLost> {
        let unread = |what: &str, failure: &Failure| {
            let why = format!("{what} cannot be read: {}", failure.message());
            Ok(Err(trouble(TroubleKind::Failed, why)))
        };
        let cluster = match again(|| self.writer.cluster_now(&self.key)).await {
            Ok(cluster) => cluster,
            Err(failure) => return unread("the Cluster", &failure),
        };
        // Before the instance: what it holds only moves forwards. Where it does not answer, what it would say is not known.
        let primary = cluster
            .status
            .current_primary
            .as_deref()
            .filter(|name| !name.is_empty() && **name != *self.instance);
        let primary = match primary {
            Some(name) => self.ask(name, commands::read(), READ).await?.ok(),
            None => None,
        };
        let reading = match self.ask(&self.instance, command, timeout).await? {
            Ok(reading) => reading,
            Err(trouble) => return Ok(Err(trouble)),
        };
        // After it: a backup that has begun since is seen.
        let backups = match again(|| self.writer.backups_now(&self.key)).await {
            Ok(backups) => backups,
            Err(failure) => return unread("its Backups", &failure),
        };
        let known = self.world(Timestamp::now()).into_iter().flat_map(|world| world.volumes);
        let known = known.flat_map(|volume| volume.members).map(|member| member.instance);
        let around = Around::of(&self.instance, &reading, primary.as_ref(), &cluster, known, &backups);
        self.paths = Some(reading.place.clone());
        Ok(Ok(Answer::Read(Box::new(reading.evidence(&around)))))
    }

    async fn ask(&self, instance: &str, command: Vec<String>, timeout: Duration) -> Result<Result<Reading, Trouble>, LeaseLost> {
        let said = self.run(instance, command, timeout).await?;
        Ok(said.and_then(|said| Reading::parse(&said).map_err(|error| trouble(TroubleKind::Unreadable, error.to_string()))))
    }

    /// A command in an instance's container, and what it printed.
    async fn run(&self, instance: &str, arguments: Vec<String>, timeout: Duration) -> Result<Result<String, Trouble>, LeaseLost> {
        self.writer.permit()?;
        let pod = self.shared.index().pod_uid(&self.key.namespace, instance);
        if pod.is_none() || (*instance == *self.instance && pod != self.pod) {
            let why = format!("the pod {instance} is gone, or another one has its name");
            return Ok(Err(trouble(TroubleKind::Gone, why)));
        }
        let command = Command {
            namespace: &self.key.namespace,
            pod: instance,
            container: commands::CONTAINER,
            arguments: &arguments,
            timeout,
            limit: commands::OUTPUT,
        };
        Ok(match self.exec.exec(&command).await {
            Ok(output) if output.exit == 0 => {
                String::from_utf8(output.stdout).map_err(|_| trouble(TroubleKind::Unreadable, "what it printed is no UTF-8"))
            }
            Ok(output) => {
                let said: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(300).collect();
                let program = arguments.first().map_or("", String::as_str);
                Err(trouble(
                    TroubleKind::Failed,
                    format!("{program} ended with {}: {said}", output.exit),
                ))
            }
            Err(ExecError::Denied) => {
                let why = format!(
                    "{instance}: {}; kubectl apply -f deploy/wal-cleanup.yaml grants them to the manager",
                    ExecError::Denied
                );
                Err(trouble(TroubleKind::Denied, why))
            }
            Err(error) => Err(trouble(kind(&error), format!("{instance}: {error}"))),
        })
    }

    /// Tells of its end.
    async fn ended(&self, outcome: WalCleanupOutcome) {
        let Some(status) = self.event.status.as_ref().filter(|_| csm_gather::relief::is_done(&self.event)) else {
            return;
        };
        let found = status.wal_cleanup.clone().unwrap_or_default();
        let (files, bytes) = (found.files_removed.unwrap_or(0), found.space_freed_bytes.unwrap_or(0));
        tracing::info!(namespace = %self.key.namespace, cluster = %self.key.name, instance = %self.instance, operation = self.event.name_any(), %outcome, files, bytes, "a relief of WAL has ended");
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        let success = outcome.phase() == Phase::Completed;
        self.shared.metrics.relieved(&self.key, success, count(files.into()), count(bytes));
        let now = Timestamp::now();
        let before = self.before(now);
        if let Some(note) = report::relief::ended(&self.event, before.as_deref()) {
            note_on(&self.shared, &self.writer, &self.key, &self.uid, &note, now).await;
        }
    }

    /// The one of this instance that ended last before.
    fn before(&self, now: Timestamp) -> Option<Arc<StorageEvent>> {
        let snapshot = self.shared.index().snapshot_at(&self.key, now)?;
        let is_another =
            |event: &&Arc<StorageEvent>| instance_of(event) == Some(&*self.instance) && event.name_any() != self.event.name_any();
        let others = snapshot.reliefs().filter(is_another);
        let tried = others.filter_map(|event| Some((csm_gather::relief::tried_at(event)?, event)));
        tried.max_by_key(|(at, _)| *at).map(|(_, event)| event.clone())
    }
}

/// What the API server says, once it says something of use.
async fn again<T, F: Future<Output = Result<T, Failure>>>(read: impl Fn() -> F) -> Result<T, Failure> {
    for _ in 1..TRIES {
        match read().await {
            Err(failure) if failure.class() == FailureClass::Transient => tokio::time::sleep(PAUSE).await,
            came => return came,
        }
    }
    read().await
}

fn trouble(kind: TroubleKind, message: impl Into<String>) -> Trouble {
    let message = message.into();
    Trouble { kind, message }
}

const fn kind(error: &ExecError) -> TroubleKind {
    match error {
        ExecError::Denied => TroubleKind::Denied,
        ExecError::NotFound => TroubleKind::Gone,
        error if error.may_have_run() => TroubleKind::Unanswered,
        _ => TroubleKind::Failed,
    }
}

#[cfg(test)]
#[path = "climb_tests.rs"]
mod tests;
