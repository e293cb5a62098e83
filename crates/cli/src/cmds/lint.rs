//! `lint`: what is wrong in files, and what is valid and seldom meant.

use std::fmt::Write as _;

use csm_gather::offline::{self, File, Finding, Severity};
use jiff::Timestamp;
use serde::Serialize;

use super::Answer;
use super::plan::INVALID;
use crate::args::LintFormat;
use crate::error::Error;

/// What is wrong in files. `now` is the time where no Scenario says another.
///
/// # Errors
/// Where the answer cannot be written in the form that was asked for.
pub fn lint(files: &[File], format: LintFormat, strict: bool, now: Timestamp) -> Result<Answer, Error> {
    let offline::Linted { findings, notes } = offline::lint(files, now);
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let text = match format {
        LintFormat::Text => findings.iter().map(line).collect(),
        LintFormat::Github => findings.iter().map(annotation).collect(),
        LintFormat::Json => {
            let items: Vec<Item<'_>> = findings.iter().map(Item::of).collect();
            let text = serde_json::to_string_pretty(&items).map_err(|error| Error::Format("JSON", Box::new(error)))?;
            text + "\n"
        }
    };
    let bad = errors > 0 || (strict && warnings > 0);
    Ok(Answer {
        text,
        notes,
        problems: Vec::new(),
        summary: Some(format!(
            "{}, {} in {}",
            counted(errors, "error"),
            counted(warnings, "warning"),
            counted(files.len(), "file")
        )),
        status: if bad { INVALID } else { 0 },
    })
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// The object and what is wrong with it.
fn message(finding: &Finding) -> String {
    match &finding.object {
        Some(object) => format!("{object}: {}", finding.message),
        None => finding.message.clone(),
    }
}

/// As compilers have it: `file:line:column: error: message`.
fn line(finding: &Finding) -> String {
    let mut text = finding.file.clone();
    if let Some((line, column)) = finding.place {
        let _ = write!(text, ":{line}:{column}");
    }
    // A message is one line, whatever a file has in its texts.
    let message = message(finding).replace(['\r', '\n'], " ");
    let _ = writeln!(text, ": {}: {message}", word(finding.severity));
    text
}

/// A workflow command of GitHub Actions: `::error file=…,line=…,col=…::message`.
fn annotation(finding: &Finding) -> String {
    let mut text = format!("::{} file={}", word(finding.severity), property(&finding.file));
    if let Some((line, column)) = finding.place {
        let _ = write!(text, ",line={line},col={column}");
    }
    let _ = writeln!(text, "::{}", data(&message(finding)));
    text
}

/// A message of a workflow command, escaped as `@actions/core` does (toolkit, `command.ts`).
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of one, which ends at a comma or a colon.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[derive(Serialize)]
struct Item<'a> {
    file: &'a str,
    line: Option<u64>,
    column: Option<u64>,
    severity: &'static str,
    object: Option<&'a str>,
    field: &'a str,
    message: &'a str,
}

impl<'a> Item<'a> {
    fn of(finding: &'a Finding) -> Self {
        let Finding {
            file,
            place,
            severity,
            object,
            field,
            message,
        } = finding;
        Self {
            file,
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            severity: word(*severity),
            object: object.as_deref(),
            field,
            message,
        }
    }
}
