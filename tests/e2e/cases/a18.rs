//! A18: a forecast fires before any threshold; and small files that take all inodes, though hardly any room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use csm_api::{PostgresStorage, Reason, Trigger};
use csm_units::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cluster::{Cluster, rows_sql};
use crate::filling::{Breach, percent};
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::Stage;
use crate::volume::Volume;

/// A forecast needs figures of five minutes; with room for a busy machine.
const FORECAST: Duration = Duration::from_mins(9);
/// Rows for each new figure of the volume: 4 MiB, so that an hour's worth would fill it.
const STEP: u64 = 512;

async fn settings(stage: &Stage, cluster: &str, triggers: Value, mode: &str) -> Result<()> {
    let expansion = json!({"step": "512Mi", "limit": "4Gi"});
    let resize = json!({"enabled": true, "triggers": triggers, "expansion": expansion, "strategy": {"mode": mode}});
    let spec = json!({"storage": {"resize": resize}});
    stage
        .apply(stage.api::<PostgresStorage>(), "PostgresStorage", cluster, spec)
        .await
        .map(drop)
}

/// Both at the same time.
pub async fn forecast_and_inodes(stage: Arc<Stage>) -> Result<()> {
    settings(&stage, "steady", json!({"usageThreshold": 90, "timeToFull": "2h"}), "Predictive").await?;
    settings(&stage, "files", json!({"usageThreshold": 90, "inodeThreshold": 90}), "Standard").await?;
    let (steady, files) = tokio::try_join!(stage.cluster("steady").create(), stage.cluster("files").create())?;
    tokio::try_join!(forecast(&stage, Arc::new(steady)), inodes(Arc::new(files)))?;
    Ok(())
}

/// Written steadily, far below every threshold.
async fn forecast(stage: &Stage, steady: Arc<Cluster>) -> Result<()> {
    let to = Bytes::mib(1536);
    let watch = GrowthWatch::start(&steady, to).await?;
    let start = Instant::now();
    let mut next = 0;
    let breach = loop {
        let before = Timestamp::now();
        if !stage.events_of("steady", Volume::Data).await?.is_empty() {
            break Breach {
                volume: Volume::Data,
                at: before,
                before,
            };
        }
        let df = steady.df("steady-1").await?;
        ensure!(percent(&df) < 6000, "no forecast fired until {df:?}");
        ensure!(start.elapsed() < FORECAST, "no forecast fired in {} s", FORECAST.as_secs());
        steady.sql(&rows_sql(Volume::Data, next, next + STEP)).await?;
        next += STEP;
        stage.observed(&steady, Volume::Data, Timestamp::now()).await?;
    };
    let (event, _) = watch.finish(&breach).await?;
    ensure!(
        (event.spec.trigger, event.spec.reason) == (Trigger::Forecast, Reason::TimeToFull),
        "{:?}",
        event.spec
    );
    let rows = steady.remember(Volume::Data).await?;
    ensure!(rows.count == next, "{next} rows were committed, and {} are there", rows.count);
    invariants::hold(
        &steady,
        &Expect {
            ceiling: Bytes::gib(4),
            ..Expect::grown(to, 1)
        },
    )
    .await
}

/// XFS gives a quarter of a volume to inodes: half a million files are all that 1 GiB has.
async fn inodes(files: Arc<Cluster>) -> Result<()> {
    files.insert(1000).await?;
    let to = Bytes::mib(1536);
    let watch = GrowthWatch::start(&files, to).await?;
    let mut before = Timestamp::now();
    let breach = loop {
        let at = Timestamp::now();
        let df = files.df("files-1").await?;
        let (used, wanted) = (df.inodes.saturating_sub(df.inodes_free), df.inodes * 92 / 100);
        if used >= wanted {
            ensure!(percent(&df) < 8000, "the files should hardly take any room: {df:?}");
            break Breach {
                volume: Volume::Data,
                at,
                before,
            };
        }
        before = at;
        files.make_files("files-1", wanted - used).await?;
    };
    let (event, _) = watch.finish(&breach).await?;
    ensure!(event.spec.reason == Reason::InodeThreshold, "{:?}", event.spec);
    invariants::hold(
        &files,
        &Expect {
            ceiling: Bytes::gib(4),
            ..Expect::grown(to, 1)
        },
    )
    .await
}
