//! What exporters of instances say between two samples of a kubelet, and which instances are asked.
//!
//! An instance is followed while a kubelet's figures could come too late for one of its volumes; of all others nothing is
//! asked, and nothing is kept.

use std::net::IpAddr;
use std::sync::Arc;

use csm_api::Role;
use csm_core::between::{self, Content, Estimate, Levels, Reading};
use csm_core::crossing;
use csm_core::resolve::Resolution;
use csm_core::world::{self, ClusterKey, Observation, VolumeKey};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::kept::{Claim, Instance};
use super::{Index, Slot, Wake};
use crate::causes;
use crate::compact::Uid;
use crate::exporter::Scrape;

/// An instance whose exporter is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Its Cluster.
    pub cluster: ClusterKey,
    /// Its name.
    pub instance: Arc<str>,
    /// UID of its pod.
    pub pod: Arc<str>,
    /// Where its pod is.
    pub ip: IpAddr,
    /// Its exporter speaks TLS.
    pub tls: bool,
    /// How often it is to be asked.
    pub every: SignedDuration,
}

/// What an exporter said, when, and whose it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterFigures {
    /// When it was asked.
    pub at: Timestamp,
    /// The instance.
    pub instance: Arc<str>,
    /// UID of its pod: CloudNativePG uses names again.
    pub pod: Arc<str>,
    /// What it said.
    pub scrape: Scrape,
}

/// The volumes of one instance between two samples.
#[derive(Debug)]
pub(super) struct Between {
    pod: Uid,
    /// When it was asked last.
    at: Timestamp,
    segment_size: Option<Bytes>,
    segments: Option<u64>,
    levels: Levels,
}

/// What is in `pg_wal` of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalDirectory {
    /// The instance.
    pub instance: Arc<str>,
    /// Segments.
    pub files: u64,
    /// What they take.
    pub bytes: Option<Bytes>,
}

impl Between {
    fn of(pod: &str) -> Self {
        Self {
            pod: Uid::new(pod),
            at: Timestamp::MIN,
            segment_size: None,
            segments: None,
            levels: Levels::default(),
        }
    }

    /// What the instance says at a moment. Segments of another size are of another database: what was known is forgotten.
    fn reading(&mut self, at: Timestamp, scrape: &Scrape) {
        let segment_size = scrape.segment_size();
        if self.segment_size.zip(segment_size).is_some_and(|(before, now)| before != now) {
            self.levels.forget();
        }
        self.segment_size = segment_size.or(self.segment_size);
        self.segments = scrape.segments;
        self.at = at;
        self.levels.reading(Reading {
            at,
            segments: scrape.segments,
            segment_size,
            databases: scrape.databases,
        });
    }
}

/// Figures of a PVC as the planner knows them.
type Known = (Arc<str>, Option<Observation>);

impl Slot {
    /// What of its instance a volume holds, as far as the instance says. What it says of databases counts tablespaces in.
    fn content(&self, claim: &Claim) -> Option<Content> {
        let has_tablespace = || self.pvcs.values().any(|other| other.volume.role == Role::Tablespace);
        if claim.volume.role == Role::Data && has_tablespace() {
            return None;
        }
        causes::holds(claim.volume.role, || self.has_own_wal(&claim.instance))
    }

    /// Whether an instance has a volume for WAL alone.
    pub(super) fn has_own_wal(&self, instance: &Arc<str>) -> bool {
        let mut claims = self.pvcs.values();
        claims.any(|other| other.instance == *instance && other.volume == VolumeKey::WAL)
    }

    /// What is known of an instance by its own word, and by that of the pod that has its name now.
    fn levels(&self, instance: &Arc<str>) -> Option<&Levels> {
        let (between, pod) = (self.between.get(instance)?, self.pods.get(instance)?);
        (between.pod == pod.uid).then_some(&between.levels)
    }

    /// What is used of a volume since its sample, by its instance's word.
    pub fn estimate(&self, claim: &Claim) -> Option<Estimate> {
        self.levels(&claim.instance)?.estimate(self.content(claim)?)
    }

    /// The figures of a volume, with what came since the sample.
    pub fn newest(&self, claim: &Claim) -> Option<Observation> {
        let sample = claim.sample?.observation;
        let estimated = self.estimate(claim).and_then(|estimate| estimate.on(&sample));
        Some(estimated.unwrap_or(sample))
    }

    /// A sample of a kubelet, for the instance that it is of.
    pub fn anchor(&mut self, name: &str) {
        let Some(claim) = self.pvcs.get(name) else { return };
        let Some((content, sample)) = self.content(claim).zip(claim.sample) else {
            return;
        };
        let sample = world::Sample {
            at: sample.observation.at,
            used: sample.observation.used,
        };
        if let Some(between) = self.between.get_mut(&claim.instance) {
            between.levels.sample(content, sample);
        }
    }

    /// The volumes of an instance, as the planner knows them.
    fn known(&self, instance: &Arc<str>) -> Vec<Known> {
        let claims = self.pvcs.iter().filter(|(_, claim)| claim.instance == *instance);
        claims.map(|(name, claim)| (name.clone(), self.newest(claim))).collect()
    }

    /// How soon the first of an instance's volumes could be full: it is asked so often. None where a kubelet's figures are
    /// soon enough for all of them; and where none are fresh: there is nothing that an estimate could rest on.
    fn pace(&self, instance: &Arc<str>, now: Timestamp, stale_after: SignedDuration) -> Option<SignedDuration> {
        let Some(Resolution::Settings(settings)) = self.resolution.as_deref() else {
            return None;
        };
        let levels = self.levels(instance);
        let claims = self.pvcs.values().filter(|claim| claim.instance == *instance);
        let paces = claims.filter_map(|claim| {
            let content = self.content(claim)?;
            settings.volumes.of(&claim.volume).ok()?;
            let sample = claim.sample?.observation;
            let rate = levels.and_then(|levels| levels.rate(content));
            let available = self.newest(claim)?.available;
            let is_fresh = now.duration_since(sample.at) <= stale_after;
            (is_fresh && between::may_fill_unseen(available, rate)).then(|| between::every(available, rate))
        });
        paces.min()
    }

    fn follows(&self, instance: &Arc<str>, now: Timestamp, stale_after: SignedDuration) -> Option<(&Instance, IpAddr, SignedDuration)> {
        let pod = self.pods.get(instance).filter(|pod| pod.running)?;
        Some((pod, pod.ip?, self.pace(instance, now, stale_after)?))
    }
}

impl Index {
    /// The instances of managed Clusters of which a volume could fill before a kubelet shows it. Of the others, and of those
    /// that say nothing any more, what was known is dropped.
    pub fn instances_to_follow(&mut self, now: Timestamp, stale_after: SignedDuration) -> Vec<Followed> {
        let mut all = Vec::new();
        for (key, slot) in &mut self.slots {
            let first = all.len();
            if let Some(cluster) = slot.cluster.as_ref().filter(|cluster| !cluster.deleting) {
                all.extend(slot.pods.keys().filter_map(|instance| {
                    let (pod, ip, every) = slot.follows(instance, now, stale_after)?;
                    Some(Followed {
                        cluster: key.clone(),
                        instance: instance.clone(),
                        pod: pod.uid.text(),
                        ip,
                        tls: cluster.exporter_tls,
                        every,
                    })
                }));
            }
            let followed = all.get(first..).unwrap_or_default();
            let is_fresh = |between: &Between| now.duration_since(between.at) <= stale_after;
            slot.between.retain(|instance, between| {
                is_fresh(between) && followed.iter().any(|f| f.instance == *instance && between.pod.is(&f.pod))
            });
        }
        all
    }

    /// What is in `pg_wal` of the instances of a Cluster that are followed.
    #[must_use]
    pub fn wal_directories(&self, key: &ClusterKey) -> Vec<WalDirectory> {
        let followed = self.slots.get(key).into_iter().flat_map(|slot| slot.between.iter());
        let directories = followed.filter_map(|(instance, between)| {
            let files = between.segments?;
            Some(WalDirectory {
                instance: instance.clone(),
                files,
                bytes: between.segment_size.map(|size| size.mul_div(files, 1)),
            })
        });
        directories.collect()
    }

    /// What an exporter said. Its Cluster is woken where what is used of one of its volumes crosses something that the planner
    /// compares it with.
    pub fn put_scrape(&mut self, key: &ClusterKey, figures: &ExporterFigures) -> Wake {
        let ExporterFigures { at, instance, pod, scrape } = figures;
        let Some(slot) = self.slots.get_mut(key) else { return Wake::new() };
        let Some((name, _)) = slot.pods.iter().find(|(name, is)| *name == instance && is.uid.is(pod)) else {
            return Wake::new();
        };
        let name = name.clone();
        let before = slot.known(instance);
        if slot.between.get(instance).is_none_or(|between| !between.pod.is(pod)) {
            slot.between.insert(name, Box::new(Between::of(pod)));
        }
        if let Some(between) = slot.between.get_mut(instance) {
            between.reading(*at, scrape);
        }
        slot.track_scrape(*at, instance, scrape);
        let cause = slot.cause_changes(*at);
        let slot = &*slot;
        let crossed = before.iter().any(|(name, older)| slot.estimate_crosses(name, older.as_ref()));
        (crossed || cause).then(|| key.clone()).into_iter().collect()
    }
}

impl Slot {
    /// Whether what is used of a volume now stands otherwise to the planner's rules than it did.
    pub fn estimate_crosses(&self, name: &str, older: Option<&Observation>) -> bool {
        let Some(claim) = self.pvcs.get(name) else { return false };
        let newer = self.newest(claim);
        match (self.resolution.as_deref(), older, &newer) {
            (Some(Resolution::Settings(settings)), Some(older), Some(newer)) => {
                crossing::crosses(settings, &claim.volume, claim.capacity, older, newer)
            }
            _ => false,
        }
    }
}
