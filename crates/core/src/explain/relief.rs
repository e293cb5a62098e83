//! WAL relief in words.

use csm_api::{Urgency, annotation};
use csm_units::Percent;

use super::clause::minutes;
use super::figures::{and, share};
use super::situation::volume_name;
use crate::decision::{Decision, Usage};
use crate::relief_due::{InstanceRelief, Occasion, ReliefHold};

/// WAL relief of a volume: for which instances it is wanted and why, and what holds it, until when, and what a person can do. A
/// sentence for all instances of which the same is so; empty where none is wanted.
#[must_use]
pub fn relief(decision: &Decision) -> Vec<String> {
    let wanted = decision.relief.iter().flat_map(|relief| &relief.instances);
    let mut groups: Vec<(Option<ReliefHold>, Vec<String>)> = Vec::new();
    for relief in wanted {
        let subject = subject(relief, decision);
        match groups.iter_mut().find(|(hold, _)| *hold == relief.hold) {
            Some((_, subjects)) => subjects.push(subject),
            None => groups.push((relief.hold, vec![subject])),
        }
    }
    let sentence = |(hold, subjects): (Option<ReliefHold>, Vec<String>)| match hold {
        None => format!("WAL relief is due for {}", and(&subjects)),
        Some(hold) => format!("WAL relief is wanted for {}, but {}", and(&subjects), held(hold)),
    };
    groups.into_iter().map(sentence).collect()
}

/// "orders-1 (wal is 93 % full, 3.7 of 4 GiB; thresholds.emergency is 90 %)".
fn subject(relief: &InstanceRelief, decision: &Decision) -> String {
    let InstanceRelief {
        instance,
        occasion,
        hold: _,
    } = relief;
    match *occasion {
        Occasion::Level {
            usage: Usage { used, available },
            level,
        } => {
            let percent = Percent::used(used, available).unwrap_or(level);
            format!(
                "{instance} ({} is {} % full, {}; thresholds.emergency is {} %)",
                volume_name(&decision.volume),
                percent.get(),
                share(used, used.saturating_add(available)),
                level.get()
            )
        }
        Occasion::Held { urgency, gate } => {
            let growth = match urgency {
                Urgency::Rescue => "a growth to rescue it",
                Urgency::Runway => "a small step to give it time",
                Urgency::Emergency | Urgency::Planned | Urgency::CatchUp => "an emergency growth for it",
            };
            format!("{instance} ({growth} is held by {gate})")
        }
    }
}

/// What holds it, until when, and what a person can do.
pub(crate) fn held(hold: ReliefHold) -> String {
    match hold {
        ReliefHold::Invalid => "the settings of the volume are not valid; correct them, and it goes on".to_owned(),
        ReliefHold::Deleting => "the Cluster is being deleted; its volumes are left alone".to_owned(),
        ReliefHold::Paused { until: None } => {
            format!("the Cluster is paused; remove the annotation {} to go on", annotation::PAUSED)
        }
        ReliefHold::Paused { until: Some(until) } => format!(
            "the Cluster is paused until {until}; remove the annotation {} to go on before",
            annotation::PAUSED
        ),
        ReliefHold::Hibernated => "the Cluster is hibernated (cnpg.io/hibernation: on)".to_owned(),
        ReliefHold::Fenced => "a fence is in the way; lift it (kubectl cnpg fencing off) to go on".to_owned(),
        ReliefHold::Breaker { global, resets_at } => {
            let (whose, place) = if global {
                ("of the whole fleet", "any ClusterStoragePolicy")
            } else {
                ("of the Cluster", "the Cluster")
            };
            let again = resets_at.map_or_else(String::new, |at| format!(" until {at}"));
            format!(
                "the circuit breaker {whose} is open{again}; see what failed in the StorageEvents, then set the annotation {}: \"true\" \
                 on {place} to go on at once",
                annotation::RESET_CIRCUIT_BREAKER
            )
        }
        ReliefHold::Cooldown { last, until } => format!(
            "WAL was removed at {last}, which is too recent; it goes on at {until} (walCleanup.cooldownMinutes: {})",
            minutes(last, until)
        ),
        ReliefHold::HealthUnknown => {
            "nothing is known of WAL archiving and replication slots, so nothing is removed, and what holds the WAL is only reported; see \
             whether the primary runs and can be asked"
                .to_owned()
        }
        ReliefHold::DryRun => "this is a dry run; set dryRun: false to let it happen".to_owned(),
    }
}
