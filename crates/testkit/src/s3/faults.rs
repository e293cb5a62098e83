//! What can be wrong with a bucket.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// What becomes of every call that concerns a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// 403, code `AccessDenied`, as with credentials that may do nothing here.
    AccessDenied,
    /// 404, code `NoSuchBucket`, also to whoever wants to make the bucket.
    NoSuchBucket,
    /// 500, code `InternalError`.
    InternalError,
    /// The connection is closed, and nothing is said.
    Cut,
    /// No answer, until the fault is another one or the caller gives up.
    Hang,
    /// Each answer comes so many milliseconds later.
    Slow {
        /// How many.
        millis: u64,
    },
}

/// An answer that S3 gives instead of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: &'static str,
}

impl Fault {
    /// The refusal that it is, if it is one.
    pub(super) const fn refusal(self) -> Option<Refusal> {
        let (status, code, message) = match self {
            Self::AccessDenied => (StatusCode::FORBIDDEN, "AccessDenied", "Access Denied"),
            Self::NoSuchBucket => (StatusCode::NOT_FOUND, "NoSuchBucket", "The specified bucket does not exist"),
            Self::InternalError => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                "We encountered an internal error. Please try again.",
            ),
            Self::Cut | Self::Hang | Self::Slow { .. } => return None,
        };
        Some(Refusal { status, code, message })
    }

    /// How much later an answer comes.
    pub(super) const fn delay(self) -> Duration {
        match self {
            Self::Slow { millis } => Duration::from_millis(millis),
            _ => Duration::ZERO,
        }
    }
}
