//! A proxy in front of the API server that counts the manager's writes, and kills the manager at one of them.

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use csm_testkit::process::ProcessId;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// When the manager is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// The write never reaches the API server.
    Before,
    /// The API server has applied it, and the manager never hears of it.
    After,
}

/// What happens at a write.
type Hook = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct State {
    /// Every write so far, as [`signature`] describes it.
    seen: Vec<String>,
    /// The write and the moment at which the manager dies.
    target: Option<(String, Moment)>,
    kill: Option<Hook>,
    killed: bool,
}

/// The running proxy.
pub struct Proxy {
    state: Arc<Mutex<State>>,
    address: String,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts one before the API server of a kubeconfig. Callers bring their own credentials.
    pub async fn start(kubeconfig: &Path) -> anyhow::Result<Self> {
        let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).context("read the kubeconfig")?;
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
        config.auth_info = kube::config::AuthInfo::default();
        config.default_retry = false;
        let client = Client::try_from(config)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (client, state) = (client.clone(), shared.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let (client, state) = (client.clone(), state.clone());
                        async move { Ok::<_, Infallible>(pass(client, &state, request).await) }
                    });
                    // A connection that the killed manager leaves behind ends with an error of no interest.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(Self { state, address, task })
    }

    /// Where the manager finds it.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills `process` at the next write of this signature.
    pub fn arm(&self, signature: &str, moment: Moment, process: ProcessId) {
        let mut state = self.lock();
        state.target = Some((signature.to_owned(), moment));
        state.kill = Some(Box::new(move || process.signal(rustix::process::Signal::KILL)));
    }

    /// Whether the manager was killed.
    pub fn killed(&self) -> bool {
        self.lock().killed
    }

    /// Every write so far.
    pub fn seen(&self) -> Vec<String> {
        self.lock().seen.clone()
    }
}

async fn pass(
    client: Client,
    state: &Mutex<State>,
    request: Request<Incoming>,
) -> Response<http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return failed("the request broke off");
    };
    let body = body.to_bytes();
    let write = if parts.method == Method::GET {
        None
    } else {
        signature(&parts.method, parts.uri.path(), &body)
    };
    let due = |moment: Moment| {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let hit = write.is_some()
            && state
                .target
                .as_ref()
                .is_some_and(|(signature, at)| Some(signature) == write.as_ref() && *at == moment);
        if hit {
            state.target = None;
            state.killed = true;
            if let Some(kill) = state.kill.take() {
                kill();
            }
        }
        hit
    };
    if let Some(write) = &write {
        state.lock().unwrap_or_else(PoisonError::into_inner).seen.push(write.clone());
    }
    if due(Moment::Before) {
        return failed("killed before the write");
    }
    let mut forwarded = Request::from_parts(parts, Body::from(body.to_vec()));
    forwarded.headers_mut().remove(http::header::HOST);
    match client.send(forwarded).await {
        Ok(response) => {
            if due(Moment::After) {
                return failed("killed after the write");
            }
            response.map(|body| body.map_err(BoxError::from).boxed_unsync())
        }
        Err(error) => failed(&error.to_string()),
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn failed(why: &str) -> Response<http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>> {
    let body = Full::new(Bytes::from(why.to_owned()))
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

/// What a write does, in a form that is the same in every run: verb, resource, and what it says. None for writes that
/// belong to no operation: the lease, and the status of policies.
fn signature(method: &Method, path: &str, body: &[u8]) -> Option<String> {
    let parts: Vec<&str> = path.split('/').collect();
    let at = parts.iter().position(|part| *part == "namespaces")?;
    let resource = *parts.get(at + 2)?;
    let name = parts.get(at + 3).copied().unwrap_or_default();
    let subresource = parts.get(at + 4).map(|s| format!("/{s}")).unwrap_or_default();
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let says = match resource {
        "leases" | "storagepolicies" => return None,
        "persistentvolumeclaims" => format!(
            "{name} {}",
            body["spec"]["resources"]["requests"]["storage"].as_str().unwrap_or("?")
        ),
        "events" => body["reason"].as_str().unwrap_or("?").to_owned(),
        "storageevents" if !subresource.is_empty() => {
            let pvcs = body["status"]["pvcStatuses"].as_array().cloned().unwrap_or_default();
            let phases: Vec<&str> = pvcs.iter().filter_map(|p| p["phase"].as_str()).collect();
            format!("{} [{}]", body["status"]["phase"].as_str().unwrap_or("?"), phases.join(", "))
        }
        "postgresstorages" if !subresource.is_empty() => body["status"]["state"].as_str().unwrap_or("?").to_owned(),
        "clusters" => {
            let growing = body["metadata"]["annotations"]
                .get("storage.cnpg.supporttools.io/target-size")
                .is_some();
            if growing { "growing" } else { "at rest" }.to_owned()
        }
        _ => String::new(),
    };
    Some(format!("{method} {resource}{subresource} {says}").trim().to_owned())
}
