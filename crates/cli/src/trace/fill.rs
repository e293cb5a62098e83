//! A trace that nobody has recorded: a volume that fills evenly.

use std::fmt;
use std::str::FromStr;

use csm_units::{Bytes, QuantityError};
use jiff::{SignedDuration, Timestamp};
use thiserror::Error as ThisError;

use super::{Broken, Collector, Name, Trace};
use crate::error::Error;

/// The time between two samples: a kubelet refreshes the figures of a filesystem about once a minute.
const STEP: SignedDuration = SignedDuration::from_mins(1);

/// So many bytes in a time, such as `1Gi/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    bytes: Bytes,
    seconds: u64,
}

/// A text that is no rate.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum RateError {
    /// There is no time, or another one.
    #[error("write so much in a second, minute, hour or day, such as 1Gi/h, 100Mi/m or 20Gi/d")]
    Time,
    /// The amount is none.
    #[error(transparent)]
    Amount(#[from] QuantityError),
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (amount, time) = text.split_once('/').ok_or(RateError::Time)?;
        let seconds = match time.trim() {
            "s" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(RateError::Time),
        };
        let bytes = amount.trim().parse()?;
        Ok(Self { bytes, seconds })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = match self.seconds {
            1 => "s",
            60 => "m",
            3600 => "h",
            _ => "d",
        };
        write!(f, "{}/{time}", self.bytes)
    }
}

/// How volumes fill.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// How fast.
    pub rate: Rate,
    /// From when on.
    pub from: Timestamp,
    /// For how long.
    pub lasts: SignedDuration,
}

impl Trace {
    /// Volumes that fill evenly, each from so much on, with a sample a minute.
    ///
    /// # Errors
    /// Where the samples cannot be kept.
    pub fn fill(fill: &Fill, volumes: Vec<(Name, Bytes)>) -> Result<Self, Error> {
        let kept = |broken| match broken {
            Broken::Unreadable(source) | Broken::Spool(source) => Error::Spool(source),
            Broken::At(_, _, message) => Error::Usage(message),
        };
        let mut collector = Collector::new("--fill".to_owned());
        for (name, start) in volumes {
            let key = name.to_string();
            let index = collector.series(key.as_bytes(), 0, || Ok(name)).map_err(kept)?;
            let mut passed = SignedDuration::ZERO;
            loop {
                let seconds = u64::try_from(passed.as_secs()).unwrap_or(0);
                let used = start.saturating_add(fill.rate.bytes.mul_div(seconds, fill.rate.seconds));
                let at = fill.from.saturating_add(passed).unwrap_or(Timestamp::MAX);
                collector.sample(index, (0, 0), at, used).map_err(kept)?;
                if passed >= fill.lasts {
                    break;
                }
                passed = passed.saturating_add(STEP).min(fill.lasts);
            }
        }
        collector.finish().map_err(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, back) in [
            ("1Gi/h", "1Gi/h"),
            ("1024Mi / h", "1Gi/h"),
            ("100Mi/min", "100Mi/m"),
            ("0/d", "0/d"),
            ("5/s", "5/s"),
        ] {
            assert_eq!(text.parse::<Rate>().map(|r| r.to_string()).as_deref(), Ok(back));
        }
        for wrong in ["1Gi", "1Gi/week", "/h", "-1Gi/h", "much/h"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_volume_that_fills() {
        let fill = Fill {
            rate: "1Gi/h".parse().expect("a rate"),
            from: Timestamp::UNIX_EPOCH,
            lasts: SignedDuration::from_secs(150),
        };
        let mut trace = Trace::fill(&fill, vec![(Name::default(), Bytes::gib(2))]).expect("a trace");
        assert_eq!((trace.samples, trace.step), (4, Some(STEP)));
        let mut merged = trace.merged(&[0]);
        let (mut samples, mut all) = (Vec::new(), Vec::new());
        while let Some(at) = merged.moment(&mut samples).expect("what was kept") {
            all.push((at.as_second(), samples[0].1.saturating_sub(Bytes::gib(2)).get()));
        }
        assert_eq!(all, [(0, 0), (60, 17_895_697), (120, 35_791_394), (150, 44_739_242)]);
    }
}
