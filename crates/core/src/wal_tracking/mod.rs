//! What a Cluster's WAL does over time: how much is written, how much is archived, what waits, and what fills the volume. How fast
//! the volume fills is the planner's forecast, which knows the history of its figures and these of now.

mod series;

use std::sync::Arc;

use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::between::Content;
use crate::forecast::Sample;
pub use series::Flow;
use series::Series;

/// A volume that grew by less says nothing of what it grew by: four segments of 16 MiB.
pub const NOTICEABLE: Bytes = Bytes::mib(64);

/// What the primary says of itself at a moment. What it does not say leaves what is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When it was asked.
    pub at: Timestamp,
    /// Its name.
    pub instance: Arc<str>,
    /// Its timeline.
    pub timeline: Option<u32>,
    /// How much WAL was ever written: its position (an LSN is a number of bytes), or the counter of `pg_stat_wal`; always the
    /// same of the two.
    pub written: Option<u64>,
    /// What is in `pg_wal`.
    pub wal: Option<Bytes>,
    /// Size of a segment.
    pub segment_size: Option<Bytes>,
    /// All databases together.
    pub databases: Option<Bytes>,
    /// Temporary files ever written.
    pub temporary: Option<Bytes>,
    /// Segments ever archived.
    pub archived: Option<u64>,
    /// Failures ever.
    pub failed: Option<u64>,
    /// Segments that wait.
    pub waiting: Option<u64>,
    /// When a segment was last archived.
    pub last_archived: Option<Timestamp>,
    /// When archiving last failed.
    pub last_failed: Option<Timestamp>,
}

/// Follows the WAL of one Cluster, in a kilobyte or two.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    newest: Option<Reading>,
    written: Series,
    wal: Series,
    databases: Series,
    temporary: Series,
    archived: Series,
    failed: Series,
    /// Of the volume that holds `pg_wal`.
    used: Series,
    /// Of the volume that holds the databases, where that is another one.
    used_by_databases: Series,
    /// When nothing waited to be archived.
    none_waited: Option<Timestamp>,
}

/// How far archiving is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Segments that wait.
    pub files: u64,
    /// What they take, where the size of a segment is known.
    pub bytes: Option<Bytes>,
    /// How old the oldest of them is, about; none where nothing tells.
    pub time: Option<SignedDuration>,
}

impl Tracker {
    /// What the primary says. Another instance, another timeline, or a clock that was set back begin anew: their counters
    /// are not the same.
    pub fn reading(&mut self, reading: Reading) {
        if let Some(last) = &self.newest {
            let other_timeline = reading.timeline.zip(last.timeline).is_some_and(|(now, then)| now != then);
            if last.instance != reading.instance || other_timeline || reading.at < last.at {
                *self = Self::default();
            }
        }
        let at = reading.at;
        self.written.count(at, reading.written);
        self.wal.push(at, reading.wal.map(Bytes::get));
        self.databases.push(at, reading.databases.map(Bytes::get));
        self.temporary.count(at, reading.temporary.map(Bytes::get));
        self.archived.count(at, reading.archived);
        self.failed.count(at, reading.failed);
        if reading.waiting == Some(0) {
            self.none_waited = Some(at);
        }
        self.newest = Some(match self.newest.take() {
            None => reading,
            Some(last) => Reading {
                timeline: reading.timeline.or(last.timeline),
                written: reading.written.or(last.written),
                wal: reading.wal.or(last.wal),
                segment_size: reading.segment_size.or(last.segment_size),
                databases: reading.databases.or(last.databases),
                temporary: reading.temporary.or(last.temporary),
                archived: reading.archived.or(last.archived),
                failed: reading.failed.or(last.failed),
                waiting: reading.waiting.or(last.waiting),
                last_archived: reading.last_archived.or(last.last_archived),
                last_failed: reading.last_failed.or(last.last_failed),
                ..reading
            },
        });
    }

    /// What is used of a volume of the primary that holds this: a sample of a kubelet.
    pub fn sample(&mut self, content: Content, sample: Sample) {
        let series = match content {
            Content::Wal | Content::Both => &mut self.used,
            Content::Databases => &mut self.used_by_databases,
        };
        series.push(sample.at, Some(sample.used.get()));
    }

    fn used_of(&self, content: Content) -> &Series {
        match content {
            Content::Wal | Content::Both => &self.used,
            Content::Databases => &self.used_by_databases,
        }
    }

    /// Up to when anything is known: what ended long before says nothing of now, such as figures of an exporter that is asked no more.
    fn until(&self) -> Timestamp {
        let of = |series: &Series| series.newest().map(|(at, _)| at);
        let samples = of(&self.used).max(of(&self.used_by_databases));
        self.newest.as_ref().map(|newest| newest.at).max(samples).unwrap_or_default()
    }

    /// The newest that is known of each figure.
    #[must_use]
    pub fn newest(&self) -> Option<&Reading> {
        self.newest.as_ref()
    }

    /// Bytes of WAL written.
    #[must_use]
    pub fn generation(&self) -> Option<Flow> {
        self.written.flow(self.until())
    }

    /// Segments archived.
    #[must_use]
    pub fn archiving(&self) -> Option<Flow> {
        self.archived.flow(self.until())
    }

    /// Bytes by which the databases grew.
    #[must_use]
    pub fn databases(&self) -> Option<Flow> {
        self.databases.flow(self.until())
    }

    /// Bytes of temporary files that were written, and closed.
    #[must_use]
    pub fn temporary(&self) -> Option<Flow> {
        self.temporary.flow(self.until())
    }

    /// Bytes by which `pg_wal` grew.
    #[must_use]
    pub fn wal(&self) -> Option<Flow> {
        self.wal.flow(self.until())
    }

    /// What is in `pg_wal`, by the instance's own word.
    #[must_use]
    pub fn wal_size(&self) -> Option<Bytes> {
        self.wal.recent(self.until()).map(Bytes::new)
    }

    /// Bytes by which what is used of the volume grew that holds this.
    #[must_use]
    pub fn used(&self, content: Content) -> Option<Flow> {
        self.used_of(content).flow(self.until())
    }

    /// What is used of the volume that holds this.
    #[must_use]
    pub fn newest_used(&self, content: Content) -> Option<Bytes> {
        self.used_of(content).recent(self.until()).map(Bytes::new)
    }

    /// How many percent of the attempts to archive succeeded in the last minutes; none where there was none.
    #[must_use]
    pub fn success_percent(&self) -> Option<u8> {
        let until = self.until();
        let (archived, failed) = (self.archived.flow(until)?.change(), self.failed.flow(until)?.change());
        let share = archived.saturating_mul(100).checked_div(archived.saturating_add(failed))?;
        u8::try_from(share).ok()
    }

    /// How far archiving is behind; none where nobody says how many wait.
    #[must_use]
    pub fn lag(&self, now: Timestamp) -> Option<Lag> {
        let newest = self.newest.as_ref()?;
        let files = newest.waiting?;
        let bytes = newest.segment_size.map(|size| size.mul_div(files, 1));
        if files == 0 {
            let time = Some(SignedDuration::ZERO);
            return Some(Lag { files, bytes, time });
        }
        let since = |at: Timestamp| now.duration_since(at).max(SignedDuration::ZERO);
        // Since nothing more was archived; where something is, the time in which what waits was written.
        let stands = newest.last_archived.max(self.none_waited).map(since);
        let writing = bytes.zip(self.generation()).and_then(|(bytes, flow)| {
            let seconds = bytes.wide().checked_div(flow.per_second())?;
            i64::try_from(seconds).ok().map(SignedDuration::from_secs)
        });
        let longest = self.none_waited.map_or(SignedDuration::MAX, since);
        let time = stands.max(writing).map(|time| time.min(longest));
        Some(Lag { files, bytes, time })
    }

    /// How many percent of what the volume grew by is WAL; none where it did not grow noticeably.
    #[must_use]
    pub fn wal_percent(&self) -> Option<u8> {
        let (wal, used) = (self.wal()?, self.used(Content::Both)?);
        if used.change() < NOTICEABLE.wide() {
            return None;
        }
        let share = wal.per_hour().saturating_mul(100).checked_div(used.per_hour())?;
        u8::try_from(share.clamp(0, 100)).ok()
    }
}
