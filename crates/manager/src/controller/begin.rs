//! Growths that a plan decided: each is recorded before anything is touched.

use csm_api::Reason;
use csm_core::breaker::Breaker;
use csm_core::plan::{Decision, Plan};
use csm_core::resolve::Resolution;
use csm_core::world::World;
use csm_core::{explain, operation};
use csm_gather::index::Snapshot;
use csm_runtime::Failure;
use jiff::Timestamp;
use kube::ResourceExt;

use super::Controller;
use crate::apply::Begun;
use crate::breaker;
use crate::report;
use crate::rescue::evidence_at;

impl Controller {
    /// Begins the growths of a plan: records each; the next look patches. Returns whether to look again at once.
    pub(super) async fn begin(&self, snapshot: &Snapshot, world: &World, plan: &Plan, now: Timestamp) -> Result<bool, Failure> {
        let Resolution::Settings(settings) = &*world.resolution else {
            return Ok(false);
        };
        let mut begun = false;
        let one_tries = breaker::lets_one_try(world, now);
        let first = breaker::most_urgent(world, plan, now).filter(|_| one_tries);
        let goes =
            |d: &&Decision| d.acts() && !awaits_wal(snapshot, d) && (d.rescues() || first.is_none_or(|first| first.volume == d.volume));
        for decision in plan.decisions.iter().filter(goes) {
            let parallelism = i32::from(settings.expansion.parallelism.value);
            let Some(spec) = operation::record(world, decision, parallelism, explain::sentence(decision)) else {
                continue;
            };
            if let Err(stands) = operation::permission(world, &spec, now) {
                let key = &world.cluster.key;
                tracing::error!(namespace = %key.namespace, cluster = %key.name, volume = %decision.volume, reason = %stands, "BUG: a growth was decided that would be stopped at once; it is not begun");
                self.shared.metrics.error(key, "invariant");
                continue;
            }
            let known = |name: &str| snapshot.knows(name);
            // Eight look at a time: what was free when this was decided may be taken.
            let alone = world.global_breaker.state(now) == Breaker::HalfOpen && !decision.rescues();
            let classes = breaker::classes_of(world, &decision.volume);
            if !self.shared.index().reserve(&snapshot.key, &snapshot.fleet, classes, alone) {
                return Ok(true);
            }
            let recorded = self.writer.begin(&snapshot.key, spec, evidence_at(decision), &known, now).await;
            let wake = {
                let mut index = self.shared.index();
                if let Ok(Begun::Recorded(event)) = &recorded {
                    index.put_event(event.as_ref().clone());
                }
                index.release(&snapshot.key)
            };
            self.shared.wake(wake);
            match recorded? {
                Begun::Recorded(event) => {
                    Self::log(decision, world, event.name_any());
                    let cause = report::root_cause::of(snapshot, world, decision, None, now);
                    if let Some(note) = report::notes::of_beginning(decision, cause.as_ref()) {
                        self.note(snapshot, &note, now).await;
                    }
                }
                Begun::Outdated(events) => {
                    let mut index = self.shared.index();
                    for event in events {
                        index.put_event(event);
                    }
                    return Ok(true);
                }
            }
            begun = true;
        }
        Ok(begun)
    }

    fn log(decision: &Decision, world: &World, operation: String) {
        let key = &world.cluster.key;
        tracing::info!(namespace = %key.namespace, cluster = %key.name, volume = %decision.volume, reason = %decision.reason, verdict = %decision.verdict, from = %decision.from, to = decision.to.map(|t| t.to_string()), operation, "{}", explain::sentence(decision));
    }
}

/// Whether a growth waits for the first word of the primary on its WAL: after a start of the manager, or a switchover, what a
/// failing archive held would go in the moment before.
pub(super) fn awaits_wal(snapshot: &Snapshot, decision: &Decision) -> bool {
    snapshot.awaits_wal && decision.acts() && decision.warnings.iter().any(|w| w.reason == Reason::WalHealthUnknown)
}
