//! WAL relief: for which instances it is wanted, and what holds it (planner.md, section 8).
//!
//! It stands beside the decision on growth and changes nothing of it: both go on. What may be removed is proved when it
//! comes to that ([`wal`](crate::wal)), never here.

use std::sync::Arc;

use csm_api::{Reason, Urgency};
use csm_units::Percent;
use jiff::Timestamp;

use crate::decision::{Decision, Evidence, Filling, Fired, Usage};
use crate::freshness::after;
use crate::resolve::Resolved;
use crate::view::{MemberView, View};

/// WAL relief that is wanted, of a volume that holds `pg_wal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relief {
    /// The instances for which it is wanted, by name; at least one.
    pub instances: Vec<InstanceRelief>,
}

/// WAL relief that is wanted for one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceRelief {
    /// The instance.
    pub instance: Arc<str>,
    /// Why it is wanted.
    pub occasion: Occasion,
    /// What holds it; none: it is due.
    pub hold: Option<ReliefHold>,
}

/// Why WAL relief is wanted for an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Percent used of its volume has reached `thresholds.emergency`.
    Level {
        /// Its filesystem.
        usage: Usage,
        /// `thresholds.emergency`.
        level: Percent,
    },
    /// A growth that it needs is held: an emergency, a rescue or a runway.
    Held {
        /// How pressing that growth is.
        urgency: Urgency,
        /// The gate that holds it.
        gate: Reason,
    },
}

/// What holds WAL relief. In the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReliefHold {
    /// The settings of the volume do not validate.
    Invalid,
    /// The Cluster is being deleted.
    Deleting,
    /// A person paused the Cluster.
    Paused {
        /// Until when, where that is said.
        until: Option<Timestamp>,
    },
    /// CNPG hibernates the Cluster.
    Hibernated,
    /// The instance is fenced, or could be.
    Fenced,
    /// A circuit breaker is open.
    Breaker {
        /// That of the whole fleet.
        global: bool,
        /// When one growth is tried again, where time alone lets it.
        resets_at: Option<Timestamp>,
    },
    /// WAL of the instance was removed a short while ago.
    Cooldown {
        /// When.
        last: Timestamp,
        /// When the cooldown is over.
        until: Timestamp,
    },
    /// Nothing is known of WAL archiving and slots: what holds the WAL is told, and nothing is done about it.
    HealthUnknown,
    /// `dryRun: true`: it would have happened.
    DryRun,
}

impl ReliefHold {
    /// The reason that it is told with.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Invalid => Reason::PolicyInvalid,
            Self::Deleting => Reason::ClusterDeleting,
            Self::Paused { .. } => Reason::Paused,
            Self::Hibernated => Reason::Hibernated,
            Self::Fenced => Reason::Fenced,
            Self::Breaker { .. } => Reason::CircuitOpen,
            Self::Cooldown { .. } => Reason::Cooldown,
            Self::HealthUnknown => Reason::WalHealthUnknown,
            Self::DryRun => Reason::DryRun,
        }
    }
}

impl InstanceRelief {
    /// The reason with which it is held; none: it is due.
    #[must_use]
    pub fn held_by(&self) -> Option<Reason> {
        self.hold.map(ReliefHold::reason)
    }

    /// Whether nothing may be done about it, and what holds the WAL is told all the same.
    #[must_use]
    pub fn only_reports(&self) -> bool {
        self.hold == Some(ReliefHold::HealthUnknown)
    }
}

impl Relief {
    /// The instances for which it is due: wanted, and held by nothing.
    pub fn due(&self) -> impl Iterator<Item = &InstanceRelief> {
        self.instances.iter().filter(|relief| relief.hold.is_none())
    }

    /// The reason with which it is held for all of them, that of the first; none: it is due for one at least.
    #[must_use]
    pub fn held_by(&self) -> Option<Reason> {
        match self.due().next() {
            Some(_) => None,
            None => self.instances.first().and_then(InstanceRelief::held_by),
        }
    }
}

/// WAL relief of a volume, beside what was decided on its growth; and the next moment at which time alone lets it go. Where
/// none is wanted, nothing is allocated.
pub(crate) fn of(view: &View, decision: &Decision) -> (Option<Relief>, Option<Timestamp>) {
    let Some(settings) = view.settings.filter(|s| s.wal_cleanup.enabled.value && view.holds_wal()) else {
        return (None, None);
    };
    let level = settings.thresholds.emergency.value;
    let mut instances = Vec::new();
    let mut opens_at: Option<Timestamp> = None;
    for member in view.members {
        let Some(occasion) = occasion(member, level, decision) else {
            continue;
        };
        let hold = hold(view, settings, member);
        // Pauses and breakers are looked at again in any case.
        if let Some(ReliefHold::Cooldown { until, .. }) = hold {
            opens_at = Some(opens_at.map_or(until, |at| at.min(until)));
        }
        instances.push(InstanceRelief {
            instance: member.member.instance.clone(),
            occasion,
            hold,
        });
    }
    ((!instances.is_empty()).then_some(Relief { instances }), opens_at)
}

/// Why it is wanted for a member: also for one that lags or is larger than the ceiling, since its `pg_wal` is its own.
///
/// That a growth was verified and left a member at or above `thresholds.emergency` is the first of the two, by the figures
/// taken after it.
fn occasion(member: &MemberView, level: Percent, decision: &Decision) -> Option<Occasion> {
    if let Some(figures) = member.fresh
        && level.reached_by(figures.used, figures.available)
    {
        let usage = Usage {
            used: figures.used,
            available: figures.available,
        };
        return Some(Occasion::Level { usage, level });
    }
    let wanted = decision.wanted?;
    let instance = &member.member.instance;
    let needs_it = match wanted.urgency {
        Urgency::Planned | Urgency::CatchUp => false,
        Urgency::Rescue | Urgency::Emergency => decision.facts.fired.as_ref().is_some_and(|fired| fired_for(fired, instance)),
        Urgency::Runway => {
            let filling = decision.facts.filling.as_ref();
            filling.is_some_and(|Filling { instance: least, .. }| least == instance)
        }
    };
    needs_it.then_some(Occasion::Held {
        urgency: wanted.urgency,
        gate: wanted.held_by,
    })
}

/// Whether a rescue or an emergency is for this instance.
fn fired_for(fired: &Fired, member: &Arc<str>) -> bool {
    match &fired.evidence {
        Evidence::Down { instances, .. } => instances.contains(member),
        Evidence::Percent { instance, .. } | Evidence::Available { instance, .. } => instance == member,
        // No emergency comes of these.
        Evidence::Inodes { .. }
        | Evidence::Forecast { .. }
        | Evidence::Floor { .. }
        | Evidence::Buffer { .. }
        | Evidence::Lagging { .. } => false,
    }
}

/// The first that holds it.
fn hold(view: &View, settings: &Resolved, member: &MemberView) -> Option<ReliefHold> {
    let cluster = &view.world.cluster;
    let now = view.now();
    if view.rules.is_none() {
        return Some(ReliefHold::Invalid);
    }
    if cluster.deleting {
        return Some(ReliefHold::Deleting);
    }
    if cluster.pause.in_force(now) {
        let until = cluster.pause.until();
        return Some(ReliefHold::Paused { until });
    }
    if cluster.hibernated {
        return Some(ReliefHold::Hibernated);
    }
    if cluster.fencing.covers(&member.member.instance) {
        return Some(ReliefHold::Fenced);
    }
    let breakers = [(cluster.breaker, false), (view.world.global_breaker, true)];
    if let Some((breaker, global)) = breakers.into_iter().find(|(breaker, _)| breaker.holds(now)) {
        let resets_at = breaker.resets_at();
        return Some(ReliefHold::Breaker { global, resets_at });
    }
    if let Some(last) = member.member.last_relief_at {
        let until = after(last, settings.wal_cleanup.cooldown.value);
        if until > now {
            return Some(ReliefHold::Cooldown { last, until });
        }
    }
    if cluster.wal.is_none() {
        return Some(ReliefHold::HealthUnknown);
    }
    settings.dry_run.value.then_some(ReliefHold::DryRun)
}
