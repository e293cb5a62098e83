//! The HTTPS server of one simulated kubelet.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::auth::Verdict;
use super::fault::NodeFault;
use super::{Inner, PodKey, exec, summary};

/// A trickling answer is sent in pieces of this size.
const TRICKLE_BYTES: usize = 1;

/// Serves until `ending` is cancelled; connections end with it.
pub async fn serve(inner: Arc<Inner>, node: String, listener: TcpListener, tls: Arc<ServerConfig>, ending: CancellationToken) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let acceptor = TlsAcceptor::from(tls);
    while let Some(accepted) = ending.run_until_cancelled(listener.accept()).await {
        // Errors of accept are those of one connection, or of a shortage of files that passes.
        let Ok((stream, _)) = accepted else { continue };
        let (inner, node, acceptor, ending) = (inner.clone(), node.clone(), acceptor.clone(), ending.clone());
        tokio::spawn(async move {
            ending
                .run_until_cancelled(connection(&inner, &node, stream, acceptor, ending.clone()))
                .await;
        });
    }
}

async fn connection(inner: &Inner, node: &str, stream: TcpStream, acceptor: TlsAcceptor, ending: CancellationToken) {
    if inner.fault(node) == NodeFault::Reset {
        return;
    }
    let Ok(stream) = acceptor.accept(stream).await else { return };
    // The authority gives client certificates to the API server and to those who may do everything.
    let certified = stream.get_ref().1.peer_certificates().is_some();
    let ending = &ending;
    let service = service_fn(move |request| async move {
        Ok::<_, Infallible>(match exec::asked(request.uri()) {
            Some((pod, command)) if certified => run(inner, node, request, &pod, command, ending).await,
            _ => answer(inner, node, request).await,
        })
    });
    // The client's mistakes are not ours to report.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

/// A command in a container, which the API server has permitted; it is answered as the figures are, or not.
async fn run(
    inner: &Inner,
    node: &str,
    request: Request<Incoming>,
    pod: &PodKey,
    command: Vec<String>,
    ending: &CancellationToken,
) -> Response<Body> {
    match inner.fault(node) {
        NodeFault::Hang => std::future::pending().await,
        NodeFault::Status(code) => return status(code, node),
        _ => {}
    }
    let container = inner.state().container(node, pod);
    match container {
        Some(container) => exec::answer(request, container, command, ending.clone()),
        None => text(StatusCode::NOT_FOUND, "container not found\n"),
    }
}

async fn answer(inner: &Inner, node: &str, request: Request<Incoming>) -> Response<Body> {
    let summary = request.uri().path() == "/stats/summary" && request.method() == Method::GET;
    if summary {
        inner.count_request(node);
    }
    let fault = inner.fault(node);
    match &fault {
        NodeFault::Hang => std::future::pending().await,
        NodeFault::Slow(delay) => {
            let _ = tokio::time::timeout(*delay, inner.until_fault_changes(node, &fault)).await;
        }
        NodeFault::Status(code) => return status(*code, node),
        _ => {}
    }
    let token = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match inner.authorizer.decide(node, request.method(), request.uri().path(), token).await {
        Ok(Verdict::Allowed) => {}
        Ok(Verdict::Unauthorized) => return text(StatusCode::UNAUTHORIZED, "Unauthorized"),
        Ok(Verdict::Forbidden(message)) => return text(StatusCode::FORBIDDEN, message),
        // As the real one while the API server is away.
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, format!("Authorization error: {error:#}")),
    }
    if !summary {
        return match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok"),
            _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        };
    }
    summary_answer(inner, node, &fault)
}

fn summary_answer(inner: &Inner, node: &str, fault: &NodeFault) -> Response<Body> {
    let body = Bytes::from(inner.summary(node, Timestamp::now()).to_string());
    match fault {
        NodeFault::Garbage => json(Bytes::from_static(b"<html>502 Bad Gateway</html>").into()),
        NodeFault::Truncated => json(body.slice(..body.len() / 2).into()),
        NodeFault::Cut => {
            let half = body.slice(..body.len() / 2);
            let broken = Err(std::io::Error::other("cut"));
            let mut response = json(Body::from_stream(stream::iter([Ok(half), broken])));
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            response
        }
        NodeFault::Trickle(pause) => {
            let pace = tokio::time::interval(*pause);
            let pieces = stream::unfold((body, pace), |(mut rest, mut pace)| async move {
                pace.tick().await;
                let piece = rest.split_to(TRICKLE_BYTES.min(rest.len()));
                (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (rest, pace)))
            });
            json(Body::from_stream(pieces))
        }
        NodeFault::WrongTypes => json(summary::wrong_types(node).to_string().into()),
        NodeFault::Empty => json(Body::empty()),
        NodeFault::EmptyObject => json("{}".into()),
        // The others were dealt with before, or when the figures were made.
        NodeFault::None
        | NodeFault::Down
        | NodeFault::Reset
        | NodeFault::Hang
        | NodeFault::Slow(_)
        | NodeFault::Stale
        | NodeFault::Status(_)
        | NodeFault::NoPods => json(body.into()),
    }
}

fn status(code: u16, node: &str) -> Response<Body> {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let message = match code {
        StatusCode::UNAUTHORIZED => "Unauthorized".to_owned(),
        StatusCode::FORBIDDEN => "Forbidden (user=simulated, verb=get, resource=nodes, subresource(s)=[stats])\n".to_owned(),
        _ => format!("simulated failure of the kubelet on {node}"),
    };
    text(code, message)
}

fn text(code: StatusCode, message: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from(message.into()));
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn json(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
