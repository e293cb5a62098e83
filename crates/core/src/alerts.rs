//! Which alerts are due. Whether and to whom they are told is not decided here.
//!
//! There is at most one alert of a kind for each volume, and its identity never changes while it is due: figures that
//! change are facts beside it. Of the three levels of usage, the highest that is reached is due, alone.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use csm_api::{Reason, State, Urgency};
use csm_units::Percent;
use jiff::Timestamp;

use crate::disk_full::Findings;
use crate::gates::resize_in_flight;
use crate::last_seen::LastSeen;
use crate::plan::{Decision, Plan};
use crate::resolve::{Resolution, Resolved, ResolvedThresholds};
use crate::view::{Members, View};
use crate::world::{Breaker, Member, VolumeKey, World};

/// A level of usage clears this many points below where it fired, so that it does not come and go at the threshold.
const HYSTERESIS: u16 = 2;
/// From this share of its ceiling on, a volume approaches it.
const APPROACHING: Percent = Percent::of(80);

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $severity:ident;)+) => {
        /// What an alert is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum AlertKind { $($(#[$doc])* $variant),+ }

        impl AlertKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name, as in metrics and messages.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// How bad it is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity),+ }
            }
        }
    };
}

kinds! {
    /// Percent used has reached `thresholds.warning`.
    StorageWarning = "storage-warning", Warning;
    /// Percent used has reached `thresholds.critical`.
    StorageCritical = "storage-critical", Critical;
    /// Percent used has reached `thresholds.emergency`.
    StorageEmergency = "storage-emergency", Critical;
    /// The volume has reached 80 % of its ceiling.
    ApproachingLimit = "approaching-limit", Warning;
    /// The volume has reached its ceiling.
    AtLimit = "at-limit", Critical;
    /// The last growth was refused, or failed, and one is still wanted.
    ExpansionFailed = "expansion-failed", Critical;
    /// A resize made no progress for too long.
    ResizeStuck = "resize-stuck", Critical;
    /// The storage says that it cannot do a resize.
    ResizeInfeasible = "resize-infeasible", Critical;
    /// WAL archiving fails.
    WalArchiveFailing = "wal-archive-failing", Critical;
    /// Inactive replication slots hold growth up.
    WalSlots = "wal-slots", Warning;
    /// WAL relief is wanted of an instance, and the last one failed, or was refused since there was no proof.
    WalCleanupFailed = "wal-cleanup-failed", Warning;
    /// A volume, or a member of one, has no fresh figures.
    MetricsLost = "metrics-lost", Warning;
    /// An instance is down because a volume is full.
    Rescue = "rescue", Critical;
    /// A circuit breaker is open.
    CircuitOpen = "circuit-open", Critical;
    /// Two policies of one rank match the Cluster.
    PolicyConflict = "policy-conflict", Warning;
    /// The storage cannot grow the volume, or its figures are not the volume's own.
    UnsupportedStorage = "unsupported-storage", Warning;
    /// A growth is wanted, and the budget holds it.
    BudgetExhausted = "budget-exhausted", Warning;
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How bad an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Somebody should look.
    Warning,
    /// Somebody must look now.
    Critical,
}

impl Severity {
    /// Its name, as in metrics and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What an alert is known by, within its Cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertId {
    /// The volume; none for one that concerns the Cluster.
    pub volume: Option<VolumeKey>,
    /// What it is about.
    pub kind: AlertKind,
}

/// An alert that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What it is known by.
    pub id: AlertId,
    /// The planner's reason that stands behind it.
    pub cause: Reason,
    /// The instance that shows it worst, where one does.
    pub instance: Option<Arc<str>>,
    /// The manager is at work on it: a growth is decided or under way.
    pub remedied: bool,
    /// What is known of the instance, where it is down for its volume, or perhaps for it.
    pub findings: Option<Arc<Findings>>,
}

/// All alerts that are due, in the order of their identities. `active` are those that were due before: a level of usage
/// that has fired clears only when fresh figures are two points below it.
#[must_use]
pub fn due(world: &World, plan: &Plan, active: &BTreeSet<AlertId>, now: Timestamp) -> Vec<Alert> {
    let mut alerts = of_cluster(world, now);
    let settings = match &*world.resolution {
        Resolution::Settings(settings) => Some(settings),
        Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_) => None,
    };
    // A Cluster without settings has no thresholds, and nobody to tell.
    if let Some(settings) = settings {
        let mut scratch = Members::new();
        for volume in &world.volumes {
            let Some(decision) = plan.decisions.iter().find(|d| d.volume == volume.key) else {
                continue;
            };
            let view = View::new(world, volume, now, &mut scratch);
            of_volume(&view, settings, decision, active, &mut alerts);
        }
    }
    // What says more comes first, and stays.
    alerts.sort_by(|a, b| a.id.cmp(&b.id).then(b.findings.is_some().cmp(&a.findings.is_some())));
    alerts.dedup_by(|a, b| a.id == b.id);
    alerts
}

fn of_cluster(world: &World, now: Timestamp) -> Vec<Alert> {
    let conflict = matches!(&*world.resolution, Resolution::Conflict(_));
    let mut breakers = [world.cluster.breaker, world.global_breaker].into_iter();
    let open = breakers.any(|breaker| breaker.state(now) == Breaker::Open);
    let archiving = world.cluster.wal.as_ref().and_then(|wal| wal.archiving);
    let failing = archiving.is_some_and(|a| a.is_failing());
    let alerts = [
        (conflict, AlertKind::PolicyConflict, Reason::PolicyConflict),
        (open, AlertKind::CircuitOpen, Reason::CircuitOpen),
        (failing, AlertKind::WalArchiveFailing, Reason::ArchiveUnhealthy),
    ];
    let due = alerts.into_iter().filter(|(due, ..)| *due);
    due.map(|(_, kind, cause)| Alert {
        id: AlertId { volume: None, kind },
        cause,
        instance: None,
        remedied: false,
        findings: None,
    })
    .collect()
}

fn of_volume(view: &View, settings: &Resolved, decision: &Decision, active: &BTreeSet<AlertId>, alerts: &mut Vec<Alert>) {
    let remedied = decision.acts() || decision.state == State::Resizing;
    let mut put = |kind, cause, instance: Option<&Arc<str>>| {
        alerts.push(Alert {
            id: AlertId {
                volume: Some(decision.volume.clone()),
                kind,
            },
            cause,
            instance: instance.cloned(),
            remedied,
            findings: None,
        });
    };
    let last_seen = LastSeen::of(view.world, view.volume, view.now());
    if let Some(kind) = level(&view.volume.key, &last_seen, &settings.thresholds, active) {
        put(kind, decision.reason, last_seen.fullest.map(|seen| &seen.member.instance));
    }
    if let Some(ceiling) = &decision.ceiling {
        if decision.at_limit {
            put(AlertKind::AtLimit, Reason::AtLimit, None);
        } else if decision.from >= APPROACHING.share_of(ceiling.size) {
            put(AlertKind::ApproachingLimit, Reason::AtLimit, None);
        }
    }
    // Where nothing is known of the volume, neither is whether it still wants to grow.
    if view.volume.retry_after.is_some() && (decision.urgency.is_some() || last_seen.blind) {
        put(AlertKind::ExpansionFailed, Reason::RetryLater, None);
    }
    if let Some(resize) = resize_in_flight::of_volume(view)
        && resize_in_flight::is_stuck(view, &resize)
    {
        put(AlertKind::ResizeStuck, Reason::ResizeStuck, resize.member.map(|m| &m.instance));
    }
    let members = &view.volume.members;
    if let Some(member) = members.iter().find(|m| m.is_infeasible()) {
        put(AlertKind::ResizeInfeasible, Reason::ResizeInProgress, Some(&member.instance));
    }
    let held_by = decision.wanted.map(|wanted| wanted.held_by);
    if held_by == Some(Reason::SlotRetention) {
        put(AlertKind::WalSlots, Reason::SlotRetention, None);
    }
    let wanted = decision.relief.iter().flat_map(|relief| &relief.instances);
    let failed = |instance: &Arc<str>| members.iter().any(|m| m.relief_failed && m.instance == *instance);
    if let Some(relief) = wanted.into_iter().find(|relief| failed(&relief.instance)) {
        put(AlertKind::WalCleanupFailed, decision.reason, Some(&relief.instance));
    }
    let unobserved = decision.warnings.iter().find(|w| w.reason == Reason::MemberNotObserved);
    if matches!(decision.reason, Reason::StaleObservation | Reason::NoObservation) || decision.state == State::WaitingForDiskStatus {
        put(AlertKind::MetricsLost, decision.reason, None);
    } else if let Some(warning) = unobserved {
        put(AlertKind::MetricsLost, Reason::MemberNotObserved, warning.members.first());
    }
    if let Some((member, cause)) = members.iter().find_map(|m| unsupported(m, decision).map(|cause| (m, cause))) {
        put(AlertKind::UnsupportedStorage, cause, Some(&member.instance));
    }
    if let Some(cause @ (Reason::BudgetExhausted | Reason::BudgetReservedForEmergency)) = held_by {
        put(AlertKind::BudgetExhausted, cause, None);
    }
    alerts.extend(of_instance_down(view, decision, remedied));
}

/// An instance is down for its volume: or perhaps for it, where something points at that and does not suffice; where nothing
/// points at anything, all that can be told is that nothing is known.
fn of_instance_down(view: &View, decision: &Decision, remedied: bool) -> Option<Alert> {
    let members = &view.volume.members;
    let full = members.iter().find(|m| m.disk_full);
    let suspected = || members.iter().find(|m| m.findings.is_some());
    let rescues = decision.urgency == Some(Urgency::Rescue);
    let member = full.filter(|_| rescues).or_else(suspected);
    let findings = member.and_then(|m| m.findings.clone());
    let known = rescues || findings.as_ref().is_some_and(|found| !found.signs.is_empty());
    let (kind, cause) = if known {
        (AlertKind::Rescue, Reason::DiskFull)
    } else {
        (AlertKind::MetricsLost, Reason::MemberNotObserved)
    };
    (rescues || findings.is_some()).then(|| Alert {
        id: AlertId {
            volume: Some(decision.volume.clone()),
            kind,
        },
        cause,
        instance: member.map(|m| m.instance.clone()),
        remedied,
        findings,
    })
}

/// The highest level of usage that any member had reached when it was last seen, or has not been seen to leave.
fn level(volume: &VolumeKey, last_seen: &LastSeen, thresholds: &ResolvedThresholds, active: &BTreeSet<AlertId>) -> Option<AlertKind> {
    let levels = [
        (AlertKind::StorageEmergency, thresholds.emergency.value),
        (AlertKind::StorageCritical, thresholds.critical.value),
        (AlertKind::StorageWarning, thresholds.warning.value),
    ];
    let figures = last_seen.fullest.map(|seen| seen.figures);
    let is_due = |(kind, threshold): &(AlertKind, Percent)| {
        let id = AlertId {
            volume: Some(volume.clone()),
            kind: *kind,
        };
        let left = Percent::of(threshold.get().saturating_sub(HYSTERESIS));
        let stays = || last_seen.blind || figures.is_some_and(|f| left.exceeded_by(f.used, f.available));
        figures.is_some_and(|f| threshold.reached_by(f.used, f.available)) || (active.contains(&id) && stays())
    };
    levels.iter().find(|level| is_due(level)).map(|(kind, _)| *kind)
}

/// Why the storage of a member cannot be managed.
fn unsupported(member: &Member, decision: &Decision) -> Option<Reason> {
    if member.block {
        Some(Reason::BlockVolume)
    } else if member.bound && !member.class.expandable {
        Some(Reason::StorageClassNotExpandable)
    } else if member.twin || member.class.shared_filesystem || decision.reason == Reason::SharedFilesystem {
        Some(Reason::SharedFilesystem)
    } else {
        None
    }
}
