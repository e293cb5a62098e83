//! HTTP/1 servers that no peer can hold up: an end that comes whatever a peer does.
//!
//! `axum::serve` has neither: it waits for ever for a connection on which half a request stands.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What is being answered when a server stops has so long to come to its end: answers take milliseconds.
const GRACE: Duration = Duration::from_secs(3);

/// Serves the connections of a listener until `stop` resolves. What is being answered then is ended, within 3 s; a peer that
/// only half asks, or does not read its answer, is left.
pub async fn serve(mut listener: impl Listener, routes: Router, stop: impl Future<Output = ()>) {
    let mut connections = JoinSet::new();
    let ending = CancellationToken::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            (stream, _) = listener.accept() => {
                connections.spawn(connection(stream, routes.clone(), ending.clone()));
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

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, routes: Router, ending: CancellationToken) {
    let service = TowerToHyperService::new(routes);
    let mut served = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
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
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;

    use super::*;

    /// Asks on a connection of its own.
    async fn ask(address: std::net::SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn half_a_request_does_not_hold_up_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let routes = Router::new().route("/", get(|| async { "served" }));
        let server = tokio::spawn(serve(listener, routes, stop.clone().cancelled_owned()));
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(b"GET / HTTP/1.1\r\nhos").await.unwrap();
        assert!(ask(address).await.ends_with("served"));
        let stopped = Instant::now();
        stop.cancel();
        tokio::time::timeout(GRACE * 3, server).await.unwrap().unwrap();
        assert!(stopped.elapsed() >= GRACE, "what had begun was given its time");
        assert_eq!(half.read(&mut [0; 16]).await.unwrap_or(0), 0, "it is closed");
    }
}
