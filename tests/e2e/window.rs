//! Maintenance windows computed from now: closed for hours, or about to open.

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// A window that opens once a day, and stays open for ten minutes.
pub struct Window {
    /// When it opens next; a whole second.
    pub opens: Timestamp,
}

impl Window {
    /// Closed now; opens after this time.
    pub fn opens_in(time: SignedDuration) -> Result<Self> {
        let second = Timestamp::now().checked_add(time)?.as_second();
        let opens = Timestamp::from_second(second).context("the clock is out of range")?;
        Ok(Self { opens })
    }

    /// Closed for as long as any test takes.
    pub fn far() -> Result<Self> {
        Self::opens_in(SignedDuration::from_hours(12))
    }

    /// As a policy has it: cron with leading seconds.
    pub fn spec(&self) -> Value {
        let at = self.opens.to_zoned(TimeZone::UTC);
        let schedule = format!("{} {} {} * * *", at.second(), at.minute(), at.hour());
        json!({"schedule": schedule, "duration": "10m", "timezone": "UTC"})
    }
}
