//! Sizes, times and names as people read them.

use csm_units::Bytes;
use jiff::SignedDuration;

use crate::decision::Pace;

/// "8.8 of 10 GiB": both in the unit of the larger, to a tenth, rounded down.
pub(super) fn share(used: Bytes, total: Bytes) -> String {
    let (unit, name) = scale(total);
    format!("{} of {} {name}", tenths(used, unit), tenths(total, unit))
}

/// "8.8 GiB": to a tenth, rounded down.
pub(super) fn measured(size: Bytes) -> String {
    let (unit, name) = scale(size);
    format!("{} {name}", tenths(size, unit))
}

/// The largest unit that `size` has at least one of; MiB at least.
fn scale(size: Bytes) -> (u64, &'static str) {
    const UNITS: [(u64, &str); 4] = [(1 << 50, "PiB"), (1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB")];
    let fits = UNITS.into_iter().find(|(unit, _)| size.get() >= *unit);
    fits.unwrap_or((1 << 20, "MiB"))
}

fn tenths(size: Bytes, unit: u64) -> String {
    let tenths = size.mul_div(10, unit).get();
    let (whole, rest) = (tenths / 10, tenths % 10);
    if rest == 0 { whole.to_string() } else { format!("{whole}.{rest}") }
}

/// "full in 1 h 25 min at 3.1 GiB/h".
pub(super) fn pace(pace: &Pace) -> String {
    let Pace { time_to_full, per_hour } = pace;
    format!("full in {} at {}/h", span(*time_to_full), measured(*per_hour))
}

/// "1 h 25 min": the two largest units, rounded down.
pub(super) fn span(time: SignedDuration) -> String {
    const DAY: i64 = 24 * 3600;
    let seconds = time.as_secs().max(0);
    if seconds >= 365 * DAY {
        return "more than a year".to_owned();
    }
    // Up to two days are said in hours.
    let days = if seconds <= 2 * DAY { 0 } else { seconds / DAY };
    let hours = seconds.saturating_sub(days.saturating_mul(DAY)) / 3600;
    let units = [(days, "d"), (hours, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let parts = units.iter().skip_while(|(n, _)| *n == 0).take(2).filter(|(n, _)| *n > 0);
    let parts: Vec<String> = parts.map(|(n, unit)| format!("{n} {unit}")).collect();
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// "a", "a and b", "a, b and c".
pub(super) fn and<T: AsRef<str>>(names: &[T]) -> String {
    match names {
        [] => "a member".to_owned(),
        [one] => one.as_ref().to_owned(),
        [most @ .., last] => {
            let most: Vec<&str> = most.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", most.join(", "), last.as_ref())
        }
    }
}

/// "1 file", "2 files".
pub(super) fn count(number: u32, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
