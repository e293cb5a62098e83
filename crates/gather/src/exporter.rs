//! What the exporter of an instance (port 9187) says, as far as it concerns storage.
//!
//! CloudNativePG, "Monitoring", and `pkg/management/postgres/webserver/metricserver`; the format is Prometheus' "Text-based
//! format". A parser of our own: the crates for it keep every series as a map of strings (an answer has about a thousand,
//! and one for each state of each user's sessions), do not understand a `}` in a label, or bring a second library for time.

use std::collections::BTreeMap;
use std::sync::Arc;

use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

/// A longer answer is refused unread: a real one has some 50 KiB, and a thousand databases make a megabyte.
pub const LONGEST: usize = 4 << 20;
/// More slots are refused: `max_replication_slots` is 10 by default, and CloudNativePG sets 32.
pub const MOST_SLOTS: usize = 1024;
/// A longer name is no slot's: PostgreSQL's names have at most 63 bytes.
const LONGEST_NAME: usize = 63;

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExporterError {
    /// Too long to be read.
    #[error("an answer of {0} bytes is longer than any exporter's ({LONGEST})")]
    TooLong(usize),
    /// No line of it is a figure of CloudNativePG's.
    #[error("no line is a metric of CloudNativePG")]
    NoMetrics,
    /// More slots than an instance has.
    #[error("more than {MOST_SLOTS} replication slots")]
    TooManySlots,
}

/// What an instance says of itself. What it does not say, or what cannot be read, is not there: it is never zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrape {
    /// PostgreSQL answers the exporter.
    pub up: Option<bool>,
    /// It is a standby.
    pub in_recovery: Option<bool>,
    /// Files in `pg_wal` that are named like segments; a `.backup` file counts as one.
    pub segments: Option<u64>,
    /// What so many segments take.
    pub segment_bytes: Option<Bytes>,
    /// `min_wal_size`, in segments.
    pub min_wal: Option<u64>,
    /// `max_wal_size`, in segments.
    pub max_wal: Option<u64>,
    /// `wal_keep_size`, in segments.
    pub wal_keep: Option<u64>,
    /// `max_slot_wal_keep_size`, in segments; not there too where it has no limit.
    pub slots_max: Option<u64>,
    /// Segments that wait to be archived.
    pub ready: Option<u64>,
    /// Segments marked as archived.
    pub done: Option<u64>,
    /// WAL written since its statistics were reset.
    pub wal_bytes: Option<Bytes>,
    /// All databases together, their tablespaces included. CloudNativePG asks for it every 30 s (`metricsQueriesTTL`), so
    /// that it may be as old as that; the archiver's figures, slots and temporary files too.
    pub databases: Option<Bytes>,
    /// Temporary files written since the statistics were reset, by all databases together.
    pub temp_bytes: Option<Bytes>,
    /// Segments archived since the archiver's statistics were reset.
    pub archived: Option<u64>,
    /// Failures since then.
    pub failed: Option<u64>,
    /// When a segment was last archived.
    pub last_archived: Option<Timestamp>,
    /// When archiving last failed.
    pub last_failed: Option<Timestamp>,
    /// Replication slots, by name.
    pub slots: BTreeMap<Arc<str>, SlotFigures>,
}

/// What is said of a replication slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotFigures {
    /// Somebody reads from it.
    pub active: Option<bool>,
    /// How far it is behind: the WAL that it holds back.
    pub retained: Option<Bytes>,
}

impl Scrape {
    /// Size of a segment, where the directory tells.
    #[must_use]
    pub fn segment_size(&self) -> Option<Bytes> {
        let size = self.segment_bytes?.get().checked_div(self.segments?)?;
        // wal_segment_size: a power of two between 1 MiB and 1 GiB (PostgreSQL, initdb --wal-segsize).
        let valid = size.is_power_of_two() && (Bytes::MIB.get()..=Bytes::GIB.get()).contains(&size);
        valid.then(|| Bytes::new(size))
    }

    /// A setting that is given in segments, in bytes.
    #[must_use]
    pub fn in_bytes(&self, segments: Option<u64>) -> Option<Bytes> {
        Some(self.segment_size()?.mul_div(segments?, 1))
    }
}

/// Reads an answer. A line that is no metric, or none that we know, is skipped.
///
/// # Errors
/// Where it is too long, or is not an exporter's answer at all.
pub fn parse(body: &[u8]) -> Result<Scrape, ExporterError> {
    if body.len() > LONGEST {
        return Err(ExporterError::TooLong(body.len()));
    }
    let mut scrape = Scrape::default();
    let (mut databases, mut temporary) = (Sum::default(), Sum::default());
    let mut known = false;
    for line in body.split(|byte| *byte == b'\n') {
        let Some((name, labels, value)) = line.strip_prefix(b"cnpg_").and_then(series) else {
            continue;
        };
        known = true;
        let of_slot = name.strip_prefix("pg_replication_slots_");
        match (name, labels.get("value").as_deref()) {
            ("collector_up", _) => scrape.up = flag(value),
            ("pg_replication_in_recovery", _) => scrape.in_recovery = flag(value),
            ("collector_pg_wal", Some("count")) => scrape.segments = whole(value),
            ("collector_pg_wal", Some("size")) => scrape.segment_bytes = whole(value).map(Bytes::new),
            ("collector_pg_wal", Some("min")) => scrape.min_wal = whole(value),
            ("collector_pg_wal", Some("max")) => scrape.max_wal = whole(value),
            ("collector_pg_wal", Some("keep")) => scrape.wal_keep = whole(value),
            ("collector_pg_wal", Some("slots_max")) => scrape.slots_max = whole(value),
            ("collector_pg_wal_archive_status", Some("ready")) => scrape.ready = whole(value),
            ("collector_pg_wal_archive_status", Some("done")) => scrape.done = whole(value),
            ("collector_wal_bytes", _) => scrape.wal_bytes = whole(value).map(Bytes::new),
            ("pg_database_size_bytes", _) => databases.add(value),
            ("pg_stat_database_temp_bytes", _) => temporary.add(value),
            ("pg_stat_archiver_archived_count", _) => scrape.archived = whole(value),
            ("pg_stat_archiver_failed_count", _) => scrape.failed = whole(value),
            ("pg_stat_archiver_last_archived_time", _) => scrape.last_archived = moment(value),
            ("pg_stat_archiver_last_failed_time", _) => scrape.last_failed = moment(value),
            _ => {}
        }
        if let (Some(figure), Some(slot)) = (of_slot, labels.get("slot_name").filter(|name| is_name(name))) {
            if scrape.slots.len() >= MOST_SLOTS && !scrape.slots.contains_key(&*slot) {
                return Err(ExporterError::TooManySlots);
            }
            let slot = scrape.slots.entry(Arc::from(slot)).or_default();
            match figure {
                "active" => slot.active = flag(value),
                // Below zero is ahead of us: it holds nothing.
                "pg_wal_lsn_diff" if value.starts_with('-') => slot.retained = Some(Bytes::ZERO),
                "pg_wal_lsn_diff" => slot.retained = whole(value).map(Bytes::new),
                _ => {}
            }
        }
    }
    (scrape.databases, scrape.temp_bytes) = (databases.total(), temporary.total());
    known.then_some(scrape).ok_or(ExporterError::NoMetrics)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains(char::is_control)
}

/// Figures of all databases: without one of them there is no sum.
#[derive(Default)]
struct Sum {
    total: Option<Bytes>,
    unread: bool,
}

impl Sum {
    fn add(&mut self, value: &str) {
        match whole(value) {
            Some(bytes) => self.total = Some(self.total.unwrap_or_default().saturating_add(Bytes::new(bytes))),
            None => self.unread = true,
        }
    }

    fn total(&self) -> Option<Bytes> {
        self.total.filter(|_| !self.unread)
    }
}

/// `{name="value",…}`, unread.
#[derive(Clone, Copy)]
struct Labels<'a>(&'a str);

impl Labels<'_> {
    /// The value of a label, unescaped.
    fn get(self, wanted: &str) -> Option<String> {
        let mut rest = self.0;
        while let Some((name, after)) = rest.split_once("=\"") {
            let end = closing_quote(after)?;
            let (value, next) = (after.get(..end)?, after.get(end..)?.strip_prefix('"')?);
            if name.trim() == wanted {
                return Some(unescape(value));
            }
            rest = next.trim_start().strip_prefix(',').unwrap_or_default();
        }
        None
    }
}

/// Where the quote is that ends a label's value.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next().map(|next| if next == 'n' { '\n' } else { next })),
            other => plain.push(other),
        }
    }
    plain
}

/// `name{labels} value timestamp`, without its prefix: name, labels, value.
fn series(line: &[u8]) -> Option<(&str, Labels<'_>, &str)> {
    let line = std::str::from_utf8(line).ok()?;
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')?;
    let (name, rest) = line.split_at_checked(end)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => rest.split_at_checked(closing_brace(rest)?)?,
        None => ("", rest),
    };
    let value = rest.strip_prefix('}').unwrap_or(rest).split_ascii_whitespace().next()?;
    Some((name, Labels(labels), value))
}

/// Where the brace is that ends the labels: one in a label's value does not.
fn closing_brace(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.bytes().position(|byte| {
        quoted ^= byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        byte == b'}' && !quoted
    })
}

/// A number that is not negative, rounded up to a whole one: counts are printed as `1.50994944e+08`, exactly.
fn whole(value: &str) -> Option<u64> {
    let number = value.ends_with(|last: char| last.is_ascii_digit());
    number.then(|| value.parse::<Bytes>().ok().map(Bytes::get))?
}

fn flag(value: &str) -> Option<bool> {
    whole(value).map(|number| number != 0)
}

/// Seconds since 1970, to the millisecond; −1 is CloudNativePG's word for "never".
fn moment(value: &str) -> Option<Timestamp> {
    let seconds: f64 = value.parse().ok().filter(|seconds| *seconds > 0.0)?;
    let time = SignedDuration::try_from_secs_f64(seconds).ok()?;
    let rounded = time.checked_add(SignedDuration::from_micros(500))?;
    Timestamp::from_millisecond(i64::try_from(rounded.as_millis()).ok()?).ok()
}
