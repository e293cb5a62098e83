//! Evidence of a full disk, and what follows from it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // tests

mod properties;
mod tables;

use std::sync::Arc;

use csm_api::Role;
use csm_core::disk_full::{Container, Down, Ended, Findings, Log, NoSpace, Place, Suspect, assess};
use csm_core::world::{Observation, Sample, VolumeKey};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

/// So many seconds after noon.
fn at(seconds: i64) -> Timestamp {
    let noon: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    noon + SignedDuration::from_secs(seconds)
}

/// A container that ran for an hour, ended at noon with this code, and waits.
fn ended(exit_code: i32) -> Container {
    Container {
        ended: Ended {
            exit_code,
            started_at: Some(at(-3600)),
            finished_at: Some(at(0)),
            id: Arc::from("containerd://c1"),
        },
        restarts: 0,
        running: false,
        back_off: None,
    }
}

/// Like [`ended`], and again after 2 s.
fn ends_again(exit_code: i32) -> Container {
    let mut container = ended(exit_code);
    container.ended.started_at = Some(at(-2));
    container.restarts = 3;
    container
}

fn no_space(place: Place) -> Log {
    Log::NoSpace(NoSpace {
        at: None,
        place,
        text: Arc::from("could not extend file: No space left on device"),
    })
}

fn tablespace(name: &str) -> VolumeKey {
    VolumeKey {
        role: Role::Tablespace,
        tablespace: Some(Arc::from(name)),
    }
}

fn wal() -> VolumeKey {
    VolumeKey {
        role: Role::Wal,
        tablespace: None,
    }
}

fn figures(used: Bytes, available: Bytes, seconds: i64) -> Observation {
    Observation {
        used,
        available,
        capacity: used.saturating_add(available),
        inodes: None,
        at: at(seconds),
    }
}

/// A volume of 1 GiB, of which nothing else is known.
#[derive(Clone, Debug)]
struct Known {
    pub volume: VolumeKey,
    pub size: Bytes,
    pub resized: Option<Timestamp>,
    pub figures: Option<Observation>,
    pub history: Vec<Sample>,
    pub answer: Option<csm_core::disk_full::Answer>,
}

impl Known {
    fn new(volume: VolumeKey) -> Self {
        Self {
            volume,
            size: Bytes::gib(1),
            resized: None,
            figures: None,
            history: Vec::new(),
            answer: None,
        }
    }

    /// Seen with so many MiB available of 1000, so many seconds after noon.
    fn seen(mut self, available: u64, seconds: i64) -> Self {
        self.figures = Some(figures(Bytes::mib(1000 - available), Bytes::mib(available), seconds));
        self
    }

    fn resized(mut self, seconds: i64) -> Self {
        self.resized = Some(at(seconds));
        self
    }
}

fn found(container: &Container, phase: bool, log: &Log, volumes: &[Known]) -> Vec<Option<Findings>> {
    let suspects: Vec<_> = volumes
        .iter()
        .map(|known| Suspect {
            volume: &known.volume,
            size: known.size,
            last_resize_at: known.resized,
            figures: known.figures.as_ref(),
            history: &known.history,
            answer: known.answer,
        })
        .collect();
    assess(&Down { container, phase, log }, &suspects)
}

/// Which volumes are full, and which are suspected.
fn verdicts(container: &Container, phase: bool, log: &Log, volumes: &[Known]) -> String {
    let each = found(container, phase, log, volumes).into_iter().map(|found| match found {
        None => "-",
        Some(found) if found.full => "full",
        Some(found) if found.signs.is_empty() => "unknown",
        Some(_) => "suspected",
    });
    each.collect::<Vec<_>>().join(" ")
}
