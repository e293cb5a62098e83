//! The end of the log of an instance, read for one thing: that there was no space left on a device, and on which.
//!
//! CloudNativePG's instance manager writes a JSON object a line. PostgreSQL's own lines are `.record` with
//! `.record.sql_state_code == "53100"` and a message; from the second crash on, what it writes before it can log is
//! `.msg` alone (lab.md). Lines that are no JSON count as text.

use std::sync::Arc;

use csm_cnpg::mount;
use csm_core::disk_full::{Log, NoSpace, Place};
use serde::Deserialize;
use serde_json::Value;

/// `disk_full` (PostgreSQL, Appendix A: error codes).
const DISK_FULL: &str = "53100";
/// What the operating system says (ENOSPC). Go writes it in lower case.
const NO_SPACE: &str = "no space left on device";
/// What PostgreSQL calls memory in `/dev/shm` (`dsm_impl.c`).
const SHARED_MEMORY: &str = "shared memory segment";
/// A line is cited as far as this.
const CITED: usize = 200;

/// Files of PGDATA, as they are named below it (PostgreSQL, Database File Layout).
const BELOW_PGDATA: [&str; 9] = [
    "base/",
    "global/",
    "pg_xact/",
    "pg_multixact/",
    "pg_subtrans/",
    "pg_logical/",
    "pg_replslot/",
    "pg_stat",
    "postmaster.pid",
];

#[derive(Deserialize, Default)]
#[serde(default)]
struct Line {
    ts: Value,
    msg: String,
    error: String,
    err: String,
    record: Record,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Record {
    sql_state_code: String,
    message: String,
    detail: String,
}

/// What the last lines of a log say: the last of them that says that there is no space left, and names the place where any
/// does.
#[must_use]
pub fn read(text: &str) -> Log {
    let said = || text.lines().rev().filter_map(no_space);
    let named = said().find(|said| said.place != Place::Unknown);
    named.or_else(|| said().next()).map_or(Log::Silent, Log::NoSpace)
}

fn no_space(line: &str) -> Option<NoSpace> {
    let Line {
        ts,
        msg,
        error,
        err,
        record,
    } = serde_json::from_str(line).unwrap_or_else(|_| Line {
        msg: line.to_owned(),
        ..Line::default()
    });
    let by_code = record.sql_state_code == DISK_FULL;
    let words = [record.message, record.detail, msg, error, err];
    let by_words = words.iter().find(|text| text.to_lowercase().contains(NO_SPACE));
    let text = by_words.or_else(|| words.iter().find(|text| by_code && !text.is_empty()))?;
    // PostgreSQL keeps parallel workers' memory in /dev/shm, which is none of the volumes.
    if text.contains(SHARED_MEMORY) {
        return None;
    }
    Some(NoSpace {
        place: place(text),
        text: cited(text),
        at: ts.as_str().and_then(|at| at.parse().ok()),
    })
}

/// Where a message says that it happened: by the path that it names, in whatever quotes and language.
fn place(text: &str) -> Place {
    let after = |marker: &str| text.split_once(marker).map(|(_, rest)| rest);
    // The folder of all tablespaces is on the data volume, and PGDATA may be named before what is below it.
    if let Some(rest) = after(mount::TABLESPACES) {
        let name = rest.split(['/', '"', '\'', ' ', ':']).next().unwrap_or_default();
        return if name.is_empty() {
            Place::SomeTablespace
        } else {
            Place::Tablespace(Arc::from(name))
        };
    }
    if after("pg_tblspc/").is_some() {
        return Place::SomeTablespace;
    }
    let in_folder = |folder: &str| after(folder).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()));
    if after("pg_wal/").is_some() || in_folder(mount::WAL) {
        return Place::Wal;
    }
    if in_folder(mount::DATA) || BELOW_PGDATA.iter().any(|folder| after(folder).is_some()) {
        return Place::Data;
    }
    Place::Unknown
}

/// The beginning of a message, in one line.
fn cited(text: &str) -> Arc<str> {
    let line: String = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(CITED)
        .collect();
    Arc::from(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_of(log: &str) -> Option<Place> {
        match read(log) {
            Log::NoSpace(said) => Some(said.place),
            _ => None,
        }
    }

    fn record(code: &str, message: &str) -> String {
        serde_json::json!({"level": "info", "logger": "postgres", "msg": "record",
            "record": {"error_severity": "PANIC", "sql_state_code": code, "message": message}})
        .to_string()
    }

    #[test]
    fn places_are_told_by_their_paths() {
        let of = |message: &str| place_of(&record("53100", message));
        let full = ": No space left on device";
        let cases = [
            ("could not extend file \"base/16384/16397\"", Place::Data),
            ("konnte Datei »global/pg_control« nicht schreiben", Place::Data),
            ("could not write to file \"pg_wal/xlogtemp.42\"", Place::Wal),
            (
                "could not write file \"/var/lib/postgresql/wal/pg_wal/000000010000000000000003\"",
                Place::Wal,
            ),
            (
                "could not extend file \"pg_tblspc/16399/PG_17_202406281/5/16400\"",
                Place::SomeTablespace,
            ),
            (
                "write /var/lib/postgresql/tablespaces/cold/data/x",
                Place::Tablespace(Arc::from("cold")),
            ),
            ("write /var/lib/postgresql/data/pgdata/postgresql.auto.conf", Place::Data),
            ("could not write to hash-join temporary file", Place::Unknown),
        ];
        for (message, expected) in cases {
            assert_eq!(of(&format!("{message}{full}")), Some(expected), "{message}");
        }
    }

    #[test]
    fn first_and_later_crashes_and_lines_of_no_json_are_read() {
        // The first crash: a state code, in whatever language.
        assert_eq!(place_of(&record("53100", "kein Platz in \"base/1/2\"")), Some(Place::Data));
        // Later ones: text of standard error.
        let later =
            r#"{"level":"info","msg":"FATAL:  could not write lock file \"postmaster.pid\": No space left on device","pipe":"stderr"}"#;
        assert_eq!(place_of(later), Some(Place::Data));
        assert_eq!(
            place_of("mkdir /var/lib/postgresql/data/pgdata/x: no space left on device"),
            Some(Place::Data)
        );
        let error = r#"{"level":"error","msg":"Error while writing","error":"open /var/lib/postgresql/data/x: no space left on device"}"#;
        assert_eq!(place_of(error), Some(Place::Data));
    }

    #[test]
    fn a_line_that_names_the_place_says_more_than_the_last_one() {
        let log = format!(
            "{}\nnot json {{\n{}\n",
            record("53100", "\"base/5/1\": No space left on device"),
            record("53100", "no space left on device")
        );
        assert_eq!(place_of(&log), Some(Place::Data));
        assert_eq!(read(&record("57P01", "terminating connection")), Log::Silent);
        assert_eq!(read(""), Log::Silent);
        let shared = "could not resize shared memory segment \"/PostgreSQL.123\" to 8388608 bytes: No space left on device";
        assert_eq!(read(&record("53100", shared)), Log::Silent, "/dev/shm is none of the volumes");
        assert_eq!(read(&record("42601", "syntax error at \"53100\"")), Log::Silent);
    }

    #[test]
    fn a_line_is_as_old_as_it_says() {
        let at = |ts: Value| {
            let line = serde_json::json!({"ts": ts, "msg": "base/1/2: No space left on device"});
            match read(&line.to_string()) {
                Log::NoSpace(said) => said.at.map(|at| at.to_string()),
                _ => Some("silent".to_owned()),
            }
        };
        assert_eq!(at("2026-03-01T11:59:30.5Z".into()).as_deref(), Some("2026-03-01T11:59:30.5Z"));
        assert_eq!((at("noon".into()), at(Value::Null), at(1_772_366_370.into())), (None, None, None));
    }

    #[test]
    fn a_citation_is_short_and_one_line() {
        let long = format!("base/\u{1}\u{2}{}: No space left on device", "ü".repeat(500));
        let Log::NoSpace(said) = read(&long) else {
            return assert_eq!(long, "read");
        };
        assert!(said.text.chars().count() <= CITED && !said.text.chars().any(char::is_control));
    }
}
