//! What is known of a volume that fills.

use std::sync::Arc;

use csm_units::Bytes;
use jiff::Timestamp;

use crate::between::Content;
use crate::wal_tracking::{Flow, Tracker};

/// What is known of a volume that fills, and of the instance that writes to it. What is not known is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What was given.
    pub given: Given,
    /// How archiving does.
    pub archiving: Option<ArchivingFacts>,
    /// What is in `pg_wal`.
    pub wal: Option<Bytes>,
    /// Bytes of WAL written.
    pub generation: Option<Flow>,
    /// Segments archived.
    pub archived: Option<Flow>,
    /// Growth of `pg_wal`.
    pub wal_growth: Option<Flow>,
    /// Growth of the databases.
    pub databases: Option<Flow>,
    /// Temporary files that were written, and closed.
    pub temporary: Option<Flow>,
    /// Growth of what is used of the volume.
    pub used: Option<Flow>,
}

/// What the caller knows, beside what was tracked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// When that is.
    pub now: Timestamp,
    /// What the volume holds.
    pub content: Content,
    /// Its size.
    pub volume: Bytes,
    /// The size of the filesystem, where it is not the volume's own (gate `SharedFilesystem`).
    pub shared: Option<Bytes>,
    /// WAL archiving is configured; none: nobody knows.
    pub archives: Option<bool>,
    /// The replication slots of the instance.
    pub slots: Option<Vec<SlotFacts>>,
    /// Its standbys.
    pub standbys: Option<Vec<StandbyFacts>>,
    /// What its settings keep.
    pub settings: Option<WalSettings>,
    /// When the base backups that run were begun.
    pub base_backups: Option<Vec<Timestamp>>,
}

/// How archiving does, where it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchivingFacts {
    /// Segments that wait.
    pub waiting: u64,
    /// Size of one.
    pub segment_size: Bytes,
    /// When one was last archived.
    pub last_archived: Option<Timestamp>,
    /// When it last failed.
    pub last_failed: Option<Timestamp>,
}

/// A replication slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotFacts {
    /// Its name.
    pub name: Arc<str>,
    /// Somebody reads from it.
    pub active: bool,
    /// What it holds back.
    pub retained: Bytes,
    /// Inactive since then, where that is known.
    pub since: Option<Timestamp>,
}

/// A standby that is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandbyFacts {
    /// Its name.
    pub name: Arc<str>,
    /// How far it is behind.
    pub behind: Bytes,
}

/// What settings keep of WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalSettings {
    /// `wal_keep_size`.
    pub keep: Bytes,
    /// `max_wal_size`.
    pub max: Bytes,
    /// `min_wal_size`.
    pub min: Bytes,
}

impl Facts {
    /// What is given, and what was tracked of the instance.
    #[must_use]
    pub fn of(given: Given, tracker: &Tracker) -> Self {
        let newest = tracker.newest();
        let archiving = newest.and_then(|newest| {
            Some(ArchivingFacts {
                waiting: newest.waiting?,
                segment_size: newest.segment_size?,
                last_archived: newest.last_archived,
                last_failed: newest.last_failed,
            })
        });
        let used = tracker.used(given.content);
        Self {
            archiving,
            // A volume for WAL alone holds nothing else, and its samples are there where no exporter is asked.
            wal: tracker.wal_size().or_else(|| match given.content {
                Content::Wal => tracker.newest_used(given.content),
                Content::Databases | Content::Both => None,
            }),
            generation: tracker.generation(),
            archived: tracker.archiving(),
            wal_growth: tracker.wal(),
            databases: tracker.databases(),
            temporary: tracker.temporary(),
            used,
            given,
        }
    }

    pub(super) fn holds_wal(&self) -> bool {
        self.given.content != Content::Databases
    }

    pub(super) fn holds_databases(&self) -> bool {
        self.given.content != Content::Wal
    }
}

impl ArchivingFacts {
    /// What the segments take that wait.
    pub(super) fn held(&self) -> Bytes {
        self.segment_size.mul_div(self.waiting, 1)
    }

    /// When it failed last, where it succeeded never since.
    pub(super) fn failing(&self) -> Option<Timestamp> {
        self.last_failed
            .filter(|failed| self.last_archived.is_none_or(|archived| *failed > archived))
    }
}
