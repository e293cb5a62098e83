//! The arguments.

mod disk;
mod levers;
mod relieve;

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use csm_core::schedule::Duration;
use csm_core::world::VolumeKey;
use csm_units::Bytes;
use jiff::Timestamp;

use crate::trace::Rate;
pub use disk::{DiskArguments, DiskCommand, Invocation};
pub use levers::{DryRun, Expand, Pause, ResetBreaker, Resume, Until, Write};
pub use relieve::RelieveWal;

const EXIT_STATUS: &str = "Exit status:
  0  done
  1  an error, which is on standard error
  2  wrong usage, or input that is not valid
  3  with --check: something needs a person";

const EXIT_STATUS_OF_LEVERS: &str = "Exit status:
  0  done, or nothing was to be done
  1  an error, or what was asked for is refused, or failed
  2  wrong usage";

const EXIT_STATUS_OF_FILES: &str = "Exit status:
  0  done
  1  an error, such as a file that cannot be read
  2  wrong usage; files that are not valid, then without decisions; or settings that are not, which hold their volumes";

const MORE_ON_SIMULATE: &str = "Traces are CSV, with one of these headers, or Prometheus' answer to a range query:
  time,used                   for one volume; time as 2026-03-01T12:00:00Z or in seconds since 1970, used as 8600Mi or in bytes
  time,cluster,volume,used    for many; cluster as NAMESPACE/NAME, volume as data, wal or tablespace/NAME; perhaps instance, too
  time,namespace,pvc,used     for many, by the names of PVCs
  curl 'http://prometheus:9090/api/v1/query_range?query=kubelet_volume_stats_used_bytes&start=...&end=...&step=60' > trace.json
The samples of a volume rise in time. Of two of one moment the larger counts. After a gap of three usual steps (at least 5 min)
figures are stale, as they would be live. What is used beyond the size of a volume is an outage until it has grown.

Examples:
  A volume of 10Gi that fills by 1 GiB an hour, with nothing but a policy:
    kubectl cnpg storage simulate -f policy.yaml --size 10Gi --fill 1Gi/h --for 24h
  What a policy would have done last month:
    kubectl cnpg storage simulate -f policy.yaml -f clusters.yaml --trace trace.json --svg month.svg
  Two policies side by side:
    kubectl cnpg storage simulate -f clusters.yaml -f policy.yaml --against other.yaml --trace trace.csv

Exit status:
  0  done
  1  an error, such as a file that cannot be read
  2  wrong usage; files or a trace that are not valid, then without an answer; or settings that are not, which hold their volumes";

const EXIT_STATUS_OF_LINT: &str = "Exit status:
  0  no errors; with --strict, no warnings either
  1  a file cannot be read
  2  wrong usage; an error in the files; with --strict, a warning

Each line of text is FILE:LINE:COLUMN: error or warning: OBJECT: what is wrong. How many there are is on standard error.";

/// Watches and explains the storage of PostgreSQL clusters that CNPG Storage Manager keeps from filling up.
///
/// It reads what is in the API server, or in files, and changes nothing but by the levers pause, resume, reset-breaker,
/// expand and relieve-wal.
#[derive(Clone, Debug, Parser)]
#[command(name = "kubectl-cnpg-storage", bin_name = "kubectl cnpg storage", version, after_help = EXIT_STATUS)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// All clusters, the most endangered first; or one cluster in detail.
    #[command(after_help = EXIT_STATUS)]
    Status(Status),
    /// What the planner would do now with each volume of a cluster, and why not more.
    ///
    /// Shows each gate with what it looks at, and each setting with the object that it comes from.
    #[command(after_help = EXIT_STATUS)]
    Explain(Explain),
    /// What is wrong around a cluster, or would go wrong, and how to mend it.
    ///
    /// Looks at the manager (whether it runs, what it may do, whether it sees the volumes, its webhooks), the policies that apply,
    /// storage classes, quotas, ceilings, and PostgreSQL's settings on WAL against the volume that holds it. Changes nothing.
    #[command(after_help = EXIT_STATUS)]
    Doctor(Doctor),
    /// What the planner would do with the clusters that files describe. Needs no cluster.
    ///
    /// Files are Kubernetes manifests (Clusters, PVCs, Pods, StorageClasses, Namespaces, policies, PostgresStorages,
    /// StorageEvents), with kubelets' summaries for how full volumes are; or one Scenario, which describes clusters in short,
    /// with policies to try on them.
    #[command(after_help = EXIT_STATUS_OF_FILES)]
    Plan(Plan),
    /// What is wrong in policies, and what is valid and seldom meant, with line and column. Needs no cluster.
    ///
    /// Each StoragePolicy, ClusterStoragePolicy and PostgresStorage is looked at by itself, as the API server would, and as
    /// the manager would. Where the files have Clusters or a Scenario as well (with PVCs and StorageClasses, better), so is
    /// what they come to together: policies that conflict, limits below what volumes have, settings that have no effect.
    #[command(after_help = EXIT_STATUS_OF_LINT)]
    Lint(Lint),
    /// What policies would have done while volumes filled. Needs no cluster.
    ///
    /// Runs the manager's own planner over usage figures, of a trace or of volumes that fill evenly: which growths there
    /// would have been and why, outages, what held growth, and what the volumes cost. Clusters are those of the files, as for
    /// plan; where these have but policies, one is made up that they select.
    ///
    /// Simpler than life: the manager sees the samples and nothing in between; each growth succeeds after --time-to-grow, one
    /// PVC after the other; without instances in the trace, all of a volume use the same; WAL archiving and slots stay as the
    /// files have them.
    #[command(after_long_help = MORE_ON_SIMULATE, after_help = "Traces, examples and the exit status: --help")]
    Simulate(Box<Simulate>),
    /// Stops all growth of a cluster, emergencies and rescues included, until resume or for a time.
    ///
    /// Metrics, alerts and status go on. PVCs that were patched already go on to their end. It sets the annotations
    /// storage.cnpg.supporttools.io/paused, pause-until and pause-reason of the Cluster.
    #[command(after_help = EXIT_STATUS_OF_LEVERS)]
    Pause(Pause),
    /// Ends a pause.
    #[command(after_help = EXIT_STATUS_OF_LEVERS)]
    Resume(Resume),
    /// Closes a circuit breaker that opened after growths had failed in a row.
    ///
    /// It sets the annotation storage.cnpg.supporttools.io/reset-circuit-breaker; the manager closes the breaker, records it as a
    /// StorageEvent and removes the annotation.
    #[command(after_help = EXIT_STATUS_OF_LEVERS)]
    ResetBreaker(ResetBreaker),
    /// Grows a volume of a cluster to a size now.
    ///
    /// It writes a StorageEvent with the trigger manual, and the manager does the work: replicas first, each filesystem verified.
    /// It goes ahead of the cooldown, the maintenance window, the budget of the day (in which it counts), the limit of the fleet
    /// and WAL safety; not of the ceiling, a pause, fencing, a dry run, an open circuit breaker or what the storage cannot do.
    /// Volumes never shrink again.
    #[command(after_help = EXIT_STATUS_OF_LEVERS)]
    Expand(Box<Expand>),
    /// Who holds the WAL of an instance and what could go; with --yes, frees what nobody needs.
    ///
    /// It writes a StorageEvent with the trigger manual, and the manager does the work: it names who holds WAL, runs CHECKPOINT, proves
    /// which segments nobody needs, and removes those. Without --yes it is a dry run, which lists and changes nothing. It goes ahead of
    /// the cooldown; not of a pause, fencing, hibernation, an open circuit breaker, walCleanup.enabled: false or, with --yes, a dry run policy.
    /// The manager needs its setting walRelief and deploy/wal-cleanup.yaml for it, and says so.
    #[command(after_help = EXIT_STATUS_OF_LEVERS)]
    RelieveWal(Box<RelieveWal>),
}

/// The arguments of `status`.
#[derive(Clone, Debug, Args)]
pub struct Status {
    /// Name of a CNPG Cluster; all of them without.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub cluster: Option<String>,
    /// Clusters of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "cluster")]
    pub all_namespaces: bool,
    /// End with status 3 when something needs a person.
    #[arg(long)]
    pub check: bool,
    #[command(flatten)]
    pub common: Common,
}

/// The arguments of `doctor`.
#[derive(Clone, Debug, Args)]
pub struct Doctor {
    /// Name of a CNPG Cluster.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub cluster: String,
    /// End with status 3 when there are problems or warnings.
    #[arg(long)]
    pub check: bool,
    /// The manager's service account, whose permissions are looked at.
    #[arg(long, value_name = "NAMESPACE/NAME", default_value = "cnpg-storage-manager/cnpg-storage-manager")]
    pub service_account: ServiceAccountName,
    #[command(flatten)]
    pub common: Common,
}

/// A service account, NAMESPACE/NAME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountName {
    namespace: String,
    name: String,
}

impl ServiceAccountName {
    /// Its namespace and its name.
    #[must_use]
    pub fn parts(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

impl FromStr for ServiceAccountName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => Ok(Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err("write NAMESPACE/NAME, such as cnpg-storage-manager/cnpg-storage-manager"),
        }
    }
}

/// The arguments of `explain`.
#[derive(Clone, Debug, Args)]
#[command(mut_arg("files", |files| files.conflicts_with_all(["context", "kubeconfig"])))]
pub struct Explain {
    /// Name of a CNPG Cluster.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub cluster: String,
    #[command(flatten)]
    pub files: Files,
    #[command(flatten)]
    pub common: Common,
}

/// The arguments of `plan`.
#[derive(Clone, Debug, Args)]
#[command(mut_arg("files", |files| files.required(true)))]
pub struct Plan {
    #[command(flatten)]
    pub files: Files,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// The arguments of `simulate`.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("usage").required(true).args(["trace", "fill"]))]
pub struct Simulate {
    /// Policies, and Clusters or a Scenario: files, folders (not those below them), or - for standard input.
    #[arg(short, long = "filename", value_name = "FILE", num_args = 1.., action = ArgAction::Append, required = true)]
    pub files: Vec<PathBuf>,
    /// A second set of policies to compare with, for the same Clusters unless these files have their own.
    #[arg(long, value_name = "FILE", num_args = 1.., action = ArgAction::Append)]
    pub against: Vec<PathBuf>,
    /// Answers of kubelets' /stats/summary, for the size of filesystems.
    #[arg(long, value_name = "FILE", num_args = 1.., action = ArgAction::Append)]
    pub stats: Vec<PathBuf>,
    /// Usage over time: CSV, or Prometheus' answer to a range query; - for standard input.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Instead of a trace: volumes that fill evenly, such as 1Gi/h, 100Mi/m or 20Gi/d.
    #[arg(long, value_name = "RATE")]
    pub fill: Option<Rate>,
    /// How long they fill [default: 24h].
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "trace")]
    pub lasts: Option<Duration>,
    /// What is used in the beginning [default: as the files have it, else 0].
    #[arg(long, value_name = "SIZE", conflicts_with = "trace")]
    pub start_used: Option<Bytes>,
    /// When it begins [default: as the files have it, else 2026-01-01T00:00:00Z].
    #[arg(long, value_name = "TIME", conflicts_with = "trace")]
    pub start: Option<Timestamp>,
    /// Which volume fills: data, wal or tablespace/NAME [default: data].
    #[arg(long, value_name = "VOLUME", conflicts_with = "trace")]
    pub volume: Option<VolumeKey>,
    /// The size of each volume of a made-up Cluster, where the files have none.
    #[arg(long, value_name = "SIZE")]
    pub size: Option<Bytes>,
    /// How many instances a made-up Cluster has [default: 3, or those that the trace names].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub instances: Option<u32>,
    /// From the patch of a PVC to its larger filesystem.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub time_to_grow: Duration,
    /// Writes the plots of all volumes to a file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// The arguments of `lint`.
#[derive(Clone, Debug, Args)]
pub struct Lint {
    /// Manifests or a Scenario, in YAML or JSON: files, folders (not those below them), or - for standard input.
    #[arg(short, long = "filename", value_name = "FILE", num_args = 1.., action = ArgAction::Append, required = true)]
    pub files: Vec<PathBuf>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: LintFormat,
    /// End with status 2 on warnings, too.
    #[arg(long)]
    pub strict: bool,
}

/// Form of the output of `lint`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LintFormat {
    /// For people and editors: a line each.
    #[default]
    Text,
    /// For programs: a list.
    Json,
    /// For GitHub Actions: annotations of the files.
    Github,
}

/// What a command takes that can do without a cluster.
#[derive(Clone, Debug, Args)]
pub struct Files {
    /// Manifests or a Scenario, in YAML or JSON: files, folders (not those below them), or - for standard input.
    #[arg(short, long = "filename", value_name = "FILE", num_args = 1.., action = ArgAction::Append)]
    pub files: Vec<PathBuf>,
    /// Answers of kubelets' /stats/summary (kubectl get --raw /api/v1/nodes/NODE/proxy/stats/summary), of any nodes and times.
    #[arg(long, value_name = "FILE", num_args = 1.., action = ArgAction::Append, requires = "files")]
    pub stats: Vec<PathBuf>,
    /// The time, as in 2026-03-01T12:00:00Z [default: that of the Scenario, or of the newest figures].
    #[arg(long, value_name = "TIME", requires = "files")]
    pub now: Option<Timestamp>,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Namespace [default: that of the context].
    #[arg(short, long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub namespace: Option<String>,
    /// Context of the kubeconfig [default: its current one].
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub context: Option<String>,
    /// The kubeconfig [default: $KUBECONFIG, or ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Name of the manager's lease, which tells whether it runs; "" where it runs without leader election.
    #[arg(
        long,
        value_name = "NAME",
        env = "CNPG_STORAGE_MANAGER_LEASE_NAME",
        default_value = "cnpg-storage-manager"
    )]
    pub lease_name: String,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For people, with more columns.
    Wide,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("kubectl-cnpg-storage").chain(line.split_whitespace()))
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn status_takes_a_cluster_or_all_namespaces() {
        let Ok(Arguments {
            command: Command::Status(status),
        }) = parse("status orders -n shop -o wide --context prod --kubeconfig /tmp/k --check")
        else {
            panic!("does not parse");
        };
        assert_eq!(status.cluster.as_deref(), Some("orders"));
        assert!(status.check && !status.all_namespaces);
        assert_eq!(status.common.namespace.as_deref(), Some("shop"));
        assert_eq!(status.common.context.as_deref(), Some("prod"));
        assert_eq!(status.common.kubeconfig, Some(PathBuf::from("/tmp/k")));
        assert_eq!(status.common.output, Format::Wide);
        assert!(parse("status -A -o yaml").is_ok());
    }

    #[test]
    fn wrong_usage_ends_with_2() {
        let wrong = [
            ("status orders -A", ErrorKind::ArgumentConflict),
            ("status -o table2", ErrorKind::InvalidValue),
            ("status a b", ErrorKind::UnknownArgument),
            ("explain", ErrorKind::MissingRequiredArgument),
            ("explain orders --check", ErrorKind::UnknownArgument),
            ("simulate -f a.yaml", ErrorKind::MissingRequiredArgument),
            ("simulate -f a.yaml --trace t.csv --fill 1Gi/h", ErrorKind::ArgumentConflict),
            ("simulate -f a.yaml --trace t.csv --for 24h", ErrorKind::ArgumentConflict),
            ("simulate -f a.yaml --fill 1Gi", ErrorKind::ValueValidation),
            ("simulate -f a.yaml --fill 1Gi/h --size much", ErrorKind::ValueValidation),
            ("simulate -f a.yaml --fill 1Gi/h --instances 0", ErrorKind::ValueValidation),
            ("frobnicate", ErrorKind::InvalidSubcommand),
            ("pause", ErrorKind::MissingRequiredArgument),
            ("pause orders --until soon", ErrorKind::ValueValidation),
            ("resume orders --dry-run maybe", ErrorKind::InvalidValue),
            ("reset-breaker", ErrorKind::MissingRequiredArgument),
            ("reset-breaker orders --global", ErrorKind::ArgumentConflict),
            ("expand orders --to 50Gi", ErrorKind::MissingRequiredArgument),
            ("expand orders --volume disk --to 50Gi", ErrorKind::ValueValidation),
            ("expand orders --volume data --to much", ErrorKind::ValueValidation),
            (
                "expand orders --volume data --to 50Gi --timeout 1m",
                ErrorKind::MissingRequiredArgument,
            ),
            ("relieve-wal", ErrorKind::MissingRequiredArgument),
            ("relieve-wal orders --wait=maybe", ErrorKind::InvalidValue),
            ("relieve-wal orders --dry-run=maybe", ErrorKind::InvalidValue),
            ("relieve-wal orders --timeout soon", ErrorKind::ValueValidation),
            ("", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        ];
        for (line, kind) in wrong {
            let error = parse(line).expect_err(line);
            assert_eq!((error.kind(), error.exit_code()), (kind, 2), "{line}");
        }
        let empty = Arguments::try_parse_from(["kubectl-cnpg-storage", "status", ""]).expect_err("an empty name");
        assert_eq!(empty.exit_code(), 2);
    }
}
