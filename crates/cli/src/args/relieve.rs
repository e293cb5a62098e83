//! The arguments of `relieve-wal`.

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args};
use csm_core::schedule::Duration;

use super::{Common, DryRun};

/// The arguments of `relieve-wal`.
#[derive(Clone, Debug, Args)]
pub struct RelieveWal {
    /// Name of a CNPG Cluster.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub cluster: String,
    /// The instance whose WAL is looked at: each has its own [default: the primary].
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub instance: Option<String>,
    /// Run CHECKPOINT, and remove what is proved to be needed by nobody. Without, it lists what could go, and changes nothing.
    #[arg(long)]
    pub yes: bool,
    /// Wait until it has ended, and show what came of it; --wait=false only records it.
    #[arg(
        long,
        value_name = "true|false",
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    pub wait: bool,
    /// Wait at most so long; it goes on after that.
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub timeout: Duration,
    /// Without a value as without --yes: list, and change nothing. With one, only show what would be recorded: client does not send it,
    /// server has it checked and not kept.
    #[arg(
        long,
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        value_name = "none|client|server",
        hide_possible_values = true
    )]
    pub dry_run: Option<Option<DryRun>>,
    #[command(flatten)]
    pub common: Common,
}

impl RelieveWal {
    /// What becomes of the record.
    ///
    /// # Errors
    /// Where it is both to list only and to act.
    pub fn write(&self) -> Result<DryRun, String> {
        match self.dry_run {
            Some(None) if self.yes => Err("--yes acts, and --dry-run lists and changes nothing: leave one of them out".to_owned()),
            dry_run => Ok(dry_run.flatten().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Command};

    fn parse(line: &str) -> Box<RelieveWal> {
        let words = ["kubectl-cnpg-storage", "relieve-wal", "orders"];
        match Arguments::try_parse_from(words.into_iter().chain(line.split_whitespace())) {
            Ok(Arguments {
                command: Command::RelieveWal(relieve),
            }) => relieve,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn it_lists_unless_it_is_to_act_and_waits_unless_it_is_not_to() {
        let (plain, written) = (parse(""), Ok(DryRun::None));
        assert!(plain.wait && !plain.yes && plain.instance.is_none() && plain.write() == written);
        assert!(!parse("--wait=false").wait && parse("--wait").wait);
        assert_eq!(parse("--dry-run").write(), written, "a record of a list");
        assert_eq!(parse("--yes --dry-run=server").write(), Ok(DryRun::Server));
        assert_eq!(parse("--yes --dry-run=none").write(), written);
        assert!(parse("--yes --dry-run").write().is_err());
    }
}
