//! The manager's settings: one file, each also a flag and an environment variable; a flag wins over the environment,
//! the environment over the file. Unknown keys and bad values stop the start.

mod args;
mod duration;
mod file;
mod webhook;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use csm_core::breaker::RunawayRules;
use csm_core::world::{Limits, ProviderLimit};
use csm_runtime::LeaseTimes;
use csm_runtime::telemetry::LogFormat;
use jiff::SignedDuration;

pub use args::{Args, Command, RunArgs};
pub use duration::Span;
pub use file::{CreatePostgresStorage, File};
use file::{DefaultsFile, FleetFile, InstancesFile, StorageClassFile};
pub use webhook::{CertificateSettings, Lifetimes, OwnAuthority, WebhookSettings};

use crate::instances::InstanceSettings;
use crate::kubelet::KubeletSettings;
use csm_gather::index::{FleetRules, Retention};
use csm_gather::world::VolumeSettings;

/// The settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often figures are collected, at least 5 s.
    pub metrics_interval: Duration,
    /// Kubelets.
    pub kubelet: KubeletSettings,
    /// Instances.
    pub instances: InstanceSettings,
    /// The lowest rank of every policy.
    pub defaults: csm_api::Settings,
    /// Volumes.
    pub volumes: VolumeSettings,
    /// What concerns all Clusters together.
    pub fleet: FleetRules,
    /// How long StorageEvents are kept after they ended.
    pub retention: Retention,
    /// For which Clusters a PostgresStorage is created.
    pub create_postgres_storage: CreatePostgresStorage,
    /// Whether `cnpg_disk_*` is exported.
    pub disk_metrics: bool,
    /// Whether kubelets are asked to look at once where a growth is urgent.
    pub nudge: bool,
    /// Whether WAL is relieved where policies want it.
    pub wal_relief: bool,
    /// Namespaces that are watched; empty: all.
    pub watch_namespaces: Vec<String>,
    /// Leader election; none: this process is the only one.
    pub leader_election: Option<LeaderElection>,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub admin_address: SocketAddr,
    /// The webhooks; none: they are not served.
    pub webhook: Option<WebhookSettings>,
    /// Least level that is logged.
    pub log_level: String,
    /// Form of the log.
    pub log_format: LogFormat,
}

/// Leader election.
#[derive(Clone, Debug)]
pub struct LeaderElection {
    /// Its times.
    pub times: LeaseTimes,
    /// Namespace of the lease; none: the pod's own.
    pub namespace: Option<String>,
    /// Name of the lease.
    pub name: String,
}

/// StorageEvents are the ledger of budgets over 24 h: they are never dropped within.
const KEEP_AT_LEAST: SignedDuration = SignedDuration::from_hours(24);

impl Settings {
    /// From the command line, the environment and the file that they name.
    ///
    /// # Errors
    /// Where a value is not valid: which, and what to write instead.
    pub fn load(args: &RunArgs) -> anyhow::Result<Self> {
        let file = match &args.config {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the settings file {}", path.display()))?;
                File::parse(&text).with_context(|| format!("in the settings file {}", path.display()))?
            }
            None => File::default(),
        };
        Self::resolve(args, file)
    }

    fn resolve(args: &RunArgs, file: File) -> anyhow::Result<Self> {
        let File {
            metrics_interval,
            kubelet,
            instances,
            defaults,
            default_ceiling_factor,
            provider_limits: given_limits,
            storage_classes,
            fleet,
            stuck_after,
            retention,
            create_postgres_storage,
            disk_metrics,
            nudge,
            pod_logs,
            wal_relief,
            watch_namespaces,
            leader_election,
            admin_address,
            webhook,
            log_level,
            log_format,
        } = file;
        let span = |flag: Option<Span>, file: Option<Span>, default: Duration| flag.or(file).map_or(default, |s| s.0);
        let metrics_interval = span(args.metrics_interval, metrics_interval, Duration::from_secs(30));
        ensure!(
            metrics_interval >= Duration::from_secs(5),
            "metricsInterval is {metrics_interval:?}; it must be at least 5s"
        );
        let stuck_after = span(args.stuck_after, stuck_after, Duration::from_mins(10));
        ensure!(
            stuck_after >= Duration::from_mins(1),
            "stuckAfter is {stuck_after:?}; it must be at least 1m"
        );
        let keep = span(args.retention_storage_events, retention.storage_events, Duration::from_hours(720));
        let keep_storage_events = SignedDuration::try_from(keep).context("retention.storageEvents is too long")?;
        ensure!(
            keep_storage_events >= KEEP_AT_LEAST,
            "retention.storageEvents is {keep:?}; it must be at least 24h, the window of budgets"
        );

        let address_types = args
            .kubelet_address_types
            .clone()
            .or(kubelet.address_types)
            .unwrap_or_else(|| vec!["InternalIP".to_owned(), "Hostname".to_owned(), "ExternalIP".to_owned()]);
        for type_ in &address_types {
            ensure!(
                ["InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS"].contains(&type_.as_str()),
                "kubelet.addressTypes has {type_:?}; use InternalIP, ExternalIP, Hostname, InternalDNS or ExternalDNS"
            );
        }
        ensure!(
            !address_types.is_empty(),
            "kubelet.addressTypes is empty; name at least one, such as InternalIP"
        );
        let timeout = span(args.kubelet_timeout, kubelet.timeout, Duration::from_secs(5));
        ensure!(!timeout.is_zero(), "kubelet.timeout must be positive, such as 5s");
        let concurrency = args.kubelet_concurrency.or(kubelet.concurrency).unwrap_or(32);
        ensure!(
            (1..=1024).contains(&concurrency),
            "kubelet.concurrency is {concurrency}; it must be between 1 and 1024"
        );
        let kubelet = KubeletSettings {
            port: args.kubelet_port.or(kubelet.port).unwrap_or(10250),
            ca_file: args.kubelet_ca_file.clone().or(kubelet.ca_file),
            insecure_skip_tls_verify: args
                .kubelet_insecure_skip_tls_verify
                .or(kubelet.insecure_skip_tls_verify)
                .unwrap_or(false),
            address_types,
            timeout,
            concurrency: usize::from(concurrency),
        };

        let log_level = args.log_level.clone().or(log_level).unwrap_or_else(|| "info".to_owned());
        ensure!(
            ["debug", "info", "warn", "error"].contains(&log_level.as_str()),
            "logLevel is {log_level:?}; use debug, info, warn or error"
        );
        let log_format = match args.log_format.clone().or(log_format).as_deref() {
            None | Some("json") => LogFormat::Json,
            Some("text") => LogFormat::Text,
            Some(other) => bail!("logFormat is {other:?}; use json or text"),
        };
        let limits = Limits {
            interval: SignedDuration::try_from(metrics_interval).context("metricsInterval is too long")?,
            stuck_after: SignedDuration::try_from(stuck_after).context("stuckAfter is too long")?,
        };
        let shipped = VolumeSettings::default();
        let mut provider_limits = shipped.provider_limits;
        if let Some(limits) = given_limits {
            provider_limits.clear();
            for (name, limit) in limits {
                let limit = limit_of(
                    &format!("providerLimits.{name}"),
                    limit.max_actions,
                    limit.period,
                    keep_storage_events,
                )?;
                provider_limits.insert(name, limit);
            }
        }
        let mut class_limits = BTreeMap::new();
        for (name, class) in &storage_classes {
            if class.max_actions.is_some() || class.period.is_some() {
                let limit = limit_of(
                    &format!("storageClasses.{name}"),
                    class.max_actions,
                    class.period,
                    keep_storage_events,
                )?;
                class_limits.insert(name.clone(), limit);
            }
        }
        let counted = provider_limits.values().chain(class_limits.values()).map(|limit| limit.period);
        let retention = Retention {
            keep: keep_storage_events,
            counted: counted.max().unwrap_or_default(),
        };
        let defaults = checked_defaults(defaults)?;
        let fleet = fleet_of(args, &fleet, &storage_classes, limits.stuck_after)?;
        Ok(Self {
            metrics_interval,
            kubelet,
            instances: instances_of(args, &instances)?,
            defaults,
            volumes: VolumeSettings {
                limits,
                default_ceiling_factor: args
                    .default_ceiling_factor
                    .or(default_ceiling_factor)
                    .unwrap_or(shipped.default_ceiling_factor),
                provider_limits,
                class_limits,
                pod_logs: args.pod_logs.or(pod_logs).unwrap_or(shipped.pod_logs),
                shared_classes: storage_classes
                    .into_iter()
                    .filter(|(_, class)| class.shared_filesystem)
                    .map(|(name, _)| name)
                    .collect(),
            },
            fleet,
            retention,
            create_postgres_storage: args.create_postgres_storage.or(create_postgres_storage).unwrap_or_default(),
            disk_metrics: args.disk_metrics.or(disk_metrics).unwrap_or(true),
            nudge: args.nudge.or(nudge).unwrap_or(true),
            wal_relief: args.wal_relief.or(wal_relief).unwrap_or(false),
            watch_namespaces: args.watch_namespaces.clone().or(watch_namespaces).unwrap_or_default(),
            leader_election: leader_election_of(args, leader_election)?,
            admin_address: args
                .admin_address
                .or(admin_address)
                .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 8080))),
            webhook: webhook::resolve(&args.webhook, webhook)?,
            log_level,
            log_format,
        })
    }

    /// Figures older than this do not count: planner.md, `max(3 × interval, 5 min)`.
    #[must_use]
    pub fn stale_after(&self) -> Duration {
        self.metrics_interval.saturating_mul(3).max(Duration::from_mins(5))
    }
}

fn instances_of(args: &RunArgs, file: &InstancesFile) -> anyhow::Result<InstanceSettings> {
    let InstancesFile {
        enabled,
        port,
        exporter,
        exporter_port,
        timeout,
        concurrency,
    } = file;
    let timeout = args.instances_timeout.or(*timeout).map_or(Duration::from_secs(5), |s| s.0);
    ensure!(!timeout.is_zero(), "instances.timeout must be positive, such as 5s");
    let concurrency = args.instances_concurrency.or(*concurrency).unwrap_or(32);
    ensure!(
        (1..=1024).contains(&concurrency),
        "instances.concurrency is {concurrency}; it must be between 1 and 1024"
    );
    let port = args.instances_port.or(*port).unwrap_or(csm_cnpg::STATUS_PORT);
    ensure!(port > 0, "instances.port is 0; CloudNativePG's is {}", csm_cnpg::STATUS_PORT);
    let exporter_port = args.instances_exporter_port.or(*exporter_port).unwrap_or(csm_cnpg::EXPORTER_PORT);
    ensure!(
        exporter_port > 0,
        "instances.exporterPort is 0; CloudNativePG's is {}",
        csm_cnpg::EXPORTER_PORT
    );
    Ok(InstanceSettings {
        enabled: args.instances_enabled.or(*enabled).unwrap_or(true),
        port,
        exporter: args.instances_exporter.or(*exporter).unwrap_or(false),
        exporter_port,
        timeout,
        concurrency: usize::from(concurrency),
    })
}

fn leader_election_of(args: &RunArgs, file: file::LeaderElectionFile) -> anyhow::Result<Option<LeaderElection>> {
    if !args.leader_elect.or(file.enabled).unwrap_or(true) {
        return Ok(None);
    }
    let default = LeaseTimes::default();
    let span = |flag: Option<Span>, file: Option<Span>, default: Duration| flag.or(file).map_or(default, |s| s.0);
    let times = LeaseTimes {
        duration: span(args.lease_duration, file.lease_duration, default.duration),
        renew_deadline: span(args.renew_deadline, file.renew_deadline, default.renew_deadline),
        retry_period: span(args.retry_period, file.retry_period, default.retry_period),
    };
    ensure!(
        times.duration > times.renew_deadline && times.renew_deadline > times.retry_period && !times.retry_period.is_zero(),
        "leaderElection: leaseDuration ({:?}) must be longer than renewDeadline ({:?}), and that longer than retryPeriod ({:?})",
        times.duration,
        times.renew_deadline,
        times.retry_period,
    );
    ensure!(
        times.duration >= Duration::from_secs(1),
        "leaderElection.leaseDuration must be at least 1s"
    );
    Ok(Some(LeaderElection {
        times,
        namespace: args.lease_namespace.clone(),
        name: args.lease_name.clone(),
    }))
}

/// How often one volume may be changed: both halves belong together. It is counted from StorageEvents that are `kept`.
fn limit_of(setting: &str, max_actions: Option<u32>, period: Option<Span>, kept: SignedDuration) -> anyhow::Result<ProviderLimit> {
    let (Some(max_actions @ 1..), Some(period)) = (max_actions, period) else {
        bail!("{setting} needs both maxActions, at least 1, and period, such as {{maxActions: 4, period: 24h}}");
    };
    let period = SignedDuration::try_from(period.0).with_context(|| format!("{setting}.period is too long"))?;
    ensure!(
        period.is_positive() && period <= kept,
        "{setting}.period is {period:#}; it must be positive and no longer than retention.storageEvents ({kept:#}), whose StorageEvents it is counted from"
    );
    Ok(ProviderLimit { max_actions, period })
}

/// The limits of the fleet. Its records' namespace is known once there is a client.
fn fleet_of(
    args: &RunArgs,
    file: &FleetFile,
    classes: &BTreeMap<String, StorageClassFile>,
    stuck_after: SignedDuration,
) -> anyhow::Result<FleetRules> {
    let FleetFile {
        concurrent_resizes,
        runaway_share,
        runaway_minimum,
    } = file;
    let concurrent = args.fleet_concurrent_resizes.or(*concurrent_resizes).unwrap_or(10);
    ensure!(concurrent >= 1, "fleet.concurrentResizes is 0; it must be at least 1");
    let share = args.fleet_runaway_share.or(*runaway_share).unwrap_or(20);
    ensure!(
        (1..=100).contains(&share),
        "fleet.runawayShare is {share}; it must be between 1 and 100 percent"
    );
    let minimum = args.fleet_runaway_minimum.or(*runaway_minimum).unwrap_or(10);
    ensure!(minimum >= 1, "fleet.runawayMinimum is 0; it must be at least 1 cluster");
    let mut by_class = BTreeMap::new();
    for (name, class) in classes {
        let Some(limit) = class.concurrent_resizes else { continue };
        ensure!(limit >= 1, "storageClasses.{name}.concurrentResizes is 0; it must be at least 1");
        by_class.insert(name.as_str().into(), limit);
    }
    Ok(FleetRules {
        concurrent: Some(concurrent),
        by_class,
        stuck_after: Some(stuck_after),
        runaway: Some(RunawayRules { share, minimum }),
        namespace: "".into(),
    })
}

/// The defaults as a block of settings; they must validate like a policy.
fn checked_defaults(file: DefaultsFile) -> anyhow::Result<csm_api::Settings> {
    let DefaultsFile {
        thresholds,
        expansion,
        wal_cleanup,
        circuit_breaker,
    } = file;
    let defaults = csm_api::Settings {
        thresholds,
        expansion,
        wal_cleanup,
        circuit_breaker,
        ..csm_api::Settings::default()
    };
    let problems = csm_core::validate::validate(&defaults);
    if let Some(problem) = problems.first() {
        bail!("defaults.{problem}");
    }
    Ok(defaults)
}

#[cfg(test)]
mod tests {
    use csm_api::WalCleanup;

    use super::*;

    fn defaults(text: &str) -> anyhow::Result<csm_api::Settings> {
        checked_defaults(File::parse(text)?.defaults)
    }

    #[test]
    fn the_lowest_rank_of_every_policy() -> anyhow::Result<()> {
        let text = "defaults:\n  thresholds: {emergency: 95}\n  expansion: {percentage: 20}\n  \
                    walCleanup: {enabled: false, retainCount: 40, requireArchived: false, cooldownMinutes: 5}\n  \
                    circuitBreaker: {maxFailures: 7}\n";
        let settings = defaults(text)?;
        let cleanup = WalCleanup {
            enabled: Some(false),
            retain_count: Some(40),
            require_archived: Some(false),
            cooldown_minutes: Some(5),
        };
        assert_eq!(settings.wal_cleanup, Some(cleanup));
        assert_eq!(settings.thresholds.and_then(|t| t.emergency), Some(95));
        assert_eq!(settings.expansion.and_then(|e| e.percentage), Some(20));
        assert_eq!(settings.circuit_breaker.and_then(|b| b.max_failures), Some(7));
        Ok(())
    }

    #[test]
    fn defaults_validate_as_a_policy_does() {
        let refused = |text| defaults(text).err().map(|error| error.to_string()).unwrap_or_default();
        let wrong = refused("defaults: {walCleanup: {retainCount: 0}}");
        assert!(
            wrong.starts_with("defaults.walCleanup.retainCount must be between 1 and 10000"),
            "{wrong}"
        );
        assert!(defaults("defaults: {walCleanUp: {retainCount: 10}}").is_err(), "no such key");
    }
}
