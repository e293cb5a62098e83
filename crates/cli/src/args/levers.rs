//! The arguments of the manual levers.

use std::str::FromStr;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use csm_core::schedule::Duration;
use csm_core::world::VolumeKey;
use csm_units::Bytes;
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};

use super::Common;

/// The arguments of `pause`.
#[derive(Clone, Debug, Args)]
pub struct Pause {
    /// Name of a CNPG Cluster.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub cluster: String,
    /// When it ends by itself: a time such as 2026-03-01T14:00:00Z, or how long it lasts, such as 2h [default: it does not].
    #[arg(long, value_name = "TIME|DURATION")]
    pub until: Option<Until>,
    /// Why, for those who find it paused.
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub reason: Option<String>,
    #[command(flatten)]
    pub write: Write,
    #[command(flatten)]
    pub common: Common,
}

/// The arguments of `resume`.
#[derive(Clone, Debug, Args)]
pub struct Resume {
    /// Name of a CNPG Cluster.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub cluster: String,
    #[command(flatten)]
    pub write: Write,
    #[command(flatten)]
    pub common: Common,
}

/// The arguments of `reset-breaker`.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("breaker").required(true).args(["cluster", "global"]))]
pub struct ResetBreaker {
    /// Name of a CNPG Cluster.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub cluster: Option<String>,
    /// The breaker of the whole fleet.
    #[arg(long)]
    pub global: bool,
    #[command(flatten)]
    pub write: Write,
    #[command(flatten)]
    pub common: Common,
}

/// The arguments of `expand`.
#[derive(Clone, Debug, Args)]
pub struct Expand {
    /// Name of a CNPG Cluster.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub cluster: String,
    /// Which volume: data, wal or tablespace/NAME.
    #[arg(long, value_name = "VOLUME")]
    pub volume: VolumeKey,
    /// The size that all its PVCs grow to, such as 50Gi; it is rounded up to a whole MiB, from 10Gi on to a whole GiB.
    #[arg(long, value_name = "SIZE")]
    pub to: Bytes,
    /// Wait until it has ended; the status is 1 where it failed.
    #[arg(long)]
    pub wait: bool,
    /// Wait at most so long; the growth goes on after that.
    #[arg(long, value_name = "DURATION", default_value = "10m", requires = "wait")]
    pub timeout: Duration,
    #[command(flatten)]
    pub write: Write,
    #[command(flatten)]
    pub common: Common,
}

/// What every lever takes.
#[derive(Clone, Copy, Debug, Args)]
pub struct Write {
    /// Only show what would be written: client does not send it, server has it checked and not kept.
    #[arg(long, value_enum, default_value_t, value_name = "none|client|server", hide_possible_values = true)]
    pub dry_run: DryRun,
}

/// What becomes of a write, as kubectl has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// It is written.
    #[default]
    None,
    /// It is not sent.
    Client,
    /// The API server checks it, and does not keep it.
    Server,
}

/// When something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// At a time.
    At(Timestamp),
    /// After a while.
    After(SignedDuration),
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = text.parse().map(Self::At).ok();
        let until = time.or_else(|| text.parse().ok().map(|duration: Duration| Self::After(duration.get())));
        until.ok_or_else(|| format!("{text:?} is neither a time such as 2026-03-01T14:00:00Z nor a duration such as 2h or 1h30m"))
    }
}

impl Until {
    /// The moment, to the second and not before what was asked for.
    ///
    /// # Errors
    /// What is wrong where it is not in the future.
    pub fn moment(self, now: Timestamp) -> Result<Timestamp, String> {
        let at = match self {
            Self::At(at) => at,
            Self::After(duration) => now.saturating_add(duration).unwrap_or(Timestamp::MAX),
        };
        let seconds = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil);
        let at = at.round(seconds).unwrap_or(at);
        if at <= now {
            return Err(format!(
                "--until {at} is not in the future: it is {now} now; give a later time, or how long, such as 2h"
            ));
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_or_a_while_and_in_the_future() {
        let now: Timestamp = "2026-03-01T12:00:00.2Z".parse().expect("a time");
        let moment = |text: &str| text.parse::<Until>().and_then(|until| until.moment(now)).map(|at| at.to_string());
        assert_eq!(moment("2h").as_deref(), Ok("2026-03-01T14:00:01Z"));
        assert_eq!(moment("2026-03-01T14:00:00+01:00").as_deref(), Ok("2026-03-01T13:00:00Z"));
        let past = moment("2026-03-01T12:00:00Z").expect_err("the past");
        assert!(past.contains("2026-03-01T12:00:00Z is not in the future"), "{past}");
        let odd = moment("tomorrow").expect_err("no time");
        assert!(odd.contains("neither a time") && odd.contains("2h"), "{odd}");
        assert!(moment("-2h").is_err() && moment("").is_err());
    }
}
