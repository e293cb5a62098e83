//! Filling volumes, in steps that never come near their end: data and tablespaces with rows, WAL volumes with WAL.

use std::time::Duration;

use anyhow::{Result, ensure};
use csm_testkit::lab::Df;
use jiff::Timestamp;
use serde_json::json;

use crate::cluster::{Cluster, rows_sql};
use crate::stage::SOON;
use crate::timeline::{Timeline, seconds};
use crate::volume::Volume;
use csm_testkit::wait::{until_it, within};

const MIB: u64 = 1 << 20;
/// A row takes a page.
const ROW: u64 = 8192;
/// What one statement writes at most: WAL must stay well below the WAL volume.
const LARGEST_STEP: u64 = 96 * MIB;
/// Near the threshold, so that the moment of the breach is known well.
const SMALLEST_STEP: u64 = 8 * MIB;
/// After the last segment is archived the next checkpoint gives WAL back.
const GIVEN_BACK: Duration = Duration::from_mins(3);
/// No test fills a volume beyond.
const NEVER_BEYOND: u64 = 95;

/// A threshold that was passed.
#[derive(Clone, Copy, Debug)]
pub struct Breach {
    /// Which volume.
    pub volume: Volume,
    /// When `df` was asked that showed it first.
    pub at: Timestamp,
    /// When `df` was asked before.
    pub before: Timestamp,
}

impl Breach {
    /// What is over its threshold already, now.
    pub fn now(volume: Volume) -> Self {
        let now = Timestamp::now();
        Self {
            volume,
            at: now,
            before: now,
        }
    }

    /// How much earlier it may have been, in seconds.
    pub fn uncertainty(&self) -> f64 {
        seconds(self.before, self.at)
    }

    /// A breach that was held.
    pub fn held(&self, cluster: &str, by: &str) -> Timeline {
        Timeline {
            what: format!("{cluster} {}", self.volume),
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
        self.fill_of(Volume::Data, threshold).await
    }

    /// The same for any volume.
    pub async fn fill_of(&self, volume: Volume, threshold: u64) -> Result<Breach> {
        let target = threshold + 2;
        ensure!(target < NEVER_BEYOND, "{threshold} is too near to the end of a volume");
        let primary = self.primary().await?;
        let size = self.df_of(&primary, volume).await?.total;
        let mut before = Timestamp::now();
        let mut breach = None;
        let mut written = self.rows(volume).count;
        loop {
            let at = Timestamp::now();
            let df = self.df_of(&primary, volume).await?;
            if percent(&df) >= threshold * 100 && breach.is_none() {
                breach = Some(Breach { volume, at, before });
            }
            if breach.is_none() {
                before = at;
            }
            // What has grown is no fuller for more.
            if percent(&df) >= target * 100 || (df.total > size && breach.is_some()) {
                break;
            }
            let usable = df.used() + df.available;
            let missing = (usable * target / 100).saturating_sub(df.used());
            let step = (missing / 2).clamp(SMALLEST_STEP, LARGEST_STEP);
            if volume == Volume::Wal {
                self.write_wal(&primary, step / MIB).await?;
            } else {
                let last = written + step / ROW;
                self.sql_on(&primary, &rows_sql(volume, written, last)).await?;
                written = last;
            }
            if volume == Volume::Data && self.first_size(Volume::Wal).is_none() {
                // WAL that a checkpoint would give back is not what is to fill the volume.
                self.sql_on(&primary, "CHECKPOINT").await?;
            }
        }
        if volume != Volume::Wal {
            let rows = self.remember(volume).await?;
            ensure!(rows.count == written, "{written} rows were committed, and {} are there", rows.count);
        }
        breach.ok_or_else(|| anyhow::anyhow!("{volume} of {} was over {threshold} % before anything was written", self.name))
    }

    /// Writes WAL, and nothing but WAL.
    pub async fn write_wal(&self, instance: &str, mebibytes: u64) -> Result<()> {
        let sql = format!(
            "SELECT count(pg_logical_emit_message(false, 'e2e', repeat(md5(i::text), {}))) FROM generate_series(1, {mebibytes}) i",
            MIB / 32
        );
        self.sql_on(instance, &sql).await.map(drop)
    }

    /// Has all instances keep this much WAL, such as "64MB"; what they need no longer goes.
    pub async fn keep_wal(&self, size: &str) -> Result<()> {
        let parameters = json!({"wal_keep_size": size});
        self.merge(json!({"spec": {"postgresql": {"parameters": parameters}}})).await?;
        for instance in self.names() {
            within(SOON, &format!("{instance} keeps {size} of WAL"), async || {
                Ok((self.sql_on(&instance, "SHOW wal_keep_size").await? == size).then_some(()))
            })
            .await?;
        }
        // The primary first: a standby has no restart point that it does not have of the primary.
        let primary = self.primary().await?;
        self.sql_on(&primary, "CHECKPOINT").await?;
        for instance in self.names().iter().filter(|name| **name != primary) {
            self.sql_on(instance, "CHECKPOINT").await?;
        }
        Ok(())
    }

    /// Waits until no instance has more WAL than it needs: well below a third of its volume.
    pub async fn gives_wal_back(&self) -> Result<()> {
        for instance in self.names() {
            until_it(GIVEN_BACK, &format!("{instance} gives its WAL back"), async || {
                // A standby has a restart point where the primary has a new checkpoint only.
                self.sql("CHECKPOINT").await?;
                self.sql_on(&instance, "CHECKPOINT").await?;
                let df = self.df_of(&instance, Volume::Wal).await?;
                ensure!(percent(&df) < 3000, "{df:?}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Makes at least `count` empty files on the data volume of an instance, beside PGDATA.
    pub async fn make_files(&self, instance: &str, count: u64) -> Result<()> {
        let folder = format!("{}/e2e-files/{}", Volume::Data.path(), Timestamp::now().as_millisecond());
        // In folders of 10 000, and a process for many files.
        let script = format!(
            "set -e; for d in $(seq 1 {folders}); do mkdir -p {folder}/$d; cd {folder}/$d; seq 1 10000 | xargs touch; done",
            folders = count.div_ceil(10_000)
        );
        self.exec(instance, &["sh", "-c", &script]).await.map(drop)
    }

    /// Lets a file beside PGDATA take so many percent of the data volume of an instance together with all else, or no room.
    pub async fn ballast(&self, instance: &str, to_percent: Option<u64>) -> Result<()> {
        let file = format!("{}/e2e-ballast", Volume::Data.path());
        self.exec(instance, &["rm", "-f", &file]).await?;
        let Some(wanted) = to_percent else { return Ok(()) };
        let df = self.df(instance).await?;
        let missing = ((df.used() + df.available) * wanted / 100).saturating_sub(df.used());
        ensure!(missing > 0, "{instance} is over {wanted} % already: {df:?}");
        self.exec(instance, &["fallocate", "-l", &missing.to_string(), &file]).await?;
        Ok(())
    }

    /// Takes every block of an instance's part of a volume that is free.
    pub async fn fill_to_the_last_block(&self, instance: &str, volume: Volume) -> Result<()> {
        let file = to_the_last_block(volume);
        // A filesystem keeps some of what it calls available for itself: most of it at once, and the rest as it comes.
        let most = self.df_of(instance, volume).await?.available * 95 / 100;
        self.exec(instance, &["fallocate", "-l", &most.to_string(), &file]).await?;
        let rest = format!("dd if=/dev/zero bs=64k of={file}-too || true");
        self.exec(instance, &["sh", "-c", &rest]).await?;
        Ok(())
    }

    /// Of what [`Self::fill_to_the_last_block`] took, gives back this much.
    pub async fn leave(&self, instance: &str, volume: Volume, size: &str) -> Result<()> {
        let less = format!("-{size}");
        self.exec(instance, &["truncate", "-s", &less, &to_the_last_block(volume)])
            .await
            .map(drop)
    }

    /// Gives back what [`Self::fill_to_the_last_block`] took.
    pub async fn free_the_last_block(&self, instance: &str, volume: Volume) -> Result<()> {
        let file = to_the_last_block(volume);
        self.exec(instance, &["rm", "-f", &file, &format!("{file}-too")]).await.map(drop)
    }
}

/// The file that takes every block of a volume.
fn to_the_last_block(volume: Volume) -> String {
    format!("{}/e2e-to-the-last-block", volume.path())
}
