//! HTTP/1 servers that no peer can hold up or fill: connections that are counted, requests that arrive in time, and an end
//! that comes whatever a peer does.
//!
//! `axum::serve` has none of these: it takes any number of connections, and waits for ever for one on which half a request
//! stands.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What is being answered when a server stops has so long to come to its end: answers take milliseconds.
const GRACE: Duration = Duration::from_secs(3);

/// What a connection may hold of a request that is not taken yet: far more than a head has, and with 256 connections 16 MiB.
const BUFFER: usize = 64 * 1024;

/// What peers may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; others wait in the kernel's queue until one ends.
    pub connections: usize,
    /// A connection ends where the head of its next request is not there after so long, begun or not.
    pub silence: Duration,
}

/// Serves the connections of a listener until `stop` resolves. What is being answered then is ended, within 3 s; a peer that
/// only half asks, or does not read its answer, is left.
pub async fn serve(mut listener: impl Listener, routes: Router, limits: Limits, stop: impl Future<Output = ()>) {
    let mut connections = JoinSet::new();
    let ending = CancellationToken::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            (stream, _) = listener.accept(), if connections.len() < limits.connections => {
                connections.spawn(connection(stream, routes.clone(), limits.silence, ending.clone()));
            }
        }
    }
    drop(listener);
    ending.cancel();
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::debug!(connections = connections.len(), "connections that did not end are left");
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    routes: Router,
    silence: Duration,
    ending: CancellationToken,
) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(silence).max_buf_size(BUFFER);
    let mut served = pin!(server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)));
    let served = tokio::select! {
        served = served.as_mut() => served,
        () = ending.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended badly");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // tests
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;

    use super::*;

    /// Asks on a connection of its own.
    async fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Serves one page until the token is cancelled.
    async fn serving(limits: Limits) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let routes = Router::new().route("/", get(|| async { "served" }));
        let server = tokio::spawn(serve(listener, routes, limits, stop.clone().cancelled_owned()));
        (address, stop, server)
    }

    async fn half(address: SocketAddr) -> TcpStream {
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(b"GET / HTTP/1.1\r\nhos").await.unwrap();
        half
    }

    /// Waits until it is closed.
    async fn closed(mut stream: TcpStream) {
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(GRACE * 3, stream.read_to_end(&mut rest)).await.unwrap();
    }

    #[tokio::test]
    async fn beyond_the_limit_a_connection_waits_until_a_silent_one_has_ended() {
        let limits = Limits {
            connections: 2,
            silence: Duration::from_millis(300),
        };
        let (address, _stop, _server) = serving(limits).await;
        let begun = Instant::now();
        let (first, second) = (half(address).await, TcpStream::connect(address).await.unwrap());
        assert!(ask(address).await.ends_with("served"));
        assert!(begun.elapsed() >= limits.silence, "it waited");
        closed(first).await;
        closed(second).await;
    }

    #[tokio::test]
    async fn half_a_request_does_not_hold_up_the_end() {
        let limits = Limits {
            connections: 8,
            silence: Duration::from_hours(1),
        };
        let (address, stop, server) = serving(limits).await;
        let half = half(address).await;
        assert!(ask(address).await.ends_with("served"));
        let stopped = Instant::now();
        stop.cancel();
        tokio::time::timeout(GRACE * 3, server).await.unwrap().unwrap();
        assert!(stopped.elapsed() >= GRACE, "what had begun was given its time");
        closed(half).await;
    }
}
