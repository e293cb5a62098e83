//! The commands of the runbooks are commands of ours.
#![allow(clippy::disallowed_methods)] // reads the documents

use std::path::Path;

use clap::Parser as _;
use clap::error::ErrorKind;
use kubectl_cnpg_storage::args::Arguments;

const COMMAND: &str = "kubectl cnpg storage ";

/// What a shell would make of the rest of a line, as far as the runbooks need one.
fn arguments(rest: &str) -> Vec<String> {
    let end = [" | ", " #", " && ", "`", ";"].iter().filter_map(|end| rest.find(end)).min();
    let command = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
    let named = command.replace("\"$CLUSTER\"", "orders").replace("\"$NS\"", "shop");
    named.split_whitespace().map(str::to_owned).collect()
}

fn parse(arguments: &[String]) -> Result<Arguments, clap::Error> {
    let name = ["kubectl-cnpg-storage".to_owned()];
    Arguments::try_parse_from(name.iter().chain(arguments))
}

#[test]
fn the_commands_of_the_runbooks_parse() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runbooks");
    let (mut pasted, mut named) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut fenced = false;
        for line in text.lines() {
            fenced ^= line.trim_start().starts_with("```");
            for rest in line.split(COMMAND).skip(1) {
                let arguments = arguments(rest);
                let error = parse(&arguments).err().map(|error| error.kind());
                if fenced {
                    pasted += 1;
                    assert_eq!(error, None, "{}: {line}", path.display());
                } else {
                    // In a sentence it may be no more than the name of the command.
                    named += 1;
                    let unknown = matches!(
                        error,
                        Some(ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument | ErrorKind::InvalidValue)
                    );
                    assert!(!unknown, "{}: {line}", path.display());
                }
            }
        }
    }
    assert!(pasted >= 20 && named >= 3, "{pasted} commands to paste, {named} in sentences");
}
