//! Whether a relief may go on now: one that a person asks for, and any other before each command that changes something.

use csm_api::Role;
use jiff::Timestamp;

use crate::admit::Refusal;
use crate::explain;
use crate::relief_due::ReliefHold;
use crate::resolve::Resolution;
use crate::wal::Rules;
use crate::world::{VolumeKey, World};

/// What holds for a Cluster that no policy manages: the defaults of `walCleanup`.
const DEFAULTS: Rules = Rules {
    retain_count: 10,
    require_archived: true,
};

/// The rules by which WAL of an instance may be relieved, and the volume that it is on. Of what is asked for, only the instance and
/// whether it is a dry run count.
///
/// A person's relief goes ahead of its cooldown and of WAL health that is not known: those say when the manager begins by itself. What may be removed is proved at the instance in any case.
///
/// # Errors
/// What stands against it, with what a person can do.
pub fn permission(world: &World, instance: &str, dry_run: bool, now: Timestamp) -> Result<(Rules, VolumeKey), Refusal> {
    let wal = world.volumes.iter().find(|volume| volume.key.role == Role::Wal);
    let volume = wal.or_else(|| world.volumes.iter().find(|volume| volume.key.role == Role::Data));
    let holder = volume.filter(|volume| volume.members.iter().any(|member| *member.instance == *instance));
    let Some(volume) = holder else {
        let there: Vec<&str> = volume
            .iter()
            .flat_map(|volume| &volume.members)
            .map(|member| &*member.instance)
            .collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        let message = format!("the Cluster has no instance {instance}; those that it has: {there}");
        return Err(Refusal { reason: None, message });
    };
    let (rules, only_dry) = match &*world.resolution {
        Resolution::Settings(settings) if !settings.wal_cleanup.enabled.value => {
            let message = "walCleanup.enabled is false, so no instance's WAL is touched; set it to true to let it be relieved".to_owned();
            return Err(Refusal { reason: None, message });
        }
        Resolution::Settings(settings) => (settings.wal_cleanup.rules(), settings.dry_run.value),
        Resolution::NoPolicy => (DEFAULTS, false),
        Resolution::Conflict(_) | Resolution::Invalid(_) => return Err(refusal(ReliefHold::Invalid)),
    };
    match hold(world, instance, only_dry && !dry_run, now) {
        Some(hold) => Err(refusal(hold)),
        None => Ok((rules, volume.key.clone())),
    }
}

fn refusal(hold: ReliefHold) -> Refusal {
    Refusal {
        reason: Some(hold.reason()),
        message: explain::relief_held(hold),
    }
}

fn hold(world: &World, instance: &str, only_dry: bool, now: Timestamp) -> Option<ReliefHold> {
    let cluster = &world.cluster;
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
    if cluster.fencing.covers(instance) {
        return Some(ReliefHold::Fenced);
    }
    let breakers = [(cluster.breaker, false), (world.global_breaker, true)];
    if let Some((breaker, global)) = breakers.into_iter().find(|(breaker, _)| breaker.holds(now)) {
        let resets_at = breaker.resets_at();
        return Some(ReliefHold::Breaker { global, resets_at });
    }
    only_dry.then_some(ReliefHold::DryRun)
}
