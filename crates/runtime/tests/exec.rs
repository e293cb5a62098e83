//! Commands in containers, against a server that answers well, badly, or not.
#![allow(clippy::unwrap_used, clippy::panic, clippy::result_large_err)] // tests

use std::time::Duration;

use csm_runtime::exec::{Command, Exec as _, ExecError, KubeExec, Output};
use futures::{SinkExt as _, StreamExt as _};
use kube::{Client, Config};
use rstest::rstest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// What the server does once the command has come.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Answers with this.
    Status(u16),
    /// Runs it: these messages, and then it closes.
    Says(&'static [(u8, &'static str)]),
    /// So many bytes of output on this channel, and then a success.
    Much(u8, usize),
    /// Says this, and breaks the connection.
    Breaks(&'static [(u8, &'static str)]),
    /// Says this, and then nothing more.
    Hangs(&'static [(u8, &'static str)]),
    /// Accepts the connection, and answers nothing.
    Silent,
}

const SUCCESS: (u8, &str) = (3, r#"{"metadata":{},"status":"Success"}"#);

async fn send(socket: &mut WebSocketStream<TcpStream>, messages: &[(u8, &str)]) {
    for (channel, text) in messages {
        let mut bytes = vec![*channel];
        bytes.extend_from_slice(text.as_bytes());
        socket.send(Message::binary(bytes)).await.unwrap();
    }
}

/// Serves one connection; gives the path that was asked for.
async fn serve(listener: TcpListener, does: Does) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    if let Does::Status(code) = does {
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        let answer = format!("HTTP/1.1 {code} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        return request.lines().next().unwrap().to_owned();
    }
    if matches!(does, Does::Silent) {
        let mut request = Vec::new();
        drop(stream.read_to_end(&mut request).await);
        return String::new();
    }
    let mut asked = String::new();
    let accept = |request: &Request, mut response: Response| {
        asked = request.uri().to_string();
        let protocols = request.headers().get("sec-websocket-protocol").unwrap().to_str().unwrap();
        let first = protocols.split(',').next().unwrap().trim();
        response.headers_mut().insert("sec-websocket-protocol", first.parse().unwrap());
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, accept).await.unwrap();
    match does {
        Does::Says(messages) => {
            send(&mut socket, messages).await;
            drop(socket.close(None).await);
        }
        Does::Much(channel, size) => {
            let chunk = "x".repeat(1000);
            for _ in 0..size / 1000 {
                let mut bytes = vec![channel];
                bytes.extend_from_slice(chunk.as_bytes());
                if socket.send(Message::binary(bytes)).await.is_err() {
                    return asked;
                }
            }
            drop(socket.send(Message::binary([&[3], SUCCESS.1.as_bytes()].concat())).await);
        }
        Does::Breaks(messages) => {
            send(&mut socket, messages).await;
            drop(socket);
        }
        Does::Hangs(messages) => {
            send(&mut socket, messages).await;
            while let Some(Ok(_)) = socket.next().await {}
        }
        Does::Status(_) | Does::Silent => unreachable!("answered above"),
    }
    asked
}

async fn exec(does: Does, timeout: Duration) -> (Result<Output, ExecError>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(serve(listener, does));
    let client = Client::try_from(Config::new(address.parse().unwrap())).unwrap();
    let arguments = ["psql", "-c", "SELECT 'a b' & $1"].map(str::to_owned);
    let command = Command {
        namespace: "db",
        pod: "orders-1",
        container: "postgres",
        arguments: &arguments,
        timeout,
        limit: 10_000,
    };
    let came = KubeExec::new(client).exec(&command).await;
    (came, server.await.unwrap())
}

/// Nothing here takes so long, save what hangs on purpose.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_command_is_sent_as_its_arguments_and_answered_in_full() {
    let (came, asked) = exec(Does::Says(&[(1, "one "), (2, "warning"), (1, "two"), SUCCESS]), LONG).await;
    let expected = Output {
        exit: 0,
        stdout: b"one two".to_vec(),
        stderr: b"warning".to_vec(),
    };
    assert_eq!(came.unwrap(), expected);
    assert!(asked.starts_with("/api/v1/namespaces/db/pods/orders-1/exec?"), "{asked}");
    let query = asked.split_once('?').unwrap().1;
    let given = query.split('&').filter_map(|pair| pair.strip_prefix("command="));
    assert_eq!(given.collect::<Vec<_>>(), ["psql", "-c", "SELECT+%27a+b%27+%26+%241"]);
    assert!(query.contains("container=postgres") && !query.contains("stdin=true"), "{query}");
}

#[tokio::test]
async fn an_exit_status_is_no_error() {
    let status = r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
    let messages = Box::leak(Box::new([(2, "no such table"), (3, status)]));
    let (came, _) = exec(Does::Says(messages), LONG).await;
    let output = came.unwrap();
    assert_eq!((output.exit, &*output.stderr), (3, &b"no such table"[..]));
}

#[rstest]
#[case(403, "Denied", false)]
#[case(401, "Denied", false)]
#[case(404, "NotFound", false)]
#[case(500, "Refused(500)", false)]
#[tokio::test]
async fn a_refusal_says_that_nothing_was_run(#[case] code: u16, #[case] expected: &str, #[case] may_have_run: bool) {
    let (came, asked) = exec(Does::Status(code), LONG).await;
    let error = came.unwrap_err();
    assert_eq!(format!("{error:?}"), expected);
    assert_eq!(error.may_have_run(), may_have_run);
    assert!(asked.starts_with("GET /api/v1/namespaces/db/pods/orders-1/exec?"), "{asked}");
}

/// What ran it could not: the program is not there.
const NOT_RUN: &[(u8, &str)] = &[(
    3,
    r#"{"metadata":{},"status":"Failure","message":"executable file not found in $PATH","reason":"InternalError","code":500}"#,
)];

#[rstest]
#[case::hangs(Does::Hangs(&[(1, "one")]), SHORT, "Timeout(300ms)")]
#[case::silent(Does::Silent, SHORT, "Timeout(300ms)")]
#[case::broken(Does::Breaks(&[(1, "one")]), LONG, "Cut")]
#[case::closed_without_a_status(Does::Says(&[(1, "one")]), LONG, "Cut")]
#[case::much_output(Does::Much(1, 1_000_000), LONG, "TooLarge(10000)")]
#[case::much_error(Does::Much(2, 1_000_000), LONG, "TooLarge(10000)")]
#[case::no_status(Does::Says(&[(1, "one"), (3, "nonsense")]), LONG, "Cut")]
#[case::not_run(Does::Says(NOT_RUN), LONG, "NotRun(\"executable file not found in $PATH\")")]
#[tokio::test]
async fn what_is_not_whole_is_an_error_and_may_have_run(#[case] does: Does, #[case] timeout: Duration, #[case] expected: &str) {
    let (came, _) = exec(does, timeout).await;
    let error = came.unwrap_err();
    assert_eq!(format!("{error:?}"), expected);
    assert!(error.may_have_run());
}

#[tokio::test]
async fn output_up_to_the_limit_is_whole() {
    let (came, _) = exec(Does::Much(1, 10_000), LONG).await;
    assert_eq!(came.unwrap().stdout.len(), 10_000);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::try_from(Config::new(address.parse().unwrap())).unwrap();
    let arguments = ["true".to_owned()];
    let command = Command {
        namespace: "db",
        pod: "orders-1",
        container: "postgres",
        arguments: &arguments,
        timeout: SHORT,
        limit: 100,
    };
    let error = KubeExec::new(client).exec(&command).await.unwrap_err();
    assert!(matches!(error, ExecError::Connection(_) | ExecError::Timeout(_)), "{error:?}");
}
