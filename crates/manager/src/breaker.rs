//! Circuit breakers and the limits of the fleet, as the controller keeps them: it records what opens and closes, and closes what
//! a person asks it to. Whether one holds is the planner's to say.

mod requests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use csm_api::{BreakerState, CircuitBreakerChange, EventReason, Reason, StorageEvent, Verdict};
use csm_core::breaker::{self, Breaker, Circuit, Ending, Opened};
use csm_core::plan::{self, Decision, Plan};
use csm_core::world::{VolumeKey, World};
use csm_gather::index::{Kind, Snapshot, Waiter};
use csm_gather::watched::Watched;
use csm_runtime::Failure;
use jiff::Timestamp;

pub(crate) use self::requests::{Asked, Requests};
use crate::apply::{BreakerChange, Note, Recorded, Severity, Whose};
use crate::controller::Controller;
use crate::report::why_open;
use crate::shared::Key;

/// The breaker of all Clusters is looked at so often, whatever happens.
const FLEET_EVERY: Duration = Duration::from_mins(1);

/// Whether one of the breakers lets a single growth try.
pub(crate) fn lets_one_try(world: &World, now: Timestamp) -> bool {
    let breakers = [world.cluster.breaker, world.global_breaker];
    breakers.into_iter().any(|breaker| breaker.state(now) == Breaker::HalfOpen)
}

/// The most urgent growth of a plan; of equally urgent ones that of the volume that is full first.
pub(crate) fn most_urgent<'a>(world: &World, plan: &'a Plan, now: Timestamp) -> Option<&'a Decision> {
    let acting = plan.decisions.iter().filter(|d| d.acts());
    acting.min_by_key(|d| {
        let time_to_full = plan::time_to_full(world, now, &d.volume);
        (d.urgency, time_to_full.is_none(), time_to_full, std::cmp::Reverse(d.percent_used))
    })
}

/// The storage classes of a volume's members.
pub(crate) fn classes_of(world: &World, volume: &VolumeKey) -> BTreeSet<Arc<str>> {
    let volumes = world.volumes.iter().filter(|v| v.key == *volume);
    volumes.flat_map(|v| &v.members).map(|m| m.class.name.clone()).collect()
}

/// What of a Cluster waits for resizes of others to end; none where nothing does.
pub(crate) fn waiter(world: &World, plan: &Plan, now: Timestamp) -> Option<Waiter> {
    let waits = |d: &&Decision| d.verdict != Verdict::Grow && d.wanted.is_some_and(|wanted| wanted.held_by == Reason::FleetLimit);
    let waiting: Vec<&Decision> = plan.decisions.iter().filter(waits).collect();
    let time_to_full = |d: &&Decision| plan::time_to_full(world, now, &d.volume);
    (!waiting.is_empty()).then(|| Waiter {
        time_to_full: waiting.iter().filter_map(time_to_full).min(),
        percent_used: waiting
            .iter()
            .filter_map(|d| d.percent_used)
            .map(csm_units::Percent::get)
            .max()
            .unwrap_or(0),
        classes: waiting.iter().flat_map(|d| classes_of(world, &d.volume)).collect(),
    })
}

fn changes<'a>(records: impl Iterator<Item = &'a Arc<StorageEvent>>) -> impl Iterator<Item = (Timestamp, BreakerState)> {
    let change = |event: &'a Arc<StorageEvent>| event.spec.circuit_breaker.as_ref();
    records
        .filter_map(change)
        .map(|CircuitBreakerChange { at, state, .. }| (at.0, *state))
}

/// What the growth said that failed last.
fn last_failure(snapshot: &Snapshot) -> Option<String> {
    let failed = snapshot.growths().filter_map(|growth| match Ending::of(growth)? {
        (at, Ending::Failed) => Some((at, growth)),
        _ => None,
    });
    let (_, growth) = failed.max_by_key(|(at, _)| *at)?;
    let condition = growth.status.as_ref()?.conditions.first()?;
    Some(condition.message.clone())
}

/// Why a breaker is what it is.
fn why(circuit: &Circuit, last_failure: Option<&str>) -> String {
    match circuit.opened {
        None => "a growth succeeded, or nothing counts any more that opened it".to_owned(),
        Some((_, Opened::Runaway { grown, managed })) => {
            format!("{grown} of {managed} managed Clusters grew within an hour; it closes when that is over")
        }
        Some((_, Opened::Failures { .. })) => {
            let failed = if circuit.failures == 1 {
                "growth failed"
            } else {
                "growths failed in a row"
            };
            let last = last_failure.map_or_else(String::new, |words| format!(", the last with: {words}"));
            let again = circuit
                .resets_at()
                .map_or_else(String::new, |at| format!("; one is tried again at {at}"));
            format!("{} {failed}{last}{again}", circuit.failures)
        }
    }
}

fn note_of(change: &BreakerChange) -> Note {
    let (severity, reason, how) = match change.state {
        BreakerState::Open | BreakerState::HalfOpen => (Severity::Warning, EventReason::CircuitBreakerOpened, "open"),
        BreakerState::Closed => (Severity::Normal, EventReason::CircuitBreakerClosed, "closed"),
    };
    let of_all = match change.whose {
        Whose::Cluster(..) => "",
        Whose::Fleet(_) => " of all Clusters",
    };
    Note {
        severity,
        reason,
        message: format!("The circuit breaker{of_all} is {how}: {}", change.message),
    }
}

/// What is told of a request to close a Cluster's breaker besides that it is closed: where it was already, and where the one
/// of all Clusters holds, which the request is not for.
fn note_of_request(own: &Circuit, of_all: &Circuit, now: Timestamp) -> Option<Note> {
    if let Some(why) = why_open(of_all, true, now) {
        return Some(Note {
            severity: Severity::Warning,
            reason: EventReason::CircuitBreakerOpened,
            message: format!(
                "A person asked for the circuit breaker of this Cluster to be closed; {why}. It holds this Cluster too, and is closed by: kubectl cnpg storage reset-breaker --global"
            ),
        });
    }
    (own.failures == 0).then(|| Note {
        severity: Severity::Normal,
        reason: EventReason::CircuitBreakerClosed,
        message: "A person asked for the circuit breaker to be closed; it is, and no growth has failed since".to_owned(),
    })
}

impl Controller {
    /// Records that a Cluster's breaker has opened or closed, where that is not recorded yet.
    pub(crate) async fn record_breaker(&self, snapshot: &Snapshot, world: &World, now: Timestamp) -> Result<(), Failure> {
        let circuit = &world.cluster.breaker;
        let uid = &snapshot.cluster.uid;
        let ours = snapshot
            .records
            .iter()
            .filter(|event| event.spec.cluster_ref.as_ref().is_some_and(|of| *of.uid == **uid));
        let Some((state, at)) = breaker::unrecorded(circuit, changes(ours), now) else {
            return Ok(());
        };
        self.change(
            snapshot,
            BreakerChange {
                whose: Whose::Cluster(snapshot.key.clone(), uid.clone()),
                state,
                at,
                failures: circuit.failures,
                by_hand: false,
                message: why(circuit, last_failure(snapshot).as_deref()),
            },
            now,
        )
        .await
    }

    async fn change(&self, snapshot: &Snapshot, change: BreakerChange, now: Timestamp) -> Result<(), Failure> {
        let (event, before) = match self.writer.record_breaker(&change).await? {
            Recorded::Now(event) => (Some(event), false),
            Recorded::Before(event) => (event, true),
        };
        if let Some(event) = event {
            let wake = self.shared.index().put_event(*event);
            self.shared.wake(wake);
        }
        // Of a request that is carried out in two tries this is the second; all else was told when it was recorded.
        if before && !change.by_hand {
            return Ok(());
        }
        let key = &snapshot.key;
        tracing::warn!(namespace = %key.namespace, cluster = %key.name, reason = %Reason::CircuitOpen, state = %change.state, failures = change.failures, "the circuit breaker: {}", change.message);
        self.note(snapshot, &note_of(&change), now).await;
        Ok(())
    }

    /// Closes a Cluster's breaker where a person asks for it: takes the request away, records that, and tells. Returns whether
    /// there was such a request.
    pub(crate) async fn reset_breaker(&self, snapshot: &Snapshot, now: Timestamp) -> Result<bool, Failure> {
        let asked = Asked::Cluster(snapshot.key.clone());
        if !snapshot.cluster.reset_breaker && !self.requests.waits(&asked) {
            return Ok(false);
        }
        let circuit = csm_gather::world::circuit(snapshot);
        let (key, uid) = (&snapshot.key, &snapshot.cluster.uid);
        let taken = self.writer.take_request(key, uid).await.map(|(taken, cluster)| {
            let view = cluster.as_ref().map(csm_gather::views::ClusterView::of);
            let wake = self.shared.index().put_cluster(key, view);
            self.shared.wake(wake);
            taken
        });
        // After what it forgets, also where a clock was set back.
        let at = circuit.opened.map_or(now, |(at, _)| at.max(now));
        let Some(at) = self.requests.taken(&asked, taken, at)? else {
            return Ok(true);
        };
        if circuit.failures > 0 {
            let change = BreakerChange {
                whose: Whose::Cluster(key.clone(), uid.clone()),
                state: BreakerState::Closed,
                at,
                failures: circuit.failures,
                by_hand: true,
                message: format!("a person asked for it (annotation {})", csm_api::annotation::RESET_CIRCUIT_BREAKER),
            };
            self.change(snapshot, change, now).await?;
        }
        if let Some(note) = note_of_request(&circuit, &snapshot.fleet.breaker, now) {
            self.note(snapshot, &note, now).await;
        }
        self.requests.done(&asked);
        Ok(true)
    }

    /// Takes away what people ask of the breaker of all Clusters. Returns the ClusterStoragePolicies on which they asked and
    /// since when, and the first failure: one that cannot be taken away is not carried out, and keeps no other from it.
    async fn take_requests_of_all(&self, asking: Vec<Arc<str>>, at: Timestamp) -> (Vec<(Arc<str>, Timestamp)>, Result<(), Failure>) {
        let (mut taken, mut result) = (Vec::new(), Ok(()));
        for policy in asking.into_iter().chain(self.requests.policies()).collect::<BTreeSet<_>>() {
            let answer = self.writer.take_request_of_all(&policy).await.map(|(taken, there)| {
                let mut index = self.shared.index();
                match &there {
                    None => index.remove_policy("", &policy),
                    Some(Watched::Readable(policy)) => index.put_cluster_policy(policy),
                    Some(Watched::Unreadable(policy)) => index.put_unreadable(Kind::ClusterStoragePolicy, policy),
                };
                taken
            });
            match self.requests.taken(&Asked::Policy(policy.clone()), answer, at) {
                Ok(Some(since)) => taken.push((policy, since)),
                Ok(None) => {}
                Err(failure) => result = result.and(Err(failure)),
            }
        }
        (taken, result)
    }

    /// A look at the breaker of all Clusters: records what it does, closes it where a person asks, and wakes everybody when it
    /// holds, or no longer does.
    pub(crate) async fn fleet(&self) -> Result<Option<Duration>, Failure> {
        let now = Timestamp::now();
        let (runaway, shared, records, asking) = {
            let mut index = self.shared.index();
            let runaway = index.runaway(now);
            (runaway, index.shared_breaker(now), index.fleet_records(), index.asking_for_reset())
        };
        let circuit = if runaway.opened.is_some() { runaway } else { shared };
        let namespace = &self.shared.settings.fleet.namespace;
        let of_fleet = |state, at, by_hand, message| BreakerChange {
            whose: Whose::Fleet(namespace.clone()),
            state,
            at,
            failures: circuit.failures,
            by_hand,
            message,
        };
        let opened = circuit.opened.map(|(at, _)| at);
        let (asked, taken) = self.take_requests_of_all(asking, opened.map_or(now, |at| at.max(now))).await;
        let due = if asked.is_empty() {
            let unrecorded = breaker::unrecorded(&circuit, changes(records.iter()), now);
            unrecorded.map(|(state, at)| of_fleet(state, at, false, why(&circuit, None)))
        } else {
            let names: Vec<&str> = asked.iter().map(|(name, _)| &**name).collect();
            let message = format!("a person asked for it (ClusterStoragePolicy {})", names.join(", "));
            let at = asked.iter().map(|(_, at)| *at).max().unwrap_or(now);
            let counts = circuit.failures > 0 || opened.is_some();
            counts.then(|| of_fleet(BreakerState::Closed, at, true, message))
        };
        let mut news = false;
        if let Some(change) = &due {
            match self.writer.record_breaker(change).await? {
                Recorded::Now(event) => {
                    tracing::warn!(reason = %Reason::CircuitOpen, state = %change.state, failures = change.failures, "the circuit breaker of all Clusters: {}", change.message);
                    // On the record: an Event on each Cluster would be as many as there are.
                    if let Err(failure) = self.writer.note_on_record(&event, &note_of(change), now).await {
                        tracing::warn!(
                            error = failure.message(),
                            "could not record the Event of the circuit breaker of all Clusters"
                        );
                    }
                    self.shared.index().put_event(*event);
                    news = true;
                }
                // Looked at again at once, it might be found missing again, and so on without a pause.
                Recorded::Before(event) => {
                    if let Some(event) = event {
                        self.shared.index().put_event(*event);
                    }
                }
            }
        }
        for (policy, _) in asked {
            self.requests.done(&Asked::Policy(policy));
        }
        if news {
            self.wake_all();
            return taken.map(|()| Some(Duration::ZERO));
        }
        let holds = circuit.holds(now);
        if self.shared.metrics.fleet_breaker(holds) != holds {
            self.wake_all();
        }
        let resets = circuit.resets_at().filter(|at| *at > now);
        let look = resets.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
        let look = look.map_or(FLEET_EVERY, |look| look.min(FLEET_EVERY));
        taken.map(|()| Some(look))
    }

    fn wake_all(&self) {
        let clusters = self.shared.index().clusters();
        self.shared.wake(clusters.into_iter().collect());
        self.shared.queue.add(Key::Policies);
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use rstest::rstest;

    use super::*;

    fn open(opened: Opened) -> Circuit {
        Circuit {
            failures: 3,
            opened: Some((Timestamp::UNIX_EPOCH, opened)),
            ..Circuit::default()
        }
    }

    fn failed(now: Timestamp, resets_in: SignedDuration) -> Circuit {
        let resets_at = Some(now.saturating_add(resets_in).unwrap_or(now));
        open(Opened::Failures { resets_at })
    }

    /// Of a Cluster whose own breaker is closed, and of one whose own is closed by this.
    #[rstest]
    #[case::never_opened(|_| Circuit::default(), None)]
    #[case::open(|now| failed(now, SignedDuration::from_mins(5)), Some("the circuit breaker of all Clusters is open until"))]
    #[case::half_open(|now| failed(now, SignedDuration::ZERO), Some("the circuit breaker of all Clusters is half open"))]
    #[case::runaway(|_| open(Opened::Runaway { grown: 2, managed: 4 }), Some("(runaway stop)"))]
    fn one_that_is_asked_to_close_says_what_holds_besides(#[case] of_all: fn(Timestamp) -> Circuit, #[case] holds: Option<&str>) {
        let now = Timestamp::UNIX_EPOCH;
        for own in [Circuit::default(), failed(now, SignedDuration::from_mins(5))] {
            let note = note_of_request(&own, &of_all(now), now);
            let reason = note.as_ref().map(|note| note.reason);
            let says = |words: &str| note.as_ref().is_some_and(|note| note.message.contains(words));
            match holds {
                Some(words) => {
                    assert_eq!(reason, Some(EventReason::CircuitBreakerOpened));
                    assert!(says(words) && says("reset-breaker --global"), "{note:?}");
                }
                None if own.failures == 0 => assert!(says("it is, and no growth has failed since"), "{note:?}"),
                // Its record says it.
                None => assert_eq!(note, None),
            }
        }
    }
}
