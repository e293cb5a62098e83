//! The commands, as argument vectors.

use csm_core::relief::Removal;
use csm_core::wal::Segment;

/// What the container is called that PostgreSQL runs in (CloudNativePG, `PostgresContainerName`).
pub const CONTAINER: &str = "postgres";

/// Output beyond this is cut, and cut output is an error: 100 000 segments (1.6 TiB) with their marks take 6 MB.
pub const OUTPUT: usize = 8 << 20;

/// Where things are, by the server's own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder of `pg_archivecleanup`.
    pub bin: String,
    /// `pg_wal`.
    pub wal: String,
}

/// Reading ends by itself, also where nobody waits for it any more.
const READ_LIMIT: &str = "SET statement_timeout = '20s'";
/// One that is asked for is not spread out, and has to write all that is dirty: minutes, on a slow disk.
const CHECKPOINT_LIMIT: &str = "SET statement_timeout = '5min'";
/// Names mean the system's own.
const SEARCH_PATH: &str = "SET search_path = pg_catalog";
/// Since version 17. A plain query would not be parsed by older servers.
const SUMMARIES: &str = include_str!("summaries.sql");

/// Slots, and then the end of the WAL: see `csm_core::wal::EarlierSlots`.
const EARLIER: &str = include_str!("earlier.sql");
/// What moves: checkpoint, slots, standbys, summaries.
const MOVING: &str = include_str!("moving.sql");
/// How far the WAL goes.
const POSITION: &str = include_str!("position.sql");
/// What lies in `pg_wal`.
const DIRECTORY: &str = include_str!("directory.sql");

/// `psql` in one session, statement by statement, in the order that `csm_core::wal::Evidence` asks for.
fn psql<'a>(statements: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let options = ["psql", "-U", "postgres", "-d", "postgres", "-XAtqw", "-v", "ON_ERROR_STOP=1"];
    let mut arguments: Vec<String> = options.into_iter().map(str::to_owned).collect();
    for statement in [SEARCH_PATH, READ_LIMIT].into_iter().chain(statements) {
        arguments.push("-c".to_owned());
        arguments.push(statement.to_owned());
    }
    arguments
}

/// Reads all.
#[must_use]
pub fn read() -> Vec<String> {
    psql([SUMMARIES, MOVING, POSITION, DIRECTORY])
}

/// Reads the slots, runs CHECKPOINT, and reads all.
#[must_use]
pub fn checkpoint() -> Vec<String> {
    psql([
        EARLIER,
        CHECKPOINT_LIMIT,
        "CHECKPOINT",
        READ_LIMIT,
        SUMMARIES,
        MOVING,
        POSITION,
        DIRECTORY,
    ])
}

fn program(place: &Place) -> String {
    format!("{}/pg_archivecleanup", place.bin)
}

/// Lists what the removal would remove.
#[must_use]
pub fn dry_run(place: &Place, cutoff: Segment) -> Vec<String> {
    vec![program(place), "-n".to_owned(), place.wal.clone(), cutoff.to_string()]
}

/// The test of the archive's marks, the removal, and the test once more, as one command. Its text is fixed; all that varies is
/// a positional argument.
#[must_use]
pub fn remove(place: &Place, removal: &Removal) -> Vec<String> {
    let script = include_str!("remove.sh");
    let marks = if removal.archived { "archived" } else { "any" };
    ["sh", "-c", script, "remove.sh"]
        .into_iter()
        .map(str::to_owned)
        .chain([
            program(place),
            place.wal.clone(),
            removal.cutoff.to_string(),
            removal.first.to_string(),
            removal.count.to_string(),
            marks.to_owned(),
        ])
        .collect()
}
