//! What can go wrong with a request, and at which.

use std::fmt;
use std::time::Duration;

use http::{Response, StatusCode};
use serde_json::json;

use super::body::{Body, full};

/// When something happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// It never reaches the API server.
    Before,
    /// The API server has done what it asks for, and the manager never hears of it.
    After,
}

/// An error of the API server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// 409.
    Conflict,
    /// 429 with `Retry-After: 1`.
    TooManyRequests,
    /// 500.
    Internal,
    /// 504.
    Timeout,
    /// 410, of watches.
    Gone,
}

impl Refusal {
    fn parts(self) -> (StatusCode, &'static str) {
        match self {
            Self::Conflict => (StatusCode::CONFLICT, "Conflict"),
            Self::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, "Timeout"),
            Self::Gone => (StatusCode::GONE, "Expired"),
        }
    }

    /// As the API server words it.
    pub(super) fn answer(self) -> Response<Body> {
        let (code, reason) = self.parts();
        let message = format!("{} by the test's proxy", reason.to_lowercase());
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code.as_u16(),
        });
        let mut response = Response::new(full(status.to_string()));
        *response.status_mut() = code;
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        if self == Self::TooManyRequests {
            let second = http::HeaderValue::from_static("1");
            response.headers_mut().insert(http::header::RETRY_AFTER, second);
        }
        response
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The manager is killed.
    Kill(Moment),
    /// The connection is closed without an answer.
    Drop(Moment),
    /// The request, or its answer, takes so much longer.
    Delay(Moment, Duration),
    /// The manager is told this.
    Answer(Moment, Refusal),
    /// All open watches of this resource end; where `gone`, the next one is answered with 410 once.
    CutWatch {
        /// Their resource.
        resource: String,
        /// Whether the past that the next watch asks for is gone as well.
        gone: bool,
    },
    /// The request waits while the test does something: see [`Proxy::meanwhile`](super::Proxy::meanwhile).
    Meanwhile,
    /// The connection is closed, and the request comes to the API server so much later all the same.
    Late(Duration),
    /// The request is lost for the manager, and comes to the API server all the same once the test is done: what a network
    /// does that delivers again what it had kept.
    Stray,
}

impl Fault {
    /// Its sort in a few words, without what differs in number only.
    pub fn sort(&self) -> &'static str {
        match self {
            Self::Kill(Moment::Before) => "killed before",
            Self::Kill(Moment::After) => "killed after",
            Self::Drop(Moment::Before) => "request lost",
            Self::Drop(Moment::After) => "answer lost",
            Self::Delay(Moment::Before, _) => "request delayed",
            Self::Delay(Moment::After, _) => "answer delayed",
            Self::Answer(_, Refusal::Conflict) => "409",
            Self::Answer(_, Refusal::TooManyRequests) => "429",
            Self::Answer(Moment::Before, Refusal::Internal) => "500",
            Self::Answer(Moment::After, Refusal::Internal) => "500 after",
            Self::Answer(Moment::Before, Refusal::Timeout) => "504",
            Self::Answer(Moment::After, Refusal::Timeout) => "504 after",
            Self::Answer(_, Refusal::Gone) => "410",
            Self::CutWatch { gone: false, .. } => "watch cut",
            Self::CutWatch { gone: true, .. } => "watch cut, 410",
            Self::Meanwhile => "meanwhile",
            Self::Late(_) => "late",
            Self::Stray => "stray",
        }
    }
}

/// Which requests a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// Those of a kind: [`Asked::kind`](super::Asked::kind).
    Kind(String),
    /// Those with a signature: [`Asked::signature`](super::Asked::signature).
    Signature(String),
}

/// One thing that goes wrong, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// At which requests.
    pub at: At,
    /// At the how-manieth of them, from 1, counted from the arming.
    pub nth: u32,
    /// What.
    pub fault: Fault,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = match &self.at {
            At::Kind(text) | At::Signature(text) => text,
        };
        write!(f, "{at} #{}: {:?}", self.nth, self.fault)
    }
}
