//! Serves the folder, and does to each call what the bucket's fault says.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::faults::Refusal;
use super::{Credentials, Fault, Store};
use crate::wait::looks;

/// Connections at a time. Each instance of PostgreSQL archives over a handful.
const MOST_CONNECTIONS: usize = 256;
/// From the begin of a connection, or the end of a call, until the next one's head is there.
const HEAD: Duration = Duration::from_secs(30);
/// The longest that a call takes: a call that hangs does so for longer than any client of these tests waits.
const CALL: Duration = Duration::from_mins(10);
/// How often a call that hangs looks whether it still does.
const LOOK: Duration = Duration::from_millis(100);
/// The disk has to keep this much free. Whoever tests full volumes must not fill the machine.
const KEPT_FREE: u64 = 4 << 30;

struct Server {
    store: Store,
    service: S3Service,
}

/// Serves the store until it is dropped, or the listener fails. With credentials, calls of others are refused.
pub async fn serve(store: Store, listener: TcpListener, credentials: Option<&Credentials>) -> Result<()> {
    let buckets = store.buckets();
    let files = FileSystem::new(&buckets).map_err(|error| anyhow::anyhow!("open {}: {error:?}", buckets.display()))?;
    let mut builder = S3ServiceBuilder::new(files);
    if let Some(Credentials { access_key, secret_key }) = credentials {
        builder.set_auth(SimpleAuth::from_single(access_key.as_str(), secret_key.as_str()));
    }
    let server = Arc::new(Server {
        store,
        service: builder.build(),
    });
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let place = places.clone().acquire_owned().await.context("the server ends")?;
        // What has ended is not kept.
        while connections.try_join_next().is_some() {}
        // Errors of accept are those of one connection, or of a shortage of files that passes.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let server = server.clone();
        connections.spawn(async move {
            server.connection(stream).await;
            drop(place);
        });
    }
}

impl Server {
    async fn connection(&self, stream: TcpStream) {
        let service = service_fn(|request| async move { tokio::time::timeout(CALL, self.answer(request)).await.unwrap_or(Err(Closed)) });
        // The client's mistakes are not ours to report, nor are the connections that a fault closes.
        let _ = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Closed> {
        let path = request.uri().path().trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let (bucket, of_object) = (bucket.to_owned(), !key.is_empty());
        let fault = match self.store.fault(&bucket) {
            Ok(fault) => fault,
            Err(error) => {
                tracing::error!("{error:#}");
                return refuse(request, BROKEN).await;
            }
        };
        match fault {
            None => {}
            Some(Fault::Cut) => return Err(Closed),
            Some(fault @ Fault::Hang) => self.until_another(&bucket, fault).await,
            // It ends with its fault.
            Some(fault) => drop(tokio::time::timeout(fault.delay(), self.until_another(&bucket, fault)).await),
        }
        // s3s-fs makes the bucket of an object that is put; S3 does not.
        let nowhere = of_object && !self.store.has(&bucket);
        let missing = nowhere.then_some(Fault::NoSuchBucket);
        if let Some(refusal) = fault.or(missing).and_then(Fault::refusal) {
            return refuse(request, refusal).await;
        }
        if request.method() == http::Method::PUT && !self.has_room() {
            return refuse(request, NO_ROOM).await;
        }
        match self.service.call(request.map(Body::from)).await {
            Ok(response) => Ok(response),
            Err(error) => {
                tracing::error!("{error:?}");
                Err(Closed)
            }
        }
    }

    async fn until_another(&self, bucket: &str, fault: Fault) {
        let mut looks = looks(LOOK);
        while matches!(self.store.fault(bucket), Ok(Some(now)) if now == fault) {
            looks.tick().await;
        }
    }

    fn has_room(&self) -> bool {
        let room = rustix::fs::statvfs(self.store.buckets());
        room.is_ok_and(|room| room.f_bavail.saturating_mul(room.f_frsize) > KEPT_FREE)
    }
}

/// Ends a connection without an answer: hyper closes it where a call has none.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed")
    }
}

impl std::error::Error for Closed {}

/// For a fault that cannot be read.
const BROKEN: Refusal = Refusal {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    code: "InternalError",
    message: "The fault of this bucket cannot be read",
};

const NO_ROOM: Refusal = Refusal {
    status: StatusCode::SERVICE_UNAVAILABLE,
    code: "SlowDown",
    message: "The disk of the machine is nearly full: free some of it",
};

/// Reads the call to its end, as S3 does: whoever is still sending would otherwise see a broken connection, and no refusal.
async fn refuse(request: Request<Incoming>, refusal: Refusal) -> Result<Response<Body>, Closed> {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame.map_err(|_| Closed)?;
    }
    let Refusal { status, code, message } = refusal;
    let text = format!(r#"<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"#);
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    Ok(response)
}
