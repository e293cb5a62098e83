//! The arguments of `kubectl cnpg disk`, and which of the two names the program was called by.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{Parser, Subcommand};

use super::{Arguments, EXIT_STATUS, Status};

/// The second name of the program: kubectl finds `kubectl cnpg disk` by it.
const DISK: &str = "kubectl-cnpg-disk";

/// Shows the disks of PostgreSQL clusters that CNPG Storage Manager watches.
///
/// It reads what is in the API server, and changes nothing.
#[derive(Clone, Debug, Parser)]
#[command(name = DISK, bin_name = "kubectl cnpg disk", version, after_help = EXIT_STATUS)]
pub struct DiskArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: DiskCommand,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum DiskCommand {
    /// The filesystems of a cluster, its WAL health and its newest resizes; or all clusters, the most endangered first.
    #[command(after_help = EXIT_STATUS)]
    Status(Status),
}

/// What the program was called as, and with what.
#[derive(Clone, Debug)]
pub enum Invocation {
    /// `kubectl cnpg storage`.
    Storage(Box<Arguments>),
    /// `kubectl cnpg disk`.
    Disk(DiskArguments),
}

impl Invocation {
    /// From the program's name, which comes first, and its arguments.
    ///
    /// # Errors
    /// Wrong usage, or a question for help or the version.
    pub fn parse_from<T: Into<OsString>>(line: impl IntoIterator<Item = T>) -> Result<Self, clap::Error> {
        let line: Vec<OsString> = line.into_iter().map(Into::into).collect();
        // Where it ends with .exe, that is no part of the name, and may be in capitals.
        let name = line
            .first()
            .map(Path::new)
            .and_then(Path::file_stem)
            .unwrap_or_else(|| OsStr::new(""));
        if name.eq_ignore_ascii_case(DISK) {
            DiskArguments::try_parse_from(line).map(Self::Disk)
        } else {
            Arguments::try_parse_from(line).map(|arguments| Self::Storage(Box::new(arguments)))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Invocation, clap::Error> {
        Invocation::parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        DiskArguments::command().debug_assert();
    }

    #[test]
    fn the_name_decides() {
        for name in [
            "kubectl-cnpg-disk",
            "/usr/local/bin/kubectl-cnpg-disk",
            "kubectl-cnpg-disk.exe",
            "KUBECTL-CNPG-DISK.EXE",
        ] {
            let Ok(Invocation::Disk(DiskArguments {
                command: DiskCommand::Status(status),
            })) = parse(&format!("{name} status orders -n shop --check"))
            else {
                panic!("{name} does not parse");
            };
            assert_eq!((status.cluster.as_deref(), status.check), (Some("orders"), true));
        }
        for name in ["kubectl-cnpg-storage", "./kubectl-cnpg-storage", "kubectl-cnpg-disks", "plugin"] {
            assert!(matches!(parse(&format!("{name} status -A")), Ok(Invocation::Storage(_))), "{name}");
        }
    }

    #[test]
    fn each_name_has_its_own_commands() {
        let kind = |line: &str| parse(line).err().map(|error| error.kind());
        assert_eq!(kind("kubectl-cnpg-disk explain orders"), Some(ErrorKind::InvalidSubcommand));
        assert_eq!(kind("kubectl-cnpg-disk status orders -A"), Some(ErrorKind::ArgumentConflict));
        assert_eq!(kind("kubectl-cnpg-disk --version"), Some(ErrorKind::DisplayVersion));
        let help = parse("kubectl-cnpg-disk --help")
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(help.contains("Usage: kubectl cnpg disk <COMMAND>"), "{help}");
        let none: [&str; 0] = [];
        assert!(Invocation::parse_from(none).is_err());
    }
}
