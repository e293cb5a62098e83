//! The commands, one a file. Each turns what was read into an answer; reading is done here.

mod asked;
mod disk;
mod doctor;
mod expand;
mod explain;
mod fleet;
mod levers;
mod lint;
mod plan;
mod relieve;
mod simulate;
mod status;

use jiff::Timestamp;
use serde::Serialize;

use csm_gather::offline::{self, Offline};

use crate::args::{Arguments, Command, Common, Files, Format};
use crate::connect::connect;
use crate::error::Error;
use crate::read::{self, Facts, Manager};
use crate::render::{Page, ago};
use crate::trace::Progress;

pub use asked::whether_it_runs;
pub use disk::{disk, disk_of_one, disk_table};
pub use doctor::doctor;
pub use explain::{explain, explain_file};
pub use lint::lint;
pub use plan::plan;
pub use simulate::simulate;
pub use status::{one, table};

/// The status of a command that found something that needs a person, with `--check`.
const NEEDS_A_PERSON: u8 = 3;

/// What a command says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// For standard output.
    pub text: String,
    /// For standard error: what limits the answer.
    pub notes: Vec<String>,
    /// For standard error: what is wrong with the input.
    pub problems: Vec<String>,
    /// For standard error, the last line: what it all comes to.
    pub summary: Option<String>,
    /// The exit status.
    pub status: u8,
}

/// In which form, when, and how wide.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The form.
    pub format: Format,
    /// The time.
    pub now: Timestamp,
    /// Columns of the terminal, where there is one.
    pub width: Option<u16>,
}

impl View {
    fn of(common: &Common) -> Self {
        Self::at(common.output, Timestamp::now())
    }

    fn at(format: Format, now: Timestamp) -> Self {
        Self {
            format,
            now,
            // None where standard output is no terminal.
            width: comfy_table::Table::new().width(),
        }
    }

    fn page(&self) -> Page {
        Page {
            now: self.now,
            width: self.width,
            wide: self.format == Format::Wide,
        }
    }

    /// The answer in the form that was asked for.
    fn write<T: Serialize>(&self, data: &T, people: impl FnOnce(&Page) -> String) -> Result<String, Error> {
        match self.format {
            Format::Table | Format::Wide => Ok(people(&self.page())),
            Format::Json => serde_json::to_string_pretty(data)
                .map(|text| text + "\n")
                .map_err(|error| Error::Format("JSON", Box::new(error))),
            Format::Yaml => serde_saphyr::to_string(data).map_err(|error| Error::Format("YAML", Box::new(error))),
        }
    }
}

/// Runs a command.
///
/// # Errors
/// See [`Error`].
pub async fn run(arguments: &Arguments) -> Result<Answer, Error> {
    match &arguments.command {
        Command::Status(status) => {
            let connection = connect(&status.common).await?;
            let lease = &status.common.lease_name;
            let view = View::of(&status.common);
            if let Some(name) = &status.cluster {
                let (facts, details) = Box::pin(read::cluster(&connection, name, lease, view.now)).await?;
                return one(&facts, &details, status.check, &view);
            }
            let scope = fleet::scope(status.all_namespaces, &connection);
            let facts = read::fleet(&connection, &scope, lease, view.now).await?;
            table(&facts, &scope, status.check, &view)
        }
        Command::Doctor(arguments) => {
            let common = &arguments.common;
            let connection = connect(common).await?;
            let view = View::of(common);
            let (facts, details) = Box::pin(read::cluster(&connection, &arguments.cluster, &common.lease_name, view.now)).await?;
            let surroundings = Box::pin(read::surroundings(&connection, arguments.service_account.parts())).await?;
            doctor(&facts, &details, &surroundings, arguments.check, &view)
        }
        Command::Plan(arguments) => {
            let offline = offline(&arguments.files)?;
            plan(&offline, &View::at(arguments.output, offline.now))
        }
        Command::Lint(arguments) => {
            let files = read::files(&arguments.files)?;
            lint(&files, arguments.output, arguments.strict, Timestamp::now())
        }
        Command::Simulate(arguments) => simulate(arguments, &mut Progress::on_terminal()),
        Command::Pause(arguments) => levers::pause(arguments).await,
        Command::Resume(arguments) => levers::resume(arguments).await,
        Command::ResetBreaker(arguments) => levers::reset_breaker(arguments).await,
        Command::Expand(arguments) => Box::pin(expand::expand(arguments)).await,
        Command::RelieveWal(arguments) => Box::pin(relieve::relieve_wal(arguments)).await,
        Command::Explain(arguments) if !arguments.files.files.is_empty() => {
            let offline = offline(&arguments.files)?;
            let common = &arguments.common;
            let view = View::at(common.output, offline.now);
            explain_file(&offline, common.namespace.as_deref(), &arguments.cluster, &view)
        }
        Command::Explain(arguments) => {
            let connection = connect(&arguments.common).await?;
            let view = View::of(&arguments.common);
            let lease = &arguments.common.lease_name;
            let (facts, details) = Box::pin(read::cluster(&connection, &arguments.cluster, lease, view.now)).await?;
            explain(&facts, &details, &view)
        }
    }
}

/// What files come to.
fn offline(files: &Files) -> Result<Offline, Error> {
    let Files { files, stats, now } = files;
    let (files, stats) = (read::files(files)?, read::files(stats)?);
    offline::read(&files, &stats, *now, Timestamp::now()).map_err(Error::Input)
}

/// What limits every answer: a manager that is away, and what could not be read.
fn notes(facts: &Facts, now: Timestamp) -> Vec<String> {
    let mut notes = Vec::new();
    let away = "nothing is decided or grown until it is back, and what is shown is from before";
    match &facts.manager {
        Manager::Unknown | Manager::NotAsked | Manager::Running { .. } => {}
        Manager::Stopped { renewed } => {
            let since = renewed.map_or_else(String::new, |at| format!(" for {}", ago(at, now).trim_end_matches(" ago")));
            notes.push(format!("the manager has not renewed its lease{since}: {away}"));
        }
        Manager::NoLease { name } => notes.push(format!("no manager runs, since there is no lease {name} (--lease-name): {away}")),
    }
    notes.extend(facts.gaps.iter().map(|gap| format!("{}: {}; {}", gap.what, gap.why, gap.means)));
    notes
}

fn exit_status(check: bool, needs_person: bool) -> u8 {
    if check && needs_person { NEEDS_A_PERSON } else { 0 }
}
