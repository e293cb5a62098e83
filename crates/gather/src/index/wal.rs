//! What primaries say of their WAL, and which of them are to be asked.

use std::net::IpAddr;
use std::sync::Arc;

use csm_core::crossing;
use csm_core::resolve::Resolution;
use csm_core::world::{ClusterKey, VolumeKey, WalHealth};
use jiff::{SignedDuration, Timestamp};

use super::kept::Instance;
use super::tracked::archived;
use super::{Index, Slot, Wake};
use crate::causes;
use crate::compact::Uid;
use crate::instance::WalFigures;

/// For so long the first word of a primary is waited for: it may be asked after all others, and take its time-out.
const FIRST_WORD: SignedDuration = SignedDuration::from_secs(15);

/// The pod whose word is waited for, or was.
#[derive(Debug)]
pub(super) struct Awaited {
    pod: Uid,
    since: Timestamp,
    /// It was asked, whatever it said.
    ended: bool,
}

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
    /// How many bytes of WAL were ever written: its position is that.
    pub written: Option<u64>,
    /// How many segments were ever archived, by the position of the last one; none where there is no archive.
    pub archived: Option<u64>,
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

    /// The pod of the primary, where that can be asked.
    fn primary(&self) -> Option<(&Arc<str>, &Instance, IpAddr)> {
        let cluster = self.cluster.as_ref().filter(|cluster| !cluster.deleting)?;
        let instance = cluster.primary.as_ref()?;
        let pod = self.pods.get(instance).filter(|pod| pod.running)?;
        Some((instance, pod, pod.ip?))
    }

    /// Whether the primary can be asked, and was not yet: what it will say is not unknown, but not known yet.
    pub fn awaits_word(&self, now: Timestamp) -> bool {
        let Some((_, pod, _)) = self.primary() else { return false };
        let asked = self.awaited.as_ref().filter(|awaited| awaited.pod == pod.uid);
        asked.is_none_or(|awaited| !awaited.ended && now.duration_since(awaited.since) <= FIRST_WORD)
    }

    /// A pod was asked.
    fn was_asked(&mut self, uid: &str) {
        if let Some(awaited) = self.awaited.as_mut().filter(|awaited| awaited.pod.is(uid)) {
            awaited.ended = true;
        }
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
        let (before, waited) = (slot.wal_health(now, stale_after), slot.awaits_word(now));
        slot.was_asked(&figures.pod);
        let had_cause = slot.has_cause();
        let said = slot.wal.replace(Arc::new(figures));
        slot.track_primary(said.as_deref());
        let crossed = slot.wal_crosses(before.as_ref(), slot.wal_health(now, stale_after).as_ref());
        let waited = waited && !slot.awaits_word(now);
        // What is not tracked any more has no cause any more.
        let cause = slot.cause_changes(now) || (had_cause && slot.tracked.is_none());
        (crossed || waited || cause).then(|| key.clone()).into_iter().collect()
    }

    /// Drops what is older than `stale_after`; the Clusters of which nothing is known since.
    pub fn forget_old_wal(&mut self, now: Timestamp, stale_after: SignedDuration) -> Wake {
        let is_old = |slot: &Slot| slot.wal.as_ref().is_some_and(|wal| now.duration_since(wal.at) > stale_after);
        let old = self.slots.iter_mut().filter(|(_, slot)| is_old(slot));
        old.map(|(key, slot)| {
            slot.wal = None;
            slot.tracked = None;
            key.clone()
        })
        .collect()
    }

    /// A pod was asked, and said nothing of use. Its Cluster is woken where somebody waited for that.
    pub fn wal_failed(&mut self, key: &ClusterKey, pod: &str, now: Timestamp) -> Wake {
        let Some(slot) = self.slots.get_mut(key) else { return Wake::new() };
        let waited = slot.awaits_word(now);
        slot.was_asked(pod);
        (waited && !slot.awaits_word(now)).then(|| key.clone()).into_iter().collect()
    }

    /// Primaries are asked by this process, once it leads: their first word is worth waiting for.
    pub fn asks_primaries(&mut self) {
        self.asks_primaries = true;
    }

    /// The primaries of managed Clusters that run. Of one that nobody manages, nothing is decided or told. Their first word is
    /// waited for from now on, if it was not before.
    pub fn primaries_to_ask(&mut self, now: Timestamp) -> Vec<Primary> {
        let asked = self.slots.iter_mut().filter_map(|(key, slot)| {
            let Some(Resolution::Settings(settings)) = slot.resolution.as_deref() else {
                return None;
            };
            let (instance, pod, ip) = slot.primary()?;
            let health = slot
                .wal_figures()
                .and_then(|figures| figures.reading.health(slot.cluster.as_ref()?.archives_wal));
            let primary = Primary {
                cluster: key.clone(),
                instance: instance.clone(),
                pod: pod.uid.text(),
                ip,
                is_well: health.is_some_and(|health| crossing::wal_is_well(settings, &slot.wal_volume(), &health)),
            };
            if slot.awaited.as_ref().is_none_or(|awaited| awaited.pod != pod.uid) {
                let pod = Uid::new(&primary.pod);
                slot.awaited = Some(Awaited {
                    pod,
                    since: now,
                    ended: false,
                });
            }
            Some(primary)
        });
        asked.collect()
    }

    /// The WAL of a Cluster, where it is known.
    #[must_use]
    pub fn wal_now(&self, key: &ClusterKey) -> Option<WalNow> {
        let slot = self.slots.get(key)?;
        let (figures, cluster) = (slot.wal_figures()?, slot.cluster.as_ref()?);
        let primary = causes::primary(figures)?;
        let last_archived = primary.last_archived.as_ref().filter(|_| cluster.archives_wal);
        Some(WalNow {
            instance: figures.instance.clone(),
            health: figures.reading.health(cluster.archives_wal)?,
            written: primary.current_lsn.map(csm_core::wal::Lsn::get),
            archived: last_archived.and_then(|(_, file)| archived(file, cluster.wal_segment)),
        })
    }
}
