//! A WAL volume that fills in two minutes, with the kubelet's own periods: by its figures alone, and with those of the instance.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_testkit::lab::MEASURE_FREQUENCY;
use csm_testkit::wait::{looks, within};
use jiff::Timestamp;
use serde_json::json;

use crate::cluster::Cluster;
use crate::filling::percent;
use crate::invariants;
use crate::stage::Stage;
use crate::timeline::seconds;
use crate::volume::Volume;

/// Kubernetes' period, and the manager's as shipped.
const DEFAULT_PERIOD: &str = "1m0s";
const INTERVAL: &str = "metricsInterval: 30s";
/// 16 MiB each time: the free part of the volume, 850 MiB or so, in two minutes.
const STEP_MIB: u64 = 16;
const STEP: Duration = Duration::from_millis(2300);
/// No test writes beyond; whoever has not grown by then would be full within seconds.
const FULL: u64 = 9700;
/// The kubelet has measured twice by then, and the instance was asked between.
const KNOWN: Duration = Duration::from_mins(5);

/// What came of one.
struct Course {
    /// Seconds from the first write on; none: the volume was full before.
    grown_after: Option<f64>,
    /// Hundredths of percent used then.
    used: u64,
}

/// The same volume is filled twice.
pub async fn fills_in_two_minutes(stage: Arc<Stage>) -> Result<()> {
    let policy = json!({"expansion": {"percentage": 100, "maxSize": "8Gi", "cooldownMinutes": 0}});
    stage.policy("default", policy).await?;
    stage.kubelets_measure(DEFAULT_PERIOD).await?;
    stage.manager.set(&format!("{INTERVAL}\ninstances: {{exporter: false}}")).await?;
    let alone = course(&stage, "alone").await?;
    stage.manager.set(&format!("{INTERVAL}\ninstances: {{exporter: true}}")).await?;
    let followed = course(&stage, "followed").await?;
    stage.kubelets_measure(MEASURE_FREQUENCY).await?;
    for (name, course) in [("by the kubelet's figures alone", &alone), ("with the instance's own", &followed)] {
        let used = course.used / 100;
        match course.grown_after {
            Some(after) => println!("    {name}: grown {after:.0} s after the first write, at {used} %"),
            None => println!("    {name}: not grown at {used} %"),
        }
    }
    ensure!(
        followed.grown_after.is_some() && followed.used < 9600,
        "it was not grown in time: {} % used",
        followed.used / 100
    );
    Ok(())
}

async fn course(stage: &Arc<Stage>, name: &str) -> Result<Course> {
    let cluster = Arc::new(stage.cluster(name).create().await?);
    cluster.insert(100).await?;
    cluster.sets(&[("wal_keep_size", "8GB")]).await?;
    let instance = cluster.primary().await?;
    let uid = cluster.pod_of(&instance).await?;
    let ready = Timestamp::now().checked_add(Duration::from_mins(1))?;
    within(KNOWN, "the kubelet has measured it, a minute after it was ready", async || {
        let metrics = stage.manager.metrics().await?;
        let labels = [
            ("namespace", stage.namespace.as_str()),
            ("cluster", name),
            ("pvc", &Volume::Wal.claim(&instance)),
        ];
        let age = metrics
            .value("cnpg_storage_manager_observation_age_seconds", &labels)
            .context("no figures yet")?;
        let taken = Timestamp::now().checked_sub(jiff::SignedDuration::try_from_secs_f64(age)?)?;
        ensure!(taken > ready, "the newest are from {taken}");
        Ok(Some(()))
    })
    .await?;
    let course = fill(&cluster, &instance).await?;
    ensure!(cluster.pod_of(&instance).await? == uid, "the pod was restarted");
    cluster.insert(10).await?;
    invariants::rows(&cluster).await?;
    Ok(course)
}

/// Writes at an even pace until the filesystem has grown, or is full.
async fn fill(cluster: &Cluster, instance: &str) -> Result<Course> {
    let size = cluster.df_of(instance, Volume::Wal).await?.total;
    let begin = Timestamp::now();
    let mut pace = looks(STEP);
    let mut used = 0;
    loop {
        pace.tick().await;
        let df = cluster.df_of(instance, Volume::Wal).await?;
        if df.total > size {
            let grown_after = Some(seconds(begin, Timestamp::now()));
            return Ok(Course { grown_after, used });
        }
        used = percent(&df);
        if used >= FULL {
            return Ok(Course { grown_after: None, used });
        }
        cluster.write_wal(instance, STEP_MIB).await?;
    }
}
