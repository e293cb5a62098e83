//! The metrics of behaviour.md. Gauges about objects are made at the scrape from the newest reports, so that a series
//! disappears with its object; counters are kept, and dropped with their Cluster.

mod objects;
mod process;
mod sizing;
mod wal;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csm_core::alerts::AlertId;
use csm_core::rescue::Times;
use csm_core::world::{ClusterKey, VolumeKey};
use csm_runtime::FailureClass;
use jiff::SignedDuration;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use self::objects::Objects;
pub use self::process::Process;
use super::ClusterReport;
use csm_gather::index::Index;

type Labels = Vec<(&'static str, String)>;
type Reports = Arc<Mutex<HashMap<ClusterKey, ClusterReport>>>;
/// Operations that have ended, by Cluster, volume and whether they went well.
type Resizes = Arc<Mutex<HashMap<ClusterKey, BTreeMap<(VolumeKey, bool), u64>>>>;

/// All metrics of the manager.
#[derive(Clone)]
pub struct Metrics {
    reports: Reports,
    policies: Arc<Mutex<HashMap<String, i64>>>,
    leader: Arc<AtomicI64>,
    fleet_breaker: Arc<AtomicBool>,
    breaker_failures: Family<Labels, Counter>,
    resizes: Resizes,
    expansions: Family<Labels, Counter>,
    expansion_bytes: Family<Labels, Counter>,
    expansion_seconds: Family<Labels, Histogram>,
    rescues: Family<Labels, Counter>,
    remediation_seconds: Family<Labels, Histogram>,
    rescue_seconds: Family<Labels, Histogram>,
    reconciles: Family<Labels, Counter>,
    reconcile_seconds: Family<Labels, Histogram>,
    errors: Family<Labels, Counter>,
    kubelet_errors: Family<Labels, Counter>,
    instance_errors: Family<Labels, Counter>,
    exporter_errors: Family<Labels, Counter>,
    spec_sizes: Family<Labels, Counter>,
    reliefs: Family<Labels, Counter>,
    relief_files: Family<Labels, Counter>,
    relief_bytes: Family<Labels, Counter>,
    /// Objects that cannot be read, by watch.
    unreadable: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            reports: Reports::default(),
            policies: Arc::default(),
            leader: Arc::default(),
            fleet_breaker: Arc::default(),
            breaker_failures: Family::default(),
            resizes: Arc::default(),
            expansions: Family::default(),
            expansion_bytes: Family::default(),
            // 1 s to 68 min: a kubelet alone may take 2 min to show a growth.
            expansion_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1.0, 2.0, 13))),
            rescues: Family::default(),
            // 1 s to 68 min, as an expansion.
            remediation_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1.0, 2.0, 13))),
            // 125 ms to 17 min: our own share is part of a second, a kubelet's restart back-off 5 min.
            rescue_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.125, 2.0, 14))),
            reconciles: Family::default(),
            // 100 µs to 13 s.
            reconcile_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0001, 2.0, 18))),
            errors: Family::default(),
            kubelet_errors: Family::default(),
            instance_errors: Family::default(),
            exporter_errors: Family::default(),
            spec_sizes: Family::default(),
            reliefs: Family::default(),
            relief_files: Family::default(),
            relief_bytes: Family::default(),
            unreadable: Arc::default(),
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

/// The last step of a rescue.
const READY: &str = "ready";
/// The steps of a rescue, as the label `step` says them.
const STEPS: [&str; 4] = ["patched", "controller", "filesystem", READY];

/// How the label `result` says it.
fn result(success: bool) -> &'static str {
    if success { "success" } else { "failure" }
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
        own.register("rescues", "Rescues that ended, by result", self.rescues.clone());
        own.register(
            "remediation_duration_seconds",
            "Of rescues: from the end of the container to the verified growth",
            self.remediation_seconds.clone(),
        );
        own.register(
            "rescue_duration_seconds",
            "Of rescues: from the end of the container until the PVC was patched, the controller was done, the filesystem had grown and all \
             instances were ready, by step",
            self.rescue_seconds.clone(),
        );
        own.register("wal_cleanup", "Reliefs of WAL that ended, by result", self.reliefs.clone());
        own.register(
            "wal_cleanup_files_removed",
            "WAL segments that reliefs removed",
            self.relief_files.clone(),
        );
        own.register(
            "wal_cleanup_bytes_freed",
            "Bytes of pg_wal that reliefs freed",
            self.relief_bytes.clone(),
        );
        own.register(
            "circuit_breaker_failures",
            "Growths that failed and count in a circuit breaker",
            self.breaker_failures.clone(),
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
        own.register(
            "instance_errors",
            "Questions to a primary for the health of its WAL without an answer of use, by kind of error",
            self.instance_errors.clone(),
        );
        own.register(
            "exporter_errors",
            "Questions to an instance's exporter for what its volumes hold without an answer of use, by kind of error",
            self.exporter_errors.clone(),
        );
        own.register(
            "spec_size",
            "Sizes in the specs of Clusters that were raised or could not be (applyTo: ClusterSpec), by result",
            self.spec_sizes.clone(),
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
        self.resizes.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        let labels = of_cluster(key);
        for success in [true, false] {
            self.expansions.remove(&with(labels.clone(), "result", result(success)));
        }
        for success in [true, false] {
            self.rescues.remove(&with(labels.clone(), "result", result(success)));
            self.spec_sizes.remove(&with(labels.clone(), "result", result(success)));
        }
        for step in STEPS {
            self.rescue_seconds.remove(&with(labels.clone(), "step", step));
        }
        self.remediation_seconds.remove(&labels);
        self.expansion_bytes.remove(&labels);
        self.breaker_failures.remove(&labels);
        for success in [true, false] {
            self.reliefs.remove(&with(labels.clone(), "result", result(success)));
        }
        self.relief_files.remove(&labels);
        self.relief_bytes.remove(&labels);
        self.expansion_seconds.remove(&labels);
        let calls = FailureClass::ALL.into_iter().map(FailureClass::as_str);
        for type_ in calls.chain(OTHER_ERRORS) {
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

    /// A relief of WAL ended: so many files went, and so many bytes were freed.
    pub fn relieved(&self, key: &ClusterKey, success: bool, files: u64, bytes: u64) {
        let labels = of_cluster(key);
        self.reliefs.get_or_create(&with(labels.clone(), "result", result(success))).inc();
        self.relief_files.get_or_create(&labels).inc_by(files);
        self.relief_bytes.get_or_create(&labels).inc_by(bytes);
    }

    /// A growth failed in a way that counts in a circuit breaker.
    pub fn breaker_failure(&self, key: &ClusterKey) {
        self.breaker_failures.get_or_create(&of_cluster(key)).inc();
    }

    /// Whether the breaker of all Clusters holds growth; returns whether it did before.
    pub fn fleet_breaker(&self, holds: bool) -> bool {
        self.fleet_breaker.swap(holds, Ordering::Relaxed)
    }

    /// An expansion of a volume ended.
    pub fn expanded(&self, key: &ClusterKey, volume: VolumeKey, success: bool, bytes: u64, took: Option<Duration>) {
        let mut resizes = self.resizes.lock().unwrap_or_else(PoisonError::into_inner);
        let resizes_of_volume = resizes.entry(key.clone()).or_default().entry((volume, success)).or_default();
        *resizes_of_volume = resizes_of_volume.saturating_add(1);
        drop(resizes);
        let labels = of_cluster(key);
        self.expansions
            .get_or_create(&with(labels.clone(), "result", result(success)))
            .inc();
        if bytes > 0 {
            self.expansion_bytes.get_or_create(&labels).inc_by(bytes);
        }
        if let Some(took) = took.filter(|_| success) {
            self.expansion_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        }
    }

    /// A rescue of a volume ended, and took so long.
    pub fn rescued(&self, key: &ClusterKey, success: bool, times: Times) {
        let labels = of_cluster(key);
        self.rescues.get_or_create(&with(labels.clone(), "result", result(success))).inc();
        let Times {
            patched,
            controller,
            filesystem,
            ready: _,
        } = times;
        if let Some(took) = filesystem {
            self.remediation_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        }
        for (step, took) in STEPS.into_iter().zip([patched, controller, filesystem]) {
            self.rescue_step(key, step, took);
        }
    }

    /// All instances of a rescued volume are ready again.
    pub fn recovered(&self, key: &ClusterKey, times: Times) {
        self.rescue_step(key, READY, times.ready);
    }

    fn rescue_step(&self, key: &ClusterKey, step: &'static str, took: Option<SignedDuration>) {
        if let Some(took) = took {
            let labels = with(of_cluster(key), "step", step);
            self.rescue_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        }
    }

    /// A look at an object ended.
    pub fn reconciled(&self, controller: &'static str, success: bool, took: Duration) {
        let labels = vec![("controller", controller.to_owned())];
        self.reconcile_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        self.reconciles.get_or_create(&with(labels, "result", result(success))).inc();
    }

    /// A call failed.
    pub fn error(&self, key: &ClusterKey, type_: &'static str) {
        self.errors.get_or_create(&error_labels(key, type_)).inc();
    }

    /// A size in a Cluster's spec was raised, or could not be.
    pub fn spec_size(&self, key: &ClusterKey, success: bool) {
        self.spec_sizes
            .get_or_create(&with(of_cluster(key), "result", result(success)))
            .inc();
    }

    /// So many objects of a watch cannot be read.
    pub fn unreadable(&self, watch: &str, objects: usize) {
        let mut unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        match objects {
            0 => unreadable.remove(watch),
            _ => unreadable.insert(watch.to_owned(), objects),
        };
    }

    /// A primary did not say how its WAL is.
    pub fn instance_error(&self, kind: &'static str) {
        self.instance_errors.get_or_create(&vec![("kind", kind.to_owned())]).inc();
    }

    /// An exporter gave no answer of use.
    pub fn exporter_error(&self, kind: &'static str) {
        self.exporter_errors.get_or_create(&vec![("kind", kind.to_owned())]).inc();
    }

    /// A kubelet gave no figures.
    pub fn kubelet_error(&self, kind: &'static str) {
        self.kubelet_errors.get_or_create(&vec![("kind", kind.to_owned())]).inc();
    }
}

/// What is counted of a Cluster as an error besides failed calls: an object that cannot be read, a violated invariant, a
/// filesystem that did not grow, and a look at it that panicked.
const OTHER_ERRORS: [&str; 4] = ["unreadable", "invariant", "not-grown", PANIC];
/// A look at a Cluster panicked.
pub const PANIC: &str = "panic";

fn error_labels(key: &ClusterKey, type_: &str) -> Labels {
    let mut labels = vec![("type", type_.to_owned())];
    labels.extend(of_cluster(key));
    labels
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test
mod tests {
    use csm_api::Settings;
    use csm_core::plan::plan;
    use serde_json::json;

    use super::*;
    use crate::report::testing::{now, subject};

    fn scraped(registry: &Registry) -> Vec<String> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn no_error_is_counted_of_a_cluster_that_is_gone() {
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry, Arc::new(Mutex::new(Index::new(Settings::default()))), true);
        let key = ClusterKey::new("shop", "orders");
        let errors = || scraped(&registry).into_iter().filter(|line| line.contains("_errors_total")).count();
        for class in FailureClass::ALL {
            metrics.error(&key, class.as_str());
        }
        for type_ in OTHER_ERRORS {
            metrics.error(&key, type_);
        }
        assert_eq!(errors(), FailureClass::ALL.len() + OTHER_ERRORS.len());
        metrics.forget(&key);
        assert_eq!(errors(), 0);
    }

    #[test]
    fn a_volume_tells_what_ended_what_is_left_and_when_it_is_full() {
        // 10 MiB a minute, and 9 GiB to go.
        let history: Vec<String> = (1..20)
            .map(|minute| format!("['2026-03-01T11:{:02}:30Z', {}Mi]", 59 - minute, 1024 - 10 * minute))
            .collect();
        let volume = format!(
            "{{size: 10Gi, members: {{orders-1: {{used: 1Gi, available: 9Gi}}}}, history: [{}]}}",
            history.join(", ")
        );
        let subject = subject(
            "{storage: {resize: {enabled: true, strategy: {maxActionsPerDay: 3}}}}",
            &format!("volumes: {{data: {volume}}}, operations: [{{volume: data, at: 2026-03-01T03:00:00Z, from: 8Gi, to: 10Gi}}]"),
        );
        let key = subject.world.cluster.key.clone();
        let mut index = Index::new(Settings::default());
        let pvc = json!({
            "metadata": {"name": "orders-1", "namespace": "shop", "uid": "u1",
                "labels": {"cnpg.io/cluster": "orders", "cnpg.io/instanceName": "orders-1", "cnpg.io/pvcRole": "PG_DATA"}},
            "spec": {},
            "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}},
        });
        index.put_pvc(&serde_json::from_value(pvc).unwrap(), now());
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry, Arc::new(Mutex::new(index)), true);

        let plan = plan(&subject.world, now());
        let report = || ClusterReport::new(&subject.world, &plan, std::iter::empty(), now());
        metrics.report(key.clone(), report());
        for success in [true, true, false] {
            metrics.expanded(&key, VolumeKey::DATA, success, 0, None);
        }
        let told = scraped(&registry);
        for expected in [
            "cnpg_disk_resizes_total{cluster=\"orders\",namespace=\"shop\",volume_type=\"data\",tablespace=\"\",result=\"success\"} 2",
            "cnpg_disk_resizes_total{cluster=\"orders\",namespace=\"shop\",volume_type=\"data\",tablespace=\"\",result=\"failure\"} 1",
            "cnpg_disk_resize_budget_remaining{cluster=\"orders\",namespace=\"shop\",instance=\"orders-1\",volume_type=\"data\",tablespace=\"\"} 2.0",
            "cnpg_dynamic_storage_effective_size_bytes{cluster=\"orders\",namespace=\"shop\",volume_type=\"data\",tablespace=\"\"} 10737418240.0",
            "cnpg_dynamic_storage_budget_remaining{cluster=\"orders\",namespace=\"shop\",volume_type=\"data\",tablespace=\"\",kind=\"planned\"} 2.0",
            "cnpg_dynamic_storage_budget_remaining{cluster=\"orders\",namespace=\"shop\",volume_type=\"data\",tablespace=\"\",kind=\"emergency\"} 0.0",
            "cnpg_dynamic_storage_state{cluster=\"orders\",namespace=\"shop\",volume_type=\"data\",tablespace=\"\",state=\"Balanced\"} 1.0",
            "cnpg_storage_manager_time_to_full_seconds{cluster=\"orders\",namespace=\"shop\",volume=\"data\"} 55296.0",
        ] {
            assert!(told.iter().any(|line| line == expected), "{expected} in {told:#?}");
        }
        assert!(
            !told.iter().any(|line| line.contains("target_size_bytes")),
            "nothing is aimed at: {told:#?}"
        );
        // A series goes with its Cluster, and a new one of its name starts at nothing.
        metrics.forget(&key);
        metrics.report(key, report());
        assert!(!scraped(&registry).iter().any(|line| line.contains("_resizes_total")));
    }
}
