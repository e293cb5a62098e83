//! Which StorageEvents have been kept long enough.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::kept::Record;
use super::{Index, Slot};

/// So many of a Cluster are kept whatever they say. A growth that is refused for weeks leaves a hundred a day.
const MANY: usize = 200;
/// Of those beyond, one that changed no PVC counts for nothing after a day, the window of budgets and rescues, and an hour
/// for clocks that differ.
const IDLE_FOR: SignedDuration = SignedDuration::from_hours(25);
/// The longest that a decision rests on any other: a cooldown, the reset time of a breaker and a learned ceiling last for a
/// week at most.
const COUNTS_FOR: SignedDuration = SignedDuration::from_hours(8 * 24);

/// How long StorageEvents are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Each of them, at most (`retention.storageEvents`).
    pub keep: SignedDuration,
    /// The longest time that growths are counted over for a limit of the storage (`providerLimits.NAME.period`).
    pub counted: SignedDuration,
}

impl Index {
    /// StorageEvents that have ended, and are to be dropped: the old ones, and of a Cluster that has very many also younger
    /// ones that no decision rests on any longer.
    #[must_use]
    pub fn events_to_drop(&self, retention: Retention, now: Timestamp) -> Vec<ObjectMeta> {
        let Ok(old) = now.checked_sub(retention.keep) else {
            return Vec::new();
        };
        let records = self.slots.values().flat_map(|slot| slot.to_drop(old, retention, now));
        records.filter_map(Record::metadata).chain(self.fleet.records_before(old)).collect()
    }
}

impl Slot {
    /// Growths and reliefs of no Cluster that there is: nobody will ever end them. They stay for a day: Clusters are restored from
    /// manifests, and watches lag.
    fn orphans(&self, now: Timestamp) -> impl Iterator<Item = &Record> {
        let uid = self.cluster.as_ref().map(|cluster| &*cluster.uid);
        let is_orphan = move |record: &&Record| {
            record.unfinished().is_some_and(|(made, of)| {
                let is_old = made.is_some_and(|made| now.duration_since(made) > IDLE_FOR);
                is_old && uid != Some(of)
            })
        };
        // Of a Cluster that is there and cannot be read, all stay: it goes on once it can be read again.
        self.events.values().filter(|_| !self.is_unreadable).filter(is_orphan)
    }

    fn to_drop(&self, old: Timestamp, retention: Retention, now: Timestamp) -> Vec<&Record> {
        let ended = self.events.values().filter_map(|record| Some((record.ended_at()?, record)));
        let (mut drop, mut kept): (Vec<_>, Vec<_>) = ended.partition(|(at, _)| *at < old);
        if kept.len() > MANY {
            kept.sort_by_key(|(at, _)| Reverse(*at));
            let counts_for = COUNTS_FOR.max(retention.counted);
            let mut volumes = BTreeSet::new();
            for (number, (at, record)) in kept.into_iter().enumerate() {
                // The status tells of the last growth of each volume, however long ago it was.
                let newest = record.event().is_some_and(|event| volumes.insert(event.spec.volume.clone()));
                let age = now.duration_since(at);
                let idle = record.was_idle() && age > IDLE_FOR;
                if number >= MANY && !newest && (idle || age > counts_for) {
                    drop.push((at, record));
                }
            }
        }
        drop.into_iter().map(|(_, record)| record).chain(self.orphans(now)).collect()
    }
}
