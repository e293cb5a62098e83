//! What must hold after every run, whatever went wrong in it (e2e.md, "In every test", as far as there is no PostgreSQL).

mod order;
mod record;
mod report;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use csm_api::{Growth, Phase, Role, Trigger};
use csm_testkit::controlplane::AuditEntry;
use csm_tests::proxy::Fault;
use csm_tests::writers::{self, grown};
use csm_tests::{counted_operations, phase};
use csm_units::Bytes;

use crate::run::{CLUSTER, Run};
use crate::scenario::{Person, Scenario, StorageFault, XFS_LOG};

pub use self::report::report;

/// What a run left behind, and what is wrong with it.
struct Verdict<'a> {
    run: &'a Run,
    /// The manager's requests as the API server has them, in the order of their ends.
    audit: Vec<AuditEntry>,
    events: Vec<Growth>,
    wrong: Vec<String>,
}

/// Checks all of it. The manager has been stopped.
///
/// # Errors
/// Everything that is wrong.
pub async fn verify(run: &Run) -> Result<()> {
    let mut verdict = Verdict {
        run,
        audit: writers::audit(&run.stage, run.mark).await?,
        events: run.stage.events(CLUSTER).await?,
        wrong: Vec::new(),
    };
    verdict.sizes().await?;
    verdict.history();
    verdict.operations();
    verdict.patches();
    verdict.wrong.extend(order::out_of_order(&verdict.audit, &verdict.events));
    verdict.status().await?;
    verdict.words().await?;
    verdict.wrong.extend(writers::overlaps(&verdict.audit));
    verdict.denied();
    verdict.logs();
    if verdict.wrong.is_empty() {
        return Ok(());
    }
    bail!("{}", verdict.wrong.join("\n"))
}

impl Verdict<'_> {
    fn wrong(&mut self, what: impl Into<String>) {
        self.wrong.push(what.into());
    }

    fn holds(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(what());
        }
    }

    fn of_role(&self, role: Role) -> Vec<Growth> {
        self.events.iter().filter(|e| e.spec.volume.role == role).cloned().collect()
    }

    fn breached(&self, role: Role) -> bool {
        self.run.scenario.breaches.iter().any(|b| b.role == role)
    }

    /// Whether a person has raised a request of volumes of this role.
    fn raised(&self, role: Role) -> bool {
        let first = self.run.scenario.breaches.first();
        self.run.acted && matches!(self.run.scenario.person, Some((Person::RaiseRequest, _))) && first.is_some_and(|b| b.role == role)
    }

    /// Whether somebody, or the storage, may have stopped an operation, so that another had to finish its work.
    fn may_be_interrupted(&self) -> bool {
        let person = self.run.acted && matches!(self.run.scenario.person, Some((Person::Pause | Person::LowerLimit, _)));
        person || matches!(self.run.scenario.storage, Some((StorageFault::Quota, _)))
    }

    /// Whether a record may have been made when its manager had long given it up, and made another.
    fn came_late(&self) -> bool {
        let late = |s: &csm_tests::proxy::Seen| s.asked.kind == "POST storageevents" && matches!(s.fault, Some(Fault::Late(_)));
        self.run.proxy.seen().iter().any(late)
    }

    /// Every PVC of a volume ends at one size, which it has and not only asks for: the planner's.
    async fn sizes(&mut self) -> Result<()> {
        for role in self.run.roles() {
            let mut sizes: BTreeMap<String, (Bytes, Bytes, Bytes)> = BTreeMap::new();
            for instance in 1..=self.run.scenario.instances {
                let volume = self.run.volume(role, instance);
                let of = (volume.request().await?, volume.capacity().await?, volume.filesystem_size()?);
                sizes.insert(volume.key().claim.clone(), of);
            }
            let expected = if self.raised(role) {
                Scenario::raised(role)
            } else if self.breached(role) {
                self.run.scenario.grows_to(role)
            } else {
                Scenario::size(role)
            };
            let ceiling = self.run.scenario.ceiling(role);
            let right = |(request, capacity, filesystem): &(Bytes, Bytes, Bytes)| {
                *request == expected && capacity == request && *filesystem == request.saturating_sub(XFS_LOG) && *request <= ceiling
            };
            self.holds(sizes.values().all(right), || {
                format!("{role}: all PVCs ask for, have and offer {expected}: {sizes:?}")
            });
        }
        Ok(())
    }

    /// Requests never fall, and never pass the ceiling, not even for a moment.
    fn history(&mut self) {
        let mut before: BTreeMap<String, (Bytes, Bytes)> = BTreeMap::new();
        for seen in self.run.journal.all() {
            let now = (seen.request.unwrap_or(Bytes::ZERO), seen.capacity.unwrap_or(Bytes::ZERO));
            let role = if seen.name.ends_with("-wal") { Role::Wal } else { Role::Data };
            let ceiling = self.run.scenario.ceiling(role);
            let last = before.insert(seen.uid.clone(), now);
            let fell = last.is_some_and(|(request, capacity)| now.0 < request || now.1 < capacity);
            self.holds(!fell, || format!("{} was {last:?} and then {now:?}", seen.name));
            self.holds(now.0 <= ceiling, || format!("{} asked for {}, above {ceiling}", seen.name, now.0));
        }
    }

    /// One counted operation for a breach, complete, and none without.
    fn operations(&mut self) {
        let interrupted = self.may_be_interrupted();
        for role in [Role::Data, Role::Wal] {
            let late = self.came_late();
            let events: Vec<_> = self.of_role(role).into_iter().filter(|e| !(late && had_nothing_to_do(e))).collect();
            let names: Vec<String> = events.iter().map(describe).collect();
            let growths = events.iter().filter(|e| e.spec.trigger != Trigger::CatchUp);
            let (counted, refused): (Vec<&Growth>, Vec<_>) = growths.partition(|e| patched(e));
            let expected = usize::from(self.breached(role));
            let (counted, refused, all) = (counted.len(), refused.len(), events.len());
            let raised = self.raised(role);
            let right = counted == expected || (raised && counted <= expected);
            self.holds(right, || format!("{role}: {expected} counted operations, not {counted}: {names:?}"));
            if !interrupted && !raised {
                self.holds(refused == 0 && all == expected, || {
                    format!("{role}: {expected} operations, nothing else: {names:?}")
                });
            }
        }
        let failed = self.events.iter().filter(|e| phase(e) != Some(Phase::Completed));
        let failed: Vec<String> = failed.map(describe).collect();
        // A request that was raised by hand above what was asked for changes nothing for the operation.
        self.holds(failed.is_empty() || interrupted, || {
            format!("all operations are complete: {failed:?}")
        });
        let unfinished = self
            .events
            .iter()
            .filter(|e| !matches!(phase(e), Some(Phase::Completed | Phase::Failed)));
        let unfinished: Vec<String> = unfinished.map(describe).collect();
        self.holds(unfinished.is_empty(), || format!("no operation is left unfinished: {unfinished:?}"));
        for event in self.events.clone() {
            self.wrong.extend(record::contradictions(&event));
        }
    }

    /// Each PVC was patched once for each operation that says so, and never otherwise.
    fn patches(&mut self) {
        let mut accepted: BTreeMap<(String, Bytes), usize> = BTreeMap::new();
        for entry in &self.audit {
            if let Some((name, to)) = grown(entry) {
                *accepted.entry((name, to)).or_default() += 1;
            }
        }
        let twice: Vec<_> = accepted.iter().filter(|(_, times)| **times != 1).collect();
        let twice = format!("{twice:?}");
        self.holds(twice == "[]", || format!("no PVC is patched to one size twice: {twice}"));
        let recorded: BTreeSet<(String, Bytes)> = self
            .events
            .iter()
            .flat_map(|event| {
                let statuses = event.status.iter().flat_map(|s| &s.pvc_statuses).filter(|s| s.patched_at.is_some());
                statuses.map(|s| (s.name.clone(), event.spec.expansion.requested_size))
            })
            .collect();
        let patched: BTreeSet<(String, Bytes)> = accepted.into_keys().collect();
        let raised = self.raised(Role::Data) || self.raised(Role::Wal);
        // What a person raised counts as patched for an operation that wanted no more.
        let missing: Vec<_> = recorded.difference(&patched).cloned().collect();
        let by_hand =
            |(_, to): &(String, Bytes)| raised && [Scenario::raised(Role::Data), Scenario::raised(Role::Wal)].iter().any(|r| to <= r);
        let unclear: BTreeSet<_> = self.audit.iter().filter_map(writers::may_have_grown).collect();
        self.holds(missing.iter().all(|pvc| by_hand(pvc) || unclear.contains(pvc)), || {
            format!("recorded as patched, but never patched: {missing:?}")
        });
        let silent: Vec<_> = patched.difference(&recorded).cloned().collect();
        self.holds(silent.is_empty(), || format!("patched without a record: {silent:?}"));
    }

    /// The status tells what the StorageEvents tell.
    async fn status(&mut self) -> Result<()> {
        let status = self.run.stage.storage(CLUSTER).await?.and_then(|s| s.status).unwrap_or_default();
        let sizing = status.storage_sizing.clone().unwrap_or_default();
        for role in self.run.roles() {
            let told = if role == Role::Wal {
                sizing.wal.clone()
            } else {
                sizing.data.clone()
            };
            let Some(told) = told else {
                self.wrong(format!("{role}: the status says nothing of it"));
                continue;
            };
            let size = self.run.volume(role, 1).capacity().await?;
            let sizes: BTreeSet<Bytes> = told.actual_sizes.values().copied().collect();
            self.holds(sizes == BTreeSet::from([size]) && told.effective_size == size, || {
                format!("{role}: the status has {size} for all members: {told:?}")
            });
            let events = self.of_role(role);
            let counted = events.iter().filter(|e| e.spec.trigger != Trigger::CatchUp && patched(e)).count();
            let newest = events
                .iter()
                .max_by_key(|e| e.status.as_ref().and_then(|s| s.start_time.clone().map(|t| t.0)));
            let newest = newest.and_then(|e| e.metadata.name.clone());
            let ledger = counted_operations(&told);
            self.holds(usize::try_from(ledger) == Ok(counted), || {
                format!("{role}: {counted} operations are counted, and the status says {ledger}")
            });
            let action = told.last_action.as_ref().map(|a| a.event.clone());
            self.holds(action == newest, || {
                format!("{role}: the newest operation is {newest:?}, the status has {action:?}")
            });
            let resized = events
                .iter()
                .flat_map(|e| e.status.iter().flat_map(|s| &s.pvc_statuses))
                .filter(|s| s.phase == csm_api::PvcPhase::Completed && s.patched_at.is_some())
                .count();
            let outcomes = status
                .auto_resize_events
                .iter()
                .filter(|o| o.volume_type == role && o.result == "success")
                .count();
            self.holds(outcomes == resized, || {
                format!(
                    "{role}: {resized} PVCs were resized, the status lists {outcomes}: {:?}",
                    status.auto_resize_events
                )
            });
        }
        let on = |name: &str| {
            status
                .conditions
                .iter()
                .any(|c| c.type_ == name && c.status == csm_api::ConditionStatus::True)
        };
        let conditions = [("Resizing", on("Resizing")), ("Blocked", on("Blocked"))];
        self.holds(conditions.iter().all(|(_, on)| !on), || {
            format!("nothing resizes, nothing is blocked: {conditions:?}")
        });
        Ok(())
    }

    /// What people are told by annotations and Events: at rest, and of each operation once at most.
    async fn words(&mut self) -> Result<()> {
        use k8s_openapi::api::events::v1::Event;
        let annotations = self.run.cluster.object().await?.metadata.annotations.unwrap_or_default();
        self.holds(!annotations.contains_key(csm_api::annotation::TARGET_SIZE), || {
            format!("the Cluster's annotations are at rest: {annotations:?}")
        });
        let told = self.run.stage.api::<Event>().list(&kube::api::ListParams::default()).await?.items;
        for event in self.events.clone() {
            let name = event.metadata.name.clone().unwrap_or_default();
            let of = |e: &&Event| {
                e.regarding.as_ref().and_then(|r| r.kind.as_deref()) == Some("Cluster")
                    && e.note.as_ref().is_some_and(|n| n.contains(&name))
            };
            let times = told.iter().filter(of).count();
            self.holds(times <= 1, || format!("people are told {times} times of the end of {name}"));
        }
        Ok(())
    }

    /// Nothing was forbidden but what a quota forbids; nothing was malformed.
    fn denied(&mut self) {
        let quota = matches!(self.run.scenario.storage, Some((StorageFault::Quota, _)));
        let denied = |e: &&AuditEntry| {
            let by_quota = quota && e.resource == "persistentvolumeclaims" && e.code == 403;
            matches!(e.code, 400 | 401 | 403 | 405 | 415 | 422) && !by_quota
        };
        let denied: Vec<String> = self.audit.iter().filter(denied).map(line).collect();
        self.holds(denied.is_empty(), || format!("the API server refused: {denied:?}"));
    }

    /// The manager noticed nothing that must never be, and ended only when it was killed or had lost its lease.
    fn logs(&mut self) {
        let logs = self.run.keeper.logs();
        for (number, log) in logs.iter().enumerate() {
            let bad = log.lines().find(|line| line.contains("BUG:") || line.contains("panicked"));
            let bad = bad.map(str::to_owned);
            self.holds(bad.is_none(), || format!("manager {}: {}", number + 1, bad.unwrap_or_default()));
        }
        let killed = |s: &&csm_tests::proxy::Seen| matches!(s.fault, Some(Fault::Kill(_)));
        let killed = self.run.proxy.seen().iter().filter(killed).count();
        let expected = |log: &&String| {
            ["lost the lease", "stopped", "cannot serve on"]
                .iter()
                .any(|words| log.lines().rev().take(5).any(|l| l.contains(words)))
        };
        let by_itself = logs.iter().filter(expected).count();
        self.holds(by_itself + killed >= logs.len(), || {
            format!("{} managers, {killed} killed, {by_itself} ended as they should", logs.len())
        });
    }
}

/// Whether an operation found all its PVCs grown when it began.
fn had_nothing_to_do(event: &Growth) -> bool {
    event.outcome() == Some(csm_api::Outcome::NothingToDo) && !patched(event)
}

/// Whether the API server accepted a patch of the operation.
fn patched(event: &Growth) -> bool {
    event.status.iter().flat_map(|s| &s.pvc_statuses).any(|s| s.patched_at.is_some())
}

fn describe(event: &Growth) -> String {
    let status = event.status.as_ref();
    let condition = status.and_then(|s| s.conditions.first()).map_or("", |c| c.message.as_str());
    let name = event.metadata.name.as_deref().unwrap_or_default();
    format!(
        "{name} {} to {} {:?} {condition}",
        event.spec.trigger,
        event.spec.expansion.requested_size,
        phase(event)
    )
}

fn line(entry: &AuditEntry) -> String {
    let to = grown(entry).map_or_else(String::new, |(_, to)| format!(" to {to}"));
    format!(
        "{} {} {} {}{} {}{to} -> {}",
        entry.received.strftime("%H:%M:%S%.3f"),
        entry.user_agent,
        entry.verb,
        entry.resource,
        if entry.subresource.is_empty() {
            String::new()
        } else {
            format!("/{}", entry.subresource)
        },
        entry.name,
        entry.code
    )
}
