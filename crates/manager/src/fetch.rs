//! One GET with bounds: whatever answers, it costs one time-out and so many bytes at most.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};
use thiserror::Error;

/// What an answer may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// For all of it, connecting included: a peer that sends a byte now and then holds it up no longer.
    pub timeout: Duration,
    /// Bytes of the body.
    pub largest: usize,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FetchError {
    /// It cannot be reached, or the connection broke: why.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// Its certificate could not be verified: why.
    #[error("its certificate cannot be verified: {0}")]
    Certificate(String),
    /// It took too long.
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
    /// It answered with something else than 200.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// The body has more bytes than so many, which we read.
    #[error("its answer is larger than {} MiB", .0 >> 20)]
    TooLarge(usize),
}

impl FetchError {
    /// A short name of the kind of error.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Certificate(_) => "certificate",
            Self::Timeout(_) => "timeout",
            Self::Status(_) => "status",
            Self::TooLarge(_) => "garbage",
        }
    }

    /// Where to look, where an instance gives no answer; it goes behind the error.
    pub const fn hint_of_instances(&self) -> &'static str {
        match self {
            Self::Connect(_) | Self::Certificate(_) => "; is there a NetworkPolicy that keeps the manager from it?",
            Self::Timeout(_) => " (setting instances.timeout)",
            Self::Status(_) | Self::TooLarge(_) => "",
        }
    }
}

/// A client for instances: whoever answers, nothing is sent to him that he could take, and he sends us nowhere else.
///
/// # Errors
/// Where there can be none.
pub fn client_of_instances(timeout: Duration, https_only: bool) -> anyhow::Result<Client> {
    Client::builder()
        .connect_timeout(timeout)
        .timeout(timeout)
        // Idle connections to thousands of instances would cost more memory than handshakes cost time.
        .pool_max_idle_per_host(0)
        .no_proxy()
        .redirect(Policy::none())
        .https_only(https_only)
        // The CA is in a Secret of each Cluster's namespace, and the manager reads no Secrets. What is said can hold a growth,
        // let it go or ask for one, within every other limit (ADR 12 and 13).
        .tls_danger_accept_invalid_certs(true)
        .user_agent(concat!("cnpg-storage-manager/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("cannot make the HTTP client for instances")
}

/// Reads the body of the answer into `buffer`.
///
/// # Errors
/// See [`FetchError`]; what the buffer holds then is of no use.
pub async fn get(request: RequestBuilder, bounds: Bounds, buffer: &mut Vec<u8>) -> Result<(), FetchError> {
    buffer.clear();
    let timeout = bounds.timeout;
    let answer = tokio::time::timeout(timeout, body(request, bounds, buffer)).await;
    answer.unwrap_or(Err(FetchError::Timeout(timeout)))
}

async fn body(request: RequestBuilder, bounds: Bounds, buffer: &mut Vec<u8>) -> Result<(), FetchError> {
    let mut response = request.send().await.map_err(|error| failed(&error, bounds))?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error, bounds))? {
        if buffer.len().saturating_add(chunk.len()) > bounds.largest {
            return Err(FetchError::TooLarge(bounds.largest));
        }
        buffer.extend_from_slice(&chunk);
    }
    Ok(())
}

fn failed(error: &reqwest::Error, bounds: Bounds) -> FetchError {
    if error.is_timeout() {
        return FetchError::Timeout(bounds.timeout);
    }
    let mut reason = error.to_string();
    let mut source: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    let mut certificate = false;
    while let Some(cause) = source {
        certificate |= cause
            .downcast_ref::<rustls::Error>()
            .is_some_and(|e| matches!(e, rustls::Error::InvalidCertificate(_)));
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            let inner = io.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
            certificate |= inner.is_some_and(|e| matches!(e, rustls::Error::InvalidCertificate(_)));
        }
        reason = cause.to_string();
        source = cause.source();
    }
    if certificate {
        FetchError::Certificate(reason)
    } else {
        FetchError::Connect(reason)
    }
}
