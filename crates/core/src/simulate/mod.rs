//! A Cluster that runs by itself: what the planner would have done over a series of usage figures.
//!
//! Nothing is re-implemented: every decision is [`plan`]'s, gone over by [`check`]; this module moves the clock, carries
//! decisions out on a [`World`], and counts. It does no I/O: samples are handed in, one moment after the other.
//!
//! What is simpler than life:
//! - The samples are what the manager sees: nothing is known of the time between two of them, and what is used stays as it
//!   is until the next one.
//! - A growth succeeds, and its filesystem is larger [`Options::time_to_grow`] after the PVC was patched; PVCs are patched in
//!   the planner's order, `expansion.parallelism` at a time. Nothing is refused, no breaker opens.
//! - What a sample says beyond the size of the filesystem does not fit: the instance is down, and unseen, from that
//!   sample on until its filesystem is large enough. What did not fit is written then.
//! - WAL archiving, slots, pauses, other Clusters' resizes and figures of inodes stay as the world has them in the
//!   beginning (inodes: unknown).

mod growth;
mod history;
mod outcome;
mod tally;
#[cfg(test)]
mod tests;
mod track;

use std::collections::VecDeque;
use std::sync::Arc;

use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

pub use outcome::{Action, Course, Outcome, PerMille, Span};

use self::growth::Growth;
use self::track::Track;
use crate::check::{Violation, check};
use crate::freshness::{DAY, before};
use crate::ledger::earliest;
use crate::plan::{Decision, plan};
use crate::resolve::{Resolution, Resolved};
use crate::world::{ClusterKey, Operation, Volume, VolumeKey, World};

/// How long a growth takes from the patch of a PVC to its larger filesystem, where nobody says: cloud disks take seconds to
/// change, and kubelets refresh the figures of a filesystem once a minute.
pub const TIME_TO_GROW: SignedDuration = SignedDuration::from_secs(60);

/// How a Cluster is simulated.
#[derive(Clone, Debug)]
pub struct Options {
    /// When it begins, at or before the first sample.
    pub from: Timestamp,
    /// When it ends, at or after the last one.
    pub to: Timestamp,
    /// From the patch of a PVC to its larger filesystem.
    pub time_to_grow: SignedDuration,
    /// Into how many parts the course of a volume is divided.
    pub parts: usize,
    /// So many actions of a volume are listed; all are counted.
    pub listed: usize,
}

impl Options {
    /// From then to then, all else as it is best for a page.
    #[must_use]
    pub const fn new(from: Timestamp, to: Timestamp) -> Self {
        Self {
            from,
            to,
            time_to_grow: TIME_TO_GROW,
            parts: 360,
            listed: 1000,
        }
    }
}

/// A volume of a [`Simulation`], or one instance of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    volume: usize,
    /// None: all that have no samples of their own.
    member: Option<usize>,
}

/// So many bytes are used, or would be if they could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Of what.
    pub target: Target,
    /// How many.
    pub used: Bytes,
}

/// A plan that did not pass its check: a bug of the planner.
#[derive(Debug, Error)]
#[error("at {at}, the plan for {cluster} does not pass its check: {}", list(.violations))]
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// Of which Cluster.
    pub cluster: ClusterKey,
    /// What is wrong with it.
    pub violations: Vec<Violation>,
}

fn list(violations: &[Violation]) -> String {
    let texts: Vec<String> = violations.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// A Cluster, and the clock that it runs by.
#[derive(Debug)]
pub struct Simulation {
    world: World,
    options: Options,
    now: Timestamp,
    /// One for each volume, in the world's order.
    tracks: Vec<Track>,
    /// What is under way, the oldest first.
    growths: VecDeque<Growth>,
    /// When decisions can change by time alone.
    look_again_at: Option<Timestamp>,
    /// How many operations there were.
    operations: u64,
}

impl Simulation {
    /// A Cluster as it is in the beginning. What is under way is taken as done, and what happened after the beginning as not
    /// happened; figures of the world count for the size of filesystems alone.
    #[must_use]
    pub fn new(mut world: World, options: Options) -> Self {
        let from = options.from;
        world.operations.retain(|operation| operation.started_at <= from);
        for operation in &mut world.operations {
            operation.done = true;
        }
        world.volumes.sort_by(|a, b| a.key.cmp(&b.key));
        let resolution = Arc::clone(&world.resolution);
        let begin = |volume: &mut Volume| Track::new(volume, &options, has_window(&resolution, &volume.key));
        let tracks = world.volumes.iter_mut().map(begin).collect();
        Self {
            world,
            now: from,
            options,
            tracks,
            growths: VecDeque::new(),
            look_again_at: None,
            operations: 0,
        }
    }

    /// The volume of this name, or one instance of it; none where there is none.
    #[must_use]
    pub fn target(&self, volume: &VolumeKey, instance: Option<&str>) -> Option<Target> {
        let index = self.world.volumes.iter().position(|v| v.key == *volume)?;
        let member = match instance {
            None => None,
            Some(name) => {
                let members = &self.world.volumes.get(index)?.members;
                Some(members.iter().position(|m| *m.instance == *name)?)
            }
        };
        Some(Target { volume: index, member })
    }

    /// Time passes until `at`, and then so much is used. A moment before the last one counts as that.
    ///
    /// # Errors
    /// Where a plan does not pass its check.
    pub fn observe(&mut self, at: Timestamp, samples: &[Usage]) -> Result<(), Refused> {
        self.advance(at)?;
        for sample in samples {
            if let Some(track) = self.tracks.get_mut(sample.target.volume) {
                track.demand(sample.target.member, sample.used);
            }
        }
        self.settle();
        for (volume, track) in self.world.volumes.iter_mut().zip(&mut self.tracks) {
            track.see(volume, self.now);
        }
        self.look()
    }

    /// The end, and what it all came to: one outcome for each volume, in the order of their names.
    ///
    /// # Errors
    /// Where a plan does not pass its check.
    pub fn finish(mut self) -> Result<Vec<Outcome>, Refused> {
        self.advance(self.options.to)?;
        let volumes = self.world.volumes.iter().zip(self.tracks);
        Ok(volumes.map(|(volume, track)| track.outcome(volume)).collect())
    }

    /// Everything that happens until then.
    fn advance(&mut self, to: Timestamp) -> Result<(), Refused> {
        loop {
            let grown = self.growths.iter().map(|growth| growth.ends).min().filter(|at| *at <= to);
            let look = self.look_again_at.filter(|at| *at < to);
            let Some(next) = earliest(grown, look) else { break };
            self.pass(next);
            if grown == Some(next) {
                self.end_growths();
                self.settle();
            }
            self.look()?;
        }
        self.pass(to);
        Ok(())
    }

    /// Nothing happens until then.
    fn pass(&mut self, to: Timestamp) {
        if to <= self.now {
            return;
        }
        for track in &mut self.tracks {
            track.pass(self.now, to);
        }
        self.now = to;
    }

    /// Which instances are down, after figures or sizes have changed.
    fn settle(&mut self) {
        let mut down = Vec::new();
        for (volume, track) in self.world.volumes.iter_mut().zip(&mut self.tracks) {
            track.settle(volume, self.now);
            let full = volume.members.iter().filter(|m| m.disk_full);
            down.extend(full.map(|m| m.instance.clone()));
        }
        for member in self.world.volumes.iter_mut().flat_map(|v| &mut v.members) {
            member.pod_running = !down.contains(&member.instance);
        }
    }

    /// Decides, and does what is decided.
    fn look(&mut self) -> Result<(), Refused> {
        /// A decision can make room for another one at the same moment; more than a few would be a loop.
        const MOST: usize = 8;
        for _ in 0..MOST {
            for (volume, track) in self.world.volumes.iter_mut().zip(&mut self.tracks) {
                track.lay_open(volume);
            }
            let decided = plan(&self.world, self.now);
            self.look_again_at = decided.look_again_at;
            for (track, decision) in self.tracks.iter_mut().zip(&decided.decisions) {
                track.decided(decision);
            }
            if !decided.decisions.iter().any(Decision::acts) {
                break;
            }
            check(&self.world, &decided, self.now).map_err(|violations| Refused {
                at: self.now,
                cluster: self.world.cluster.key.clone(),
                violations,
            })?;
            for (index, decision) in decided.decisions.iter().enumerate() {
                self.act(index, decision);
            }
        }
        Ok(())
    }

    /// Carries a decision out: into the ledger first, then to the PVCs.
    fn act(&mut self, index: usize, decision: &Decision) {
        self.operations = self.operations.saturating_add(1);
        let id = format!("simulated-{}", self.operations).into();
        let parallelism = settings(&self.world).map_or(1, |s| s.expansion.parallelism.value);
        let (Some(volume), Some(track)) = (self.world.volumes.get_mut(index), self.tracks.get_mut(index)) else {
            return;
        };
        let Some((operation, mut growth)) = Growth::of(decision, volume, index, id, parallelism) else {
            return;
        };
        track.acts(decision, &operation);
        growth.patch(volume, self.now, self.options.time_to_grow);
        self.growths.push_back(growth);
        self.world.operations.push(Operation {
            started_at: self.now,
            ..operation
        });
        self.forget();
    }

    /// The filesystems have grown whose time it is; the next PVCs are patched.
    fn end_growths(&mut self) {
        let now = self.now;
        for growth in self.growths.iter_mut().filter(|growth| growth.ends <= now) {
            let (Some(volume), Some(track)) = (self.world.volumes.get_mut(growth.volume), self.tracks.get_mut(growth.volume)) else {
                continue;
            };
            for member in growth.grown(volume, now) {
                track.grew(volume, member);
            }
            growth.patch(volume, now, self.options.time_to_grow);
            if growth.is_over() {
                let operation = self.world.operations.iter_mut().find(|o| o.id == growth.operation);
                if let Some(operation) = operation {
                    operation.done = true;
                }
            }
        }
        self.growths.retain(|growth| !growth.is_over());
    }

    /// Drops from the ledger what no rule looks at any more, so that a long trace does not fill it.
    fn forget(&mut self) {
        let cooldown = settings(&self.world).map_or(SignedDuration::ZERO, |s| s.expansion.cooldown.value);
        let members = self.world.volumes.iter().flat_map(|v| &v.members);
        let periods = members.filter_map(|m| m.class.provider_limit).map(|limit| limit.period);
        let looked_at = periods.chain([DAY, cooldown]).max().unwrap_or(DAY);
        let oldest = before(self.now, looked_at);
        let volumes = &self.world.volumes;
        self.world.operations.retain(|operation| {
            let volume = volumes.iter().find(|v| v.key == operation.volume);
            let mut members = volume.into_iter().flat_map(|v| &v.members);
            // A size above the ceiling is set aside unless an operation, of whatever age, asked for it.
            let asked_for = |size: Bytes| operation.to <= size && size.saturating_sub(operation.to) < size.unit();
            !operation.done || operation.started_at >= oldest || members.any(|m| asked_for(m.bytes()))
        });
    }
}

fn settings(world: &World) -> Option<&Resolved> {
    match &*world.resolution {
        Resolution::Settings(settings) => Some(settings),
        Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_) => None,
    }
}

/// Whether the forecast of a volume is to last until its next maintenance window, and so looks back for a day.
fn has_window(resolution: &Resolution, key: &VolumeKey) -> bool {
    match resolution {
        Resolution::Settings(settings) => settings.volumes.of(key).is_ok_and(|rules| rules.window.is_some()),
        Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_) => false,
    }
}
