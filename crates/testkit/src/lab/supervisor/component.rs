//! Long-lived programs of the lab: started, started again when they end, stopped on demand.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use crate::lab::layout::{Layout, MARKER_ENV};
use crate::lab::protocol::{Component as Status, State, now_ms};

/// Between the end of a component and its next start.
const BACK_OFF: Duration = Duration::from_millis(700);
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// How a component is started.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its name; also that of its log.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The network and mount namespaces it runs in: a node's.
    pub namespaces: Option<Arc<Namespaces>>,
}

/// Handles on a node's namespaces. They live as long as the handles, whatever happens to the processes in them.
#[derive(Debug)]
pub struct Namespaces {
    network: File,
    mounts: File,
}

impl Namespaces {
    /// Those of a process.
    pub fn of(pid: u32) -> Result<Self> {
        let open = |name: &str| {
            let path = format!("/proc/{pid}/ns/{name}");
            File::open(&path).with_context(|| format!("open {path}"))
        };
        Ok(Self {
            network: open("net")?,
            mounts: open("mnt")?,
        })
    }

    /// `nsenter` with the arguments that lead into them. Neither of these namespaces makes it fork: the program that
    /// follows keeps the pid.
    pub fn enter(&self) -> Command {
        // Handles are not inherited, so they are named by this process.
        let path = |file: &File| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", path(&self.network)))
            .arg(format!("--mount={}", path(&self.mounts)))
            .arg("--");
        command
    }
}

impl Spec {
    /// Of the control plane.
    pub fn new(name: &str, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            arguments: Vec::new(),
            namespaces: None,
        }
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// With `--name=value`.
    #[must_use]
    pub fn flag(self, name: &str, value: impl std::fmt::Display) -> Self {
        self.arg(format!("--{name}={value}"))
    }

    fn command(&self) -> Command {
        match &self.namespaces {
            None => Command::new(&self.program),
            Some(namespaces) => {
                let mut command = namespaces.enter();
                command.arg(&self.program);
                command
            }
        }
    }
}

enum Order {
    Stop(oneshot::Sender<Result<()>>),
    Start(oneshot::Sender<Result<()>>),
    Signal(Signal, oneshot::Sender<Result<()>>),
}

/// A handle on one component.
pub struct Component {
    orders: mpsc::Sender<Order>,
    status: Arc<Mutex<Status>>,
}

impl Component {
    /// Starts it, and keeps it started.
    pub fn start(layout: &Layout, spec: Spec) -> Self {
        let status = Status {
            name: spec.name.clone(),
            state: State::Restarting,
            pid: None,
            since_ms: now_ms(),
            restarts: 0,
            last_exit: None,
            log: layout.log(&spec.name),
        };
        let status = Arc::new(Mutex::new(status));
        let (orders, inbox) = mpsc::channel(8);
        let keeper = Keeper {
            spec,
            dir: layout.dir().to_owned(),
            status: status.clone(),
            inbox,
        };
        tokio::spawn(keeper.keep());
        Self { orders, status }
    }

    /// What it does.
    pub fn status(&self) -> Status {
        lock(&self.status).clone()
    }

    /// Ends it for good.
    pub async fn stop(&self) -> Result<()> {
        self.order(Order::Stop).await
    }

    /// Starts it again after a stop.
    pub async fn resume(&self) -> Result<()> {
        self.order(Order::Start).await
    }

    /// Sends it a signal.
    pub async fn signal(&self, number: i32) -> Result<()> {
        let signal = Signal::from_named_raw(number).ok_or_else(|| anyhow!("{number} is no signal"))?;
        self.order(|done| Order::Signal(signal, done)).await
    }

    async fn order(&self, order: impl FnOnce(oneshot::Sender<Result<()>>) -> Order) -> Result<()> {
        let (done, answer) = oneshot::channel();
        self.orders
            .send(order(done))
            .await
            .ok()
            .context("the component is no longer kept")?;
        answer.await.context("the component is no longer kept")?
    }
}

fn lock(status: &Mutex<Status>) -> std::sync::MutexGuard<'_, Status> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Keeper {
    spec: Spec,
    dir: PathBuf,
    status: Arc<Mutex<Status>>,
    inbox: mpsc::Receiver<Order>,
}

impl Keeper {
    async fn keep(mut self) {
        let mut wanted = true;
        loop {
            if wanted {
                match self.spawn() {
                    Ok(child) => wanted = self.watch(child).await,
                    Err(error) => self.ended(State::Restarting, format!("{error:#}")),
                }
            }
            // Without a handle left the supervisor is ending.
            let Some(next) = self.rest(wanted).await else { return };
            wanted = next;
        }
    }

    fn spawn(&self) -> Result<Child> {
        let path = lock(&self.status).log.clone();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| path.display().to_string())?;
        let errors = log.try_clone().context("duplicate the log's handle")?;
        let child = self
            .spec
            .command()
            .args(&self.spec.arguments)
            .env(MARKER_ENV, &self.dir)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", self.spec.program.display()))?;
        let mut status = lock(&self.status);
        (status.state, status.pid, status.since_ms) = (State::Running, child.id(), now_ms());
        drop(status);
        Ok(child)
    }

    /// Until it has ended. Returns whether it is to be started again.
    async fn watch(&mut self, mut child: Child) -> bool {
        loop {
            tokio::select! {
                exit = child.wait() => {
                    self.ended(State::Restarting, describe(exit));
                    return true;
                }
                order = self.inbox.recv() => match order {
                    None => return false,
                    Some(Order::Start(done)) => drop(done.send(Ok(()))),
                    Some(Order::Signal(signal, done)) => drop(done.send(send(&child, signal))),
                    Some(Order::Stop(done)) => {
                        let ended = end(&mut child).await;
                        let result = ended.as_ref().map(drop).map_err(|error| anyhow!("{error:#}"));
                        self.ended(State::Stopped, ended.unwrap_or_else(|error| format!("{error:#}")));
                        drop(done.send(result));
                        return false;
                    }
                },
            }
        }
    }

    /// Between two runs: the back-off, or for as long as it is stopped. Returns whether to start; `None` at the end.
    async fn rest(&mut self, mut wanted: bool) -> Option<bool> {
        let next_start = tokio::time::Instant::now() + BACK_OFF;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next_start), if wanted => {
                    let mut status = lock(&self.status);
                    status.restarts = status.restarts.saturating_add(1);
                    return Some(true);
                }
                order = self.inbox.recv() => match order? {
                    Order::Start(done) => {
                        drop(done.send(Ok(())));
                        return Some(true);
                    }
                    Order::Stop(done) => {
                        wanted = false;
                        lock(&self.status).state = State::Stopped;
                        drop(done.send(Ok(())));
                    }
                    Order::Signal(_, done) => drop(done.send(Err(anyhow!("{} does not run", self.spec.name)))),
                },
            }
        }
    }

    fn ended(&self, state: State, how: String) {
        let mut status = lock(&self.status);
        (status.state, status.pid, status.last_exit) = (state, None, Some(how));
    }
}

fn describe(exit: std::io::Result<std::process::ExitStatus>) -> String {
    exit.map_or_else(|error| format!("cannot be waited for: {error}"), |status| status.to_string())
}

fn send(child: &Child, signal: Signal) -> Result<()> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let pid = pid.context("it has just ended")?;
    kill_process(pid, signal).context("send the signal")
}

async fn end(child: &mut Child) -> Result<String> {
    // One that has just ended needs no signal.
    let _ = send(child, Signal::TERM);
    // A process that a test paused would not see SIGTERM.
    let _ = send(child, Signal::CONT);
    if let Ok(exit) = tokio::time::timeout(GRACE, child.wait()).await {
        return Ok(describe(exit));
    }
    child.start_kill().context("kill it")?;
    Ok(describe(child.wait().await))
}
