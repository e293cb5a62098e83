//! How calls to the API server fail, and what follows from each class.

use std::future::Future;

use thiserror::Error;

use crate::client::REQUEST_TIMEOUT;

/// What a failure means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The world moved on: read again, decide again.
    Conflict,
    /// It may work later: back off and try again.
    Transient,
    /// The server understood and refused (403, 422, 400): the same request will not work soon.
    Refused,
    /// The namespace is being deleted: nothing new can be made in it, and all that is there goes.
    NamespaceTerminating,
    /// The object does not exist.
    NotFound,
    /// It exists already.
    AlreadyExists,
    /// We no longer hold the lease: stop writing.
    NotLeader,
}

impl FailureClass {
    /// All classes.
    pub const ALL: [Self; 7] = [
        Self::Conflict,
        Self::Transient,
        Self::Refused,
        Self::NamespaceTerminating,
        Self::NotFound,
        Self::AlreadyExists,
        Self::NotLeader,
    ];

    /// The label of metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Transient => "transient",
            Self::Refused => "refused",
            Self::NamespaceTerminating => "namespace-terminating",
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::NotLeader => "not-leader",
        }
    }
}

/// A failed call to the API server.
#[derive(Debug, Error)]
pub enum Failure {
    /// It answered with an error.
    #[error("{0}")]
    Api(Box<kube::core::Status>),
    /// It did not answer in time.
    #[error("no answer within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    /// The connection failed.
    #[error("cannot reach the API server")]
    Connection(#[source] kube::Error),
    /// We no longer hold the lease.
    #[error(transparent)]
    NotLeader(#[from] crate::lease::LeaseLost),
}

impl Failure {
    /// What it means.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Api(status) => match status.code {
                409 if status.reason == "AlreadyExists" => FailureClass::AlreadyExists,
                409 => FailureClass::Conflict,
                404 => FailureClass::NotFound,
                403 if is_terminating(status) => FailureClass::NamespaceTerminating,
                // 401: a token that is about to be replaced. 408, 429: try later.
                400 | 403 | 405 | 413 | 415 | 422 => FailureClass::Refused,
                _ => FailureClass::Transient,
            },
            Self::Timeout | Self::Connection(_) => FailureClass::Transient,
            Self::NotLeader(_) => FailureClass::NotLeader,
        }
    }

    /// Whether the server did what it was asked for, and answered with something that cannot be read.
    #[must_use]
    pub fn is_unreadable_answer(&self) -> bool {
        matches!(self, Self::Connection(kube::Error::SerdeError(_)))
    }

    /// The server's own words, or the error's.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Api(status) => status.message.clone(),
            Self::Connection(source) => format!("{self}: {source}"),
            Self::Timeout | Self::NotLeader(_) => self.to_string(),
        }
    }
}

/// The cause that the API server gives for a namespace that is being deleted (Kubernetes, NamespaceTerminatingCause).
const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";

fn is_terminating(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == NAMESPACE_TERMINATING)
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Api(status),
            other => Self::Connection(other),
        }
    }
}

/// Runs one call with [`REQUEST_TIMEOUT`].
///
/// # Errors
/// See [`Failure`].
pub async fn call<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(Failure::from),
        Err(_) => Err(Failure::Timeout),
    }
}

/// An error with its causes.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_classes_are_among_all() {
        // A new class does not compile here: it belongs into ALL, too.
        let place = |class| match class {
            FailureClass::Conflict => 0,
            FailureClass::Transient => 1,
            FailureClass::Refused => 2,
            FailureClass::NamespaceTerminating => 3,
            FailureClass::NotFound => 4,
            FailureClass::AlreadyExists => 5,
            FailureClass::NotLeader => 6,
        };
        assert!(FailureClass::ALL.into_iter().map(place).eq(0..7));
    }
}
