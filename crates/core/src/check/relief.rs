//! WAL relief: never of an instance that must be left alone, and never without what makes it due.

use csm_api::{Role, Urgency};
use jiff::{SignedDuration, Timestamp};

use super::seen::{Seen, total};
use super::{Report, Rule};
use crate::decision::Decision;
use crate::relief_due::{InstanceRelief, Relief};
use crate::world::{Fencing, Member, Pause, Volume, World};

pub(super) fn check(world: &World, volume: &Volume, decision: &Decision, now: Timestamp, report: Report) {
    let Some(Relief { instances }) = &decision.relief else { return };
    let mut refuse = |why: String| report(Rule::Relief, why);
    let others_hold_wal = world.volumes.iter().any(|v| v.key.role == Role::Wal);
    let holds_wal = match volume.key.role {
        Role::Wal => true,
        Role::Data => !others_hold_wal,
        Role::Tablespace => false,
    };
    if !holds_wal {
        refuse("pg_wal is not on this volume".to_owned());
    }
    if instances.is_empty() {
        refuse("wanted for nobody".to_owned());
    }
    for (i, relief) in instances.iter().enumerate() {
        let instance = &relief.instance;
        if instances.iter().take(i).any(|other| other.instance == *instance) {
            refuse(format!("instance {instance} is named twice"));
        }
        if relief.hold.is_none() {
            due(world, volume, decision, now, relief, &mut refuse);
        }
    }
}

/// What must be so where something is to be done.
fn due(world: &World, volume: &Volume, decision: &Decision, now: Timestamp, relief: &InstanceRelief, refuse: &mut dyn FnMut(String)) {
    let instance = &relief.instance;
    let Some(member) = volume.members.iter().find(|m| m.instance == *instance) else {
        return refuse(format!("the volume has no instance {instance}"));
    };
    let Some(seen) = Seen::new(world, volume, now) else {
        return refuse("the settings could not be resolved".to_owned());
    };
    let cleanup = &seen.settings.wal_cleanup;
    let cluster = &world.cluster;
    let paused = match cluster.pause {
        Pause::No => false,
        Pause::Paused { until, .. } => until.is_none_or(|until| now < until),
    };
    let fenced = match &cluster.fencing {
        Fencing::None => false,
        Fencing::Instances(names) => names.contains(instance),
        Fencing::All | Fencing::Unreadable(_) => true,
    };
    let forbidden = [
        (!cleanup.enabled.value, "walCleanup.enabled is false"),
        (seen.settings.dry_run.value, "dryRun is true"),
        (cluster.deleting, "the Cluster is being deleted"),
        (paused, "the Cluster is paused"),
        (cluster.hibernated, "the Cluster is hibernated"),
        (fenced, "it is fenced"),
        (
            cluster.breaker.holds(now) || world.global_breaker.holds(now),
            "a circuit breaker is open",
        ),
        (
            is_cooling_down(member, cleanup.cooldown.value, now),
            "its WAL was removed a short while ago",
        ),
        (cluster.wal.is_none(), "nothing is known of WAL archiving and slots"),
        (
            !has_reached(&seen, member) && !is_held(&seen, member, decision),
            "it has not reached thresholds.emergency, and no urgent growth of it is held",
        ),
    ];
    for (_, why) in forbidden.into_iter().filter(|(forbidden, _)| *forbidden) {
        refuse(format!("instance {instance}: {why}"));
    }
}

fn is_cooling_down(member: &Member, cooldown: SignedDuration, now: Timestamp) -> bool {
    member.last_relief_at.is_some_and(|last| now.duration_since(last) < cooldown)
}

/// Fresh figures of at least `thresholds.emergency`.
fn has_reached(seen: &Seen, member: &Member) -> bool {
    let level = i128::from(seen.settings.thresholds.emergency.value.get());
    let reached = |used: i128, total: i128| used.saturating_mul(100) >= level.saturating_mul(total);
    member_figures(seen, member).is_some_and(|(used, total)| reached(used, total))
}

fn member_figures(seen: &Seen, member: &Member) -> Option<(i128, i128)> {
    let member = seen.volume.members.iter().find(|m| m.uid == member.uid)?;
    seen.fresh(member).map(|figures| (figures.used.wide(), total(figures)))
}

/// Whether a growth that is urgent is held, and may be for this member: of a rescue one whose disk is full, of another one
/// with figures.
fn is_held(seen: &Seen, member: &Member, decision: &Decision) -> bool {
    decision.wanted.is_some_and(|wanted| match wanted.urgency {
        Urgency::Rescue => member.disk_full,
        Urgency::Emergency | Urgency::Runway => member_figures(seen, member).is_some(),
        Urgency::Planned | Urgency::CatchUp => false,
    })
}
