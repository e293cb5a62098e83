use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};

use super::webhook::WebhookArgs;
use super::{CreatePostgresStorage, Span};

/// Keeps PostgreSQL clusters run by CloudNativePG from running out of disk.
#[derive(Debug, Parser)]
#[command(name = "cnpg-storage-manager", version, max_term_width = 120)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the manager.
    Run(Box<RunArgs>),
    /// Prints the CustomResourceDefinitions as YAML.
    Crds,
}

/// Every setting is a flag, an environment variable and a key of the settings file; the first of these that is given stands.
#[derive(Debug, Default, Parser)]
#[command(args_override_self = true)]
pub struct RunArgs {
    /// Settings file (YAML).
    #[arg(long, env = "CNPG_STORAGE_MANAGER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Kubeconfig; default: as kubectl, or the pod's service account.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// How often figures are collected, at least 5s [default: 30s].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_METRICS_INTERVAL", value_name = "TIME")]
    pub metrics_interval: Option<Span>,
    /// Namespaces that are watched, comma-separated [default: all].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_WATCH_NAMESPACES", value_name = "NAMES", value_delimiter = ',')]
    pub watch_namespaces: Option<Vec<String>>,
    /// The kubelets' port where the Node does not say one [default: 10250].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_KUBELET_PORT", value_name = "PORT")]
    pub kubelet_port: Option<u16>,
    /// CA of the kubelets' serving certificates [default: the cluster's].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_KUBELET_CA_FILE", value_name = "FILE")]
    pub kubelet_ca_file: Option<PathBuf>,
    /// Do not verify the kubelets' serving certificates [default: false].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_KUBELET_INSECURE_SKIP_TLS_VERIFY", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub kubelet_insecure_skip_tls_verify: Option<bool>,
    /// Types of node addresses to use, the first that a node has [default: InternalIP,Hostname,ExternalIP].
    #[arg(
        long,
        env = "CNPG_STORAGE_MANAGER_KUBELET_ADDRESS_TYPES",
        value_name = "TYPES",
        value_delimiter = ','
    )]
    pub kubelet_address_types: Option<Vec<String>>,
    /// Resizes at a time, in all Clusters together [default: 10].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_FLEET_CONCURRENT_RESIZES", value_name = "NUMBER")]
    pub fleet_concurrent_resizes: Option<u32>,
    /// When so many percent of all managed Clusters grew within an hour, all but rescues stop [default: 20].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_FLEET_RUNAWAY_SHARE", value_name = "PERCENT")]
    pub fleet_runaway_share: Option<u32>,
    /// But not before so many did [default: 10].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_FLEET_RUNAWAY_MINIMUM", value_name = "NUMBER")]
    pub fleet_runaway_minimum: Option<u32>,
    /// How long a kubelet may take to answer [default: 5s].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_KUBELET_TIMEOUT", value_name = "TIME")]
    pub kubelet_timeout: Option<Span>,
    /// Kubelets that are asked at a time [default: 32].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_KUBELET_CONCURRENCY", value_name = "N")]
    pub kubelet_concurrency: Option<u16>,
    /// Whether primaries are asked for the health of their WAL [default: true].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_INSTANCES_ENABLED", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub instances_enabled: Option<bool>,
    /// The port of CloudNativePG's instance managers [default: 8000].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_INSTANCES_PORT", value_name = "PORT")]
    pub instances_port: Option<u16>,
    /// Whether the exporters of instances that could fill are asked what their volumes hold between two samples of a kubelet [default: false].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_INSTANCES_EXPORTER", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub instances_exporter: Option<bool>,
    /// The port of the exporters of instances [default: 9187].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_INSTANCES_EXPORTER_PORT", value_name = "PORT")]
    pub instances_exporter_port: Option<u16>,
    /// How long an instance may take to answer [default: 5s].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_INSTANCES_TIMEOUT", value_name = "TIME")]
    pub instances_timeout: Option<Span>,
    /// Instances that are asked at a time [default: 32].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_INSTANCES_CONCURRENCY", value_name = "N")]
    pub instances_concurrency: Option<u16>,
    /// Where nothing sets a ceiling: this times the size that the Cluster asks for; 0: none [default: 10].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_DEFAULT_CEILING_FACTOR", value_name = "N")]
    pub default_ceiling_factor: Option<u32>,
    /// A resize without progress for so long is stuck [default: 10m].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_STUCK_AFTER", value_name = "TIME")]
    pub stuck_after: Option<Span>,
    /// How long StorageEvents are kept after they ended, at least 24h [default: 30d].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_RETENTION_STORAGE_EVENTS", value_name = "TIME")]
    pub retention_storage_events: Option<Span>,
    /// For which Clusters a PostgresStorage is created [default: managed].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_CREATE_POSTGRES_STORAGE", value_name = "WHICH", value_enum)]
    pub create_postgres_storage: Option<CreatePostgresStorage>,
    /// Whether cnpg_disk_* metrics are exported [default: true].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_DISK_METRICS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub disk_metrics: Option<bool>,
    /// Whether kubelets are asked to look at once where a growth is urgent; needs patch on pods [default: true].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_NUDGE", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub nudge: Option<bool>,
    /// Whether the log of a container that ended is read, to tell whether a full disk ended it; needs get on pods/log [default: false].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_POD_LOGS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub pod_logs: Option<bool>,
    /// Whether WAL is relieved where policies want it (walCleanup); needs get and create on pods/exec [default: false].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_WAL_RELIEF", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub wal_relief: Option<bool>,
    /// Whether a lease decides which replica leads [default: true].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_LEADER_ELECT", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    pub leader_elect: Option<bool>,
    /// How long others wait for a silent leader [default: 15s].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_LEASE_DURATION", value_name = "TIME")]
    pub lease_duration: Option<Span>,
    /// A leader that cannot renew for so long stops [default: 10s].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_RENEW_DEADLINE", value_name = "TIME")]
    pub renew_deadline: Option<Span>,
    /// Pause between tries for the lease [default: 2s].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_RETRY_PERIOD", value_name = "TIME")]
    pub retry_period: Option<Span>,
    /// Namespace of the lease [default: the pod's own, or that of the kubeconfig].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_LEASE_NAMESPACE", value_name = "NAME")]
    pub lease_namespace: Option<String>,
    /// Name of the lease.
    #[arg(
        long,
        env = "CNPG_STORAGE_MANAGER_LEASE_NAME",
        value_name = "NAME",
        default_value = "cnpg-storage-manager"
    )]
    pub lease_name: String,
    /// Where /metrics, /healthz and /readyz are served [default: 0.0.0.0:8080].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_ADMIN_ADDRESS", value_name = "IP:PORT")]
    pub admin_address: Option<SocketAddr>,
    #[command(flatten)]
    pub webhook: WebhookArgs,
    /// Least level that is logged: debug, info, warn or error [default: info].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Form of the log: json or text [default: json].
    #[arg(long, env = "CNPG_STORAGE_MANAGER_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,
}
