//! What an instance says of itself: the answer of CloudNativePG's instance manager to `/pg/status`.
//!
//! Source: `PostgresqlStatus`, `pkg/postgres/status.go` of CloudNativePG 1.25 to 1.30. A missing key means false, zero or
//! never there, and unknown ones are skipped. What is there and makes no sense makes the whole answer unreadable: to pass over
//! a time of the last failure that we cannot read would be to call a failing archive healthy.

use std::sync::Arc;

use csm_core::wal::Lsn;
use csm_core::world::{Archiving, Slot, WalHealth};
use csm_units::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use thiserror::Error;

use crate::json::Object;

/// More slots, standbys or base backups than these are no PostgreSQL that anybody runs (`max_replication_slots` and
/// `max_wal_senders` are 10 unless set), and are not kept.
const MOST: usize = 512;
/// The longest names: `NAMEDATALEN` is 64 with its end, and an application's name is cut to the same.
const LONGEST_NAME: usize = 63;

/// No longer a reason is told.
const LONGEST_REASON: usize = 150;

/// An answer that cannot be used.
#[derive(Debug, Error)]
pub enum Unreadable {
    /// It is no status: why, and where. serde repeats the text that it did not expect, of whatever length.
    #[error("not a status: {0}")]
    Json(String),
    /// A field makes no sense.
    #[error("{field} is {text:?}, which is no {what}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it should be.
        what: &'static str,
        /// What it is, its beginning.
        text: String,
    },
    /// There are more of them than we keep.
    #[error("more than {MOST} entries in {0}")]
    TooMany(&'static str),
}

/// What an instance said, when, and which it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalFigures {
    /// When it was asked.
    pub at: Timestamp,
    /// The instance.
    pub instance: Arc<str>,
    /// UID of its pod: CloudNativePG uses names again.
    pub pod: Arc<str>,
    /// What it said.
    pub reading: Reading,
}

/// What an instance says of itself, by its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It says that it is primary.
    Primary(Primary),
    /// It says that it is not.
    Replica(Replica),
}

/// What a primary says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Primary {
    /// Where its WAL ends.
    pub current_lsn: Option<Lsn>,
    /// Its timeline.
    pub timeline: u32,
    /// When a file was last archived, and which.
    pub last_archived: Option<(Timestamp, Arc<str>)>,
    /// When archiving last failed, and with which file.
    pub last_failed: Option<(Timestamp, Arc<str>)>,
    /// Files that wait to be archived.
    pub pending: u32,
    /// Its replication slots.
    pub slots: Box<[SlotReading]>,
    /// Those who stream from it.
    pub standbys: Box<[Standby]>,
    /// Base backups that run.
    pub base_backups: usize,
}

/// A replication slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotReading {
    /// Its name.
    pub name: Arc<str>,
    /// Somebody reads from it.
    pub active: bool,
    /// The oldest WAL that it needs; none where it holds none, or has lost it.
    pub restart_lsn: Option<Lsn>,
}

/// One that streams from a primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// What it calls itself: the instance, where it is one of the Cluster's.
    pub name: Arc<str>,
    /// How far it has flushed.
    pub flushed: Option<Lsn>,
}

/// What a replica says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replica {
    /// How far it has received.
    pub received: Option<Lsn>,
    /// How far it has replayed.
    pub replayed: Option<Lsn>,
    /// Whether it streams.
    pub streams: bool,
}

impl Reading {
    /// The health of WAL, where this is the primary's word. A Cluster that archives nothing has nothing that could fail:
    /// PostgreSQL's `archive_mode` is on there too, and its figures mean nothing.
    #[must_use]
    pub fn health(&self, archives_wal: bool) -> Option<WalHealth> {
        let Self::Primary(primary) = self else { return None };
        let archiving = archives_wal.then(|| Archiving {
            last_archived: primary.last_archived.as_ref().map(|(at, _)| *at),
            last_failed: primary.last_failed.as_ref().map(|(at, _)| *at),
            pending: primary.pending,
        });
        let slot = |slot: &SlotReading| Slot {
            name: slot.name.clone(),
            active: slot.active,
            retained: retained(primary.current_lsn, slot.restart_lsn),
        };
        Some(WalHealth {
            archiving,
            slots: primary.slots.iter().map(slot).collect(),
        })
    }
}

impl Primary {
    /// How much WAL there is from a position on; nothing where that is not known.
    #[must_use]
    pub fn since(&self, start: Option<Lsn>) -> Bytes {
        retained(self.current_lsn, start)
    }
}

/// WAL between where a slot begins and the end.
fn retained(end: Option<Lsn>, start: Option<Lsn>) -> Bytes {
    let bytes = |(end, start): (Lsn, Lsn)| end.get().saturating_sub(start.get());
    end.zip(start).map_or(Bytes::ZERO, |both| Bytes::new(bytes(both)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    is_primary: Option<bool>,
    current_lsn: Option<String>,
    #[serde(rename = "timeLineID")]
    timeline: Option<u32>,
    #[serde(rename = "lastArchivedWAL")]
    last_archived_wal: Option<String>,
    #[serde(rename = "lastArchivedWALTime")]
    last_archived_time: Option<String>,
    #[serde(rename = "lastFailedWAL")]
    last_failed_wal: Option<String>,
    #[serde(rename = "lastFailedWALTime")]
    last_failed_time: Option<String>,
    ready_wal_files: Option<i64>,
    replication_slots_info: Option<Vec<Object<SlotStatus>>>,
    replication_info: Option<Vec<Object<StandbyStatus>>>,
    pg_stat_basebackups_info: Option<Vec<serde::de::IgnoredAny>>,
    received_lsn: Option<String>,
    replay_lsn: Option<String>,
    is_wal_receiver_active: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SlotStatus {
    slot_name: Option<String>,
    active: Option<bool>,
    restart_lsn: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StandbyStatus {
    application_name: Option<String>,
    flush_lsn: Option<String>,
}

/// Reads the answer to `/pg/status`.
///
/// # Errors
/// Where it is no status, or something in it makes no sense.
pub fn parse(body: &[u8]) -> Result<Reading, Unreadable> {
    let status = serde_json::from_slice(body);
    let Object(status): Object<Status> = status.map_err(|error| Unreadable::Json(beginning(&error.to_string(), LONGEST_REASON)))?;
    if status.is_primary != Some(true) {
        return Ok(Reading::Replica(Replica {
            received: lsn("receivedLsn", status.received_lsn.as_deref())?,
            replayed: lsn("replayLsn", status.replay_lsn.as_deref())?,
            streams: status.is_wal_receiver_active.unwrap_or(false),
        }));
    }
    let slot = |Object(slot): Object<SlotStatus>| {
        Ok(SlotReading {
            name: name("slotName", slot.slot_name)?,
            active: slot.active.unwrap_or(false),
            restart_lsn: lsn("restartLsn", slot.restart_lsn.as_deref())?,
        })
    };
    let standby = |Object(standby): Object<StandbyStatus>| {
        Ok(Standby {
            name: name("applicationName", standby.application_name)?,
            flushed: lsn("flushLsn", standby.flush_lsn.as_deref())?,
        })
    };
    let pending = status.ready_wal_files.unwrap_or(0);
    let pending = u32::try_from(pending).map_err(|_| wrong("readyWalFiles", "number of files", &pending.to_string()))?;
    Ok(Reading::Primary(Primary {
        current_lsn: lsn("currentLsn", status.current_lsn.as_deref())?,
        timeline: status.timeline.unwrap_or(0),
        last_archived: at("lastArchivedWALTime", status.last_archived_time, status.last_archived_wal)?,
        last_failed: at("lastFailedWALTime", status.last_failed_time, status.last_failed_wal)?,
        pending,
        slots: each("replicationSlotsInfo", status.replication_slots_info, slot)?,
        standbys: each("replicationInfo", status.replication_info, standby)?,
        base_backups: status.pg_stat_basebackups_info.map_or(0, |backups| backups.len()),
    }))
}

fn beginning(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

fn wrong(field: &'static str, what: &'static str, text: &str) -> Unreadable {
    let text = beginning(text, LONGEST_NAME);
    Unreadable::Field { field, what, text }
}

/// Each of a list that is no longer than we keep.
fn each<A, B>(field: &'static str, list: Option<Vec<A>>, one: impl Fn(A) -> Result<B, Unreadable>) -> Result<Box<[B]>, Unreadable> {
    let list = list.unwrap_or_default();
    if list.len() > MOST {
        return Err(Unreadable::TooMany(field));
    }
    list.into_iter().map(one).collect()
}

fn name(field: &'static str, text: Option<String>) -> Result<Arc<str>, Unreadable> {
    let text = text.unwrap_or_default();
    if text.len() > LONGEST_NAME {
        return Err(wrong(field, "name", &text));
    }
    Ok(text.into())
}

/// A position; an empty text and "0/0" are how CloudNativePG writes none.
fn lsn(field: &'static str, text: Option<&str>) -> Result<Option<Lsn>, Unreadable> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let lsn: Lsn = text.parse().map_err(|_| wrong(field, "WAL position", text))?;
    Ok(Some(lsn).filter(|lsn| lsn.get() > 0))
}

/// A moment with the file that it is about; "-infinity" is how PostgreSQL's null is written: never.
fn at(field: &'static str, text: Option<String>, file: Option<String>) -> Result<Option<(Timestamp, Arc<str>)>, Unreadable> {
    let Some(text) = text.filter(|text| !text.is_empty() && text != "-infinity") else {
        return Ok(None);
    };
    let at: Timestamp = text.parse().map_err(|_| wrong(field, "time", &text))?;
    Ok(Some((at, name("a WAL file's name", file)?)))
}
