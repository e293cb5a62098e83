//! The arguments.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;

const EXIT_STATUS: &str = "Exit status:
  0  done
  1  an error, which is on standard error
  2  wrong usage, or input that is not valid
  3  with --check: something needs a person";

const EXIT_STATUS_OF_FILES: &str = "Exit status:
  0  done
  1  an error, such as a file that cannot be read
  2  wrong usage; files that are not valid, then without decisions; or settings that are not, which hold their volumes";

const EXIT_STATUS_OF_LINT: &str = "Exit status:
  0  no errors; with --strict, no warnings either
  1  a file cannot be read
  2  wrong usage; an error in the files; with --strict, a warning

Each line of text is FILE:LINE:COLUMN: error or warning: OBJECT: what is wrong. How many there are is on standard error.";

/// Watches and explains the storage of PostgreSQL clusters that CNPG Storage Manager keeps from filling up.
///
/// It reads what is in the API server, or in files, and changes nothing.
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
            ("frobnicate", ErrorKind::InvalidSubcommand),
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
