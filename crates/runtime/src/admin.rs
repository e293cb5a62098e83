//! The admin server: `/metrics`, `/healthz`, `/readyz`.

use std::fmt::Write as _;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::readiness::Readiness;
use crate::scrape::{Scrape, accepts_gzip};
use crate::serve::{Limits, serve as serve_routes};

/// Scrapers and probes are few. A connection that idles is closed soon, so that silent ones are not long in the way of a
/// probe; what they ask can be asked again.
const LIMITS: Limits = Limits {
    connections: 512,
    silence: Duration::from_secs(10),
};

struct Shared {
    registry: Registry,
    scrapes: Semaphore,
    readiness: Readiness,
}

/// Binds the address first, so that a taken port stops the start.
///
/// # Errors
/// Where the address cannot be bound.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `stop` resolves. A process that answers is healthy: one of which a part has failed ends.
pub async fn serve(listener: TcpListener, registry: Registry, readiness: Readiness, stop: impl Future<Output = ()> + Send + 'static) {
    let shared = Arc::new(Shared {
        registry,
        scrapes: Semaphore::new(1),
        readiness,
    });
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(shared);
    serve_routes(listener, routes, LIMITS, stop).await;
}

async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    // One at a time, whoever asks: each holds its text, and asks for every object.
    let Ok(_turn) = shared.scrapes.acquire().await else {
        return cannot_encode("the server is stopping");
    };
    let encoded = tokio::task::spawn_blocking({
        let shared = shared.clone();
        move || Scrape::of(&shared.registry)
    });
    match encoded.await {
        Ok(Ok(scrape)) => {
            let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
            scrape.respond(accepts_gzip(accepted.filter_map(|value| value.to_str().ok())))
        }
        Ok(Err(error)) => cannot_encode(&error.to_string()),
        Err(error) => cannot_encode(&error.to_string()),
    }
}

fn cannot_encode(why: &str) -> Response {
    let content_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    let text = format!("cannot encode the metrics: {why}\n");
    (StatusCode::INTERNAL_SERVER_ERROR, content_type, text).into_response()
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let missing = shared.readiness.missing();
    if missing.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let mut text = String::from("not ready; waiting for:\n");
    for (name, why) in missing {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "- {name}: {why}");
    }
    (StatusCode::SERVICE_UNAVAILABLE, text)
}
