//! `cnpg_wal_*`: the health of WAL, as primaries say it.

use std::fmt;

use csm_core::world::Archiving;
use jiff::Timestamp;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::objects::{Shown, double};
use super::{Labels, of_cluster, with};
use csm_gather::index::WalNow;

/// Slots of a Cluster that have a series of their own: their names are others' to choose.
const SLOTS: usize = 20;

/// Clusters of which something is known, with the labels of their primary.
fn known(reports: &[Shown]) -> impl Iterator<Item = (Labels, &WalNow)> {
    let known = reports.iter().filter_map(|report| Some((&report.key, report.wal.as_ref()?)));
    known.map(|(key, wal)| (with(of_cluster(key), "instance", &*wal.instance), wal))
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, series: impl Iterator<Item = (Labels, f64)>) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in series {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// What is known; nothing of archiving where there is none.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, reports: &[Shown]) -> fmt::Result {
    let archiving = || known(reports).filter_map(|(labels, wal)| Some((labels, wal.health.archiving?)));
    gauge(
        encoder,
        "cnpg_wal_archive_healthy",
        "Whether the last try to archive a WAL file did not fail",
        archiving().map(|(labels, a)| (labels, f64::from(u8::from(!a.is_failing())))),
    )?;
    gauge(
        encoder,
        "cnpg_wal_pending_archive_files",
        "WAL files that wait to be archived",
        archiving().map(|(labels, a)| (labels, f64::from(a.pending))),
    )?;
    let count = |n: usize| double(u64::try_from(n).unwrap_or(u64::MAX));
    gauge(
        encoder,
        "cnpg_wal_inactive_slots",
        "Replication slots that nobody reads",
        known(reports).map(|(labels, wal)| (labels, count(wal.health.inactive().count()))),
    )?;
    let slots = known(reports).flat_map(|(labels, wal)| {
        let inactive = wal.health.inactive().take(SLOTS);
        inactive.map(move |slot| (with(labels.clone(), "slot_name", &*slot.name), double(slot.retained.get())))
    });
    gauge(
        encoder,
        "cnpg_wal_slot_retention_bytes",
        "WAL that a replication slot holds back which nobody reads; the 20 of a Cluster that hold back most",
        slots,
    )
}

/// How long no file was archived while some wait.
pub(super) fn encode_lag(encoder: &mut DescriptorEncoder<'_>, reports: &[Shown], now: Timestamp) -> fmt::Result {
    let lag = |archiving: Archiving| {
        if archiving.pending == 0 {
            return Some(0.0);
        }
        Some(now.duration_since(archiving.last_archived?).as_secs_f64().max(0.0))
    };
    gauge(
        encoder,
        "cnpg_storage_manager_wal_archiving_lag_seconds",
        "How long ago a WAL file was last archived while others wait; 0 where none waits",
        known(reports).filter_map(|(labels, wal)| Some((labels, lag(wal.health.archiving?)?))),
    )
}

/// How much was ever written and archived.
pub(super) fn encode_flows(encoder: &mut DescriptorEncoder<'_>, reports: &[Shown]) -> fmt::Result {
    let mut counter = |name: &str, help: &str, of: fn(&WalNow) -> Option<u64>| {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in known(reports).filter_map(|(labels, wal)| Some((labels, of(wal)?))) {
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok::<(), fmt::Error>(())
    };
    counter(
        "cnpg_storage_manager_wal_generated_bytes",
        "WAL that was ever written, by the position of the primary",
        |wal| wal.written,
    )?;
    counter(
        "cnpg_storage_manager_wal_archived_files",
        "WAL segments that were ever archived, by the position of the last one",
        |wal| wal.archived,
    )
}

/// What is in `pg_wal` of instances whose exporters are asked.
pub(super) fn encode_directories(encoder: &mut DescriptorEncoder<'_>, reports: &[Shown]) -> fmt::Result {
    let directories = || {
        let known = reports
            .iter()
            .flat_map(|report| report.directories.iter().map(move |directory| (report, directory)));
        known.map(|(report, directory)| (with(of_cluster(&report.key), "instance", &*directory.instance), directory))
    };
    gauge(
        encoder,
        "cnpg_storage_manager_wal_files_count",
        "WAL segments in pg_wal of an instance that is followed between two samples of its kubelet",
        directories().map(|(labels, directory)| (labels, double(directory.files))),
    )?;
    gauge(
        encoder,
        "cnpg_storage_manager_wal_directory_bytes",
        "What the WAL segments in pg_wal take of an instance that is followed between two samples of its kubelet",
        directories().filter_map(|(labels, directory)| Some((labels, double(directory.bytes?.get())))),
    )
}
