//! What is wrong around one cluster, or will be: plain findings, each with its fix. What is read for it is in [`crate::read`].
//!
//! A finding is something that a person can change. What goes on by itself (a growth under way, a full volume) is told by
//! `status` and `explain`.

mod installation;
mod policy;
mod volumes;
mod wal;

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::read::{Details, Facts, Surroundings};
use crate::thought::Thought;

pub use csm_gather::wal_size::WalSize;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// The manager cannot do its work, or a database is in danger.
    Problem,
    /// It will go wrong under ordinary load, or does so unseen.
    Warning,
    /// It is sound today, and could be safer.
    Advice,
}

impl Level {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warning => "warning",
            Self::Advice => "advice",
        }
    }
}

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Check {
    /// Whether the manager runs.
    Manager,
    /// What the manager may do.
    Permissions,
    /// Whether the kubelets tell how full volumes are.
    Kubelets,
    /// The admission webhooks.
    Webhook,
    /// The policies that apply.
    Policy,
    /// Storage classes.
    StorageClass,
    /// `resizeInUseVolumes`.
    ResizeInUseVolumes,
    /// Room below the ceiling.
    Ceiling,
    /// Room in the namespace's quotas.
    Quota,
    /// Data and WAL on one volume.
    SingleVolume,
    /// PostgreSQL's settings on how much WAL is kept.
    WalSettings,
    /// Replication slots.
    Slots,
    /// WAL archiving.
    Archiving,
}

impl Check {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 13] = [
        Self::Manager,
        Self::Permissions,
        Self::Kubelets,
        Self::Webhook,
        Self::Policy,
        Self::StorageClass,
        Self::ResizeInUseVolumes,
        Self::Ceiling,
        Self::Quota,
        Self::SingleVolume,
        Self::WalSettings,
        Self::Slots,
        Self::Archiving,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manager => "Manager",
            Self::Permissions => "Permissions",
            Self::Kubelets => "Kubelets",
            Self::Webhook => "Webhook",
            Self::Policy => "Policy",
            Self::StorageClass => "StorageClass",
            Self::ResizeInUseVolumes => "ResizeInUseVolumes",
            Self::Ceiling => "Ceiling",
            Self::Quota => "Quota",
            Self::SingleVolume => "SingleVolume",
            Self::WalSettings => "WalSettings",
            Self::Slots => "Slots",
            Self::Archiving => "Archiving",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How grave it is.
    pub level: Level,
    /// What was looked at.
    pub check: Check,
    /// What is wrong, with the figures, in a sentence or two.
    pub what: String,
    /// What to do: a command, a setting, or whom to ask.
    pub fix: String,
}

/// Something that could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotChecked {
    /// What.
    pub check: Check,
    /// Why not.
    pub why: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// The gravest first, then in the order of [`Check::ALL`].
    pub findings: Vec<Finding>,
    /// What could not be looked at, as a whole or in part.
    pub not_checked: Vec<NotChecked>,
}

impl Diagnosis {
    fn add(&mut self, level: Level, check: Check, what: impl Into<String>, fix: impl Into<String>) {
        self.findings.push(Finding {
            level,
            check,
            what: what.into(),
            fix: fix.into(),
        });
    }

    fn skip(&mut self, check: Check, why: impl Into<String>) {
        self.not_checked.push(NotChecked { check, why: why.into() });
    }

    /// Whether anything needs a person: advice does not.
    #[must_use]
    pub fn needs_person(&self) -> bool {
        self.findings.iter().any(|finding| finding.level != Level::Advice)
    }
}

/// All that is looked at.
pub struct Subject<'a> {
    /// What was read of the cluster.
    pub facts: &'a Facts,
    /// What was read beside.
    pub details: &'a Details,
    /// What stands around it.
    pub surroundings: &'a Surroundings,
    /// The planner's world, and its decisions.
    pub thought: &'a Thought,
    /// The time.
    pub now: Timestamp,
}

/// Looks at everything.
#[must_use]
pub fn examine(subject: &Subject<'_>) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    installation::examine(subject, &mut diagnosis);
    policy::examine(subject, &mut diagnosis);
    volumes::examine(subject, &mut diagnosis);
    wal::examine(subject, &mut diagnosis);
    diagnosis.findings.sort_by_key(|finding| (finding.level, finding.check));
    diagnosis
}
