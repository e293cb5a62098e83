//! What is known of one volume beside the planner's world: what its instances would use, and what came of it.

use std::sync::Arc;

use csm_api::{Model, Reason, Verdict};
use csm_units::{Bytes, Percent};
use jiff::Timestamp;

use super::Options;
use super::history::History;
use super::outcome::{Action, Outcome, Recorder};
use super::tally::{State, Tally};
use crate::forecast::Sample;
use crate::plan::Decision;
use crate::world::{Member, Observation, Operation, Volume};

/// One instance.
#[derive(Debug)]
struct MemberTrack {
    /// What it uses, or would if it could; none before its first sample.
    demand: Option<Bytes>,
    /// It has samples of its own, and their history.
    own: Option<History>,
    /// A sample of this moment is not seen yet.
    sampled: bool,
    /// used + available of its filesystem.
    room: Bytes,
    /// Size of its filesystem.
    capacity: Bytes,
}

impl MemberTrack {
    /// What it uses, as far as that fits.
    fn used(&self) -> Option<Bytes> {
        self.demand.map(|demand| demand.min(self.room))
    }
}

#[derive(Debug)]
pub(super) struct Track {
    members: Vec<MemberTrack>,
    /// Of the samples that are of all instances.
    shared: History,
    /// A day of history is wanted.
    windowed: bool,
    /// The histories have changed since the planner got them.
    stale: bool,
    held: Option<Reason>,
    model: Option<Model>,
    state: State,
    size_before: Bytes,
    tally: Tally,
    log: Vec<Action>,
    listed: usize,
    course: Recorder,
    now: Timestamp,
}

impl Track {
    /// Makes the volume begin: nothing is under way, nothing is seen yet.
    pub fn new(volume: &mut Volume, options: &Options, windowed: bool) -> Self {
        let members = volume.members.iter_mut().map(|member| begin(member, options.from)).collect();
        let mut track = Self {
            members,
            shared: History::default(),
            windowed,
            stale: false,
            held: None,
            model: None,
            state: State::default(),
            size_before: largest(volume),
            tally: Tally::default(),
            log: Vec::new(),
            listed: options.listed,
            course: Recorder::new(options.from, options.to, options.parts),
            now: options.from,
        };
        track.settle(volume, options.from);
        track
    }

    /// So much is used.
    pub fn demand(&mut self, member: Option<usize>, used: Bytes) {
        let take = |track: &mut MemberTrack| {
            track.demand = Some(used);
            track.sampled = true;
        };
        match member {
            Some(index) => {
                if let Some(track) = self.members.get_mut(index) {
                    track.own.get_or_insert_default();
                    take(track);
                }
            }
            None => self.members.iter_mut().filter(|m| m.own.is_none()).for_each(take),
        }
    }

    /// Which members are full, and what that comes to.
    pub fn settle(&mut self, volume: &mut Volume, now: Timestamp) {
        self.now = now;
        let mut state = State::default();
        let mut fullest: Option<Bytes> = None;
        for (member, track) in volume.members.iter_mut().zip(&self.members) {
            let full = track.demand.is_some_and(|demand| demand > track.room);
            member.disk_full = full;
            state.down |= member.disk_full;
            state.size = state.size.saturating_add(member.size.wide());
            if let Some(used) = track.used() {
                state.used = state.used.saturating_add(used.wide());
                state.room = state.room.saturating_add(track.room.wide());
                fullest = fullest.max(Some(used));
                let percent = Percent::used(used, track.room.saturating_sub(used));
                self.tally.peak_use = self.tally.peak_use.max(percent);
            }
        }
        if state.down && !self.state.down {
            self.tally.goes_down(now);
        }
        self.state = state;
        if let Some(used) = fullest {
            self.tally.peak = self.tally.peak.max(used);
            self.course.record(now, used, largest(volume), state.down);
        }
    }

    /// The samples of this moment are seen, but those of instances that are down: a kubelet has no figures of their pods.
    pub fn see(&mut self, volume: &mut Volume, now: Timestamp) {
        let mut of_all = None;
        for (member, track) in volume.members.iter_mut().zip(&mut self.members) {
            let sampled = std::mem::take(&mut track.sampled);
            let Some(used) = track.used().filter(|_| sampled && member.pod_running) else {
                continue;
            };
            let figures = Observation {
                used,
                available: track.room.saturating_sub(used),
                capacity: track.capacity,
                inodes: None,
                at: now,
            };
            member.observation = Some(figures);
            let sample = Sample { at: now, used };
            match &mut track.own {
                Some(history) => history.push(sample, self.windowed),
                None => of_all = Some(sample),
            }
            self.stale = true;
        }
        if let Some(sample) = of_all {
            self.shared.push(sample, self.windowed);
        }
    }

    /// Hands the histories to the planner.
    pub fn lay_open(&mut self, volume: &mut Volume) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let shared = self.shared.samples();
        for (member, track) in volume.members.iter_mut().zip(&self.members) {
            member.history = match &track.own {
                Some(history) => history.samples(),
                None => Arc::clone(&shared),
            };
        }
    }

    /// What the planner says of the volume.
    pub fn decided(&mut self, decision: &Decision) {
        self.held = (decision.verdict == Verdict::Hold).then_some(decision.reason);
        self.model = decision.model;
    }

    /// A decision is carried out.
    pub fn acts(&mut self, decision: &Decision, operation: &Operation) {
        let count = self.tally.actions.entry(operation.urgency).or_default();
        *count = count.saturating_add(1);
        if self.log.len() >= self.listed {
            return;
        }
        let patched = decision.members.iter().filter(|m| m.to.is_some());
        self.log.push(Action {
            at: self.now,
            reason: decision.reason,
            urgency: operation.urgency,
            from: operation.from,
            to: operation.to,
            percent_used: decision.percent_used,
            passed: decision.passed.clone(),
            instances: patched.map(|m| m.instance.clone()).collect(),
        });
    }

    /// A filesystem has grown with its PVC, which had another size before.
    pub fn grew(&mut self, volume: &Volume, (index, before): (usize, Bytes)) {
        let (Some(member), Some(track)) = (volume.members.get(index), self.members.get_mut(index)) else {
            return;
        };
        let scaled = |size: Bytes| size.mul_div(member.size.get(), before.get());
        track.room = scaled(track.room).max(track.room);
        track.capacity = scaled(track.capacity).max(track.capacity);
    }

    /// Nothing happens between two moments.
    pub fn pass(&mut self, from: Timestamp, to: Timestamp) {
        self.tally.pass(&self.state, self.held, from, to);
        self.now = to;
    }

    /// What it all came to.
    pub fn outcome(self, volume: &Volume) -> Outcome {
        let Tally {
            actions,
            outages,
            first_outage,
            held,
            peak,
            peak_use,
            ..
        } = self.tally.clone();
        Outcome {
            volume: volume.key.clone(),
            model: self.model,
            seen: self.members.iter().any(|m| m.demand.is_some()),
            members: self.members.len(),
            size_before: self.size_before,
            size_after: largest(volume),
            actions,
            log: self.log,
            outages,
            outage: self.tally.outage(),
            first_outage,
            held,
            peak,
            peak_use,
            average_use: self.tally.average_use(),
            gib_hours_tenths: self.tally.gib_hours_tenths(),
            course: self.course.into_course(),
        }
    }
}

/// The size of the largest PVC, as it is, not as it is asked for.
fn largest(volume: &Volume) -> Bytes {
    volume.members.iter().map(|m| m.size).max().unwrap_or_default()
}

/// A PVC in the beginning: what is under way is done, and what comes later has not happened.
fn begin(member: &mut Member, from: Timestamp) -> MemberTrack {
    if !member.size.is_zero() {
        member.size = member.bytes();
        member.request = member.size;
    }
    let figures = member.figures().copied();
    let room = figures.map_or(member.size, |f| f.used.saturating_add(f.available));
    let capacity = figures.map_or(member.size, |f| f.capacity);
    member.resize = None;
    member.disk_full = false;
    member.observation = None;
    member.history = Arc::default();
    member.last_resize_at = member.last_resize_at.filter(|at| *at <= from);
    MemberTrack {
        demand: None,
        own: None,
        sampled: false,
        room,
        capacity,
    }
}
