//! Simulated instance managers: what CloudNativePG's process in each pod says on `/pg/status`, over TLS, and what its exporter
//! says on `/metrics`.
//!
//! Each has a loopback address of its own (127.17.0.1 and on), as a pod has; all of a process have one port, which the manager
//! is told instead of the usual 8000, and their exporters another one, instead of 9187.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anyhow::{Context, Result};
use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OnceCell, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::pki::{Ca, Subject, Usage};

/// The first address. Linux answers on all of 127.0.0.0/8.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([127, 17, 0, 1]);
/// An answer without an end comes in pieces of this size.
const PIECE: Bytes = Bytes::from_static(&[b' '; 16 * 1024]);

/// The listeners that hold the ports, on the address before the first.
static HELD: OnceCell<TcpListener> = OnceCell::const_new();
static HELD_FOR_EXPORTERS: OnceCell<TcpListener> = OnceCell::const_new();
/// Addresses that were given. None is given twice.
static GIVEN: AtomicU32 = AtomicU32::new(0);

/// The port of all instance managers of this process.
pub async fn port() -> Result<u16> {
    hold(&HELD).await
}

/// The port of all exporters of this process.
pub async fn exporter_port() -> Result<u16> {
    hold(&HELD_FOR_EXPORTERS).await
}

async fn hold(held: &OnceCell<TcpListener>) -> Result<u16> {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(FIRST_ADDRESS - 1)), 0);
    let held = held.get_or_try_init(|| TcpListener::bind(address)).await;
    let held = held.with_context(|| format!("listen on {address}"))?;
    Ok(held.local_addr().context("the address of a listener")?.port())
}

/// What an exporter says: so many segments of 16 MiB, and so many bytes of databases, among other things.
pub fn exported(segments: u64, databases: u64) -> Answer {
    Answer::Text(format!(
        "# HELP cnpg_collector_up 1 if PostgreSQL is up, 0 otherwise.\n\
         # TYPE cnpg_collector_up gauge\n\
         cnpg_collector_up{{cluster=\"orders\"}} 1\n\
         cnpg_collector_pg_wal{{value=\"count\"}} {segments}\n\
         cnpg_collector_pg_wal{{value=\"size\"}} {}\n\
         cnpg_pg_database_size_bytes{{datname=\"app\"}} {databases}\n\
         go_goroutines 31\n",
        segments * (16 << 20)
    ))
}

/// How an instance manager answers, or an exporter.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// With this status.
    Status(Value),
    /// With this text.
    Text(String),
    /// With another HTTP status.
    Code(u16),
    /// With a text that has no end.
    Endless,
    /// With the beginning of a text, and nothing more.
    Stalls,
    /// As it is next told to, and not before: the question is open until then.
    Waits,
    /// Not at all.
    Hangs,
    /// It sends the caller elsewhere.
    Redirects(String),
}

/// One instance manager. It ends when this is dropped.
pub type InstanceManager = Endpoint;
/// The exporter of an instance. It ends when this is dropped.
pub type Exporter = Endpoint;

/// Who answers at one path of one address.
pub struct Endpoint {
    inner: Arc<Inner>,
    ip: IpAddr,
    _ending: DropGuard,
}

struct Inner {
    path: &'static str,
    answer: watch::Sender<Answer>,
    asked: AtomicU64,
    busy: AtomicU64,
    most_busy: AtomicU64,
}

impl Endpoint {
    /// Starts an instance manager, whose certificate is of an authority that nobody knows: CloudNativePG's are of one of each Cluster's own.
    pub async fn start(name: &str, answer: Answer) -> Result<Self> {
        let ip = IpAddr::V4(Ipv4Addr::from_bits(FIRST_ADDRESS + GIVEN.fetch_add(1, Ordering::Relaxed)));
        let address = SocketAddr::new(ip, port().await?);
        Self::serve(address, csm_cnpg::STATUS_PATH, Some(acceptor(name)?), answer).await
    }

    /// Starts the exporter beside an instance manager, with TLS or without.
    pub async fn exporter(&self, tls: bool, answer: Answer) -> Result<Exporter> {
        let address = SocketAddr::new(self.ip, exporter_port().await?);
        let acceptor = if tls { Some(acceptor("exporter")?) } else { None };
        Self::serve(address, csm_cnpg::EXPORTER_PATH, acceptor, answer).await
    }

    async fn serve(address: SocketAddr, path: &'static str, acceptor: Option<TlsAcceptor>, answer: Answer) -> Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
        let inner = Arc::new(Inner {
            path,
            answer: watch::Sender::new(answer),
            asked: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            most_busy: AtomicU64::new(0),
        });
        let ending = CancellationToken::new();
        tokio::spawn(serve(inner.clone(), listener, acceptor, ending.clone()));
        Ok(Self {
            inner,
            ip: address.ip(),
            _ending: ending.drop_guard(),
        })
    }

    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// It answers like this from now on.
    pub fn answer(&self, answer: Answer) {
        self.inner.answer.send_replace(answer);
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.inner.asked.load(Ordering::SeqCst)
    }

    /// How many questions were open at the same time, at most.
    pub fn most_at_a_time(&self) -> u64 {
        self.inner.most_busy.load(Ordering::SeqCst)
    }
}

/// Of an authority that nobody knows.
fn acceptor(name: &str) -> Result<TlsAcceptor> {
    let issued = Ca::new(name)?.issue(Subject::user(name), Usage::Server, &[name.to_owned()])?;
    Ok(TlsAcceptor::from(issued.server_config()?))
}

/// A question that is open; it is counted until it is dropped, also where the caller gives up.
struct Open<'a>(&'a Inner);

impl<'a> Open<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.asked.fetch_add(1, Ordering::SeqCst);
        let busy = inner.busy.fetch_add(1, Ordering::SeqCst) + 1;
        inner.most_busy.fetch_max(busy, Ordering::SeqCst);
        Self(inner)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(inner: Arc<Inner>, listener: TcpListener, acceptor: Option<TlsAcceptor>, ending: CancellationToken) {
    while let Some(accepted) = ending.run_until_cancelled(listener.accept()).await {
        // Errors of accept are those of one connection, or of a shortage of files that passes.
        let Ok((stream, _)) = accepted else { continue };
        let (inner, acceptor, ending) = (inner.clone(), acceptor.clone(), ending.clone());
        tokio::spawn(async move {
            ending.run_until_cancelled(connection(&inner, stream, acceptor)).await;
        });
    }
}

async fn connection(inner: &Inner, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
    match acceptor {
        None => answer(inner, stream).await,
        Some(acceptor) => {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            answer(inner, stream).await;
        }
    }
}

async fn answer(inner: &Inner, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(|request: Request<Incoming>| async move { Ok::<_, Infallible>(respond(inner, &request).await) });
    // The client's mistakes are not ours to report.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(inner: &Inner, request: &Request<Incoming>) -> Response<Body> {
    if request.uri().path() != inner.path {
        return coded(StatusCode::NOT_FOUND);
    }
    let _open = Open::new(inner);
    let mut answers = inner.answer.subscribe();
    // The sender is there as long as `inner` is.
    let told = answers
        .wait_for(|answer| *answer != Answer::Waits)
        .await
        .map(|answer| answer.clone());
    match told.unwrap_or(Answer::Hangs) {
        Answer::Status(status) => Response::new(status.to_string().into()),
        Answer::Text(text) => Response::new(text.into()),
        Answer::Code(code) => coded(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)),
        Answer::Endless => Response::new(Body::from_stream(stream::repeat(Ok::<_, Infallible>(PIECE)))),
        Answer::Stalls => {
            let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{\"isPrimary\": true,"))]);
            Response::new(Body::from_stream(futures::StreamExt::chain(first, stream::pending())))
        }
        Answer::Hangs | Answer::Waits => std::future::pending().await,
        Answer::Redirects(to) => {
            let mut response = coded(StatusCode::TEMPORARY_REDIRECT);
            if let Ok(to) = to.parse() {
                response.headers_mut().insert(http::header::LOCATION, to);
            }
            response
        }
    }
}

fn coded(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}
