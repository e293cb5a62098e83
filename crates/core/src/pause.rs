use std::sync::Arc;

use jiff::Timestamp;

/// A person's wish that nothing be done to a Cluster, from its annotations `paused` and `pause-until`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pause {
    /// The annotation is absent, empty or "false".
    #[default]
    No,
    /// It is anything else.
    Paused {
        /// When the pause ends by itself. An absent or unreadable `pause-until` never does.
        until: Option<Timestamp>,
        /// The text of the annotation where it is not "true": it counts as a pause, with a warning.
        unreadable: Option<Arc<str>>,
    },
}

impl Pause {
    /// Reads the annotations `paused` and `pause-until` (RFC 3339).
    #[must_use]
    pub fn read(paused: Option<&str>, until: Option<&str>) -> Self {
        match paused {
            None | Some("" | "false") => Self::No,
            Some(text) => Self::Paused {
                until: until.and_then(|u| u.trim().parse().ok()),
                unreadable: (text != "true").then(|| text.into()),
            },
        }
    }

    /// When it ends by itself, where it does.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::No => None,
            Self::Paused { until, .. } => *until,
        }
    }

    /// Whether it holds at `now`; it has ended at `until` itself.
    #[must_use]
    pub fn in_force(&self, now: Timestamp) -> bool {
        match self {
            Self::No => false,
            Self::Paused { until, .. } => until.is_none_or(|until| until > now),
        }
    }
}
