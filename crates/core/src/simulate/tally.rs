//! What is counted of a volume as time passes.

use std::collections::BTreeMap;

use csm_api::{Reason, Urgency};
use csm_units::{Bytes, Percent};
use jiff::{SignedDuration, Timestamp};

use super::outcome::PerMille;

/// What a volume is like until something changes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    /// The sizes of all PVCs together.
    pub size: i128,
    /// What is used of the filesystems that there are samples of.
    pub used: i128,
    /// Their size.
    pub room: i128,
    /// An instance is down because the volume is full.
    pub down: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub actions: BTreeMap<Urgency, u64>,
    pub outages: u64,
    pub first_outage: Option<Timestamp>,
    pub held: BTreeMap<Reason, SignedDuration>,
    pub peak: Bytes,
    pub peak_use: Option<Percent>,
    outage: SignedDuration,
    /// Bytes times milliseconds.
    size: i128,
    used: i128,
    room: i128,
}

impl Tally {
    pub fn pass(&mut self, state: &State, held: Option<Reason>, from: Timestamp, to: Timestamp) {
        let time = to.duration_since(from);
        let millis = i128::from(to.as_millisecond().saturating_sub(from.as_millisecond()));
        let add = |sum: &mut i128, bytes: i128| *sum = sum.saturating_add(bytes.saturating_mul(millis));
        add(&mut self.size, state.size);
        add(&mut self.used, state.used);
        add(&mut self.room, state.room);
        if state.down {
            self.outage = self.outage.saturating_add(time);
        }
        if let Some(reason) = held {
            let sum = self.held.entry(reason).or_default();
            *sum = sum.saturating_add(time);
        }
    }

    pub fn goes_down(&mut self, at: Timestamp) {
        self.outages = self.outages.saturating_add(1);
        self.first_outage.get_or_insert(at);
    }

    pub fn outage(&self) -> SignedDuration {
        self.outage
    }

    pub fn average_use(&self) -> Option<PerMille> {
        let per_mille = self.used.saturating_mul(1000).checked_div(self.room)?;
        u16::try_from(per_mille).ok().map(PerMille)
    }

    pub fn gib_hours_tenths(&self) -> u64 {
        /// Bytes times milliseconds in a tenth of a GiB-hour.
        const TENTH: i128 = (1 << 30) * 360_000;
        let tenths = self.size.checked_div(TENTH).unwrap_or(0);
        u64::try_from(tenths).unwrap_or(u64::MAX)
    }
}
