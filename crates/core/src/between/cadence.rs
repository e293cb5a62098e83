//! How often an instance is asked.

use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::forecast::Rate;
use crate::freshness::after;

/// Never more often. A scrape costs the instance 38 ms of CPU time: every 4 s that is 1 percent of a core.
pub const FLOOR: SignedDuration = SignedDuration::from_secs(4);
/// Never less often: what is used at a sample is known by what the instance said before and after it, and a kubelet's
/// samples are 60 s apart at least. That costs the instance 0.06 percent of a core.
pub const CEILING: SignedDuration = SignedDuration::from_secs(60);
/// A load that begins at once writes so much in a second: a bulk load over a fast network volume.
const FAST: u64 = 64 << 20;
/// Such a load finds the instance asked so often before the volume is full.
const LOOKS: i64 = 4;
/// A kubelet, whose figures are up to two minutes apart, sees a volume that fills in this time five times.
const SEEN: SignedDuration = SignedDuration::from_mins(10);
/// While a volume fills, it is looked at so often until it is full: a growth takes a moment too.
const LOOKS_OF_A_FORECAST: i64 = 16;

/// How long until an instance is asked again that has so much available and fills at this rate: the shorter, the sooner
/// its volume can be full.
#[must_use]
pub fn every(available: Bytes, rate: Option<Rate>) -> SignedDuration {
    let seconds = |bytes: i128, per: i128, looks: i64| {
        let looks = per.saturating_mul(i128::from(looks));
        i64::try_from(bytes.checked_div(looks).unwrap_or(i128::MAX)).unwrap_or(i64::MAX)
    };
    let at_once = seconds(available.wide(), i128::from(FAST), LOOKS);
    let forecast = rate.map_or(i64::MAX, |rate| {
        let bytes = available.wide().saturating_mul(rate.seconds());
        seconds(bytes, rate.bytes(), LOOKS_OF_A_FORECAST)
    });
    SignedDuration::from_secs(at_once.min(forecast)).clamp(FLOOR, CEILING)
}

/// Whether a volume that has so much available and fills at this rate could be full before a kubelet shows it: so soon that
/// it would see that only a few times. Else its figures suffice, and the instance need not be asked.
#[must_use]
pub fn may_fill_unseen(available: Bytes, rate: Option<Rate>) -> bool {
    let fast = available.wide() < i128::from(FAST).saturating_mul(i128::from(SEEN.as_secs()));
    fast || rate.is_some_and(|rate| rate.over(SEEN) >= available)
}

/// When an instance is due that was last asked at `asked`, whatever came of it. Where the clock was set back since, it is
/// due a whole `every` from now at the latest.
#[must_use]
pub fn due(asked: Option<Timestamp>, now: Timestamp, every: SignedDuration) -> Timestamp {
    asked.map_or(now, |asked| after(asked.min(now), every))
}
