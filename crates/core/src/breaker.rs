//! Circuit breakers: growths that fail in a row stop further ones, until one that is tried succeeds or a person says so.
//!
//! Memoryless: a breaker is a function of the growths that ended, and of the records of those who closed it. A manager that
//! was killed anywhere finds it as it was.

use csm_api::{BreakerState, Growth, Outcome, Phase};
use jiff::{SignedDuration, Timestamp};

use crate::freshness::after;

/// State of a circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Breaker {
    /// Growths go on.
    #[default]
    Closed,
    /// None does.
    Open,
    /// One may try.
    HalfOpen,
}

impl From<Breaker> for BreakerState {
    fn from(breaker: Breaker) -> Self {
        match breaker {
            Breaker::Closed => Self::Closed,
            Breaker::Open => Self::Open,
            Breaker::HalfOpen => Self::HalfOpen,
        }
    }
}

/// What opened a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opened {
    /// Growths failed in a row. One is tried again at `resets_at`; none: when a person says so.
    Failures {
        /// When one is tried again.
        resets_at: Option<Timestamp>,
    },
    /// Too large a share of the fleet grew within an hour. It closes when that is no longer so.
    Runaway {
        /// Clusters that grew.
        grown: u32,
        /// Clusters that are managed.
        managed: u32,
    },
}

/// A circuit breaker. What state it is in is a question of the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Circuit {
    /// Growths that failed in a row.
    pub failures: u32,
    /// Since when it is open, and why; none: closed.
    pub opened: Option<(Timestamp, Opened)>,
    /// While it is half open, one growth tries, and others wait for it until then at most.
    pub tried_until: Option<Timestamp>,
    /// When it was closed last, by a success or a person, as far as the ledger tells.
    pub closed_at: Option<Timestamp>,
}

/// One in this state, whatever the time; for descriptions of situations.
impl From<Breaker> for Circuit {
    fn from(breaker: Breaker) -> Self {
        let resets_at = match breaker {
            Breaker::Closed => return Self::default(),
            Breaker::Open => None,
            Breaker::HalfOpen => Some(Timestamp::MIN),
        };
        Self {
            opened: Some((Timestamp::MIN, Opened::Failures { resets_at })),
            ..Self::default()
        }
    }
}

impl Circuit {
    /// Its state.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> Breaker {
        match self.opened {
            None => Breaker::Closed,
            Some(_) if self.resets_at().is_some_and(|at| at <= now) => Breaker::HalfOpen,
            Some(_) => Breaker::Open,
        }
    }

    /// Whether it holds a growth that may be held: it is open, or half open while one tries already. A growth from before is no
    /// trial: it may hang in the storage for days. A trial that hangs is waited for no longer than [`TRIAL`].
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        match self.state(now) {
            Breaker::Closed => false,
            Breaker::Open => true,
            Breaker::HalfOpen => self.tried_until.is_some_and(|until| now < until),
        }
    }

    /// When one growth is tried again, where time alone lets it.
    #[must_use]
    pub fn resets_at(&self) -> Option<Timestamp> {
        match self.opened?.1 {
            Opened::Failures { resets_at } => resets_at,
            Opened::Runaway { .. } => None,
        }
    }
}

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// `maxFailures`, at least 1.
    pub max_failures: u32,
    /// `resetMinutes`.
    pub reset_after: SignedDuration,
}

/// How a growth ended, as far as it concerns a breaker. In the order in which those of one moment count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// The API server refused it, the storage said that it cannot, or a part of it failed.
    Failed,
    /// It ended for a reason that says nothing of the storage: a person, or a policy, stopped it.
    Neutral,
    /// Every PVC has grown.
    Succeeded,
    /// No growth: a person closed the breaker, or it was recorded to have closed.
    Closed,
}

impl Ending {
    /// How a growth ended, and when; none: it has not.
    #[must_use]
    pub fn of(growth: &Growth) -> Option<(Timestamp, Self)> {
        let status = growth.status.as_ref()?;
        let ending = match (status.phase?, status.outcome()) {
            (Phase::Pending | Phase::InProgress, _) => return None,
            // What never began shows nothing: a person's request that was turned down, a record that came late.
            (Phase::Failed, _) if growth.was_turned_down() => Self::Neutral,
            (_, Some(Outcome::Interrupted | Outcome::Gone | Outcome::NothingToDo)) => Self::Neutral,
            (Phase::Failed, Some(Outcome::Refused | Outcome::Infeasible | Outcome::PartialFailure)) => Self::Failed,
            (Phase::Completed, _) => Self::Succeeded,
            (Phase::Failed, _) => Self::Neutral,
        };
        let began = status.start_time.as_ref();
        let at = status.completion_time.as_ref().or(began).map_or(Timestamp::MIN, |at| at.0);
        Some((at, ending))
    }
}

/// A trial holds others up for so long: as long as a resize may take before it counts as stuck, by default.
pub const TRIAL: SignedDuration = SignedDuration::from_mins(10);

/// What the endings of growths, and the closings between them, come to. `under_way`: the starts of those that have not ended.
///
/// A breaker opens with the end of the last of `max_failures` failures in a row, and anew with each further one.
#[must_use]
pub fn judge(
    endings: impl IntoIterator<Item = (Timestamp, Ending)>,
    under_way: impl IntoIterator<Item = Timestamp>,
    rules: BreakerRules,
) -> Circuit {
    let mut endings: Vec<_> = endings.into_iter().collect();
    endings.sort_unstable();
    let mut circuit = Circuit::default();
    for (at, ending) in endings {
        match ending {
            Ending::Neutral => {}
            Ending::Succeeded | Ending::Closed => {
                circuit.failures = 0;
                circuit.opened = None;
                circuit.closed_at = Some(at);
            }
            Ending::Failed => {
                circuit.failures = circuit.failures.saturating_add(1);
                if circuit.failures >= rules.max_failures {
                    let resets_at = at.saturating_add(rules.reset_after).ok();
                    circuit.opened = Some((at, Opened::Failures { resets_at }));
                }
            }
        }
    }
    let is_trial = |start: &Timestamp| circuit.resets_at().is_some_and(|resets| *start >= resets);
    let trial = under_way.into_iter().filter(is_trial).max();
    circuit.tried_until = trial.map(|start| after(start, TRIAL));
    circuit
}

/// When too much of a fleet grows at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunawayRules {
    /// Percent of the managed Clusters (`fleet.runawayShare`), 1 to 100.
    pub share: u32,
    /// At least so many (`fleet.runawayMinimum`).
    pub minimum: u32,
}

/// A Cluster counts that grew within so long.
pub const RUNAWAY_WINDOW: SignedDuration = SignedDuration::from_hours(1);

impl RunawayRules {
    /// How many Clusters of so many have to grow within an hour to stop all: the share rounded up, and at least the minimum.
    #[must_use]
    pub fn needed(self, managed: u32) -> u32 {
        let share = u64::from(managed).saturating_mul(u64::from(self.share)).div_ceil(100);
        u32::try_from(share).unwrap_or(u32::MAX).max(self.minimum).max(1)
    }
}

/// The runaway stop. `grown` is, for each managed Cluster that grew, the start of its newest accepted growth (no catch-up);
/// `closed_at` is when the stop was last closed: growths up to then are forgotten.
#[must_use]
pub fn runaway(grown: &[Timestamp], managed: u32, closed_at: Option<Timestamp>, rules: RunawayRules, now: Timestamp) -> Circuit {
    let since = now.saturating_sub(RUNAWAY_WINDOW).unwrap_or(Timestamp::MIN);
    let counts = |at: &&Timestamp| **at > since && closed_at.is_none_or(|closed| **at > closed);
    let mut counted: Vec<Timestamp> = grown.iter().filter(counts).copied().collect();
    counted.sort_unstable();
    let needed = usize::try_from(rules.needed(managed)).unwrap_or(usize::MAX);
    let last = needed.checked_sub(1).and_then(|last| counted.get(last));
    let opened = last.map(|at| {
        let grown = u32::try_from(counted.len()).unwrap_or(u32::MAX);
        (*at, Opened::Runaway { grown, managed })
    });
    Circuit {
        opened,
        closed_at,
        ..Circuit::default()
    }
}

/// What is to be recorded of a breaker, where the records that there are (each with its moment) do not say it yet: the state
/// that it took, and since when. Records tell whole seconds.
#[must_use]
pub fn unrecorded(
    circuit: &Circuit,
    records: impl IntoIterator<Item = (Timestamp, BreakerState)>,
    now: Timestamp,
) -> Option<(BreakerState, Timestamp)> {
    let of_one_moment = |state: BreakerState| state == BreakerState::Closed;
    let newest = records
        .into_iter()
        .max_by_key(|(at, state)| (at.as_second(), of_one_moment(*state)));
    let told_open = newest.filter(|(_, state)| *state != BreakerState::Closed).map(|(told, _)| told);
    match (circuit.opened, told_open) {
        (None, None) => None,
        (None, Some(told)) => {
            let at = circuit.closed_at.filter(|at| at.as_second() >= told.as_second());
            Some((BreakerState::Closed, at.unwrap_or_else(|| now.max(told))))
        }
        (Some((at, _)), None) => Some((BreakerState::Open, at)),
        (Some((at, why)), Some(told)) => {
            // A runaway stop goes by one growth more or less, and is told of once.
            let again = matches!(why, Opened::Failures { .. }) && told.as_second() < at.as_second();
            again.then_some((BreakerState::Open, at))
        }
    }
}
