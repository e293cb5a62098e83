//! One sentence for a decision.

use std::fmt::Write as _;

use csm_api::{Model, Reason, State, Verdict};
use csm_units::Bytes;

use super::clause::clause;
use super::figures::and;
use super::settings;
use super::situation::{filling, situation, subject, suspected, volume_name};
use crate::decision::{Decision, Evidence, Fired, Wanted};

/// One sentence for people: what is done and why; or what is wanted, what holds it, until when, and what a
/// person can do.
#[must_use]
pub fn sentence(decision: &Decision) -> String {
    let mut text = match decision.verdict {
        Verdict::Balanced => balanced(decision),
        Verdict::Grow if decision.reason == Reason::Runway => runway(decision),
        Verdict::Grow => format!("{}: {}", situation(decision), growth(decision)),
        Verdict::Rescue => format!("{}: {}, so that it can start again", situation(decision), growth(decision)),
        Verdict::CatchUp => catch_up(decision),
        Verdict::Hold => hold(decision),
    };
    text.push_str(&suspected(decision));
    text
}

fn balanced(decision: &Decision) -> String {
    let threshold = decision.facts.threshold.map_or_else(String::new, |percent| match decision.model {
        Some(Model::Resize) => format!(" up to {percent} %", percent = percent.get()),
        Some(Model::Target) => format!(" while {} % stay free", percent.get()),
        Some(Model::Thresholds) | None => format!(" below {} %", percent.get()),
    });
    let mut text = format!("{}: nothing to do{threshold}", subject(decision));
    match decision.state {
        State::WaitingForDiskStatus => text.push_str(", but the primary has no fresh figures"),
        State::Resizing => text.push_str("; a resize is under way"),
        State::Blocked => text.push_str(", but a resize is stuck; see kubectl describe pvc"),
        State::Paused => text.push_str("; the Cluster is paused"),
        _ => {}
    }
    text
}

/// "grows from 10Gi to 15Gi", what bounds that, and who is left out.
fn growth(decision: &Decision) -> String {
    let mut text = format!("grows from {} to {}", decision.from, size_of(decision.to));
    if matches!(
        decision.facts.fired,
        Some(Fired {
            evidence: Evidence::Buffer { ahead: true, .. },
            ..
        })
    ) && decision.reason == Reason::TargetBuffer
    {
        text.push_str(", which provides for what is forecast to be written until the next maintenance window");
    }
    if decision.ceiling.is_some_and(|ceiling| decision.to == Some(ceiling.size)) {
        let _ = write!(text, ", which is its ceiling: {}", settings::ceiling(decision));
    }
    let left_out = left_out(decision);
    if !left_out.is_empty() {
        let _ = write!(text, "; not yet {}, to be caught up later", and(&left_out));
    }
    text
}

/// Members that a growth leaves out, and that are not larger than the ceiling anyway.
fn left_out(decision: &Decision) -> Vec<&str> {
    let outsize = |instance: &str| {
        let mut warnings = decision.warnings.iter().filter(|w| w.reason == Reason::MemberAboveLimit);
        warnings.any(|w| w.members.iter().any(|m| **m == *instance))
    };
    let unpatched = decision.members.iter().filter(|m| m.to.is_none()).map(|m| &*m.instance);
    unpatched.filter(|instance| !outsize(instance)).collect()
}

fn runway(decision: &Decision) -> String {
    let mut text = format!(
        "{} and is {}: by a small step it {}",
        situation(decision),
        filling(decision.facts.filling.as_ref()),
        growth(decision)
    );
    if let Some(wanted) = decision.wanted {
        let held = clause(wanted.held_by, decision);
        let _ = write!(text, "; its growth to {} waits: {held}", size_of(wanted.to));
        if let [_, also @ ..] = decision.passed.as_slice()
            && !also.is_empty()
        {
            let also: Vec<&str> = also.iter().copied().map(briefly).collect();
            let _ = write!(text, "; {} would hold it as well", and(&also));
        }
    }
    text
}

/// What a runway passes, in a word or two.
fn briefly(reason: Reason) -> &'static str {
    match reason {
        Reason::Fenced => "a fenced instance",
        Reason::NotBound => "a PVC that is not bound",
        Reason::BlockVolume => "a raw block device",
        Reason::StorageClassNotExpandable => "a storage class without expansion",
        Reason::ResizeInProgress | Reason::ResizeStuck => "a resize under way",
        Reason::BudgetReservedForEmergency => "the reserve for emergencies",
        Reason::ProviderLimit => "the storage provider's limit",
        Reason::Cooldown => "the cooldown",
        Reason::FleetLimit => "the limit of the fleet",
        Reason::MaintenanceWindowClosed => "the closed maintenance window",
        Reason::ArchiveUnhealthy => "failing WAL archiving",
        Reason::TooManyPendingWalFiles => "WAL files that wait to be archived",
        Reason::SlotRetention => "inactive replication slots",
        other => other.as_str(),
    }
}

fn catch_up(decision: &Decision) -> String {
    let name = volume_name(&decision.volume);
    let caught_up: Vec<&str> = decision.members.iter().filter(|m| m.to.is_some()).map(|m| &*m.instance).collect();
    let mut text = match decision.reason {
        Reason::DiskFull => format!("{}; ", situation(decision)),
        _ => String::new(),
    };
    let _ = write!(
        text,
        "{name} of {} is smaller than the volume ({}): grows to {}",
        and(&caught_up),
        decision.from,
        size_of(decision.to)
    );
    if let Some(Wanted { to, held_by, .. }) = decision.wanted {
        let held = clause(held_by, decision);
        let _ = match to {
            Some(to) => write!(text, "; {} and should grow to {to}, but {held}", situation(decision)),
            None => write!(text, "; {}, but {held}", situation(decision)),
        };
    }
    text
}

fn hold(decision: &Decision) -> String {
    let held = clause(decision.reason, decision);
    let from = decision.from;
    let Some(Wanted { reason, to, .. }) = decision.wanted else {
        return format!("{}: {held}", subject(decision));
    };
    match (reason, to) {
        (_, None) => format!(
            "{}; it is larger than the ceiling of the volume, which is not sized by it, and {held}",
            situation(decision)
        ),
        (Reason::Runway, Some(to)) => format!(
            "{} and is {}: by a small step it should grow from {from} to {to}, but {held}",
            situation(decision),
            filling(decision.facts.filling.as_ref())
        ),
        (Reason::DiskFull, Some(to)) if to == from => format!(
            "{}; it should be caught up to the size of the volume, {from}, but {held}",
            situation(decision)
        ),
        (Reason::MemberBelowEffectiveSize, _) => format!(
            "{} has members that are smaller than {from} and should grow to it{}, but {held}",
            volume_name(&decision.volume),
            lagging(decision)
        ),
        (_, Some(to)) => format!("{}: should grow from {from} to {to}, but {held}", situation(decision)),
    }
}

/// Which members lag, where that is all that fired.
fn lagging(decision: &Decision) -> String {
    match &decision.facts.fired {
        Some(Fired {
            evidence: Evidence::Lagging { instances },
            ..
        }) => format!(" ({})", and(instances)),
        _ => String::new(),
    }
}

fn size_of(size: Option<Bytes>) -> String {
    size.map_or_else(|| "an unknown size".to_owned(), |s| s.to_string())
}
