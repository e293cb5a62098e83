//! All that the index holds of one Cluster.

use std::sync::Arc;

use csm_api::{Growth, PostgresStorage};
use csm_core::crossing;
use csm_core::resolve::Resolution;
use csm_core::validate::Problem;
use csm_core::world::Observation;
use jiff::Timestamp;

use super::between::Between;
use super::history::Span;
use super::kept::{Claim, Instance, Record};
use super::tracked::Tracked;
use super::wal::Awaited;
use crate::compact::{Packed, SmallMap};
use crate::instance::WalFigures;
use crate::views::ClusterView;

/// All that concerns one Cluster.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub cluster: Option<Arc<ClusterView>>,
    /// The Cluster exists, and cannot be read.
    pub is_unreadable: bool,
    /// Looked at when the Cluster is, and otherwise only in the way.
    pub storage: Option<Packed<PostgresStorage>>,
    /// Whether that has settings. Most have none, and need not be looked at for them.
    pub has_settings: bool,
    /// What cannot be read of its spec; then that is empty.
    pub storage_problem: Option<Box<Problem>>,
    pub pvcs: SmallMap<Arc<str>, Claim>,
    pub pods: SmallMap<Arc<str>, Instance>,
    pub events: SmallMap<Arc<str>, Record>,
    pub resolution: Option<Arc<Resolution>>,
    /// What an instance said of its WAL last.
    pub wal: Option<Arc<WalFigures>>,
    /// The pod of the primary whose first word is waited for, or was.
    pub awaited: Option<Awaited>,
    /// What instances say of themselves that are followed between two samples.
    pub between: SmallMap<Arc<str>, Box<Between>>,
    /// What shows why its volumes fill, where one does, or may.
    pub tracked: Option<Box<Tracked>>,
}

impl Slot {
    /// How much of a PVC's history a forecast may want: a day, where planned growth waits for maintenance windows. Where
    /// the settings are not known, or wrong, it stays as it is: what is dropped takes a day to come back.
    pub fn span(&self, claim: &Claim) -> Span {
        let rules = match self.resolution.as_deref() {
            Some(Resolution::Settings(settings)) => settings.volumes.of(&claim.volume),
            Some(Resolution::NoPolicy) => return Span::Hour,
            Some(Resolution::Conflict(_) | Resolution::Invalid(_)) | None => return Span::AsBefore,
        };
        match rules {
            Ok(rules) if rules.window.is_some() => Span::Day,
            Ok(_) => Span::Hour,
            Err(_) => Span::AsBefore,
        }
    }

    /// Whether newer figures of a PVC can change a decision.
    pub fn crosses(&self, claim: &Claim, older: &Observation, newer: &Observation) -> bool {
        match self.resolution.as_deref() {
            Some(Resolution::Settings(settings)) => crossing::crosses(settings, &claim.volume, claim.capacity, older, newer),
            Some(Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_)) | None => false,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.cluster.is_none()
            && !self.is_unreadable
            && self.storage.is_none()
            && self.pvcs.is_empty()
            && self.pods.is_empty()
            && self.events.is_empty()
    }

    /// The PostgresStorage, where it has settings.
    pub fn own_settings(&self) -> Option<Arc<PostgresStorage>> {
        self.storage.as_ref().filter(|_| self.has_settings)?.open()
    }

    /// Growths of this very Cluster that have not ended. A record may name another one, of the same name.
    pub fn open(&self) -> impl Iterator<Item = &Arc<Growth>> {
        let is_ours = |growth: &&Arc<Growth>| {
            self.cluster
                .as_ref()
                .is_some_and(|cluster| *cluster.uid == *growth.spec.cluster_ref.uid)
        };
        self.events.values().filter_map(Record::open).filter(is_ours)
    }

    /// Whether an operation is under way.
    pub fn followed(&self) -> bool {
        self.open().next().is_some()
    }

    /// When the last resize of a PVC ended: as our record says, or as its capacity was seen to rise.
    pub fn last_resize_at(&self, claim: &Claim) -> Option<Timestamp> {
        let recorded = self.events.values().filter_map(|record| record.resized_at(&claim.uid));
        recorded.chain(claim.resized).max()
    }
}
