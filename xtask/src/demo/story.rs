//! Who appears, what they are up to, and when the curtain falls. Pure.

use std::time::Duration;

use csm_api::{Phase, Reason, State, Verdict};
use csm_units::{Bytes, Percent};
use jiff::{SignedDuration, Timestamp};

use super::scene::{Cluster, Scene};

/// What is played: on simulated disks, or on real ones.
#[derive(Debug)]
pub struct Play {
    /// What is real and what is not, for people.
    pub about: &'static str,
    /// Who appears.
    pub cast: &'static [Part],
    /// `thresholds.expansion` of the policies.
    pub threshold: Percent,
    /// `minIncrementGi` of the policies.
    pub increment: u32,
    /// `maxSize` of the policy for all, in GiB.
    pub most: u32,
    /// `maxSize` of the policy for `reports`, in GiB.
    pub most_of_reports: u32,
    /// How long the clusters may take to be at rest under the manager's eyes.
    pub rest: SignedDuration,
    /// How long the growth may take, with the filling before it.
    pub growth: SignedDuration,
    /// How often the world is looked at: the error of every time that is not in the audit log.
    pub look: Duration,
}

/// The play on simulated disks. Rates are such that a threshold is passed after about ten seconds, and that no volume is
/// full when the last member has grown: three PVCs, one after the other, each waiting for fresh figures, take 10 to 15 s.
pub const SIMULATED: Play = Play {
    about: "real: API server, CRDs, manager · simulated: kubelets, disks, PostgreSQL",
    cast: &CAST,
    threshold: Percent::of(85),
    increment: 5,
    most: 100,
    most_of_reports: 20,
    rest: SignedDuration::from_secs(60),
    growth: SignedDuration::from_secs(120),
    look: Duration::from_millis(200),
};

impl Play {
    /// The policies, as a person would write them, for the namespace of the clusters. The second is more specific than the
    /// first, and says nothing but the ceiling: the rest is inherited.
    pub fn policies(&self) -> String {
        let (threshold, increment) = (self.threshold.get(), self.increment);
        let (most, most_of_reports) = (self.most, self.most_of_reports);
        format!(
            "
apiVersion: cnpg.supporttools.io/v1alpha1
kind: StoragePolicy
metadata: {{name: default}}
spec:
  thresholds: {{expansion: {threshold}}}
  expansion: {{percentage: 50, minIncrementGi: {increment}, maxSize: {most}Gi, cooldownMinutes: 30}}
---
apiVersion: cnpg.supporttools.io/v1alpha1
kind: StoragePolicy
metadata: {{name: reports}}
spec:
  selector: {{matchLabels: {{cnpg.io/cluster: reports}}}}
  expansion: {{maxSize: {most_of_reports}Gi}}
"
        )
    }
}

/// What is shown after the growth, so that a plot has something on its right.
const AFTERWARDS: SignedDuration = SignedDuration::from_secs(4);

/// What becomes of a cluster if all goes well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It passes the threshold, and grows.
    Grows,
    /// It passes the threshold, and its policy holds it.
    Held(Reason),
    /// It has nothing to fear.
    Calm,
}

/// One cluster of the cast.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Its name.
    pub name: &'static str,
    /// Number of instances; the first is the primary.
    pub instances: usize,
    /// Size of its data volumes.
    pub size: Bytes,
    /// How full they are at first, in percent.
    pub used: u8,
    /// How much more they hold each second, once they fill.
    pub rate: Bytes,
    /// What becomes of it.
    pub fate: Fate,
    /// What it is about, for people.
    pub about: &'static str,
}

const CAST: [Part; 3] = [
    Part {
        name: "orders",
        instances: 3,
        size: Bytes::gib(10),
        used: 76,
        rate: Bytes::mib(60),
        fate: Fate::Grows,
        about: "fills fast; policy default: at 85 % grow by half, to 100Gi at most",
    },
    Part {
        name: "reports",
        instances: 2,
        size: Bytes::gib(20),
        used: 84,
        rate: Bytes::mib(25),
        fate: Fate::Held(Reason::AtLimit),
        about: "fills as well; policy reports: the same, but 20Gi at most",
    },
    Part {
        name: "catalog",
        instances: 2,
        size: Bytes::gib(50),
        used: 41,
        rate: Bytes::mib(4),
        fate: Fate::Calm,
        about: "calm; policy default",
    },
];

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cue {
    /// The volumes begin to fill.
    Fill,
    /// The demo is over.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Rest,
    Growth,
    Afterwards,
}

/// Where the story is.
#[derive(Debug)]
pub struct Story {
    play: &'static Play,
    act: Act,
    since: Timestamp,
}

impl Story {
    /// From the moment at which the manager was started.
    pub fn begin(play: &'static Play, now: Timestamp) -> Self {
        Self {
            play,
            act: Act::Rest,
            since: now,
        }
    }

    /// What is to be done next, if something is; an error says what did not happen in time.
    pub fn next(&mut self, scene: &Scene) -> Result<Option<Cue>, String> {
        let (waits_for, patience) = match self.act {
            Act::Rest => (self.not_at_rest(scene), self.play.rest),
            Act::Growth => (self.not_settled(scene), self.play.growth),
            Act::Afterwards => {
                let over = scene.at.duration_since(self.since) >= AFTERWARDS;
                return Ok(over.then_some(Cue::End));
            }
        };
        let passed = scene.at.duration_since(self.since);
        match waits_for {
            None => {
                self.since = scene.at;
                let (act, cue) = match self.act {
                    Act::Rest => (Act::Growth, Some(Cue::Fill)),
                    Act::Growth | Act::Afterwards => (Act::Afterwards, None),
                };
                self.act = act;
                Ok(cue)
            }
            Some(what) if passed > patience => Err(format!("not within {} s: {what}", patience.as_secs())),
            Some(_) => Ok(None),
        }
    }

    fn parts<'a>(&self, scene: &'a Scene) -> impl Iterator<Item = (&'static Part, Option<&'a Cluster>)> {
        self.play.cast.iter().map(|part| (part, scene.cluster(part.name)))
    }

    fn not_at_rest(&self, scene: &Scene) -> Option<String> {
        let balanced = |cluster: &Cluster| cluster.told.as_ref().is_some_and(|told| told.state == State::Balanced);
        let (part, _) = self.parts(scene).find(|(_, cluster)| !cluster.is_some_and(balanced))?;
        Some(format!(
            "the manager has seen the volumes of {}, and found nothing to do",
            part.name
        ))
    }

    fn not_settled(&self, scene: &Scene) -> Option<String> {
        self.parts(scene).find_map(|(part, cluster)| {
            let told = cluster.and_then(|cluster| cluster.told.as_ref());
            match part.fate {
                Fate::Grows => {
                    let operation = cluster.and_then(|cluster| cluster.operations.last());
                    let ended = match operation.map(|operation| operation.phase) {
                        // No use in waiting: the verdict will say so.
                        Some(Phase::Failed) => true,
                        Some(Phase::Completed) => told.is_some_and(|told| told.state == State::Balanced),
                        Some(Phase::Pending | Phase::InProgress) | None => false,
                    };
                    (!ended).then(|| format!("{} has grown, and its status says so", part.name))
                }
                Fate::Held(reason) => {
                    let held = told.is_some_and(|told| told.verdict == Verdict::Hold && told.reason == reason);
                    (!held).then(|| format!("{} is held by {reason}", part.name))
                }
                Fate::Calm => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_story_waits_for_rest_then_for_growth_then_a_moment() {
        let mut story = Story::begin(&SIMULATED, sample::at(0));
        assert_eq!(story.next(&sample::unseen(1)), Ok(None));
        assert_eq!(story.next(&sample::at_rest(5)), Ok(Some(Cue::Fill)));
        assert_eq!(story.next(&sample::at_rest(6)), Ok(None));
        assert_eq!(story.next(&sample::growing(20)), Ok(None));
        assert_eq!(story.next(&sample::grown(40)), Ok(None));
        assert_eq!(story.next(&sample::grown(43)), Ok(None));
        assert_eq!(story.next(&sample::grown(44)), Ok(Some(Cue::End)));
    }

    #[test]
    fn a_story_that_stalls_says_what_it_waited_for() {
        let mut story = Story::begin(&SIMULATED, sample::at(0));
        let stalled = story.next(&sample::unseen(61)).unwrap_err();
        assert_eq!(
            stalled,
            "not within 60 s: the manager has seen the volumes of orders, and found nothing to do"
        );
        let mut story = Story::begin(&SIMULATED, sample::at(0));
        assert_eq!(story.next(&sample::at_rest(0)), Ok(Some(Cue::Fill)));
        let stalled = story.next(&sample::growing(121)).unwrap_err();
        assert_eq!(stalled, "not within 120 s: orders has grown, and its status says so");
    }

    #[test]
    fn a_failed_operation_ends_the_wait() {
        let mut failed = sample::grown(40);
        for operation in failed.clusters.iter_mut().flat_map(|cluster| &mut cluster.operations) {
            operation.phase = Phase::Failed;
        }
        let mut story = Story::begin(&SIMULATED, sample::at(0));
        assert_eq!(story.next(&sample::at_rest(0)), Ok(Some(Cue::Fill)));
        assert_eq!(story.next(&failed), Ok(None));
        failed.at = sample::at(44);
        assert_eq!(story.next(&failed), Ok(Some(Cue::End)));
    }
}
