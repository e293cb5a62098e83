//! The admin server: `/metrics`, `/healthz`, `/readyz`.

use std::fmt::Write as _;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::readiness::Readiness;

struct Shared {
    registry: Registry,
    readiness: Readiness,
    healthy: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// Binds the address first, so that a taken port stops the start.
///
/// # Errors
/// Where the address cannot be bound.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `stop` resolves. `healthy` tells what is wrong with the process itself, not with the cluster.
///
/// # Errors
/// Where the listener fails.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    readiness: Readiness,
    healthy: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let shared = Arc::new(Shared {
        registry,
        readiness,
        healthy: Box::new(healthy),
    });
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(shared);
    axum::serve(listener, routes).with_graceful_shutdown(stop).await
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &shared.registry) {
        Ok(()) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            format!("cannot encode the metrics: {error}\n"),
        ),
    }
}

async fn healthz(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    match (shared.healthy)() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(what) => (StatusCode::SERVICE_UNAVAILABLE, format!("{what}\n")),
    }
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
