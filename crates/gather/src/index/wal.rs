//! What primaries say of their WAL, and which of them are to be asked.

use std::net::IpAddr;
use std::sync::Arc;

use csm_core::crossing;
use csm_core::resolve::Resolution;
use csm_core::world::{ClusterKey, VolumeKey, WalHealth};
use jiff::{SignedDuration, Timestamp};

use super::{Index, Slot, Wake};
use crate::instance::WalFigures;

/// A primary that is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary {
    /// Its Cluster.
    pub cluster: ClusterKey,
    /// Its name.
    pub instance: Arc<str>,
    /// UID of its pod.
    pub pod: Arc<str>,
    /// Where its pod is.
    pub ip: IpAddr,
    /// It is known to be well: nobody waits for news.
    pub is_well: bool,
}

/// The WAL of a Cluster, as its primary says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalNow {
    /// The primary.
    pub instance: Arc<str>,
    /// What it says.
    pub health: WalHealth,
}

impl Slot {
    /// What the instance says that is primary now. What another one said, or the same one before it was created anew, is
    /// not known any more.
    pub fn wal_figures(&self) -> Option<&Arc<WalFigures>> {
        let primary = self.cluster.as_ref()?.primary.as_ref()?;
        let figures = self.wal.as_ref()?;
        let pod = self.pods.get(primary)?;
        (figures.instance == *primary && pod.uid.is(&figures.pod)).then_some(figures)
    }

    /// The health of its WAL, where that is known and no older than `stale_after`.
    fn wal_health(&self, now: Timestamp, stale_after: SignedDuration) -> Option<WalHealth> {
        let figures = self.wal_figures()?;
        let fresh = now.duration_since(figures.at) <= stale_after;
        figures.reading.health(self.cluster.as_ref()?.archives_wal).filter(|_| fresh)
    }

    /// The volume that holds its WAL.
    fn wal_volume(&self) -> VolumeKey {
        let own = self.pvcs.values().any(|claim| claim.volume == VolumeKey::WAL);
        if own { VolumeKey::WAL } else { VolumeKey::DATA }
    }

    /// Whether what was known of WAL and what is known now differ in something that decides.
    fn wal_crosses(&self, older: Option<&WalHealth>, newer: Option<&WalHealth>) -> bool {
        match self.resolution.as_deref() {
            Some(Resolution::Settings(settings)) => crossing::wal_crosses(settings, &self.wal_volume(), older, newer),
            Some(Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_)) | None => older.is_some() != newer.is_some(),
        }
    }
}

impl Index {
    /// What an instance said. Its Cluster is woken where that crosses something that the planner cares about, or is told.
    pub fn put_wal(&mut self, key: &ClusterKey, figures: WalFigures, stale_after: SignedDuration) -> Wake {
        let Some(slot) = self.slots.get_mut(key) else { return Wake::new() };
        let now = figures.at;
        let before = slot.wal_health(now, stale_after);
        slot.wal = Some(Arc::new(figures));
        let crossed = slot.wal_crosses(before.as_ref(), slot.wal_health(now, stale_after).as_ref());
        crossed.then(|| key.clone()).into_iter().collect()
    }

    /// Drops what is older than `stale_after`; the Clusters of which nothing is known since.
    pub fn forget_old_wal(&mut self, now: Timestamp, stale_after: SignedDuration) -> Wake {
        let is_old = |slot: &Slot| slot.wal.as_ref().is_some_and(|wal| now.duration_since(wal.at) > stale_after);
        let old = self.slots.iter_mut().filter(|(_, slot)| is_old(slot));
        old.map(|(key, slot)| {
            slot.wal = None;
            key.clone()
        })
        .collect()
    }

    /// The primaries of managed Clusters that run. Of one that nobody manages, nothing is decided or told.
    #[must_use]
    pub fn primaries_to_ask(&self) -> Vec<Primary> {
        let asked = self.slots.iter().filter_map(|(key, slot)| {
            let Some(Resolution::Settings(settings)) = slot.resolution.as_deref() else {
                return None;
            };
            let cluster = slot.cluster.as_ref().filter(|cluster| !cluster.deleting)?;
            let instance = cluster.primary.as_ref()?;
            let pod = slot.pods.get(instance).filter(|pod| pod.running)?;
            let health = slot.wal_figures().and_then(|figures| figures.reading.health(cluster.archives_wal));
            Some(Primary {
                cluster: key.clone(),
                instance: instance.clone(),
                pod: pod.uid.text(),
                ip: pod.ip?,
                is_well: health.is_some_and(|health| crossing::wal_is_well(settings, &slot.wal_volume(), &health)),
            })
        });
        asked.collect()
    }

    /// The WAL of a Cluster, where it is known.
    #[must_use]
    pub fn wal_now(&self, key: &ClusterKey) -> Option<WalNow> {
        let slot = self.slots.get(key)?;
        let figures = slot.wal_figures()?;
        Some(WalNow {
            instance: figures.instance.clone(),
            health: figures.reading.health(slot.cluster.as_ref()?.archives_wal)?,
        })
    }
}
