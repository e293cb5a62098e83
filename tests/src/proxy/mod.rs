//! A proxy in front of the API server that sees every request of the manager's, and at those that a test names does what
//! networks, API servers and machines do to it: see [`Fault`].
//!
//! The API server is asked with the manager's own credentials; the proxy adds nothing but a name in `User-Agent`, by which
//! the audit log tells one process of the manager from another.

mod body;
mod fault;
mod request;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::Context as _;
use csm_testkit::process::ProcessId;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use rustix::process::Signal;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::body::{Body, full, watched};
pub use self::fault::{At, Fault, Moment, Refusal, Rule};
pub use self::request::{Asked, OF_A_CLUSTER};

/// A request waits so long at most while the test does something: less than the manager waits for an answer.
const MEANWHILE: Duration = Duration::from_secs(3);

/// Whether requests get through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// They do.
    #[default]
    Up,
    /// Connections are closed at once.
    Refuse,
    /// Nothing gets through, neither way, and nothing says so. What is asked meanwhile is lost.
    Hang,
}

/// A request that was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What was asked.
    pub asked: Asked,
    /// Which process asked.
    pub by: String,
    /// What was done to it.
    pub fault: Option<Fault>,
    /// How many open watches that ended.
    pub ended: usize,
    /// The API server's answer, where it was asked and has answered.
    pub code: Option<u16>,
}

struct Armed {
    rule: Rule,
    seen: u32,
    done: bool,
}

/// A watch whose answer goes on.
struct Open {
    resource: String,
    cut: CancellationToken,
    /// Gone with the answer, be it that the manager has ended.
    answer: Weak<()>,
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    rules: Vec<Armed>,
    /// The process that asks, and its name.
    process: Option<(ProcessId, String)>,
    watches: Vec<Open>,
    /// Resources whose next watch is answered with 410.
    gone: BTreeSet<String>,
}

struct Shared {
    client: Client,
    state: Mutex<State>,
    link: watch::Sender<Link>,
    /// Whether nothing is to go wrong any more.
    calm: watch::Sender<bool>,
    meanwhile: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

/// The running proxy.
pub struct Proxy {
    shared: Arc<Shared>,
    waiting: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    address: String,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Starts one before the API server of a kubeconfig. Callers bring their own credentials.
    pub async fn start(kubeconfig: &Path) -> anyhow::Result<Self> {
        let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).context("read the kubeconfig")?;
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
        config.auth_info = kube::config::AuthInfo::default();
        config.default_retry = false;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let (meanwhile, waiting) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            client: Client::try_from(config)?,
            state: Mutex::default(),
            link: watch::Sender::default(),
            calm: watch::Sender::new(true),
            meanwhile,
        });
        let task = AbortOnDropHandle::new(tokio::spawn(listen(listener, shared.clone())));
        Ok(Self {
            shared,
            waiting,
            address,
            _task: task,
        })
    }

    /// A kubeconfig that leads through it, with the credentials of another.
    pub fn kubeconfig(&self, of: &Path) -> anyhow::Result<tempfile::NamedTempFile> {
        let mut config: Value = serde_saphyr::from_str(&std::fs::read_to_string(of)?)?;
        config["clusters"][0]["cluster"]["server"] = json!(self.address);
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), serde_saphyr::to_string(&config)?)?;
        Ok(file)
    }

    /// Says which process asks from now on: the one that is killed, and by what name the audit log has it.
    pub fn serves(&self, process: ProcessId, name: &str) {
        self.shared.lock().process = Some((process, name.to_owned()));
    }

    /// Adds rules; their requests are counted from now.
    pub fn arm(&self, rules: impl IntoIterator<Item = Rule>) {
        let armed = rules.into_iter().map(|rule| Armed {
            rule,
            seen: 0,
            done: false,
        });
        self.shared.lock().rules.extend(armed);
        self.shared.calm.send_replace(false);
    }

    /// Nothing goes wrong any more; what is delayed, or comes late, does so now.
    pub fn calm(&self) {
        {
            let mut state = self.shared.lock();
            state.rules.clear();
            state.gone.clear();
        }
        self.shared.calm.send_replace(true);
        self.link(Link::Up);
    }

    /// Changes whether requests get through. [`Link::Refuse`] cuts what is open too.
    pub fn link(&self, link: Link) {
        self.shared.link.send_replace(link);
        if link == Link::Refuse {
            for watch in self.shared.lock().watches.drain(..) {
                watch.cut.cancel();
            }
        }
    }

    /// The next request that waits by [`Fault::Meanwhile`] or [`Fault::Stray`]; it goes on when what is returned is dropped,
    /// by `Meanwhile` after 3 s at the latest.
    pub async fn meanwhile(&mut self) -> Option<oneshot::Sender<()>> {
        self.waiting.recv().await
    }

    /// Such a request, where one waits already.
    pub fn waits(&mut self) -> Option<oneshot::Sender<()>> {
        self.waiting.try_recv().ok()
    }

    /// Every request so far, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// How many writes there were so far, those of the lease aside.
    pub fn writes(&self) -> usize {
        let of_note = |seen: &&Seen| seen.asked.is_write() && seen.asked.resource != "leases";
        self.shared.lock().seen.iter().filter(of_note).count()
    }

    /// Whether the manager was killed.
    pub fn killed(&self) -> bool {
        let killed = |seen: &Seen| matches!(seen.fault, Some(Fault::Kill(_)));
        self.shared.lock().seen.iter().any(killed)
    }
}

/// The connection ends without an answer.
#[derive(Debug, Error)]
#[error("the connection is closed by the test's proxy")]
struct Closed;

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| pass(shared.clone(), request));
            // A connection that is closed, or that the killed manager leaves behind, ends with an error of no interest.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn pass(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Closed> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    shared.link_is_up().await?;
    let Some(asked) = Asked::of(&parts.method, &parts.uri, &body) else {
        return shared.forward(Request::from_parts(parts, body.into()), "", None).await;
    };
    let (place, by, fault) = shared.saw(&asked);
    if asked.is_watch() && shared.lock().gone.remove(&asked.resource) {
        return Ok(Refusal::Gone.answer());
    }
    if let Some(fault) = &fault
        && let Some(answer) = shared.happens(fault, Moment::Before, place).await
    {
        return answer;
    }
    let request = Request::from_parts(parts, body.into());
    if let Some(fault @ (Fault::Late(_) | Fault::Stray)) = fault {
        tokio::spawn(shared.later(fault, request, by, place));
        return Err(Closed);
    }
    let response = shared.forward(request, &by, Some(place)).await?;
    shared.link_is_up().await?;
    if let Some(fault) = &fault
        && let Some(answer) = shared.happens(fault, Moment::After, place).await
    {
        return answer;
    }
    if !asked.is_watch() {
        return Ok(response);
    }
    let (cut, answer) = (CancellationToken::new(), Arc::new(()));
    shared.lock().watches.push(Open {
        resource: asked.resource,
        cut: cut.clone(),
        answer: Arc::downgrade(&answer),
    });
    Ok(response.map(|body| watched(body, cut, shared.link.subscribe(), answer)))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes while the link hangs is lost, and its connection ends with the silence.
    async fn link_is_up(&self) -> Result<(), Closed> {
        let mut link = self.link.subscribe();
        let now = *link.borrow_and_update();
        match now {
            Link::Up => Ok(()),
            Link::Refuse => Err(Closed),
            Link::Hang => {
                let _ = link.wait_for(|link| *link != Link::Hang).await;
                Err(Closed)
            }
        }
    }

    /// Notes a request: its place in the list, who asks, and what is to happen to it.
    fn saw(&self, asked: &Asked) -> (usize, String, Option<Fault>) {
        let mut state = self.lock();
        let signature = asked.signature();
        let mut fault = None;
        for armed in &mut state.rules {
            let meant = match &armed.rule.at {
                At::Kind(kind) => *kind == asked.kind,
                At::Signature(text) => *text == signature,
            };
            armed.seen += u32::from(meant);
            // Of two rules for one request the second waits for the next.
            if meant && !armed.done && armed.seen >= armed.rule.nth && fault.is_none() {
                armed.done = true;
                fault = Some(armed.rule.fault.clone());
            }
        }
        let by = state.process.as_ref().map_or_else(String::new, |(_, name)| name.clone());
        state.seen.push(Seen {
            asked: asked.clone(),
            by: by.clone(),
            fault: fault.clone(),
            ended: 0,
            code: None,
        });
        (state.seen.len() - 1, by, fault)
    }

    /// What a fault does at a moment of the request in this place; where it answers, the request goes no further.
    async fn happens(&self, fault: &Fault, moment: Moment, place: usize) -> Option<Result<Response<Body>, Closed>> {
        match fault {
            Fault::Kill(at) if *at == moment => {
                let process = self.lock().process.as_ref().map(|(process, _)| *process);
                if let Some(process) = process {
                    process.signal(Signal::KILL);
                }
                Some(Err(Closed))
            }
            Fault::Drop(at) if *at == moment => Some(Err(Closed)),
            Fault::Answer(at, refusal) if *at == moment => Some(Ok(refusal.answer())),
            Fault::Delay(at, time) if *at == moment => {
                self.lasts(*time).await;
                None
            }
            Fault::CutWatch { resource, gone } if moment == Moment::Before => {
                let ended = self.cut(resource, *gone);
                if let Some(seen) = self.lock().seen.get_mut(place) {
                    seen.ended = ended;
                }
                None
            }
            Fault::Meanwhile if moment == Moment::Before => {
                let (done, wait) = oneshot::channel();
                if self.meanwhile.send(done).is_ok() {
                    let _ = tokio::time::timeout(MEANWHILE, wait).await;
                }
                None
            }
            _ => None,
        }
    }

    /// The time that a fault takes, or until nothing is to go wrong any more.
    async fn lasts(&self, time: Duration) {
        let mut calm = self.calm.subscribe();
        // The sender lives as long as `self`.
        let _ = tokio::time::timeout(time, calm.wait_for(|calm| *calm)).await;
    }

    /// A request that comes to the API server when the manager has long given up.
    async fn later(self: Arc<Self>, fault: Fault, request: Request<kube::client::Body>, by: String, place: usize) {
        if let Fault::Late(time) = fault {
            self.lasts(time).await;
        } else {
            let (done, wait) = oneshot::channel();
            let _ = self.meanwhile.send(done);
            let _ = wait.await;
        }
        let _ = self.forward(request, &by, Some(place)).await;
    }

    /// Ends the open watches of a resource, and says how many there were.
    fn cut(&self, resource: &str, gone: bool) -> usize {
        let mut state = self.lock();
        state.watches.retain(|watch| watch.answer.strong_count() > 0);
        let (meant, others) = state.watches.drain(..).partition::<Vec<_>, _>(|watch| watch.resource == resource);
        state.watches = others;
        if gone {
            state.gone.insert(resource.to_owned());
        }
        for watch in &meant {
            watch.cut.cancel();
        }
        meant.len()
    }

    async fn forward(&self, mut request: Request<kube::client::Body>, by: &str, place: Option<usize>) -> Result<Response<Body>, Closed> {
        request.headers_mut().remove(http::header::HOST);
        if let Ok(name) = HeaderValue::from_str(by)
            && !by.is_empty()
        {
            request.headers_mut().insert(http::header::USER_AGENT, name);
        }
        match self.client.send(request).await {
            Ok(response) => {
                let mut state = self.lock();
                if let Some(seen) = place.and_then(|place| state.seen.get_mut(place)) {
                    seen.code = Some(response.status().as_u16());
                }
                drop(state);
                Ok(response.map(|body| body.map_err(body::BoxError::from).boxed_unsync()))
            }
            Err(error) => {
                let mut response = Response::new(full(format!("{error:#}")));
                *response.status_mut() = http::StatusCode::BAD_GATEWAY;
                Ok(response)
            }
        }
    }
}
