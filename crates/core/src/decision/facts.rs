//! The figures that a verdict rests on: what fired, and what it saw.

use std::sync::Arc;

use csm_api::Reason;
use csm_units::{Bytes, Percent};
use jiff::SignedDuration;

use super::Cause;
use crate::between::Estimate;
use crate::disk_full::Findings;
use crate::resolve::Origin;

/// The few figures that a verdict rests on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The filesystem of the worst member.
    pub usage: Option<Usage>,
    /// What its figures are taken from, where they are newer than its last sample.
    pub estimate: Option<Estimate>,
    /// What the volume's model goes by, where its settings could be resolved: `thresholds.expansion`,
    /// `usageThreshold`, or, of what is to stay free, `targetBuffer`.
    pub threshold: Option<Percent>,
    /// What fired: what is done, or held, or what a runway stands in for.
    pub fired: Option<Fired>,
    /// Of a runway, and of one that is held: how little there is left.
    pub filling: Option<Filling>,
    /// The setting that the ceiling of the decision comes from, where it is one.
    pub ceiling: Option<CeilingSetting>,
    /// The ClusterStoragePolicy whose `bounds.maxActionsPerDay` holds, where the budget does and its own maximum is not it.
    pub bound: Option<Origin>,
    /// What the gate saw that holds, or nothing.
    pub cause: Cause,
    /// Fields of other models that are set, and have no effect.
    pub ignored: Vec<&'static str>,
    /// The text of the annotation `paused`, where it is neither "true" nor "false".
    pub pause: Option<Arc<str>>,
    /// Instances that are down, perhaps because the volume is full.
    pub suspected: Vec<Found>,
}

/// An instance that is down, and what is known of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The instance.
    pub instance: Arc<str>,
    /// What is known.
    pub findings: Arc<Findings>,
}

/// A rule that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// Which.
    pub reason: Reason,
    /// What it saw.
    pub evidence: Evidence,
}

/// What a rule saw that fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Instances that are down because the volume is full.
    Down {
        /// The instances, by name.
        instances: Vec<Arc<str>>,
        /// What shows it, of those of which something does.
        findings: Vec<Found>,
    },
    /// Percent used has reached, or is above, a level.
    Percent {
        /// The fullest of the instances that count.
        instance: Arc<str>,
        /// Its filesystem.
        usage: Usage,
        /// The level.
        level: Percent,
    },
    /// Too little is available.
    Available {
        /// The instance.
        instance: Arc<str>,
        /// What is available to it.
        available: Bytes,
        /// What should be.
        least: Bytes,
        /// Nobody set that: it is the default.
        default: bool,
    },
    /// Too many inodes are used.
    Inodes {
        /// The instance with the largest share of them in use.
        instance: Arc<str>,
        /// How many are used.
        used: u64,
        /// How many there are.
        total: u64,
        /// The share that may be used.
        level: Percent,
    },
    /// It will be full too soon.
    Forecast {
        /// When, and how fast it fills.
        forecast: Pace,
        /// The time that should be left.
        least: SignedDuration,
    },
    /// It is smaller than it should be.
    Floor {
        /// `request`.
        request: Bytes,
    },
    /// What is used leaves too little free.
    Buffer {
        /// The instance with the most used bytes.
        instance: Arc<str>,
        /// Its filesystem.
        usage: Usage,
        /// The share that should stay free.
        buffer: Percent,
        /// The new size provides for what is forecast to be written until the next maintenance window.
        ahead: bool,
    },
    /// Members are smaller than the volume.
    Lagging {
        /// Their instances, by name.
        instances: Vec<Arc<str>>,
    },
}

/// A volume that is about to fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filling {
    /// The instance with the least available.
    pub instance: Arc<str>,
    /// What is available to it.
    pub available: Bytes,
    /// When the worst member will be full, where it fills.
    pub forecast: Option<Pace>,
}

/// How fast a volume fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long until it is full.
    pub time_to_full: SignedDuration,
    /// What is written in an hour.
    pub per_hour: Bytes,
}

/// The setting that a ceiling comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CeilingSetting {
    /// What it says. The ceiling is above it where `exceedLimitOnEmergency` lets a growth pass it.
    pub size: Bytes,
    /// The object that says it.
    pub origin: Origin,
}

/// Figures of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes used.
    pub used: Bytes,
    /// Bytes available.
    pub available: Bytes,
}
