//! Why a volume fills, in the status of a PostgresStorage.

use csm_api::{CauseKind, Reason, RootCause, Urgency};
use csm_core::crossing::{LITTLE_WAL, coarse};
use csm_core::explain::{self, Place};
use csm_core::plan::Decision;
use csm_core::resolve::Resolution;
use csm_core::root_cause::to_tell;
use csm_core::world::World;
use csm_gather::causes::{self, RootCauses};
use csm_gather::index::Snapshot;
use csm_units::Percent;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A volume that was told to fill does so until it is used by so many points less than `thresholds.warning`.
const HYSTERESIS: u16 = 2;

/// Why the volume of a decision fills; `before` is what was told last. Where it does not fill, only what will fill it is told. What is told stays in its words while its figures have not doubled, and while nothing is heard of the primary: of
/// one that is down, what is known is what was known last.
#[must_use]
pub fn of(snapshot: &Snapshot, world: &World, decision: &Decision, before: Option<&RootCause>, now: Timestamp) -> Option<RootCause> {
    let fills = fills(world, decision, before.is_some());
    let Some(RootCauses {
        instance,
        volume,
        mut causes,
    }) = causes::of(snapshot, world, decision, now)
    else {
        // Just started, or without word of the primary: what was known stands. Else nothing needs to be known any more.
        let unheard = snapshot.awaits_wal || decision.percent_used.is_none() || world.cluster.wal.is_none() || snapshot.tracked.is_some();
        let stands =
            |before: &&RootCause| (fills || snapshot.awaits_wal) && world.cluster.primary.as_deref() == Some(before.instance.as_str());
        return before.filter(stands).filter(|_| unheard).cloned();
    };
    causes.retain(|cause| fills || cause.fills(volume));
    let same_instance = before.filter(|before| *before.instance == *instance);
    let told = same_instance.map(|before| (before.cause, before.subject.as_deref()));
    let cause = to_tell(&causes, told)?;
    let same = same_instance.filter(|before| before.cause == cause.kind() && before.subject.as_deref() == cause.subject());
    let bytes = i64::try_from(cause.bytes().get()).unwrap_or(i64::MAX);
    let coarsely = |bytes: i64| coarse(u64::try_from(bytes).unwrap_or(0), LITTLE_WAL);
    let message = || {
        let place = Place {
            instance: &instance,
            volume: &decision.volume,
        };
        explain::root_cause(cause, place)
    };
    // What is not known has no figures that could double: its words are all there is.
    let stands =
        |same: &&RootCause| coarsely(same.bytes) == coarsely(bytes) && (same.cause != CauseKind::Unknown || same.message == message());
    if let Some(same) = same.filter(stands) {
        return Some(same.clone());
    }
    Some(RootCause {
        cause: cause.kind(),
        subject: cause.subject().map(str::to_owned),
        bytes,
        message: message(),
        since: same.map_or(Time(now), |same| same.since.clone()),
        instance: instance.to_string(),
    })
}

/// Whether a volume fills, for people: it has reached `thresholds.warning`, or wants to grow.
fn fills(world: &World, decision: &Decision, before: bool) -> bool {
    let Resolution::Settings(settings) = &*world.resolution else {
        return false;
    };
    let warning = settings.thresholds.warning.value.get();
    let level = Percent::of(if before { warning.saturating_sub(HYSTERESIS) } else { warning });
    let wants = decision.urgency.is_some_and(|urgency| urgency != Urgency::CatchUp);
    wants || decision.percent_used.is_some_and(|percent| percent >= level)
}

/// A sentence about a decision, with why its volume fills, unless it says so itself.
#[must_use]
pub fn appended(sentence: String, reason: Reason, cause: Option<&RootCause>) -> String {
    match (cause, reason) {
        (None, _) => sentence,
        (Some(cause), Reason::ArchiveUnhealthy) if cause.cause == CauseKind::ArchiverFailing => sentence,
        (Some(cause), Reason::SlotRetention) if cause.cause == CauseKind::InactiveSlot => sentence,
        (Some(cause), Reason::SharedFilesystem) if cause.cause == CauseKind::SharedFilesystem => sentence,
        (Some(cause), _) => format!("{sentence}. Why it fills: {}", cause.message),
    }
}

#[cfg(test)]
mod tests {
    use csm_core::plan::plan;

    use super::*;
    use crate::report::testing::{now, subject};

    fn told(instance: &str) -> RootCause {
        RootCause {
            cause: CauseKind::InactiveSlot,
            instance: instance.to_owned(),
            subject: Some("cdc".to_owned()),
            bytes: 1 << 30,
            message: "nobody reads from it".to_owned(),
            since: Time(now()),
        }
    }

    /// What is told of a volume of which nothing is tracked, after a cause of `instance` was.
    fn after(used: &str, wal: &str, instance: &str) -> Option<RootCause> {
        let volumes = format!("volumes: {{data: {{size: 10Gi, members: {{orders-1: {{used: {used}, available: 2Gi}}}}}}}}");
        let subject = subject("{expansion: {maxSize: 100Gi}}", &format!("primary: orders-1, {wal}, {volumes}"));
        let plan = plan(&subject.world, now());
        let decision = plan.decisions.first()?;
        of(&subject.snapshot, &subject.world, decision, Some(&told(instance)), now())
    }

    #[test]
    fn what_was_told_stands_while_nothing_is_heard_of_the_primary_and_the_volume_fills() {
        let (unheard, heard) = ("walHealthKnown: false", "archiving: {configured: false}");
        assert_eq!(after("8Gi", unheard, "orders-1"), Some(told("orders-1")));
        assert_eq!(after("8Gi", heard, "orders-1"), None, "it is well, and nothing is tracked any more");
        assert_eq!(after("1Gi", unheard, "orders-1"), None, "it does not fill");
        assert_eq!(after("8Gi", unheard, "orders-2"), None, "another one is primary now");
    }

    #[test]
    fn a_sentence_says_it_once() {
        let say = |reason| appended("It is full".to_owned(), reason, Some(&told("orders-1")));
        assert_eq!(say(Reason::AtLimit), "It is full. Why it fills: nobody reads from it");
        assert_eq!(say(Reason::SlotRetention), "It is full", "which says so itself");
        assert_eq!(appended("It is full".to_owned(), Reason::AtLimit, None), "It is full");
    }
}
