//! Commands in containers, as a kubelet runs them for the API server: `/exec/NAMESPACE/POD/CONTAINER`, over a WebSocket.
//!
//! The API server hands its client's WebSocket on to a kubelet whose Node declares [`FEATURE`] (Kubernetes 1.36); with others it
//! speaks SPDY, which these do not. Nothing is run: what a test put behind a pod says what comes of it.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};
use tokio_util::sync::CancellationToken;

use super::PodKey;

/// What a Node declares whose kubelet takes WebSockets.
pub const FEATURE: &str = "ExtendWebSocketsToKubelet";
/// The subprotocol that clients begin with (Kubernetes, `remotecommand`).
const PROTOCOL: &str = "v5.channel.k8s.io";
/// The channels of it, each the first byte of a message.
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;

/// What commands are run in.
pub trait Container: Send + Sync {
    /// Runs one, by its arguments. It goes on where nobody waits for it any more, as a process does.
    fn run(self: Arc<Self>, command: Vec<String>) -> BoxFuture<'static, Ended>;
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Exit {
        /// Its status.
        code: u8,
        /// Its standard output.
        stdout: String,
        /// Its standard error.
        stderr: String,
    },
    /// Nobody is told: the connection breaks.
    Cut,
}

/// What is asked for: the pod, and the command's arguments. None where it is another path.
pub fn asked(uri: &Uri) -> Option<(PodKey, Vec<String>)> {
    let mut parts = uri.path().strip_prefix("/exec/")?.split('/');
    let pod = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let query = reqwest::Url::parse(&format!("https://node/?{}", uri.query().unwrap_or_default())).ok()?;
    let command = query.query_pairs().filter(|(name, _)| name == "command");
    Some((pod, command.map(|(_, argument)| argument.into_owned()).collect()))
}

/// Runs the command, and tells of it once the connection is a WebSocket; until `ending`.
pub fn answer(
    mut request: Request<Incoming>,
    container: Arc<dyn Container>,
    command: Vec<String>,
    ending: CancellationToken,
) -> Response<Body> {
    let Some(mut answer) = accepted(request.headers()) else {
        let mut refused = Response::new(Body::from("unable to upgrade: not a WebSocket of this protocol\n"));
        *refused.status_mut() = StatusCode::BAD_REQUEST;
        return refused;
    };
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let upgrade = hyper::upgrade::on(&mut request);
    let running = tokio::spawn(container.run(command));
    tokio::spawn(ending.run_until_cancelled_owned(async move {
        let Ok(connection) = upgrade.await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, None).await;
        if let Ok(Ended::Exit { code, stdout, stderr }) = running.await {
            tell(socket, code, stdout, stderr).await;
        }
    }));
    answer
}

fn accepted(headers: &HeaderMap) -> Option<Response<Body>> {
    let key = derive_accept_key(headers.get(SEC_WEBSOCKET_KEY)?.as_bytes());
    let mut offered = headers.get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?.split(',');
    offered.find(|protocol| protocol.trim() == PROTOCOL)?;
    let mut answer = Response::new(Body::empty());
    let of = answer.headers_mut();
    of.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    of.insert(UPGRADE, HeaderValue::from_static("websocket"));
    of.insert(SEC_WEBSOCKET_ACCEPT, key.parse().ok()?);
    of.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    Some(answer)
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

async fn tell(mut socket: Socket, code: u8, stdout: String, stderr: String) {
    let status = match code {
        0 => json!({"metadata": {}, "status": "Success"}),
        code => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
    };
    for (channel, text) in [(STDOUT, stdout), (STDERR, stderr), (STATUS, status.to_string())] {
        let message = [&[channel], text.as_bytes()].concat();
        if socket.send(Message::Binary(Bytes::from(message))).await.is_err() {
            return;
        }
    }
    // To the end that the other side confirms: what is on its way is not lost.
    if socket.close(None).await.is_ok() {
        while let Some(Ok(_)) = socket.next().await {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_as_its_arguments() {
        let uri = "/exec/shop/orders-1/postgres?command=psql&command=-c&command=SELECT+%27a+b%27+%26+%241&error=1&output=1";
        let (pod, command) = asked(&Uri::from_static(uri)).unwrap();
        assert_eq!(pod, ("shop".to_owned(), "orders-1".to_owned()));
        assert_eq!(command, ["psql", "-c", "SELECT 'a b' & $1"]);
        assert_eq!(asked(&Uri::from_static("/stats/summary")), None);
    }
}
