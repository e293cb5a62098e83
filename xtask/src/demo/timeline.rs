//! What happened to one cluster, in the order and with the times that were seen. Pure.

use jiff::Timestamp;

use csm_api::{Phase, PvcPhase};
use csm_units::Bytes;

use super::scene::{Cluster, Instance, Measured, Operation, Scene};

/// A write of the manager's that the API server accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// When it came in.
    pub at: Timestamp,
    /// What it was.
    pub deed: Deed,
    /// Name of the object.
    pub name: String,
}

/// What the manager can do to storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It created a StorageEvent.
    Recorded,
    /// It patched a PVC.
    Patched,
    /// It did something that it never should, such as to delete a PVC.
    Meddled,
}

/// A growth, from the breach to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The instance that passed the threshold first.
    pub breached: String,
    /// What its kubelet measured then.
    pub breach: Measured,
    /// The StorageEvent.
    pub operation: Operation,
    /// When it was written, which is the first thing that the manager did.
    pub recorded: Option<Timestamp>,
    /// Each instance, in the order in which they were patched.
    pub steps: Vec<Step>,
    /// When the StorageEvent was seen completed.
    pub completed: Option<Timestamp>,
}

/// How one instance grew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The instance.
    pub instance: String,
    /// Whether it is the primary.
    pub primary: bool,
    /// When the API server accepted the manager's patch of its PVC.
    pub patched: Option<Timestamp>,
    /// When the storage driver's part was seen done.
    pub driver_done: Option<Timestamp>,
    /// When the filesystem was seen grown.
    pub grown: Option<Timestamp>,
    /// When the manager had verified it.
    pub verified: Option<Timestamp>,
    /// The filesystem's size before and after.
    pub filesystem: (Bytes, Bytes),
}

impl Timeline {
    /// The growth of one cluster; none where it never passed its threshold, or nothing was done.
    pub fn of(name: &str, scenes: &[Scene], writes: &[Write]) -> Option<Self> {
        let seen: Vec<(Timestamp, &Cluster)> = scenes.iter().filter_map(|s| Some((s.at, s.cluster(name)?))).collect();
        let (_, last) = seen.last()?;
        let operation = last.operations.first()?.clone();
        let (breached, breach) = seen.iter().find_map(|(_, cluster)| breach(cluster))?;
        let steps = operation
            .members
            .iter()
            .map(|member| step(&member.instance, &operation, &seen, writes));
        let recorded = writes.iter().find(|w| w.deed == Deed::Recorded && w.name == operation.name);
        let completed = first(&seen, |cluster| {
            let operation = cluster.operations.iter().find(|other| other.name == operation.name);
            operation.is_some_and(|operation| operation.phase == Phase::Completed)
        });
        Some(Self {
            breached,
            breach,
            recorded: recorded.map(|write| write.at),
            steps: steps.collect(),
            completed,
            operation,
        })
    }
}

fn first(seen: &[(Timestamp, &Cluster)], is: impl Fn(&Cluster) -> bool) -> Option<Timestamp> {
    seen.iter().find(|(_, cluster)| is(cluster)).map(|(at, _)| *at)
}

/// The instance that is at or above the threshold, the fullest of several.
fn breach(cluster: &Cluster) -> Option<(String, Measured)> {
    let worst = cluster.worst().filter(|worst| worst.percent() >= Some(cluster.threshold))?;
    Some((worst.name.clone(), worst.measured?))
}

fn step(name: &str, operation: &Operation, seen: &[(Timestamp, &Cluster)], writes: &[Write]) -> Step {
    let when = |is: &dyn Fn(&Instance) -> bool| first(seen, |cluster| cluster.instance(name).is_some_and(is));
    let size = |(_, cluster): &(Timestamp, &Cluster)| cluster.instance(name).map_or(Bytes::ZERO, |i| i.filesystem);
    let before = seen.first().map(size).unwrap_or_default();
    let patched = writes.iter().find(|write| write.deed == Deed::Patched && write.name == name);
    Step {
        instance: name.to_owned(),
        primary: seen.last().and_then(|(_, c)| c.instance(name)).is_some_and(|i| i.primary),
        patched: patched.map(|write| write.at),
        driver_done: when(&|instance| instance.waits_for_node || instance.capacity >= operation.to),
        grown: when(&|instance| instance.filesystem > before),
        verified: first(seen, |cluster| {
            let operation = cluster.operations.iter().find(|other| other.name == operation.name);
            let member = operation.and_then(|operation| operation.members.iter().find(|member| member.instance == name));
            member.is_some_and(|member| member.phase == PvcPhase::Completed)
        }),
        filesystem: (before, seen.last().map(size).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn times_are_those_of_the_first_scene_that_shows_it() {
        let timeline = Timeline::of("orders", &sample::scenes(), &sample::writes()).unwrap();
        assert_eq!(timeline.breached, "orders-1");
        assert_eq!(timeline.breach.at, sample::at(15));
        assert_eq!(timeline.recorded, Some(sample::at(17)));
        assert_eq!(timeline.completed, Some(sample::at(40)));
        let order: Vec<_> = timeline.steps.iter().map(|s| (s.instance.as_str(), s.primary)).collect();
        assert_eq!(order, [("orders-2", false), ("orders-3", false), ("orders-1", true)]);
        let step = &timeline.steps[0];
        let seconds = [18, 20, 21, 25].map(|second| Some(sample::at(second)));
        assert_eq!([step.patched, step.driver_done, step.grown, step.verified], seconds);
    }

    #[test]
    fn there_is_none_where_nothing_was_done() {
        assert_eq!(Timeline::of("reports", &sample::scenes(), &sample::writes()), None);
        assert_eq!(Timeline::of("catalog", &sample::scenes(), &sample::writes()), None);
        assert_eq!(Timeline::of("nobody", &sample::scenes(), &sample::writes()), None);
    }
}
