//! Figures between two samples of a kubelet: what is used now, by what the instance itself says.
//!
//! A kubelet renews the figures of a filesystem every 60 to 120 s, and a volume can fill in less. The instance's exporter
//! counts the segments of `pg_wal` at every scrape, and says how large its databases are. So what is used now is the last
//! sample, and what came since: exact for WAL but for a segment that is being made; an estimate for data.
//!
//! An [`Estimate`] may fire a rule on usage and feeds the forecast. It only ever adds: where it is below the sample, the
//! sample stands, so that no growth is withheld for what an instance says of itself. It rests on a sample that is fresh,
//! has no size of the filesystem of its own, and so neither verifies a growth nor holds one.

mod cadence;
mod levels;

use csm_units::Bytes;
use jiff::Timestamp;

use crate::world::Observation;

pub use cadence::{CEILING, due, every, may_fill_unseen};
pub use levels::{Content, Levels, Reading};

/// What is used of a filesystem at a moment, by what its instance says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// When the instance was asked.
    pub at: Timestamp,
    /// Bytes used.
    pub used: Bytes,
    /// The truth is as far from this as that, either way.
    pub error: Bytes,
    /// What it is made of.
    pub source: Source,
}

/// What the change since the last sample is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The number of segments in `pg_wal`.
    Segments,
    /// The size of all databases.
    Databases,
    /// Both, of a volume that holds both.
    SegmentsAndDatabases,
}

impl Source {
    /// In a few words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Segments => "the number of its WAL segments",
            Self::Databases => "the size of its databases",
            Self::SegmentsAndDatabases => "the size of its databases and the number of its WAL segments",
        }
    }
}

impl Estimate {
    /// The filesystem of the sample as it is by this estimate: none where the sample is as new, or where no more is used
    /// than it says.
    #[must_use]
    pub fn on(&self, sample: &Observation) -> Option<Observation> {
        if self.at <= sample.at || self.used <= sample.used {
            return None;
        }
        let total = sample.used.saturating_add(sample.available);
        // What is over all there is, is an error of the estimate: full is full.
        let used = self.used.min(total).max(sample.used);
        Some(Observation {
            used,
            available: total.saturating_sub(used),
            at: self.at,
            ..*sample
        })
    }
}
