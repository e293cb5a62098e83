//! Maintenance windows: a cron schedule, how long it stays open, and whose clock it goes by.
//!
//! [`Schedule`] and [`Duration`] are parsed once, from the text in a policy, into a few machine words; what is
//! asked of them afterwards allocates nothing. Our own, because no crate fits: croner fires twice in a repeated
//! hour and not at all in a skipped one for anything with a `*`, knows L, W, # and nicknames that cannot be
//! switched off, and keeps 5 KB a schedule; jiff-cron and cron want seconds and take years.
//!
//! The one rule about clocks that change: a firing happens at the first moment at which the local clock shows
//! its time *or a later one*. What a gap skips happens at the end of the gap, once; what is shown twice happens
//! the first time.
//!
//! Time zones come from the database that is compiled in, never from the machine's: the same input gives the
//! same answer everywhere, and a container image needs no zoneinfo.

mod bits;
mod clock;
mod cron;
mod duration;
mod field;
mod window;

pub use cron::{Schedule, ScheduleError};
pub use duration::{Duration, DurationError};
pub use field::{Field, FieldProblem};
pub use window::{TimeZoneError, Window, WindowError, time_zone};

/// The longest text that is repeated in an error.
const QUOTED: usize = 64;

/// The text as an error repeats it, shortened where it is absurdly long.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
