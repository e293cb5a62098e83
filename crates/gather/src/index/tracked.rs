//! What shows why volumes of a Cluster fill: kept of those alone of which somebody may want to know.

use std::sync::Arc;

use csm_api::{CauseKind, Role};
use csm_core::between::Content;
use csm_core::resolve::Resolution;
use csm_core::wal::{SegmentSize, WalFile};
use csm_core::wal_tracking::{NOTICEABLE, Reading, Tracker};
use csm_core::world;
use csm_units::{Bytes, Percent};
use jiff::{SignedDuration, Timestamp};

use super::Slot;
use super::kept::Claim;
use crate::causes;
use crate::compact::SmallMap;
use crate::exporter::Scrape;
use crate::instance::{self, Primary, WalFigures};

/// A Cluster is tracked once one of its primary's volumes is half full: what is tracked then shows why by the time that a
/// threshold is reached. It takes a kilobyte or two, which most of a fleet need not (ADR 5).
const BEGINS: Percent = Percent::of(50);
/// And until all of them are used by less than this, so that it does not come and go.
const ENDS: Percent = Percent::of(45);
/// One segment waits always, and one more while it is copied: so many are a queue.
const QUEUE: u32 = 4;
/// A Cluster is woken for another cause at most so often, however they take turns: a cause changes its status.
const WAKES: SignedDuration = SignedDuration::from_mins(1);
/// What is asked at one moment is answered at another: an answer that comes after a later one's is of that one's time. By more than
/// this, the clock was set back.
const OUT_OF_ORDER: SignedDuration = SignedDuration::from_mins(1);

/// What is known of a Cluster's primary over the last minutes.
#[derive(Clone, Debug)]
pub struct Tracked {
    /// Since when it is tracked.
    pub since: Timestamp,
    /// Its WAL, its databases, and what is used of its volumes.
    pub tracker: Tracker,
    /// A base backup runs, at least since then.
    pub base_backup: Option<Timestamp>,
    /// Slots that were seen to lose their reader, and when.
    idle: SmallMap<Arc<str>, Timestamp>,
    /// The strongest causes for which the Cluster was last woken, and when that was.
    woken: Option<(Strongest, Timestamp)>,
}

/// The strongest cause of each of the primary's volumes.
type Strongest = Vec<(Content, CauseKind, Option<Box<str>>)>;

impl Tracked {
    /// When a slot lost its reader, where that was seen.
    #[must_use]
    pub fn idle_since(&self, slot: &str) -> Option<Timestamp> {
        self.idle.get(slot).copied()
    }

    fn reading(&mut self, reading: Reading) {
        let newest = self.tracker.newest().map(|newest| newest.at);
        let late = newest.filter(|newest| reading.at < *newest && newest.duration_since(reading.at) <= OUT_OF_ORDER);
        let known = self.tracker.newest().and_then(|newest| newest.segment_size);
        if known.zip(reading.segment_size).is_some_and(|(before, now)| before != now) {
            // How many were archived was counted in segments of another size.
            self.tracker = Tracker::default();
        }
        self.tracker.reading(Reading {
            at: late.unwrap_or(reading.at),
            ..reading
        });
    }

    /// What the primary says; `before` is what it said before that.
    fn primary(&mut self, figures: &WalFigures, before: Option<&Primary>, segment: SegmentSize) {
        let Some(primary) = causes::primary(figures) else { return };
        let at = figures.at;
        if self.tracker.newest().is_some_and(|newest| newest.instance != figures.instance) {
            (self.since, self.base_backup, self.idle) = (at, None, SmallMap::default());
        }
        self.base_backup = (primary.base_backups > 0).then(|| self.base_backup.unwrap_or(at));
        let was_read = |name: &Arc<str>| before.is_some_and(|before| before.slots.iter().any(|slot| slot.active && slot.name == *name));
        for slot in primary.slots.iter().filter(|slot| !slot.active && was_read(&slot.name)) {
            self.idle.insert(slot.name.clone(), at);
        }
        self.idle
            .retain(|name, _| primary.slots.iter().any(|slot| !slot.active && slot.name == *name));
        let known = self.tracker.newest().and_then(|newest| newest.segment_size);
        let segment = known.and_then(|size| SegmentSize::new(size.get()).ok()).unwrap_or(segment);
        let last_archived = primary.last_archived.as_ref();
        self.reading(Reading {
            at,
            instance: figures.instance.clone(),
            timeline: Some(primary.timeline).filter(|timeline| *timeline > 0),
            written: primary.current_lsn.map(csm_core::wal::Lsn::get),
            wal: None,
            segment_size: Some(segment.bytes()),
            databases: None,
            temporary: None,
            archived: last_archived.and_then(|(_, file)| archived(file, segment)),
            failed: None,
            waiting: Some(u64::from(primary.pending)),
            last_archived: last_archived.map(|(at, _)| *at),
            last_failed: primary.last_failed.as_ref().map(|(at, _)| *at),
        });
    }
}

/// How many segments were archived up to this file, by its position: it tells as well as the archiver's own counter, which a primary
/// does not say.
#[must_use]
pub(super) fn archived(file: &str, segment: SegmentSize) -> Option<u64> {
    match WalFile::parse(file, segment) {
        WalFile::Segment(segment) | WalFile::Partial(segment) | WalFile::Backup(segment) => segment.number().checked_add(1),
        WalFile::History(_) | WalFile::Malformed | WalFile::Other => None,
    }
}

/// Whether something holds WAL back, or may.
fn holds_wal(primary: &Primary, archives: bool) -> bool {
    let failing = primary.last_failed.as_ref().map(|(at, _)| at) > primary.last_archived.as_ref().map(|(at, _)| at);
    let slot = |slot: &instance::SlotReading| !slot.active || primary.since(slot.restart_lsn) >= NOTICEABLE;
    (archives && (failing || primary.pending >= QUEUE))
        || primary.slots.iter().any(slot)
        || primary.standbys.iter().any(|standby| primary.since(standby.flushed) >= NOTICEABLE)
}

impl Slot {
    /// What a volume of the primary holds; none of other volumes.
    fn content_of_primary(&self, claim: &Claim) -> Option<Content> {
        let primary = self.cluster.as_ref()?.primary.as_ref()?;
        if claim.instance != *primary {
            return None;
        }
        causes::holds(claim.volume.role, || self.has_own_wal(primary))
    }

    /// What is used of the primary's volumes.
    fn used_by_primary(&self) -> impl Iterator<Item = (Content, &world::Observation)> {
        let claims = self.pvcs.values();
        claims.filter_map(|claim| Some((self.content_of_primary(claim)?, &claim.sample.as_ref()?.observation)))
    }

    fn said_by_primary(&self) -> Option<(&WalFigures, &Primary)> {
        let figures = self.wal_figures()?;
        Some((figures, causes::primary(figures)?))
    }

    fn is_worth_tracking(&self) -> bool {
        match self.resolution.as_deref() {
            Some(Resolution::Settings(_)) => {}
            // Its settings are about to be read again.
            None => return self.tracked.is_some(),
            Some(Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_)) => return false,
        }
        let share = if self.tracked.is_some() { ENDS } else { BEGINS };
        let archives = self.cluster.as_ref().is_some_and(|cluster| cluster.archives_wal);
        self.used_by_primary().any(|(_, seen)| share.reached_by(seen.used, seen.available))
            || self.said_by_primary().is_some_and(|(_, primary)| holds_wal(primary, archives))
            || self.follows_primary()
    }

    /// Whether the primary is asked between two samples of a kubelet, since one of its volumes could fill in between.
    fn follows_primary(&self) -> bool {
        let primary = self.cluster.as_ref().and_then(|cluster| cluster.primary.as_ref());
        primary.is_some_and(|primary| self.between.contains_key(primary))
    }

    fn strongest(&self, now: Timestamp) -> Strongest {
        let (Some(cluster), Some(tracked)) = (&self.cluster, &self.tracked) else {
            return Vec::new();
        };
        let said = self.said_by_primary().map(|(_, primary)| primary);
        let of = |claim: &Claim| {
            let content = self.content_of_primary(claim)?;
            let of = causes::Of {
                now,
                content,
                volume: claim.capacity.max(claim.request),
                shared: None,
                cluster,
                said,
            };
            let causes = of.causes(tracked)?;
            let strongest = causes.first()?;
            Some((content, strongest.kind(), strongest.subject().map(Box::from)))
        };
        self.pvcs.values().filter_map(of).collect()
    }

    /// Whether its Cluster was woken for a cause.
    pub fn has_cause(&self) -> bool {
        let woken = self.tracked.as_ref().and_then(|tracked| tracked.woken.as_ref());
        woken.is_some_and(|(strongest, _)| !strongest.is_empty())
    }

    /// Whether another cause is the strongest of one of the primary's volumes than the Cluster was last woken for.
    pub fn cause_changes(&mut self, now: Timestamp) -> bool {
        let strongest = self.strongest(now);
        let Some(tracked) = &mut self.tracked else { return false };
        let stays = match &tracked.woken {
            Some((before, at)) => *before == strongest || now.duration_since(*at).abs() < WAKES,
            None => strongest.is_empty(),
        };
        if !stays {
            tracked.woken = Some((strongest, now));
        }
        !stays
    }

    fn wal_segment(&self) -> SegmentSize {
        self.cluster.as_ref().map_or(SegmentSize::DEFAULT, |cluster| cluster.wal_segment)
    }

    /// Begins or ends tracking; whether it has just begun, with what is known now.
    fn track(&mut self, now: Timestamp) -> bool {
        if !self.is_worth_tracking() {
            self.tracked = None;
            return false;
        }
        if self.tracked.is_some() {
            return false;
        }
        let mut tracked = Box::new(Tracked {
            since: now,
            tracker: Tracker::default(),
            base_backup: None,
            idle: SmallMap::default(),
            woken: None,
        });
        for (content, seen) in self.used_by_primary() {
            tracked.tracker.sample(content, sample(seen));
        }
        if let Some((figures, _)) = self.said_by_primary() {
            tracked.primary(figures, None, self.wal_segment());
        }
        self.tracked = Some(tracked);
        true
    }

    /// The primary has said something new; `before` is what was said before that.
    pub fn track_primary(&mut self, before: Option<&WalFigures>) {
        let Some(at) = self.said_by_primary().map(|(figures, _)| figures.at) else {
            return;
        };
        let begun = self.track(at);
        let Some(mut tracked) = self.tracked.take() else { return };
        if let Some((figures, _)) = self.said_by_primary() {
            let before = before.filter(|before| before.instance == figures.instance && before.pod == figures.pod);
            let before = before.and_then(causes::primary);
            // What has just begun knows it, but for what was before.
            if !begun || before.is_some() {
                tracked.primary(figures, before, self.wal_segment());
            }
        }
        self.tracked = Some(tracked);
    }

    /// A kubelet has new figures of a PVC.
    pub fn track_sample(&mut self, pvc: &str) {
        let Some(claim) = self.pvcs.get(pvc) else { return };
        let (Some(content), Some(seen)) = (self.content_of_primary(claim), claim.sample.map(|sample| sample.observation)) else {
            return;
        };
        let begun = self.track(seen.at);
        if let Some(tracked) = self.tracked.as_mut().filter(|_| !begun) {
            tracked.tracker.sample(content, sample(&seen));
        }
    }

    /// An exporter has said something new. It says it of all tablespaces together, wherever they are: then it says nothing of a volume.
    pub fn track_scrape(&mut self, at: Timestamp, instance: &Arc<str>, scrape: &Scrape) {
        let is_primary = self
            .cluster
            .as_ref()
            .is_some_and(|cluster| cluster.primary.as_ref() == Some(instance));
        let one_place = !self.pvcs.values().any(|claim| claim.volume.role == Role::Tablespace);
        let here = |figure: Option<Bytes>| figure.filter(|_| one_place);
        if is_primary {
            self.track(at);
        }
        if let Some(tracked) = self.tracked.as_mut().filter(|_| is_primary) {
            tracked.reading(Reading {
                at,
                instance: instance.clone(),
                timeline: None,
                written: None,
                wal: scrape.segment_bytes,
                segment_size: scrape.segment_size(),
                databases: here(scrape.databases),
                temporary: here(scrape.temp_bytes),
                archived: None,
                failed: None,
                waiting: None,
                last_archived: None,
                last_failed: None,
            });
        }
    }
}

fn sample(seen: &world::Observation) -> world::Sample {
    world::Sample {
        at: seen.at,
        used: seen.used,
    }
}
