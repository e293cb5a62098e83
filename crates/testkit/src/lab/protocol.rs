//! What the supervisor and its clients say to each other: one JSON request a line, one JSON answer a line.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::config::Network;
use super::layout::Layout;

/// No answer of the supervisor takes longer, but that to [`Request::AddNode`].
const PATIENCE: Duration = Duration::from_secs(30);
/// A node that takes longer to be added will not come.
const NODE_PATIENCE: Duration = Duration::from_mins(3);

/// To the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// How is the lab?
    Status,
    /// Ends a component and keeps it ended. Answers when it is gone.
    Stop {
        /// Its name.
        name: String,
    },
    /// Starts a stopped component again.
    Start {
        /// Its name.
        name: String,
    },
    /// Sends a signal. A component that ends of it is started again.
    Signal {
        /// Its name.
        name: String,
        /// The signal's number.
        signal: i32,
    },
    /// Pulls a node's network cable, or plugs it in again.
    Link {
        /// The node's name.
        node: String,
        /// In or out.
        up: bool,
    },
    /// Adds a node. Answers when it is ready.
    AddNode,
}

/// From the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Done; the value depends on the request.
    Ok(serde_json::Value),
    /// What went wrong.
    Error(String),
}

/// How far a lab is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Being brought up.
    Starting,
    /// Everything was brought up. (A component may have failed since.)
    Ready,
    /// Bringing it up failed, for this reason.
    Failed(String),
}

/// One step of bringing it up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// What is done.
    pub name: String,
    /// How long it took, when done, in milliseconds.
    pub took_ms: Option<u64>,
}

/// What a component does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs.
    Running,
    /// It ended and is about to be started again.
    Restarting,
    /// It was stopped on demand.
    Stopped,
}

/// One component.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Component {
    /// `kube-apiserver`, or with its node: `kubelet@lab-1`.
    pub name: String,
    /// What it does.
    pub state: State,
    /// Its process id, in the lab's process namespace.
    pub pid: Option<u32>,
    /// Milliseconds since the epoch of its last start.
    pub since_ms: u64,
    /// How often it was started again without being asked to.
    pub restarts: u32,
    /// How it ended the last time.
    pub last_exit: Option<String>,
    /// Where its output goes.
    pub log: PathBuf,
}

/// One node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Counted from 1.
    pub number: u8,
    /// Its name in Kubernetes.
    pub name: String,
    /// Its address.
    pub ip: Ipv4Addr,
}

/// A whole lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// See [`super::config::FORMAT`].
    pub format: u32,
    /// How far it is.
    pub phase: Phase,
    /// Milliseconds since the epoch of the supervisor's start.
    pub started_ms: u64,
    /// From the supervisor's start until everything was ready.
    pub ready_after_ms: Option<u64>,
    /// Its addresses.
    pub network: Network,
    /// PostgreSQL's image.
    pub postgres_image: String,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// The steps of bringing it up, in the order of their begin.
    pub steps: Vec<Step>,
    /// Its components, by name.
    pub components: Vec<Component>,
}

/// Milliseconds since the epoch.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

/// Asks the supervisor. `Ok(None)`: there is none.
pub async fn ask<T: DeserializeOwned>(layout: &Layout, request: &Request) -> Result<Option<T>> {
    use std::io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound};
    let socket = layout.control();
    let at = || format!("the lab's control socket {}", socket.display());
    let stream = match UnixStream::connect(&socket).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(None),
        Err(error) => return Err(error).with_context(at),
    };
    let patience = if matches!(request, Request::AddNode) {
        NODE_PATIENCE
    } else {
        PATIENCE
    };
    let exchange = async {
        let (read, mut write) = stream.into_split();
        let mut text = serde_json::to_vec(request)?;
        text.push(b'\n');
        write.write_all(&text).await?;
        BufReader::new(read).lines().next_line().await
    };
    let line = match tokio::time::timeout(patience, exchange).await {
        Err(_) => bail!("{}: no answer after {} s: is the supervisor stopped?", at(), patience.as_secs()),
        Ok(Err(error)) if error.kind() == ConnectionReset => return Ok(None),
        Ok(line) => line.with_context(at)?,
    };
    let Some(line) = line else { return Ok(None) };
    match serde_json::from_str(&line).with_context(at)? {
        Answer::Ok(value) => Ok(Some(serde_json::from_value(value).with_context(at)?)),
        Answer::Error(error) => bail!("{error}"),
    }
}
