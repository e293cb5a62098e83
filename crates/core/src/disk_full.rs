//! Whether an instance is down because one of its volumes is full: from the evidence to the verdict.
//!
//! A full disk takes its figures with it: a kubelet says nothing of a pod without a running container. What is left is how
//! the container `postgres` ended, what CloudNativePG's operator made of it, the last figures from before, and, where it
//! may be read, the log.
//!
//! One strong sign, or two weak ones together, and a volume whose size is known, make a full disk; less is told as what it
//! is. All evidence is about one end of the container. It must be from after the last resize of the volume: an instance
//! that waits in its restart back-off shows the same end as before it was rescued.

use std::sync::Arc;

use csm_api::Role;
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::forecast::{Forecast, HOUR, Rate, Scratch};
use crate::freshness::after;
use crate::world::{Observation, Sample, VolumeKey};

/// What CloudNativePG's instance manager ends with when there is no room for two WAL segments
/// (`MissingWALDiskSpaceExitCode`, `internal/management/management.go`; facts.md d.2).
pub const NO_ROOM_FOR_WAL: i32 = 4;

/// Less than this is no room: two WAL segments of the usual size, and what the planner calls about to fill.
const NO_ROOM: Bytes = Bytes::mib(32);

/// Figures that are later than the end of the container, and have this percentage available, speak against a full disk.
const ROOM_PERCENT: u64 = 5;

/// A kubelet renews figures every 60 to 120 s: what a volume did after its last ones is guessed for no longer, since a
/// container that ran on would have given newer ones.
const BLIND_AT_MOST: SignedDuration = SignedDuration::from_secs(120);

/// Clocks of a node and of the manager are not the same, and Kubernetes writes whole seconds: an end this soon after a
/// resize may be one from before.
const CLOCKS_APART: SignedDuration = SignedDuration::from_secs(5);

/// The kubelet's restart back-off: the first pause, which doubles, and the longest (`MaxContainerBackOff` and
/// `containerBackOffPeriod`, Kubernetes `pkg/kubelet/kubelet.go`). A container that ran for twice the longest starts anew.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(5);

/// The container `postgres` of an instance that is not ready, and has ended before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Container {
    /// How it ended last.
    pub ended: Ended,
    /// How often it was started again, ever.
    pub restarts: u32,
    /// It has been started again since, and is not ready.
    pub running: bool,
    /// The pause that the kubelet says it makes before it starts it again (CrashLoopBackOff).
    pub back_off: Option<SignedDuration>,
}

/// The end of a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ended {
    /// Its exit code.
    pub exit_code: i32,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// When it ended, in whole seconds of the node's clock.
    pub finished_at: Option<Timestamp>,
    /// Which container it was; the kubelet makes a new one at each start.
    pub id: Arc<str>,
}

impl Container {
    /// When the kubelet starts it again at the latest: as it says itself, else as its back-off works out from the restarts.
    /// None while it runs, or where the end has no time. That moment may have passed: then it is due.
    #[must_use]
    pub fn back_at(&self) -> Option<Timestamp> {
        if self.running {
            return None;
        }
        let pause = self.back_off.unwrap_or_else(|| self.pause());
        Some(after(self.ended.finished_at?, pause))
    }

    /// Whether it ends again and again: a long run ends the row.
    fn ends_again(&self) -> bool {
        let ran = self.ended.started_at.zip(self.ended.finished_at);
        let long = LONGEST_PAUSE.saturating_mul(2);
        self.restarts > 0 && ran.is_none_or(|(start, end)| end.duration_since(start) <= long)
    }

    /// The first restart is at once, the second after 10 s, and each after twice the pause before.
    fn pause(&self) -> SignedDuration {
        if !self.ends_again() {
            return SignedDuration::ZERO;
        }
        // 10 s × 2^5 is over 5 min already.
        let doublings = self.restarts.saturating_sub(1).min(5);
        FIRST_PAUSE
            .saturating_mul(1_i32.checked_shl(doublings).unwrap_or(i32::MAX))
            .min(LONGEST_PAUSE)
    }
}

/// What is known of the log of a container that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Log {
    /// The manager is not set to read logs (setting `podLogs`).
    #[default]
    NotAsked,
    /// It is to be read, and is not yet.
    Unread,
    /// It may not be read: the role lacks `get` on `pods/log`.
    Denied,
    /// It could not be read, for this reason.
    Failed(Arc<str>),
    /// It was read, and says nothing of a full disk.
    Silent,
    /// It says that there is no space left on a device.
    NoSpace(NoSpace),
}

/// A line of a log that says that there is no space left.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NoSpace {
    /// Where.
    pub place: Place,
    /// What it says, shortened.
    pub text: Arc<str>,
    /// When it was written, where the line says so.
    pub at: Option<Timestamp>,
}

/// Where there is no space left.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Below PGDATA.
    Data,
    /// In `pg_wal`.
    Wal,
    /// In this tablespace.
    Tablespace(Arc<str>),
    /// In a tablespace that is named by its OID.
    SomeTablespace,
    /// It does not say.
    Unknown,
}

/// What an instance said last, before it was gone: its exporter, or its status port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    /// When.
    pub at: Timestamp,
    /// The room that was left on the volume by what it said.
    pub available: Bytes,
}

/// An instance that is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down<'a> {
    /// Its container.
    pub container: &'a Container,
    /// CloudNativePG's operator says of the Cluster that there is not enough disk space.
    pub phase: bool,
    /// The log of the container that ended.
    pub log: &'a Log,
}

/// A volume of an instance that is down.
#[derive(Clone, Debug)]
pub struct Suspect<'a> {
    /// The volume.
    pub volume: &'a VolumeKey,
    /// The size of its PVC.
    pub size: Bytes,
    /// When its last resize ended.
    pub last_resize_at: Option<Timestamp>,
    /// Its newest figures, of any age.
    pub figures: Option<&'a Observation>,
    /// Its figures before.
    pub history: &'a [Sample],
    /// What the instance said of it last. Nobody asks yet.
    pub answer: Option<Answer>,
}

/// A sign of a full volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sign {
    /// Strong: the instance manager ended because there is no room for WAL.
    ExitCode,
    /// Strong where it tells the volumes apart, else weak: the log says so.
    Log {
        /// The line.
        said: NoSpace,
        /// It can be no other volume of the instance.
        certain: bool,
    },
    /// Weak: the last figures, and how fast they rose, leave no room at the end of the container.
    LastFigures {
        /// When they were taken.
        at: Timestamp,
        /// Bytes used then.
        used: Bytes,
        /// Bytes available then.
        available: Bytes,
        /// What was written in a minute, where it rose.
        per_minute: Option<Bytes>,
    },
    /// Weak: what the instance said last leaves no room.
    LastAnswer(Answer),
    /// Weak: the operator says of the Cluster that there is not enough disk space.
    Phase,
}

impl Sign {
    /// Whether it suffices alone.
    #[must_use]
    pub const fn is_strong(&self) -> bool {
        matches!(self, Self::ExitCode | Self::Log { certain: true, .. })
    }
}

/// What is known of a volume of an instance that is down. There is none for a volume that nothing points at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Findings {
    /// The verdict: it is down because this volume is full.
    pub full: bool,
    /// What says so, the strongest first.
    pub signs: Vec<Sign>,
    /// How its container ended.
    pub ended: Ended,
    /// How often it was started again, ever.
    pub restarts: u32,
    /// When the kubelet starts it again at the latest.
    pub back_at: Option<Timestamp>,
    /// There are no figures of the volume from before.
    pub no_figures: bool,
    /// What is known of its log.
    pub log: Log,
}

/// What the evidence says of each volume of an instance that is down, in the order of `volumes`.
///
/// Where one volume is full, nothing is said of those that are not. Where none is, and nothing points at one either, an
/// instance whose container ends with code 0 again and again is told with its data volume: so it ends when that is full
/// beside a WAL volume of its own (lab.md), and so it ends for other reasons as well.
#[must_use]
pub fn assess(down: &Down<'_>, volumes: &[Suspect<'_>]) -> Vec<Option<Findings>> {
    let wal_apart = volumes.iter().any(|v| v.volume.role == Role::Wal);
    let fills: Vec<Option<Sign>> = volumes.iter().map(|v| last_figures(down, v)).collect();
    let mut all: Vec<Option<Findings>> = volumes
        .iter()
        .zip(fills)
        .map(|(volume, fills)| {
            if !is_newer(&down.container.ended, volume.last_resize_at) {
                return None;
            }
            let holds_wal = volume.volume.role == Role::Wal || (volume.volume.role == Role::Data && !wal_apart);
            let mut signs = Vec::new();
            // Kubernetes tells of the last end for as long as the pod lives: one that runs, and has room, has left it behind.
            let left_behind = down.container.running && has_room(down, volume);
            if holds_wal && down.container.ended.exit_code == NO_ROOM_FOR_WAL && !left_behind {
                signs.push(Sign::ExitCode);
            }
            // Who has room now was not brought down by the lack of it: a query may fill a disk, fail, and leave it empty.
            if !has_room(down, volume) {
                signs.extend(logged(down, volumes, volume));
                signs.extend(fills);
                let no_room = |answer: &Answer| answer.available <= NO_ROOM;
                signs.extend(volume.answer.filter(no_room).map(Sign::LastAnswer));
            }
            if holds_wal && down.phase {
                signs.push(Sign::Phase);
            }
            let strong = signs.iter().any(Sign::is_strong);
            Some(Findings {
                full: !volume.size.is_zero() && (strong || signs.len() >= 2),
                signs,
                ended: down.container.ended.clone(),
                restarts: down.container.restarts,
                back_at: down.container.back_at(),
                no_figures: volume.figures.is_none(),
                log: down.log.clone(),
            })
        })
        .collect();
    let full = all.iter().flatten().any(|found| found.full);
    let pointed_at = all.iter().flatten().any(|found| !found.signs.is_empty());
    let ends_so = wal_apart && down.container.ended.exit_code == 0 && down.container.ends_again();
    for (found, volume) in all.iter_mut().zip(volumes) {
        let told = found.as_ref().is_some_and(|found| match (full, pointed_at) {
            (true, _) => found.full,
            (false, true) => !found.signs.is_empty(),
            (false, false) => ends_so && volume.volume.role == Role::Data && !has_room(down, volume),
        });
        if !told {
            *found = None;
        }
    }
    all
}

/// Whether an end of the container is from after the end of the volume's last resize: it ended well after, or was started
/// after.
fn is_newer(ended: &Ended, last_resize_at: Option<Timestamp>) -> bool {
    let Some(resized) = last_resize_at else { return true };
    let ended_after = ended.finished_at.is_some_and(|at| at > after(resized, CLOCKS_APART));
    ended_after || ended.started_at.is_some_and(|at| at > resized)
}

/// Whether figures from after the end of the container show that there is room.
fn has_room(down: &Down<'_>, volume: &Suspect<'_>) -> bool {
    let (Some(figures), Some(end)) = (volume.figures, down.container.ended.finished_at) else {
        return false;
    };
    let total = figures.used.saturating_add(figures.available);
    figures.at > after(end, CLOCKS_APART) && figures.available > NO_ROOM && figures.available >= total.mul_div(ROOM_PERCENT, 100)
}

/// Whether the last figures leave no room at the end of the container.
fn last_figures(down: &Down<'_>, volume: &Suspect<'_>) -> Option<Sign> {
    let figures = volume.figures.filter(|f| !(f.used.is_zero() && f.available.is_zero()))?;
    let newer = volume.last_resize_at.is_none_or(|end| figures.at > end);
    let blind = down.container.ended.finished_at?.duration_since(figures.at);
    let blind = blind.clamp(SignedDuration::ZERO, BLIND_AT_MOST);
    let rate = rate(figures, volume);
    let written = rate.map_or(Bytes::ZERO, |rate| rate.over(blind));
    let sign = Sign::LastFigures {
        at: figures.at,
        used: figures.used,
        available: figures.available,
        per_minute: rate.map(|rate| rate.over(SignedDuration::from_mins(1))),
    };
    (newer && figures.available.saturating_sub(written) <= NO_ROOM).then_some(sign)
}

/// How fast a volume filled: over its last two figures, or as it was forecast, whichever is faster.
fn rate(figures: &Observation, volume: &Suspect<'_>) -> Option<Rate> {
    let present = Sample {
        at: figures.at,
        used: figures.used,
    };
    let forecast = Forecast::of(
        volume.history,
        present,
        volume.last_resize_at,
        figures.at,
        HOUR,
        &mut Scratch::default(),
    );
    let counts = |s: &&Sample| s.at < figures.at && volume.last_resize_at.is_none_or(|end| s.at > end);
    let before = volume.history.iter().filter(counts).max_by_key(|s| s.at);
    let last = before.and_then(|before| Rate::between(before, &present));
    let minute = SignedDuration::from_mins(1);
    [forecast.map(|f| f.slope), last]
        .into_iter()
        .flatten()
        .max_by_key(|rate| rate.over(minute))
}

/// What the log says of a volume.
fn logged(down: &Down<'_>, volumes: &[Suspect<'_>], volume: &Suspect<'_>) -> Option<Sign> {
    let Log::NoSpace(said) = down.log else { return None };
    // A container that ran on after its volume had grown still has the lines from before.
    if volume.last_resize_at.zip(said.at).is_some_and(|(resized, said)| said <= resized) {
        return None;
    }
    let key = volume.volume;
    let wal_apart = volumes.iter().any(|v| v.volume.role == Role::Wal);
    let named = |name: &str| volumes.iter().any(|v| v.volume.tablespace.as_deref() == Some(name));
    let could_be = |key: &VolumeKey| match &said.place {
        Place::Wal if wal_apart => key.role == Role::Wal,
        Place::Data | Place::Wal => key.role == Role::Data,
        Place::Tablespace(name) if named(name) => key.tablespace.as_ref() == Some(name),
        Place::Tablespace(_) | Place::SomeTablespace => key.role == Role::Tablespace,
        // What writes WAL names its file. It may as well be a filesystem that is none of its volumes, such as /dev/shm.
        Place::Unknown => key.role != Role::Wal,
    };
    let certain = said.place != Place::Unknown && volumes.iter().filter(|v| could_be(v.volume)).count() == 1;
    could_be(key).then(|| Sign::Log {
        said: said.clone(),
        certain,
    })
}
