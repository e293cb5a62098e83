//! Filling a data volume with real rows, in steps that never come near its end.

use anyhow::{Result, ensure};
use csm_testkit::lab::Df;
use jiff::Timestamp;

use crate::cluster::{Cluster, rows_sql};
use crate::timeline::{Timeline, seconds};

const MIB: u64 = 1 << 20;
/// A row takes a page.
const ROW: u64 = 8192;
/// What one statement writes at most: WAL must stay well below the WAL volume.
const LARGEST_STEP: u64 = 96 * MIB;
/// Near the threshold, so that the moment of the breach is known well.
const SMALLEST_STEP: u64 = 8 * MIB;
/// No test fills a volume beyond.
const NEVER_BEYOND: u64 = 95;

/// A threshold that was passed.
#[derive(Clone, Copy, Debug)]
pub struct Breach {
    /// When `df` was asked that showed it first.
    pub at: Timestamp,
    /// When `df` was asked before.
    pub before: Timestamp,
}

impl Breach {
    /// How much earlier it may have been, in seconds.
    pub fn uncertainty(&self) -> f64 {
        seconds(self.before, self.at)
    }
}

impl Breach {
    /// A breach that was held.
    pub fn held(&self, what: &str, by: &str) -> Timeline {
        Timeline {
            what: what.to_owned(),
            breach: self.at,
            uncertainty_seconds: self.uncertainty(),
            decided: None,
            members: Vec::new(),
            held_by: Some(by.to_owned()),
        }
    }
}

/// Percent used, as the manager counts it, in hundredths.
pub fn percent(df: &Df) -> u64 {
    df.used() * 10_000 / (df.used() + df.available).max(1)
}

/// How many rows fill a volume to so many percent.
pub fn rows_to(df: &Df, percent: u64) -> u64 {
    let usable = df.used() + df.available;
    (usable * percent / 100).saturating_sub(df.used()) / ROW
}

impl Cluster {
    /// Writes rows on the primary until its data volume is over `threshold` percent and a little beyond, or has grown. All
    /// rows are committed, and remembered.
    pub async fn fill(&self, threshold: u64) -> Result<Breach> {
        let target = threshold + 2;
        ensure!(target < NEVER_BEYOND, "{threshold} is too near to the end of a volume");
        let primary = self.primary().await?;
        let size = self.df(&primary).await?.total;
        let mut next = self.rows().count;
        let mut before = Timestamp::now();
        let mut breach = None;
        loop {
            let at = Timestamp::now();
            let df = self.df(&primary).await?;
            if percent(&df) >= threshold * 100 && breach.is_none() {
                breach = Some(Breach { at, before });
            }
            if breach.is_none() {
                before = at;
            }
            // What has grown is no fuller for more rows.
            if percent(&df) >= target * 100 || (df.total > size && breach.is_some()) {
                break;
            }
            let usable = df.used() + df.available;
            let missing = (usable * target / 100).saturating_sub(df.used());
            let step = (missing / 2).clamp(SMALLEST_STEP, LARGEST_STEP);
            let last = next + step / ROW;
            let sql = rows_sql(next, last);
            self.sql_on(&primary, &sql).await?;
            next = last;
        }
        let rows = self.rows_of(&primary).await?;
        ensure!(rows.count == next, "{next} rows were committed, and {} are there", rows.count);
        self.set_rows(rows);
        breach.ok_or_else(|| anyhow::anyhow!("{} was over {threshold} % before anything was written", self.name))
    }
}
