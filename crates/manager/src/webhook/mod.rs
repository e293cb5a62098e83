//! Admission webhooks: policy objects are validated, and PVCs of instances are born with the size of their volume.
//!
//! Every replica serves them, also without the lease: all that they rest on is in the index, and nothing is asked of
//! anybody else. `docs/adr/0009-webhooks.md` says what they refuse, what they change, and why.

pub mod certificates;
mod metrics;
mod pvc;
mod review;
mod validate;

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use csm_runtime::readiness::Readiness;
use csm_runtime::serve::{Limits, serve};
use csm_runtime::tasks::Tasks;
use csm_runtime::tls::{Certificate, TlsListener};
use jiff::Timestamp;
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use self::metrics::Metrics;
use self::review::{Answer, Request};
use crate::shared::Shared;

/// Where policy objects are sent to.
pub const POLICIES: &str = "/validate-policies";
/// Where PVCs are sent to.
pub const PVCS: &str = "/mutate-pvcs";

/// The largest question: etcd takes objects of 1.5 MiB (`--max-request-bytes`), and an update sends two.
const LARGEST: usize = 4 * 1024 * 1024;
/// Questions that are read and answered at a time, 32 MiB at most: anybody in the network may ask, and nobody may take the
/// memory that growth needs. Answers take microseconds to milliseconds.
const AT_A_TIME: usize = 8;
/// How long a question may wait for its turn and arrive: the API server waits no longer for an answer (`timeoutSeconds`).
const ARRIVES: Duration = Duration::from_secs(2);
/// API servers keep a few connections each, for 90 s after their last question (`IdleConnTimeout` of Go's `net/http`). One
/// must not be closed sooner: the question that comes at that moment would fail.
const LIMITS: Limits = Limits {
    connections: 256,
    silence: Duration::from_secs(100),
};

/// Serves the webhooks where the settings ask for them, among `tasks`. `namespace` is the manager's own.
///
/// # Errors
/// Where the port cannot be served.
pub async fn start(
    shared: &Arc<Shared>,
    client: &Client,
    namespace: &str,
    readiness: &Readiness,
    registry: &mut Registry,
    stop: &CancellationToken,
    tasks: &mut Tasks,
) -> anyhow::Result<()> {
    let Some(settings) = shared.settings.webhook.clone() else {
        return Ok(());
    };
    let address = SocketAddr::new(shared.settings.admin_address.ip(), settings.port);
    let served = || format!("cannot serve webhooks on {address} (settings webhook.port and adminAddress)");
    let listener = TcpListener::bind(address).await.with_context(served)?;
    let certificate = Certificate::default();
    let listener = TlsListener::new(listener, certificate.clone()).with_context(served)?;
    tracing::info!(%address, "serving webhooks");
    readiness.wait_for(certificates::READY, "there is none yet");

    let metrics = Metrics::default();
    metrics.register(registry);
    let webhook = Arc::new(Webhook {
        shared: shared.clone(),
        readiness: readiness.clone(),
        metrics,
        turns: Turns::default(),
    });
    let routes = Router::new()
        .route(POLICIES, post(policies))
        .route(PVCS, post(pvcs))
        .with_state(webhook);
    tasks.spawn("webhooks", serve(listener, routes, LIMITS, stop.clone().cancelled_owned()));
    let keep = certificates::keep(
        settings.certificates,
        client.clone(),
        namespace.to_owned(),
        certificate,
        readiness.clone(),
        stop.clone(),
    );
    tasks.spawn("certificates of the webhooks", keep);
    Ok(())
}

/// Whether all lists are complete: what is waited for, if anything, is the certificate alone.
#[must_use]
pub fn caches_are_complete(readiness: &Readiness) -> bool {
    readiness.missing().keys().all(|name| name == certificates::READY)
}

struct Webhook {
    shared: Arc<Shared>,
    readiness: Readiness,
    metrics: Metrics,
    turns: Turns,
}

/// Who is read and answered now.
struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(AT_A_TIME))
    }
}

impl Turns {
    /// Waits for a turn, and for the question. The turn lasts for as long as the permit.
    async fn read(&self, body: Body) -> Result<(SemaphorePermit<'_>, Bytes), Wrong> {
        let large = |error| {
            (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("cannot read the question, of {LARGEST} bytes at most: {error}"),
            )
        };
        let arrived = async {
            // It is never closed.
            let turn = self.0.acquire().await.map_err(|_| late())?;
            let body = to_bytes(body, LARGEST).await.map_err(large)?;
            Ok((turn, body))
        };
        tokio::time::timeout(ARRIVES, arrived).await.map_err(|_| late())?
    }
}

fn late() -> Wrong {
    (
        StatusCode::REQUEST_TIMEOUT,
        format!("the question did not arrive within {ARRIVES:?}, or {AT_A_TIME} others were in its way"),
    )
}

async fn policies(State(webhook): State<Arc<Webhook>>, body: Body) -> Response {
    webhook.answer("policies", body, Webhook::on_policy).await
}

async fn pvcs(State(webhook): State<Arc<Webhook>>, body: Body) -> Response {
    webhook.answer("pvcs", body, Webhook::on_pvc).await
}

/// Why there is no answer.
type Wrong = (StatusCode, String);

impl Webhook {
    async fn answer(&self, name: &'static str, body: Body, answer: fn(&Self, &Request) -> Answer) -> Response {
        let start = Instant::now();
        let outcome = self.decide(body, answer).await;
        let (result, response) = match outcome {
            Ok((result, review)) => {
                let content_type = [(header::CONTENT_TYPE, "application/json")];
                (result, (content_type, review).into_response())
            }
            Err((status, why)) => {
                tracing::warn!(
                    webhook = name,
                    status = status.as_u16(),
                    why,
                    "a question of the API server was not answered"
                );
                ("error", (status, why + "\n").into_response())
            }
        };
        self.metrics.answered(name, result, start.elapsed());
        response
    }

    async fn decide(&self, body: Body, answer: fn(&Self, &Request) -> Answer) -> Result<(&'static str, String), Wrong> {
        let (_turn, body) = self.turns.read(body).await?;
        let request = review::read(&body).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
        let answer = catch_unwind(AssertUnwindSafe(|| answer(self, &request))).map_err(|panic| {
            let why = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            let why = why.unwrap_or("a panic without words");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("CNPG Storage Manager failed to answer, a bug to be reported: {why}"),
            )
        })?;
        Ok((answer.result(), answer.to_review(&request.uid).to_string()))
    }

    fn on_policy(&self, request: &Request) -> Answer {
        let settings = &self.shared.settings.volumes;
        if caches_are_complete(&self.readiness) {
            validate::answer(request, Some(&self.shared.index()), settings)
        } else {
            validate::answer(request, None, settings)
        }
    }

    fn on_pvc(&self, request: &Request) -> Answer {
        // Of half the members of a volume, the largest may be small.
        if !caches_are_complete(&self.readiness) {
            return Answer::default();
        }
        pvc::answer(request, &mut self.shared.index(), &self.shared.settings.volumes, Timestamp::now())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // tests
mod tests {
    use std::convert::Infallible;

    use futures::stream;

    use super::*;

    /// Bodies that never end take no more than their turns, and those for 2 s.
    #[tokio::test(start_paused = true)]
    async fn a_question_waits_for_those_that_do_not_arrive() {
        let turns = Arc::new(Turns::default());
        let begun = tokio::time::Instant::now();
        let unending: Vec<_> = (0..AT_A_TIME)
            .map(|_| {
                let turns = turns.clone();
                let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
                tokio::spawn(async move { turns.read(body).await.map(drop) })
            })
            .collect();
        // They have their turns.
        tokio::task::yield_now().await;
        tokio::time::advance(ARRIVES / 2).await;
        let (_turn, body) = turns.read(Body::from("asked")).await.unwrap();
        assert_eq!(&*body, b"asked");
        assert!(
            begun.elapsed() >= ARRIVES && begun.elapsed() < ARRIVES * 5 / 4,
            "{:?}",
            begun.elapsed()
        );
        for unending in unending {
            assert_eq!(unending.await.unwrap().unwrap_err().0, StatusCode::REQUEST_TIMEOUT);
        }
        let large = turns.read(Body::from(vec![b' '; LARGEST + 1])).await.unwrap_err();
        assert_eq!(large.0, StatusCode::PAYLOAD_TOO_LARGE);
    }
}
