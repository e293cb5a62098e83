//! What a local clock shows, and when: the rule for skipped and repeated hours.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// How many changes of a clock are looked through for one that has a known offset. It is the nearest one, but
/// for entries of the time zone database that change a name and no offset.
const CHANGES: usize = 8;

/// The latest time that the local clock has shown up to and including a moment; of fractions of a second, its
/// reader makes nothing.
///
/// That is what it shows at the moment, but while it shows times again: then it is the last second before the
/// clock was put back.
pub(super) fn latest_shown(moment: Timestamp, zone: &TimeZone) -> DateTime {
    let offset = zone.to_offset(moment);
    let shown = offset.to_datetime(moment);
    match zone.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Fold { before, after } if after == offset => {
            let put_back = change_to(after, moment, zone).map(|at| before.to_datetime(at));
            let last = put_back.and_then(|end| end.checked_sub(SignedDuration::from_secs(1)).ok());
            last.map_or(shown, |last| last.max(shown))
        }
        AmbiguousOffset::Fold { .. } | AmbiguousOffset::Gap { .. } | AmbiguousOffset::Unambiguous { .. } => shown,
    }
}

/// The first moment at which the local clock shows this time or a later one: the end of the gap where it is
/// skipped, the first of two where it is shown twice. None outside of representable time.
pub(super) fn first_shown(local: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
        AmbiguousOffset::Gap { before, after } => {
            // Where the clock had not been put forward, it would show the time at that moment: after the change.
            let later = before.to_timestamp(local).ok()?;
            change_to(after, later, zone).or(Some(later))
        }
    }
}

/// The last moment before or at the given one at which the clock changed to an offset.
fn change_to(offset: Offset, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let end = at.saturating_add(SignedDuration::from_nanos(1)).unwrap_or(at);
    let mut changes = zone.preceding(end).take(CHANGES);
    changes.find(|change| change.offset() == offset).map(|change| change.timestamp())
}
