//! What an instance's volumes hold now: the last samples, and what the instance said when they were taken.

use std::collections::VecDeque;

use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::{Estimate, Source};
use crate::forecast::{Rate, Sample};
use crate::freshness::{after, before};

/// Answers are kept for so long: a sample of a kubelet is seen a minute after it was taken at the latest, and the answer before
/// it is up to [`NEAR`] older. At rest that is three or four of them.
const KEPT_FOR: SignedDuration = SignedDuration::from_secs(180);
/// And so many at most, should one be asked without pause.
const KEPT: usize = 48;
/// A sample is laid between answers that are this far from it at most: further, and nobody knows what was there then.
const NEAR: SignedDuration = SignedDuration::from_secs(90);
/// CloudNativePG keeps what it asks of databases for 30 s (`metricsQueriesTTL`).
const KEPT_BY_EXPORTER: SignedDuration = SignedDuration::from_secs(30);
/// How far what is used, less the databases, strays during a bulk load: measured (free space maps, files of relations that
/// are being extended, and the filesystem's own preallocation).
const STRAY: Bytes = Bytes::mib(35);
/// How fast a volume fills is taken over so long, at least.
const TREND: SignedDuration = SignedDuration::from_secs(60);

/// What an instance says of itself at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When it was asked.
    pub at: Timestamp,
    /// Segments in `pg_wal`.
    pub segments: Option<u64>,
    /// Size of a segment.
    pub segment_size: Option<Bytes>,
    /// All databases together.
    pub databases: Option<Bytes>,
}

impl Reading {
    /// What it says that a volume of this content holds.
    fn holds(&self, content: Content) -> Option<Bytes> {
        let wal = || Some(self.segment_size?.mul_div(self.segments?, 1));
        match content {
            Content::Wal => wal(),
            Content::Databases => self.databases,
            Content::Both => Some(self.databases?.saturating_add(wal()?)),
        }
    }
}

/// What of it a volume holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// WAL alone.
    Wal,
    /// The databases; WAL has a volume of its own. Not where there are tablespaces on other volumes: what an instance says
    /// of a database counts them in.
    Databases,
    /// Databases and WAL.
    Both,
}

impl Content {
    /// How old what an instance says of it may be.
    const fn lateness(self) -> SignedDuration {
        match self {
            Self::Wal => SignedDuration::ZERO,
            Self::Databases | Self::Both => KEPT_BY_EXPORTER,
        }
    }

    /// How far the change of what it says is from the change of what is used. Of segments it is one: it may just be made.
    fn stray(self, segment: Bytes) -> Bytes {
        match self {
            Self::Wal => segment,
            Self::Databases => STRAY,
            Self::Both => STRAY.saturating_add(segment),
        }
    }

    const fn source(self) -> Source {
        match self {
            Self::Wal => Source::Segments,
            Self::Databases => Source::Databases,
            Self::Both => Source::SegmentsAndDatabases,
        }
    }
}

/// The volumes of one instance, in bounded memory.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    readings: VecDeque<Reading>,
    wal: Level,
    data: Level,
}

/// The last samples of a volume.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// Waits for what the instance says after it.
    waiting: Option<(Content, Sample)>,
    anchor: Option<Anchor>,
}

/// A sample, and what the instance held when it was taken.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    content: Content,
    sample: Sample,
    held: Bytes,
    /// How much it changed about that time.
    doubt: Bytes,
}

impl Levels {
    /// A sample of a kubelet. It counts once the instance was asked after it as well as before; until then the one before
    /// does.
    pub fn sample(&mut self, content: Content, sample: Sample) {
        let level = self.level_mut(content);
        if level
            .anchor
            .is_none_or(|anchor| anchor.content != content || anchor.sample != sample)
        {
            level.waiting = Some((content, sample));
        }
        self.settle();
    }

    /// What the instance says. One from before the last one shows that the clock was set back: what is known is of another
    /// time, and is forgotten.
    pub fn reading(&mut self, reading: Reading) {
        match self.readings.back() {
            Some(last) if reading.at < last.at => self.forget(),
            Some(last) if reading.at == last.at => {
                self.readings.pop_back();
            }
            Some(_) | None => {}
        }
        let oldest = before(reading.at, KEPT_FOR);
        while self.readings.len() >= KEPT || self.readings.front().is_some_and(|first| first.at < oldest) {
            self.readings.pop_front();
        }
        self.readings.push_back(reading);
        self.settle();
    }

    /// Forgets everything: another instance has the name, or its volume was replaced.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// What is used of a volume by the last reading; none where no sample is known to go by, or the instance does not say.
    #[must_use]
    pub fn estimate(&self, content: Content) -> Option<Estimate> {
        let anchor = self.level(content).anchor.filter(|anchor| anchor.content == content)?;
        let now = self.readings.back().filter(|now| now.at > anchor.sample.at)?;
        let change = now.holds(content)?.wide().saturating_sub(anchor.held.wide());
        let stray = content.stray(now.segment_size.unwrap_or_default());
        Some(Estimate {
            at: now.at,
            used: Bytes::saturating_from(anchor.sample.used.wide().saturating_add(change)),
            error: anchor.doubt.saturating_add(stray),
            source: content.source(),
        })
    }

    /// How fast what the volume holds grows, over the last minute or since the answer before; none where it does not. It needs no sample.
    #[must_use]
    pub fn rate(&self, content: Content) -> Option<Rate> {
        let newest = self.readings.back()?;
        let since = before(newest.at, TREND);
        let oldest = self.readings.iter().rev().find(|reading| reading.at <= since);
        let oldest = oldest.or(self.readings.front())?;
        let of = |reading: &Reading| {
            Some(Sample {
                at: reading.at,
                used: reading.holds(content)?,
            })
        };
        Rate::between(&of(oldest)?, &of(newest)?)
    }

    fn level(&self, content: Content) -> &Level {
        match content {
            Content::Wal => &self.wal,
            Content::Databases | Content::Both => &self.data,
        }
    }

    fn level_mut(&mut self, content: Content) -> &mut Level {
        match content {
            Content::Wal => &mut self.wal,
            Content::Databases | Content::Both => &mut self.data,
        }
    }

    /// Lays the samples that wait between two readings, where the later one is there.
    fn settle(&mut self) {
        for (content, sample) in [self.wal.waiting, self.data.waiting].into_iter().flatten() {
            if self.readings.back().is_some_and(|last| last.at >= sample.at) {
                let anchor = self.anchor(content, sample);
                *self.level_mut(content) = Level { waiting: None, anchor };
            }
        }
    }

    /// The sample with what the instance held then: by the nearest reading, and all that were made about that time.
    fn anchor(&self, content: Content, sample: Sample) -> Option<Anchor> {
        let apart = |reading: &Reading| reading.at.duration_since(sample.at).abs();
        let earlier = self.readings.iter().rev().find(|reading| reading.at <= sample.at)?;
        let later = self.readings.iter().find(|reading| reading.at >= sample.at)?;
        if apart(earlier).max(apart(later)) > NEAR {
            return None;
        }
        let nearest = if apart(earlier) <= apart(later) { earlier } else { later };
        let from = before(sample.at, content.lateness()).min(earlier.at);
        let until = after(sample.at, content.lateness()).max(later.at);
        let about = self.readings.iter().filter(|reading| (from..=until).contains(&reading.at));
        let held = about.filter_map(|reading| reading.holds(content));
        let (least, most) = held.fold((Bytes::MAX, Bytes::ZERO), |(least, most), held| (least.min(held), most.max(held)));
        Some(Anchor {
            content,
            sample,
            held: nearest.holds(content)?,
            doubt: most.saturating_sub(least),
        })
    }
}
