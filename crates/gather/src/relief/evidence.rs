//! What an instance said, joined with what its Cluster says.

use std::sync::Arc;

use csm_core::relief;
use csm_core::wal::{Archiving, BaseBackup, Evidence, Feed, Lsn, Position, Segment, Slot, Standby};

use super::Reading;
use super::reading::PositionSaid;

/// What the Cluster says, beside the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Around {
    /// Every other instance of the Cluster save its primary, running or not.
    pub instances: Vec<Instance>,
    /// Who archives; none where it is not known.
    pub archived: Option<Archived>,
    /// Backups of the Cluster that run and that no server lists: by volume snapshot.
    pub backups: Vec<BaseBackup>,
    /// What feeds this instance, where it is a standby that does not stream.
    pub feed: Feed,
}

/// Another instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its name: what it calls itself to the one that it follows.
    pub name: Arc<str>,
    /// Its slot here, if there is one of this name (CloudNativePG, `spec.replicationSlots.highAvailability`).
    pub slot: Option<Arc<str>>,
    /// What it has on disk, as the primary says, where this instance is no primary.
    pub flushed: Option<Lsn>,
}

/// Who archives, by the Cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archived {
    /// Nobody: neither barmanObjectStore nor a plugin, or archiving is skipped by annotation.
    Nobody,
    /// This instance.
    Here,
    /// The primary: [`Reading::unarchived`] of it.
    Elsewhere(Segment),
}

impl Reading {
    /// The evidence for a proof.
    #[must_use]
    pub fn evidence(&self, around: &Around) -> relief::Reading {
        let archiving = around.archived.map(|archived| match archived {
            Archived::Here if self.archive_mode => Archiving::Own,
            Archived::Here | Archived::Nobody => Archiving::Off,
            Archived::Elsewhere(unarchived) => Archiving::Elsewhere { unarchived },
        });
        let position = match self.position {
            PositionSaid::Primary { written } => Position::Primary { written },
            PositionSaid::Standby { received, replayed } => Position::Standby {
                received,
                replayed,
                feed: if self.streams { Feed::Streams } else { around.feed },
            },
        };
        relief::Reading {
            evidence: Evidence {
                timeline: self.timeline,
                position: Some(position),
                checkpoint: Some(self.checkpoint),
                slots: Some(self.slots.clone()),
                slots_before: self.earlier.clone(),
                standbys: Some(self.standbys(around)),
                wal_keep_size: Some(self.wal_keep_size),
                base_backups: Some(self.backups.iter().chain(&around.backups).cloned().collect()),
                summaries: self.summaries,
                archiving,
                directory: Some(self.directory.clone()),
            },
            max_wal_size: Some(self.max_wal_size),
            slot_limit: Some(self.slot_limit),
        }
    }

    /// Who reads here, and the Cluster's instances that do not.
    fn standbys(&self, around: &Around) -> Vec<Standby> {
        let here = self.senders.iter().map(|sender| Standby {
            name: sender.name.as_str().into(),
            streams: sender.streams,
            flushed: sender.flushed,
            slot: sender.slot.as_deref().map(Arc::from),
        });
        let is_here = |instance: &&Instance| self.senders.iter().any(|sender| *sender.name == *instance.name);
        let has = |name: &&Arc<str>| self.slots.iter().any(|slot: &Slot| slot.name == **name);
        let others = around
            .instances
            .iter()
            .filter(|instance| !is_here(instance))
            .map(|instance| Standby {
                name: Arc::clone(&instance.name),
                streams: instance.flushed.is_some(),
                flushed: instance.flushed,
                slot: instance.slot.as_ref().filter(has).cloned(),
            });
        here.chain(others).collect()
    }
}
