//! The output of `psql`: JSON documents, one after the other.

use std::error::Error;
use std::fmt;

use csm_core::relief::SlotLimit;
use csm_core::wal::{BaseBackup, Checkpoint, Directory, EarlierSlots, Lsn, Segment, SegmentSize, Slot, SlotKind, Summaries, Timeline};
use csm_units::Bytes;
use serde::Deserialize;

use super::Place;

/// The oldest version that is supported here: `wal_keep_size` and `wal_status` come with it.
const OLDEST: u32 = 130_000;

/// What an instance said, by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub(super) timeline: Option<Timeline>,
    pub(super) position: PositionSaid,
    pub(super) checkpoint: Checkpoint,
    pub(super) slots: Vec<Slot>,
    pub(super) earlier: Option<EarlierSlots>,
    pub(super) senders: Vec<Sender>,
    pub(super) streams: bool,
    pub(super) backups: Vec<BaseBackup>,
    pub(super) summaries: Option<Summaries>,
    pub(super) wal_keep_size: Bytes,
    pub(super) max_wal_size: Bytes,
    pub(super) slot_limit: SlotLimit,
    pub(super) archive_mode: bool,
    pub(super) directory: Directory,
    /// Where its programs and its WAL are.
    pub place: Place,
}

/// How far its WAL goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PositionSaid {
    Primary { written: Lsn },
    Standby { received: Option<Lsn>, replayed: Lsn },
}

/// Somebody who reads WAL over a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sender {
    pub name: String,
    pub streams: bool,
    pub flushed: Option<Lsn>,
    pub slot: Option<String>,
}

/// The output is not what was asked for: nothing of it counts.
#[derive(Debug)]
pub enum ReadingError {
    /// It is no such document.
    Json(serde_json::Error),
    /// A document is missing, or is another one.
    Order(&'static str),
    /// A value cannot be.
    Value {
        /// Of what.
        field: &'static str,
        /// The value, shortened.
        value: String,
    },
}

impl fmt::Display for ReadingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(_) => f.write_str("what psql printed about the WAL is not the JSON that was asked for"),
            Self::Order(part) => write!(f, "what psql printed about the WAL has no \"{part}\" where it should be"),
            Self::Value { field, value } => write!(f, "what psql printed about the WAL has an impossible {field}: {value:?}"),
        }
    }
}

impl Error for ReadingError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            Self::Order(_) | Self::Value { .. } => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "part", rename_all = "camelCase", deny_unknown_fields)]
enum Part {
    Earlier {
        slots: Vec<EarlierSlot>,
        end: String,
    },
    Moving(Box<Moving>),
    #[serde(rename_all = "camelCase")]
    Position {
        recovery: bool,
        #[serde(default)]
        received: Option<String>,
        #[serde(default)]
        replayed: Option<String>,
        #[serde(default)]
        written: Option<String>,
        #[serde(default)]
        file: Option<String>,
    },
    Directory {
        marks: Vec<String>,
        files: Vec<String>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EarlierSlot {
    name: String,
    restart: Option<String>,
}

#[derive(Deserialize)]
struct Moving {
    checkpoint: CheckpointSaid,
    slots: Vec<SlotSaid>,
    senders: Vec<SenderSaid>,
    receiver: Option<ReceiverSaid>,
    /// The timeline up to which a standby has to recover, by its control file.
    recovered: Option<u32>,
    backups: Vec<String>,
    label: bool,
    summaries: Option<SummariesSaid>,
    settings: Settings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointSaid {
    redo: String,
    timeline: u32,
    file: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlotSaid {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    active: bool,
    temporary: bool,
    restart: Option<String>,
    lost: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SenderSaid {
    name: String,
    state: Option<String>,
    flushed: Option<String>,
    slot: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiverSaid {
    status: Option<String>,
    timeline: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SummariesSaid {
    lsn: Option<String>,
    timeline: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    version: u32,
    wal_keep_size: u64,
    max_wal_size: u64,
    max_slot_wal_keep_size: i64,
    segment_size: u64,
    archive_mode: String,
    summarizes: String,
    bin: String,
    data: String,
}

fn wrong(field: &'static str, value: &str) -> ReadingError {
    ReadingError::Value {
        field,
        value: value.chars().take(80).collect(),
    }
}

fn lsn(field: &'static str, text: &str) -> Result<Lsn, ReadingError> {
    text.parse().map_err(|_| wrong(field, text))
}

fn maybe_lsn(field: &'static str, text: Option<&str>) -> Result<Option<Lsn>, ReadingError> {
    text.map(|text| lsn(field, text)).transpose()
}

fn timeline(id: u32) -> Result<Timeline, ReadingError> {
    Timeline::new(id).ok_or_else(|| wrong("timeline", &id.to_string()))
}

fn segment(name: &str, size: SegmentSize) -> Result<Segment, ReadingError> {
    Segment::parse(name, size).map_err(|_| wrong("segment", name))
}

impl Reading {
    /// The output of [`super::commands::read`], or of [`super::commands::checkpoint`].
    ///
    /// # Errors
    /// It is not exactly that.
    pub fn parse(output: &str) -> Result<Self, ReadingError> {
        let parts: Result<Vec<Part>, _> = serde_json::Deserializer::from_str(output).into_iter().collect();
        let mut parts = parts.map_err(ReadingError::Json)?.into_iter().peekable();
        let earlier = parts.next_if(|part| matches!(part, Part::Earlier { .. }));
        let Some(Part::Moving(moving)) = parts.next() else {
            return Err(ReadingError::Order("moving"));
        };
        let Some(position) = parts.next().filter(|part| matches!(part, Part::Position { .. })) else {
            return Err(ReadingError::Order("position"));
        };
        let (Some(Part::Directory { marks, files }), None) = (parts.next(), parts.next()) else {
            return Err(ReadingError::Order("directory"));
        };
        let Moving {
            checkpoint,
            slots,
            senders,
            receiver,
            recovered,
            backups,
            label,
            summaries,
            settings,
        } = *moving;
        if settings.version < OLDEST {
            return Err(wrong("server_version_num", &settings.version.to_string()));
        }
        let size = SegmentSize::new(settings.segment_size);
        let size = size.map_err(|_| wrong("wal_segment_size", &settings.segment_size.to_string()))?;
        let received = receiver.as_ref().and_then(|receiver| receiver.timeline);
        // A standby that receives nothing (its disk is full) does not say what it replays. Its control file does, as far as that
        // goes: had it come upon another timeline since, segments of that would lie in pg_wal and hold all from there on, and who
        // archives would be on that one.
        let recovered = recovered.filter(|recovered| *recovered == checkpoint.timeline);
        let (position, written) = said(position, size)?;
        let backups = backups.into_iter().chain(label.then(|| "backup_label".to_owned()));
        Ok(Self {
            timeline: written.or(received.or(recovered).map(timeline).transpose()?),
            position,
            checkpoint: Checkpoint {
                redo: lsn("redo_lsn", &checkpoint.redo)?,
                timeline: timeline(checkpoint.timeline)?,
                file: segment(&checkpoint.file, size)?,
            },
            slots: slots.iter().map(slot).collect::<Result<_, _>>()?,
            earlier: earlier.map(before).transpose()?,
            senders: senders
                .into_iter()
                .filter_map(|said| sender(said).transpose())
                .collect::<Result<_, _>>()?,
            streams: receiver.is_some_and(|receiver| receiver.status.as_deref() == Some("streaming")),
            backups: backups
                .map(|name| BaseBackup {
                    name: name.into(),
                    start: None,
                })
                .collect(),
            summaries: summarised(&settings, summaries)?,
            wal_keep_size: Bytes::new(settings.wal_keep_size),
            max_wal_size: Bytes::new(settings.max_wal_size),
            slot_limit: match u64::try_from(settings.max_slot_wal_keep_size) {
                Ok(mib) => SlotLimit::Of(Bytes::mib(mib)),
                Err(_) => SlotLimit::Unlimited,
            },
            archive_mode: settings.archive_mode != "off",
            directory: Directory::new(size, files).with_status(marks),
            place: Place {
                wal: format!("{}/pg_wal", absolute("data_directory", &settings.data)?),
                bin: absolute("BINDIR", &settings.bin)?.to_owned(),
            },
        })
    }

    /// The first segment that it has not archived, at the latest the one that it is writing: what its standbys go by. None where
    /// it is no primary, or its timeline is not known.
    #[must_use]
    pub fn unarchived(&self) -> Option<Segment> {
        let PositionSaid::Primary { written } = self.position else {
            return None;
        };
        let last = Segment::at(written, self.timeline?, self.directory.segment_size());
        Some(self.directory.first_unarchived(last).unwrap_or(last))
    }
}

impl Reading {
    /// Whether it is a primary by its own word.
    #[must_use]
    pub const fn is_primary(&self) -> bool {
        matches!(self.position, PositionSaid::Primary { .. })
    }

    /// What a standby has on disk that streams from here.
    #[must_use]
    pub fn flushed(&self, standby: &str) -> Option<Lsn> {
        let mut senders = self.senders.iter();
        senders.find(|sender| sender.name == standby && sender.streams)?.flushed
    }

    /// Whether a slot of this name holds WAL here.
    #[must_use]
    pub fn reserves(&self, slot: &str) -> bool {
        let holds = |held: &Slot| *held.name == *slot && held.restart_lsn.is_some() && !held.lost;
        self.slots.iter().any(holds)
    }
}

/// A path goes into a command.
fn absolute<'a>(field: &'static str, path: &'a str) -> Result<&'a str, ReadingError> {
    let is_plain = path.starts_with('/') && !path.chars().any(|c| c.is_control() || c.is_whitespace());
    if is_plain { Ok(path) } else { Err(wrong(field, path)) }
}

fn said(part: Part, size: SegmentSize) -> Result<(PositionSaid, Option<Timeline>), ReadingError> {
    let Part::Position {
        recovery,
        received,
        replayed,
        written,
        file,
    } = part
    else {
        return Err(ReadingError::Order("position"));
    };
    match (recovery, written, file, replayed) {
        (false, Some(written), Some(file), None) => {
            let written = lsn("pg_current_wal_lsn", &written)?;
            Ok((PositionSaid::Primary { written }, Some(segment(&file, size)?.timeline())))
        }
        (true, None, None, Some(replayed)) => Ok((
            PositionSaid::Standby {
                received: maybe_lsn("pg_last_wal_receive_lsn", received.as_deref())?,
                replayed: lsn("pg_last_wal_replay_lsn", &replayed)?,
            },
            None,
        )),
        _ => Err(ReadingError::Order("position")),
    }
}

fn before(part: Part) -> Result<EarlierSlots, ReadingError> {
    let Part::Earlier { slots, end } = part else {
        return Err(ReadingError::Order("earlier"));
    };
    let slots = slots.into_iter().map(|slot| {
        let restart = maybe_lsn("restart_lsn", slot.restart.as_deref())?;
        Ok((slot.name.into(), restart))
    });
    Ok(EarlierSlots {
        slots: slots.collect::<Result<_, ReadingError>>()?,
        end: lsn("end of the WAL", &end)?,
        // psql stops at the first statement that fails, and more was printed.
        checkpointed: true,
    })
}

fn slot(said: &SlotSaid) -> Result<Slot, ReadingError> {
    let kind = match said.kind.as_str() {
        "physical" => SlotKind::Physical,
        "logical" => SlotKind::Logical,
        other => return Err(wrong("slot_type", other)),
    };
    Ok(Slot {
        name: said.name.as_str().into(),
        kind,
        active: said.active,
        temporary: said.temporary,
        restart_lsn: maybe_lsn("restart_lsn", said.restart.as_deref())?,
        lost: said.lost,
    })
}

/// One that sends a base backup sends no WAL: it stands among the backups.
fn sender(said: SenderSaid) -> Result<Option<Sender>, ReadingError> {
    let state = said.state.as_deref();
    if state == Some("backup") {
        return Ok(None);
    }
    Ok(Some(Sender {
        streams: matches!(state, Some("streaming" | "catchup")),
        flushed: maybe_lsn("flush_lsn", said.flushed.as_deref())?,
        name: said.name,
        slot: said.slot,
    }))
}

/// None: it summarises, and does not say how far.
fn summarised(settings: &Settings, said: Option<SummariesSaid>) -> Result<Option<Summaries>, ReadingError> {
    if settings.summarizes == "off" {
        return Ok(Some(Summaries::Off));
    }
    let Some(SummariesSaid {
        lsn: Some(upto),
        timeline: Some(id),
    }) = said
    else {
        return Ok(None);
    };
    let lsn = lsn("summarized_lsn", &upto)?;
    // Timeline 0: nothing is summarised yet.
    Ok(Timeline::new(id).map(|timeline| Summaries::UpTo { lsn, timeline }))
}
