//! The metrics of behaviour.md. Gauges about objects are made at the scrape from the newest reports, so that a series
//! disappears with its object; counters are kept, and dropped with their Cluster.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csm_api::{Role, State};
use csm_core::alerts::AlertId;
use csm_core::world::{ClusterKey, VolumeKey};
use csm_units::Percent;
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::{ClusterReport, VolumeReport};
use csm_gather::index::{Figures, Index};

type Labels = Vec<(&'static str, String)>;
type Reports = Arc<Mutex<HashMap<ClusterKey, ClusterReport>>>;

/// All metrics of the manager.
#[derive(Clone)]
pub struct Metrics {
    reports: Reports,
    policies: Arc<Mutex<HashMap<String, i64>>>,
    leader: Arc<AtomicI64>,
    expansions: Family<Labels, Counter>,
    expansion_bytes: Family<Labels, Counter>,
    expansion_seconds: Family<Labels, Histogram>,
    reconciles: Family<Labels, Counter>,
    reconcile_seconds: Family<Labels, Histogram>,
    errors: Family<Labels, Counter>,
    kubelet_errors: Family<Labels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            reports: Reports::default(),
            policies: Arc::default(),
            leader: Arc::default(),
            expansions: Family::default(),
            expansion_bytes: Family::default(),
            // 1 s to 68 min: a kubelet alone may take 2 min to show a growth.
            expansion_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1.0, 2.0, 13))),
            reconciles: Family::default(),
            // 100 µs to 13 s.
            reconcile_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0001, 2.0, 18))),
            errors: Family::default(),
            kubelet_errors: Family::default(),
        }
    }
}

fn of_cluster(key: &ClusterKey) -> Labels {
    vec![("cluster", key.name.to_string()), ("namespace", key.namespace.to_string())]
}

fn with(mut labels: Labels, name: &'static str, value: impl Into<String>) -> Labels {
    labels.push((name, value.into()));
    labels
}

impl Metrics {
    /// Puts all metrics into a registry; `disk_metrics` says whether `cnpg_disk_*` are among them.
    /// What stands beside a decision is read from `index` at each scrape.
    pub fn register(&self, registry: &mut Registry, index: Arc<Mutex<Index>>, disk_metrics: bool) {
        let own = registry.sub_registry_with_prefix("cnpg_storage_manager");
        own.register("expansion", "Expansions that ended, by result", self.expansions.clone());
        own.register("expansion_bytes", "Bytes by which PVCs were grown", self.expansion_bytes.clone());
        own.register(
            "expansion_duration_seconds",
            "From the record of an expansion to its verified end",
            self.expansion_seconds.clone(),
        );
        own.register("reconcile", "Looks at an object, by result", self.reconciles.clone());
        own.register(
            "reconcile_duration_seconds",
            "How long a look at an object took",
            self.reconcile_seconds.clone(),
        );
        own.register("errors", "Failed calls, by type", self.errors.clone());
        own.register(
            "kubelet_errors",
            "Kubelets that gave no figures, by kind of error",
            self.kubelet_errors.clone(),
        );
        registry.register_collector(Box::new(Objects {
            metrics: self.clone(),
            index,
            disk_metrics,
        }));
    }

    /// The newest decisions on a Cluster.
    pub fn report(&self, key: ClusterKey, report: ClusterReport) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).insert(key, report);
    }

    /// The alerts of a Cluster that were due when it was last looked at.
    #[must_use]
    pub fn active_alerts(&self, key: &ClusterKey) -> BTreeSet<AlertId> {
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.get(key).map(|r| r.alerts.iter().cloned().collect()).unwrap_or_default()
    }

    /// A Cluster is gone: so are its series.
    pub fn forget(&self, key: &ClusterKey) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        let labels = of_cluster(key);
        for result in ["success", "failure"] {
            self.expansions.remove(&with(labels.clone(), "result", result));
        }
        self.expansion_bytes.remove(&labels);
        self.expansion_seconds.remove(&labels);
        for type_ in ERROR_TYPES {
            self.errors.remove(&error_labels(key, type_));
        }
    }

    /// No longer leading: another process reports now.
    pub fn clear(&self) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.policies.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Active policies, by namespace; the empty one stands for ClusterStoragePolicies.
    pub fn policies(&self, active: HashMap<String, i64>) {
        *self.policies.lock().unwrap_or_else(PoisonError::into_inner) = active;
    }

    /// Whether this process leads.
    pub fn leading(&self, leads: bool) {
        self.leader.store(i64::from(leads), Ordering::Relaxed);
    }

    /// An expansion ended.
    pub fn expanded(&self, key: &ClusterKey, success: bool, bytes: u64, took: Option<Duration>) {
        let labels = of_cluster(key);
        self.expansions
            .get_or_create(&with(labels.clone(), "result", if success { "success" } else { "failure" }))
            .inc();
        if bytes > 0 {
            self.expansion_bytes.get_or_create(&labels).inc_by(bytes);
        }
        if let Some(took) = took.filter(|_| success) {
            self.expansion_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        }
    }

    /// A look at an object ended.
    pub fn reconciled(&self, controller: &'static str, success: bool, took: Duration) {
        let labels = vec![("controller", controller.to_owned())];
        self.reconcile_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        self.reconciles
            .get_or_create(&with(labels, "result", if success { "success" } else { "failure" }))
            .inc();
    }

    /// A call failed.
    pub fn error(&self, key: &ClusterKey, type_: &'static str) {
        self.errors.get_or_create(&error_labels(key, type_)).inc();
    }

    /// A kubelet gave no figures.
    pub fn kubelet_error(&self, kind: &'static str) {
        self.kubelet_errors.get_or_create(&vec![("kind", kind.to_owned())]).inc();
    }
}

/// The types of errors that are counted for a Cluster: the classes of failed calls, and violated invariants.
const ERROR_TYPES: [&str; 7] = [
    "conflict",
    "transient",
    "refused",
    "not-found",
    "already-exists",
    "not-leader",
    "invariant",
];

fn error_labels(key: &ClusterKey, type_: &str) -> Labels {
    let mut labels = vec![("type", type_.to_owned())];
    labels.extend(of_cluster(key));
    labels
}

/// Gauges about objects, made at the scrape.
struct Objects {
    metrics: Metrics,
    index: Arc<Mutex<Index>>,
    disk_metrics: bool,
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
fn double(value: u64) -> f64 {
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
        if self.disk_metrics {
            Self::encode_disks(&mut encoder, &reports, now)
        } else {
            Ok(())
        }
    }
}

/// A Cluster at the moment of a scrape.
struct Shown {
    key: ClusterKey,
    managed: bool,
    alerts: Box<[AlertId]>,
    volumes: Vec<(VolumeReport, Vec<Figures>)>,
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
                alerts: report.alerts,
                key,
            }
        });
        shown.collect()
    }

    fn encode_disks(encoder: &mut DescriptorEncoder<'_>, reports: &[Shown], now: Timestamp) -> fmt::Result {
        let labels = |report: &Shown, volume: &VolumeKey, member: &Figures| {
            let (type_, tablespace) = match volume.role {
                Role::Data | Role::Wal => (volume.role.as_str(), String::new()),
                Role::Tablespace => (volume.role.as_str(), volume.tablespace.as_deref().unwrap_or_default().to_owned()),
            };
            with(
                with(with(of_cluster(&report.key), "instance", &*member.instance), "volume_type", type_),
                "tablespace",
                tablespace,
            )
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
        let mut metric = encoder.encode_descriptor(
            "cnpg_disk_at_limit",
            "Whether the volume has reached its ceiling",
            None,
            MetricType::Gauge,
        )?;
        for (report, volume, member) in members(reports) {
            ConstGauge::new(f64::from(u8::from(volume.at_limit))).encode(metric.encode_family(&labels(
                report,
                &volume.volume,
                member,
            ))?)?;
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
}

fn volumes(reports: &[Shown]) -> impl Iterator<Item = (&Shown, &VolumeReport)> {
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
