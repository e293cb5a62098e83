//! `cnpg_dynamic_storage_*`: what each managed volume is sized to, and what its budget leaves.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::objects::{Shown, disk_labels, double, volumes};
use super::{of_cluster, with};
use crate::report::VolumeReport;

/// A gauge of a volume: name, help, and its series: the value of the label that it has besides, if it has one.
type SizingGauge = (&'static str, &'static str, fn(&VolumeReport) -> Vec<Series>);
type Series = (Option<(&'static str, &'static str)>, f64);

const GAUGES: [SizingGauge; 4] = [
    (
        "effective_size_bytes",
        "The largest size that a PVC of the volume has or asks for",
        |v| vec![(None, double(v.effective.get()))],
    ),
    ("target_size_bytes", "The size that the volume grows to, or should", |v| {
        v.target.map(|target| (None, double(target.get()))).into_iter().collect()
    }),
    (
        "budget_remaining",
        "Growths that the budget of 24 hours leaves, by kind, where it has a limit",
        |v| {
            let left = [("planned", v.planned_remaining), ("emergency", v.emergency_remaining)];
            let left = left.into_iter().filter_map(|(kind, left)| Some((kind, left?)));
            left.map(|(kind, left)| (Some(("kind", kind)), f64::from(left))).collect()
        },
    ),
    ("state", "The state of the volume: 1", |v| {
        vec![(Some(("state", v.state.as_str())), 1.0)]
    }),
];

/// Volumes that no policy manages are left out.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, reports: &[Shown]) -> fmt::Result {
    for (name, help, series) in GAUGES {
        let name = format!("cnpg_dynamic_storage_{name}");
        let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        for (report, volume) in volumes(reports).filter(|(report, _)| report.managed) {
            let labels = disk_labels(of_cluster(&report.key), &volume.volume);
            for (label, value) in series(volume) {
                let labels = match label {
                    Some((key, value)) => with(labels.clone(), key, value),
                    None => labels.clone(),
                };
                ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}
