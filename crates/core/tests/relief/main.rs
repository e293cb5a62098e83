//! The relief of an instance's WAL, rung by rung.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // tests

#[allow(dead_code)] // other tests need more of it
#[path = "../planner/dice.rs"]
mod dice;
mod instance;
mod properties;
mod rungs;

use std::sync::Arc;

use csm_api::{Rung, RungResult, StorageEventStatus, WalCleanupOutcome, WalCleanupStatus, WalHolder, WalLever};
use csm_core::relief::{Answer, LIMIT, Next, Order, Removal, Removed, Run, SlotLimit, Trouble, TroubleKind};
use csm_core::wal::{Rules, Segment, SegmentSize, Timeline};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use instance::Instance;

const SIZE: SegmentSize = SegmentSize::DEFAULT;

fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn order() -> Order {
    Order {
        namespace: Arc::from("db"),
        cluster: Arc::from("orders"),
        instance: Arc::from("orders-2"),
        rules: Rules {
            retain_count: 1,
            require_archived: true,
        },
        goal: None,
        dry_run: false,
        started: start(),
    }
}

fn segment(number: u64) -> Segment {
    Segment::new(Timeline::FIRST, number, SIZE).unwrap()
}

fn trouble(kind: TroubleKind) -> Trouble {
    Trouble {
        kind,
        message: format!("{kind:?} by the test"),
    }
}
