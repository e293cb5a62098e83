use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use thiserror::Error;

use super::{Duration, DurationError, Schedule, ScheduleError, quoted};
use crate::freshness::after;

/// A maintenance window: open for a length of elapsed time from each firing of a schedule, the start included,
/// the end not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    schedule: Schedule,
    duration: Duration,
    zone: TimeZone,
}

/// Why a window cannot be read: which of its fields, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WindowError {
    /// `schedule`.
    #[error("schedule: {0}")]
    Schedule(ScheduleError),
    /// `duration`.
    #[error("duration: {0}")]
    Duration(DurationError),
    /// `timezone`.
    #[error("timezone: {0}")]
    TimeZone(TimeZoneError),
}

/// A name that the time zone database does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TimeZoneError {
    /// Nothing, or only white space.
    #[error("empty; write a time zone such as \"Europe/Berlin\", or \"UTC\"")]
    Empty,
    /// Not in the database.
    #[error("{0:?} is no time zone; write a name of the IANA database such as \"Europe/Berlin\", or \"UTC\"")]
    Unknown(String),
}

/// The time zone of a name in the IANA database, in any case; from the database that is compiled in.
///
/// # Errors
/// [`TimeZoneError`] names the text and what to write instead.
pub fn time_zone(name: &str) -> Result<TimeZone, TimeZoneError> {
    let name = name.trim();
    if name.is_empty() {
        return Err(TimeZoneError::Empty);
    }
    let unknown = || TimeZoneError::Unknown(quoted(name));
    let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| unknown())?;
    if zone.is_unknown() { Err(unknown()) } else { Ok(zone) }
}

/// How many openings that run into one another are followed to where they end.
const FOLLOWED: usize = 64;

impl Window {
    /// A window of these parts.
    #[must_use]
    pub fn new(schedule: Schedule, duration: Duration, zone: TimeZone) -> Self {
        Self { schedule, duration, zone }
    }

    /// From what a policy says; what it leaves out is as in [`Window::default`].
    ///
    /// # Errors
    /// [`WindowError`] names the first field that is wrong, its text and an example.
    pub fn parse(schedule: Option<&str>, duration: Option<&str>, zone: Option<&str>) -> Result<Self, WindowError> {
        let default = Self::default();
        Ok(Self {
            schedule: schedule.map_or(Ok(default.schedule), str::parse).map_err(WindowError::Schedule)?,
            duration: duration.map_or(Ok(default.duration), str::parse).map_err(WindowError::Duration)?,
            zone: zone.map_or(Ok(default.zone), time_zone).map_err(WindowError::TimeZone)?,
        })
    }

    /// When it opens.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// For how long.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// By whose clock.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Whether it is open.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.opened_by(now).is_some()
    }

    /// Where it is open: until when. Firings that come while it is open keep it open; where more than a few
    /// dozen do so one after the other, it closes at the answer or later (a window that never closes has no
    /// other end).
    #[must_use]
    pub fn open(&self, now: Timestamp) -> Option<Timestamp> {
        let mut firing = self.opened_by(now)?;
        let mut end = after(firing, self.duration.get());
        for _ in 0..FOLLOWED {
            match self.schedule.last_firing(end, &self.zone) {
                Some(last) if last > firing => firing = last,
                Some(_) | None => break,
            }
            end = after(firing, self.duration.get());
        }
        Some(end)
    }

    /// The first firing after (not at) a moment, whether it is open then or not. None where there is none.
    #[must_use]
    pub fn next_firing(&self, after: Timestamp) -> Option<Timestamp> {
        self.schedule.next_firing(after, &self.zone)
    }

    /// The first moment from now on at which it is open: now, where it is. None where it never opens again.
    #[must_use]
    pub fn next_open(&self, now: Timestamp) -> Option<Timestamp> {
        if self.is_open(now) { Some(now) } else { self.next_firing(now) }
    }

    /// The last firing, where what it opened is open still.
    fn opened_by(&self, now: Timestamp) -> Option<Timestamp> {
        let firing = self.schedule.last_firing(now, &self.zone)?;
        (now.duration_since(firing) < self.duration.get()).then_some(firing)
    }
}

impl Default for Window {
    /// Every night from 03:00 to 05:00, UTC.
    fn default() -> Self {
        Self {
            schedule: Schedule::NIGHTLY,
            duration: Duration::TWO_HOURS,
            zone: TimeZone::UTC,
        }
    }
}
