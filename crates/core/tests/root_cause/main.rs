//! Why a volume fills: what is tracked, what it shows, and how it is said.

mod causes;
mod properties;
mod sentences;
mod tracking;

use csm_core::between::Content;
use csm_core::root_cause::{ArchivingFacts, Facts, Given, WalSettings};
use csm_core::wal_tracking::Flow;
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

fn at(time: &str) -> Timestamp {
    format!("2026-03-01T{time}Z").parse().unwrap()
}

/// So many MiB in ten minutes.
fn flow(mebibytes: i128) -> Option<Flow> {
    files(mebibytes << 20)
}

/// So many in ten minutes.
fn files(number: i128) -> Option<Flow> {
    Flow::new(number, SignedDuration::from_mins(10))
}

/// A volume of 10 GiB of which everything is known, and nothing stands out, at noon.
fn calm(content: Content) -> Facts {
    Facts {
        given: Given {
            now: at("12:00:00"),
            content,
            volume: Bytes::gib(10),
            shared: None,
            archives: Some(true),
            slots: Some(Vec::new()),
            standbys: Some(Vec::new()),
            settings: Some(WalSettings {
                keep: Bytes::mib(512),
                max: Bytes::gib(1),
                min: Bytes::mib(80),
            }),
            base_backups: Some(Vec::new()),
        },
        archiving: Some(ArchivingFacts {
            waiting: 0,
            segment_size: Bytes::mib(16),
            last_archived: Some(at("11:59:00")),
            last_failed: None,
        }),
        wal: Some(Bytes::gib(1)),
        generation: flow(32),
        archived: files(2),
        wal_growth: flow(0),
        databases: flow(1),
        temporary: flow(0),
        used: flow(1),
    }
}
