//! Whether the demo showed what it promises. Pure: judged by the disks and the API server's audit log, not by the
//! manager's own word alone.

use csm_api::{Phase, Reason, Verdict, VerifiedBy};
use csm_units::Bytes;

use super::scene::{Cluster, Instance, Scene, spaced};
use super::story::{Fate, Part, Play};
use super::timeline::{Deed, Write};

/// How much of what was asked for a filesystem must have grown by, in percent: the rest is its own bookkeeping.
const GROWN: u64 = 90;

/// One promise, and whether it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whether it was.
    pub kept: bool,
    /// The promise; where it was broken, with what was seen instead.
    pub text: String,
}

fn check(promise: impl Into<String>, broken: Option<String>) -> Check {
    let promise = promise.into();
    Check {
        kept: broken.is_none(),
        text: broken.map_or(promise.clone(), |why| format!("{promise}: NO, {why}")),
    }
}

/// All promises.
pub fn checks(play: &Play, scenes: &[Scene], writes: &[Write]) -> Vec<Check> {
    let mut checks = Vec::new();
    for part in play.cast {
        let mut seen = scenes.iter().filter_map(|scene| scene.cluster(part.name));
        let first = seen.next();
        let (Some(first), Some(last)) = (first, seen.next_back().or(first)) else {
            checks.push(check(part.name, Some("it was never seen".to_owned())));
            continue;
        };
        match part.fate {
            Fate::Grows => checks.extend(grows(part, first, last, writes)),
            Fate::Held(reason) => checks.push(held(part, reason, first, last, writes)),
            Fate::Calm => {
                let promise = format!("{}: left alone", part.name);
                checks.push(check(promise, touched(first, last, writes)));
            }
        }
    }
    let meddled: Vec<&str> = writes.iter().filter(|w| w.deed == Deed::Meddled).map(|w| w.name.as_str()).collect();
    let meddled = (!meddled.is_empty()).then(|| format!("see {}", meddled.join(", ")));
    checks.push(check("no PVC, volume or pod deleted, restarted or otherwise changed", meddled));
    checks
}

fn grows(part: &Part, first: &Cluster, last: &Cluster, writes: &[Write]) -> [Check; 3] {
    let name = part.name;
    let operation = match last.operations.as_slice() {
        [operation] => Ok(operation),
        others => Err(format!("there are {}", others.len())),
    };
    let grown = operation.clone().and_then(|operation| {
        let short = last.instances.iter().find(|instance| {
            let before = first.instance(&instance.name).map_or(Bytes::ZERO, |before| before.filesystem);
            let asked = operation.to.saturating_sub(operation.from);
            let grown = instance.filesystem.saturating_sub(before);
            asked.is_zero() || grown < asked.mul_div(GROWN, 100)
        });
        let missing = last.instances.len() != part.instances;
        match short {
            Some(instance) => Err(format!("{} has {}", instance.name, instance.filesystem)),
            None if missing => Err(format!("{} instances were seen", last.instances.len())),
            None => Ok(()),
        }
    });
    let completed = operation.and_then(|operation| {
        let open = operation
            .members
            .iter()
            .find(|member| member.verified_by != Some(VerifiedBy::Filesystem));
        match (operation.phase, open) {
            (Phase::Completed, None) => Ok(()),
            (Phase::Completed, Some(member)) => Err(format!("{} was not verified by its filesystem", member.instance)),
            (phase, _) => Err(format!("it is {phase}")),
        }
    });
    let counts = last
        .instances
        .iter()
        .map(|instance| (&instance.name, patches(&instance.name, writes)));
    let odd: Vec<String> = counts.filter(|(_, n)| *n != 1).map(|(name, n)| format!("{name}: {n}")).collect();
    [
        check(
            format!("{name}: the filesystem of each of its {} instances is larger", part.instances),
            grown.err(),
        ),
        check(format!("{name}: one StorageEvent, Completed"), completed.err()),
        check(
            format!("{name}: each PVC patched once (audit log)"),
            (!odd.is_empty()).then(|| odd.join(", ")),
        ),
    ]
}

fn held(part: &Part, reason: Reason, first: &Cluster, last: &Cluster, writes: &[Write]) -> Check {
    let promise = format!("{}: held by {reason} and not touched", part.name);
    let passed = last
        .worst()
        .and_then(Instance::percent)
        .is_some_and(|percent| percent >= last.threshold);
    let broken = match &last.told {
        _ if !passed => Some(format!("it never passed {}", spaced(last.threshold))),
        Some(told) if told.verdict == Verdict::Hold && told.reason == reason => touched(first, last, writes),
        Some(told) => Some(format!("the verdict is {}/{}", told.verdict, told.reason)),
        None => Some("the manager said nothing".to_owned()),
    };
    check(promise, broken)
}

/// What was done to a cluster that nothing was to be done to.
fn touched(first: &Cluster, last: &Cluster, writes: &[Write]) -> Option<String> {
    if let Some(operation) = last.operations.first() {
        return Some(format!("there is the StorageEvent {}", operation.name));
    }
    last.instances.iter().find_map(|instance| {
        let before = first.instance(&instance.name)?;
        match patches(&instance.name, writes) {
            0 if instance.request == before.request && instance.filesystem == before.filesystem => None,
            0 => Some(format!("{} went from {} to {}", instance.name, before.request, instance.request)),
            n => Some(format!("{} was patched {n} times", instance.name)),
        }
    })
}

fn patches(claim: &str, writes: &[Write]) -> usize {
    writes
        .iter()
        .filter(|write| write.deed == Deed::Patched && write.name == claim)
        .count()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::super::story::SIMULATED;
    use super::*;

    fn broken(scenes: &[Scene], writes: &[Write]) -> Vec<String> {
        checks(&SIMULATED, scenes, writes)
            .into_iter()
            .filter(|c| !c.kept)
            .map(|c| c.text)
            .collect()
    }

    /// The usual scenes, with a change of the last one.
    fn with(change: impl Fn(&mut Scene)) -> Vec<Scene> {
        let mut scenes = sample::scenes();
        change(scenes.last_mut().unwrap());
        scenes
    }

    #[test]
    fn all_is_well_where_all_was_seen() {
        assert_eq!(broken(&sample::scenes(), &sample::writes()), [] as [&str; 0]);
    }

    #[test]
    fn a_filesystem_that_is_too_small_is_no_growth() {
        // 4.4 GiB more where 5 were asked for.
        let scenes = with(|scene| scene.clusters[0].instances[1].filesystem = sample::filesystem(Bytes::mib(14_746)));
        let broken = broken(&scenes, &sample::writes());
        assert_eq!(
            broken,
            ["orders: the filesystem of each of its 3 instances is larger: NO, orders-2 has 14682Mi"]
        );
    }

    #[test]
    fn the_event_must_be_completed_and_rest_on_the_filesystem() {
        let scenes = with(|scene| scene.clusters[0].operations[0].phase = Phase::InProgress);
        assert_eq!(
            broken(&scenes, &sample::writes()),
            ["orders: one StorageEvent, Completed: NO, it is InProgress"]
        );
        let scenes = with(|scene| scene.clusters[0].operations[0].members[2].verified_by = Some(VerifiedBy::PvcStatus));
        assert_eq!(
            broken(&scenes, &sample::writes()),
            ["orders: one StorageEvent, Completed: NO, orders-1 was not verified by its filesystem"]
        );
        let scenes = with(|scene| scene.clusters[0].operations.clear());
        assert_eq!(broken(&scenes, &sample::writes()).len(), 2, "neither grown nor completed");
    }

    #[test]
    fn a_second_patch_is_told() {
        let mut writes = sample::writes();
        writes.push(writes.iter().find(|write| write.name == "orders-3").unwrap().clone());
        assert_eq!(
            broken(&sample::scenes(), &writes),
            ["orders: each PVC patched once (audit log): NO, orders-3: 2"]
        );
    }

    #[test]
    fn who_is_held_must_be_in_need_and_untouched() {
        let mut writes = sample::writes();
        writes.push(Write {
            name: "reports-1".to_owned(),
            ..writes[1].clone()
        });
        assert_eq!(
            broken(&sample::scenes(), &writes),
            ["reports: held by AtLimit and not touched: NO, reports-1 was patched 1 times"]
        );
        let scenes = with(|scene| scene.clusters[1].told.as_mut().unwrap().reason = Reason::Cooldown);
        assert_eq!(
            broken(&scenes, &sample::writes()),
            ["reports: held by AtLimit and not touched: NO, the verdict is Hold/Cooldown"]
        );
        let scenes = with(|scene| scene.clusters[1].instances = sample::at_rest(0).clusters[1].instances.clone());
        assert_eq!(
            broken(&scenes, &sample::writes()),
            ["reports: held by AtLimit and not touched: NO, it never passed 85 %"]
        );
    }

    #[test]
    fn whoever_grows_a_calm_volume_is_told() {
        let scenes = with(|scene| scene.clusters[2].instances[0].request = Bytes::gib(60));
        assert_eq!(
            broken(&scenes, &sample::writes()),
            ["catalog: left alone: NO, catalog-1 went from 50Gi to 60Gi"]
        );
    }

    #[test]
    fn meddling_is_told() {
        let mut writes = sample::writes();
        writes.push(Write {
            deed: Deed::Meddled,
            ..writes[1].clone()
        });
        assert_eq!(broken(&sample::scenes(), &writes).len(), 1);
    }

    #[test]
    fn nothing_seen_is_nothing_shown() {
        assert_eq!(broken(&[], &[]).len(), SIMULATED.cast.len());
    }
}
