//! What is told of Clusters, volumes and PVCs, made anew at each scrape.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use csm_api::{Role, State};
use csm_core::alerts::AlertId;
use csm_core::world::{ClusterKey, VolumeKey};
use csm_units::Percent;
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Labels, Metrics, of_cluster, result, with};
use crate::report::VolumeReport;
use csm_gather::index::{Figures, Index, WalDirectory, WalNow};

/// Gauges about objects, made at the scrape.
pub(super) struct Objects {
    pub metrics: Metrics,
    pub index: Arc<Mutex<Index>>,
    pub disk_metrics: bool,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

/// A gauge of each PVC: name, help, value.
type PvcGauge = (&'static str, &'static str, fn(&Figures, Timestamp) -> Option<f64>);

/// Metrics are doubles: sizes beyond 2^53 bytes (8 PiB) lose their last bytes here, and nowhere else.
#[allow(clippy::cast_precision_loss)]
pub(super) fn double(value: u64) -> f64 {
    value as f64
}

const PVC_GAUGES: [PvcGauge; 4] = [
    ("pvc_usage_bytes", "Bytes used on the filesystem of a PVC", |m, _| {
        m.observation.map(|o| double(o.used.get()))
    }),
    ("pvc_capacity_bytes", "Capacity of a PVC", |m, _| Some(double(m.size.get()))),
    (
        "pvc_usage_percent",
        "Percent used of the filesystem of a PVC, as df has it",
        |m, _| {
            let o = m.observation?;
            Some(100.0 * double(o.used.get()) / double(o.used.saturating_add(o.available).get()).max(1.0))
        },
    ),
    ("observation_age_seconds", "Age of the newest figures of a PVC", |m, now| {
        Some(now.duration_since(m.observation?.at).as_secs_f64().max(0.0))
    }),
];

const DISK_GAUGES: [PvcGauge; 7] = [
    ("total_bytes", "used + available of a filesystem", |m, _| {
        m.observation.map(|o| double(o.used.saturating_add(o.available).get()))
    }),
    ("used_bytes", "Bytes used", |m, _| m.observation.map(|o| double(o.used.get()))),
    ("available_bytes", "Bytes available to PostgreSQL", |m, _| {
        m.observation.map(|o| double(o.available.get()))
    }),
    ("percent_used", "Percent used, rounded down", |m, _| {
        m.observation
            .and_then(|o| Percent::used(o.used, o.available))
            .map(|p| f64::from(p.get()))
    }),
    ("inodes_total", "Inodes, where the filesystem reports them", |m, _| {
        Some(double(m.observation?.inodes?.total))
    }),
    ("inodes_used", "Inodes used", |m, _| Some(double(m.observation?.inodes?.used))),
    ("inodes_free", "Inodes free", |m, _| {
        let inodes = m.observation?.inodes?;
        Some(double(inodes.total.saturating_sub(inodes.used)))
    }),
];

/// A gauge of a volume, shown of each of its PVCs: name, help, value.
type VolumeGauge = (&'static str, &'static str, fn(&VolumeReport) -> Option<f64>);

const VOLUME_GAUGES: [VolumeGauge; 2] = [
    ("at_limit", "Whether the volume has reached its ceiling", |v| {
        Some(f64::from(u8::from(v.at_limit)))
    }),
    (
        "resize_budget_remaining",
        "Growths that the budget of 24 hours leaves, where it has a limit",
        |v| v.budget_remaining.map(f64::from),
    ),
];

/// A gauge without labels.
fn single(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = Timestamp::now();
        let reports = self.shown();
        let gauge = |encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, series: &mut dyn Iterator<Item = (Labels, f64)>| {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, value) in series {
                ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
            }
            Ok::<(), fmt::Error>(())
        };
        let own = |name: &str| format!("cnpg_storage_manager_{name}");
        for (name, help, value) in PVC_GAUGES {
            let mut series = members(&reports).filter_map(|(report, _, member)| {
                let labels = with(with(of_cluster(&report.key), "pvc", &*member.pvc), "instance", &*member.instance);
                Some((labels, value(member, now)?))
            });
            gauge(&mut encoder, &own(name), help, &mut series)?;
        }
        let of_volume = |report: &Shown, volume: &VolumeKey| with(of_cluster(&report.key), "volume", volume.to_string());
        gauge(
            &mut encoder,
            &own("decision"),
            "The newest decision of a volume: 1, with its verdict and reason",
            &mut volumes(&reports).map(|(report, v)| {
                (
                    with(
                        with(of_volume(report, &v.volume), "verdict", v.verdict.as_str()),
                        "reason",
                        v.reason.as_str(),
                    ),
                    1.0,
                )
            }),
        )?;
        gauge(
            &mut encoder,
            &own("expansion_in_progress"),
            "Whether a volume is being grown",
            &mut volumes(&reports).map(|(report, v)| (of_volume(report, &v.volume), f64::from(u8::from(v.state == State::Resizing)))),
        )?;
        gauge(
            &mut encoder,
            &own("time_to_full_seconds"),
            "How long until a volume is full at the rate of the last hour, where it fills",
            &mut volumes(&reports).filter_map(|(report, v)| Some((of_volume(report, &v.volume), double(v.time_to_full?)))),
        )?;
        let alert = |report: &Shown, id: &AlertId| {
            let volume = id.volume.as_ref().map_or_else(String::new, ToString::to_string);
            let labels = with(with(of_cluster(&report.key), "type", id.kind.as_str()), "volume", volume);
            (with(labels, "severity", id.kind.severity().as_str()), 1.0)
        };
        gauge(
            &mut encoder,
            &own("alert_active"),
            "An alert that is due: 1; an empty volume stands for the whole Cluster",
            &mut reports.iter().flat_map(|r| r.alerts.iter().map(move |id| alert(r, id))),
        )?;
        let warned = volumes(&reports).flat_map(|(report, v)| {
            let labels = of_volume(report, &v.volume);
            v.warnings
                .iter()
                .map(move |reason| (with(labels.clone(), "reason", reason.as_str()), 1.0))
        });
        gauge(
            &mut encoder,
            &own("warning"),
            "What a person should know of a volume besides its decision: 1, with the reason",
            &mut warned.into_iter(),
        )?;
        let unreadable = self.metrics.unreadable.lock().unwrap_or_else(PoisonError::into_inner).clone();
        gauge(
            &mut encoder,
            &own("unreadable_objects"),
            "Objects that cannot be read, by watch",
            &mut unreadable
                .into_iter()
                .map(|(watch, n)| (vec![("watch", watch)], double(u64::try_from(n).unwrap_or(u64::MAX)))),
        )?;
        let all = self.metrics.fleet_breaker.load(Ordering::Relaxed);
        let all = (vec![("cluster", String::new()), ("namespace", String::new())], all);
        let each = reports.iter().map(|r| (of_cluster(&r.key), r.circuit_open));
        gauge(
            &mut encoder,
            &own("circuit_breaker_open"),
            "Whether a circuit breaker holds growth; empty labels stand for the one of all Clusters",
            &mut each.chain([all]).map(|(labels, open)| (labels, f64::from(u8::from(open)))),
        )?;
        let count = |n: usize| double(u64::try_from(n).unwrap_or(u64::MAX));
        let managed = reports.iter().filter(|r| r.managed).count();
        single(
            &mut encoder,
            &own("clusters_discovered_total"),
            "Clusters that exist",
            count(reports.len()),
        )?;
        single(
            &mut encoder,
            &own("clusters_managed_total"),
            "Clusters that a policy manages",
            count(managed),
        )?;
        let mut policies: Vec<_> = self
            .metrics
            .policies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .into_iter()
            .collect();
        policies.sort();
        gauge(
            &mut encoder,
            &own("policies_active_total"),
            "Active policies; an empty namespace stands for ClusterStoragePolicies",
            &mut policies
                .into_iter()
                .map(|(namespace, n)| (vec![("namespace", namespace)], double(u64::try_from(n).unwrap_or(0)))),
        )?;
        let leads = u64::try_from(self.metrics.leader.load(Ordering::Relaxed)).unwrap_or(0);
        single(&mut encoder, &own("leader"), "Whether this process leads", double(leads))?;
        super::sizing::encode(&mut encoder, &reports)?;
        super::wal::encode_lag(&mut encoder, &reports, now)?;
        super::wal::encode_directories(&mut encoder, &reports)?;
        super::wal::encode_flows(&mut encoder, &reports)?;
        if self.disk_metrics {
            Self::encode_disks(&mut encoder, &reports, now)?;
            super::wal::encode(&mut encoder, &reports)?;
            self.encode_resizes(&mut encoder, &reports)
        } else {
            Ok(())
        }
    }
}

/// A Cluster at the moment of a scrape.
pub(super) struct Shown {
    pub(super) key: ClusterKey,
    pub(super) managed: bool,
    circuit_open: bool,
    alerts: Box<[AlertId]>,
    volumes: Vec<(VolumeReport, Vec<Figures>)>,
    pub(super) wal: Option<WalNow>,
    pub(super) directories: Vec<WalDirectory>,
}

impl Objects {
    /// All Clusters that were decided on, by name, with what is known of their PVCs now.
    fn shown(&self) -> Vec<Shown> {
        let reports = self.metrics.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reports: Vec<_> = reports.iter().map(|(key, report)| (key.clone(), report.clone())).collect();
        reports.sort_by(|(a, _), (b, _)| a.cmp(b));
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = reports.into_iter().map(|(key, report)| {
            let volumes = report.volumes.into_iter().map(|volume| {
                let figures = index.figures(&key, &volume.volume);
                (volume, figures)
            });
            Shown {
                volumes: volumes.collect(),
                managed: report.managed,
                circuit_open: report.circuit_open,
                alerts: report.alerts,
                wal: index.wal_now(&key),
                directories: index.wal_directories(&key),
                key,
            }
        });
        shown.collect()
    }

    fn encode_disks(encoder: &mut DescriptorEncoder<'_>, reports: &[Shown], now: Timestamp) -> fmt::Result {
        let labels = |report: &Shown, volume: &VolumeKey, member: &Figures| {
            disk_labels(with(of_cluster(&report.key), "instance", &*member.instance), volume)
        };
        for (name, help, value) in DISK_GAUGES {
            let name = format!("cnpg_disk_{name}");
            let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for (report, volume, member) in members(reports) {
                if let Some(value) = value(member, now) {
                    ConstGauge::new(value).encode(metric.encode_family(&labels(report, &volume.volume, member))?)?;
                }
            }
        }
        for (name, help, value) in VOLUME_GAUGES {
            let name = format!("cnpg_disk_{name}");
            let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for (report, volume, member) in members(reports) {
                if let Some(value) = value(volume) {
                    ConstGauge::new(value).encode(metric.encode_family(&labels(report, &volume.volume, member))?)?;
                }
            }
        }
        let mut metric = encoder.encode_descriptor(
            "cnpg_disk_resize_blocked",
            "A growth that is wanted is held: 1, with the reason",
            None,
            MetricType::Gauge,
        )?;
        for (report, volume, member) in members(reports) {
            if let Some(reason) = volume.blocked {
                let labels = with(labels(report, &volume.volume, member), "reason", reason.as_str());
                ConstGauge::new(1.0).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    /// An operation is one of all instances: it has no label for one.
    fn encode_resizes(&self, encoder: &mut DescriptorEncoder<'_>, reports: &[Shown]) -> fmt::Result {
        let resizes = self.metrics.resizes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut metric = encoder.encode_descriptor(
            "cnpg_disk_resizes",
            "Operations on a volume that ended, by result",
            None,
            MetricType::Counter,
        )?;
        for (report, volume) in volumes(reports) {
            let Some(ended) = resizes.get(&report.key) else { continue };
            for success in [true, false] {
                if let Some(count) = ended.get(&(volume.volume.clone(), success)) {
                    let labels = disk_labels(of_cluster(&report.key), &volume.volume);
                    let labels = with(labels, "result", result(success));
                    ConstCounter::new(*count).encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

/// What tells the volumes of a Cluster apart.
pub(super) fn disk_labels(labels: Labels, volume: &VolumeKey) -> Labels {
    let tablespace = match volume.role {
        Role::Data | Role::Wal => "",
        Role::Tablespace => volume.tablespace.as_deref().unwrap_or_default(),
    };
    with(with(labels, "volume_type", volume.role.as_str()), "tablespace", tablespace)
}

pub(super) fn volumes(reports: &[Shown]) -> impl Iterator<Item = (&Shown, &VolumeReport)> {
    reports
        .iter()
        .flat_map(|report| report.volumes.iter().map(move |(volume, _)| (report, volume)))
}

fn members(reports: &[Shown]) -> impl Iterator<Item = (&Shown, &VolumeReport, &Figures)> {
    let volumes = reports
        .iter()
        .flat_map(|report| report.volumes.iter().map(move |volume| (report, volume)));
    volumes.flat_map(|(report, (volume, figures))| figures.iter().map(move |figures| (report, volume, figures)))
}
