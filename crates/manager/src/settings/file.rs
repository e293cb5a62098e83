use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::ValueEnum;
use csm_api::{CircuitBreaker, Expansion, Thresholds, WalCleanup};
use serde::Deserialize;

use super::Span;
use super::webhook::WebhookFile;

/// The settings file, as it is written. Unknown keys are errors.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct File {
    pub metrics_interval: Option<Span>,
    pub kubelet: KubeletFile,
    pub instances: InstancesFile,
    pub defaults: DefaultsFile,
    pub default_ceiling_factor: Option<u32>,
    pub provider_limits: Option<BTreeMap<String, LimitFile>>,
    pub storage_classes: BTreeMap<String, StorageClassFile>,
    pub fleet: FleetFile,
    pub stuck_after: Option<Span>,
    pub retention: RetentionFile,
    pub create_postgres_storage: Option<CreatePostgresStorage>,
    pub disk_metrics: Option<bool>,
    pub nudge: Option<bool>,
    pub pod_logs: Option<bool>,
    pub wal_relief: Option<bool>,
    pub watch_namespaces: Option<Vec<String>>,
    pub leader_election: LeaderElectionFile,
    pub admin_address: Option<SocketAddr>,
    pub webhook: WebhookFile,
    pub log_level: Option<String>,
    pub log_format: Option<String>,
}

impl File {
    /// Reads a settings file.
    ///
    /// # Errors
    /// With the line and the key.
    pub fn parse(text: &str) -> Result<Self, serde_saphyr::Error> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KubeletFile {
    pub port: Option<u16>,
    pub ca_file: Option<PathBuf>,
    #[serde(rename = "insecureSkipTLSVerify")]
    pub insecure_skip_tls_verify: Option<bool>,
    pub address_types: Option<Vec<String>>,
    pub timeout: Option<Span>,
    pub concurrency: Option<u16>,
}

/// How instances are asked for the health of their WAL, and for what their volumes hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InstancesFile {
    pub enabled: Option<bool>,
    pub port: Option<u16>,
    pub exporter: Option<bool>,
    pub exporter_port: Option<u16>,
    pub timeout: Option<Span>,
    pub concurrency: Option<u16>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DefaultsFile {
    pub thresholds: Option<Thresholds>,
    pub expansion: Option<Expansion>,
    pub wal_cleanup: Option<WalCleanup>,
    pub circuit_breaker: Option<CircuitBreaker>,
}

/// What concerns all Clusters together.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FleetFile {
    pub concurrent_resizes: Option<u32>,
    pub runaway_share: Option<u32>,
    pub runaway_minimum: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StorageClassFile {
    pub shared_filesystem: bool,
    pub concurrent_resizes: Option<u32>,
    pub max_actions: Option<u32>,
    pub period: Option<Span>,
}

/// How often one volume may be changed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LimitFile {
    pub max_actions: Option<u32>,
    pub period: Option<Span>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetentionFile {
    pub storage_events: Option<Span>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LeaderElectionFile {
    pub enabled: Option<bool>,
    pub lease_duration: Option<Span>,
    pub renew_deadline: Option<Span>,
    pub retry_period: Option<Span>,
}

/// For which Clusters a PostgresStorage is created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CreatePostgresStorage {
    /// For those that a policy manages.
    #[default]
    Managed,
    /// For every one.
    All,
    /// For none.
    Never,
}
