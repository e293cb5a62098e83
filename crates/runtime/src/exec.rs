//! A command in a container, through the API server (`pods/exec` over a WebSocket).
//!
//! It needs `get` and `create` on `pods/exec`. A command is a vector of arguments; nobody takes it for a shell's line. Each has a
//! time-out as a whole and limits of output, and what is cut is an error, never a shorter answer. Who sends one holds the lease
//! ([`crate::LeaderGuard`]), asks for it just before, and limits how often: none of that is done here.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;
use kube::client::UpgradeConnectionError;
use kube::{Api, Client};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A command in a container.
#[derive(Clone, Debug)]
pub struct Command<'a> {
    /// The namespace of the pod.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// The container.
    pub container: &'a str,
    /// The program, and its arguments.
    pub arguments: &'a [String],
    /// How long it may take, from the first packet to the last.
    pub timeout: Duration,
    /// Bytes of output at most, of standard output and of standard error each.
    pub limit: usize,
}

/// What a command that ended said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit status.
    pub exit: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// A command that was not sent, or of which it is not known how it ended.
#[derive(Debug, Error)]
pub enum ExecError {
    /// The API server does not allow it.
    #[error("the API server does not allow it (403): it needs get and create on pods/exec")]
    Denied,
    /// There is no such pod or container.
    #[error("there is no such pod or container (404)")]
    NotFound,
    /// The API server or the kubelet answered with another status, before the command was run.
    #[error("the API server answered {0}")]
    Refused(u16),
    /// The connection could not be made, or not be kept until the command was sent.
    #[error("no connection for the command")]
    Connection(#[source] Box<kube::Error>),
    /// The connection ended before the command did.
    #[error("the connection ended before the command did")]
    Cut,
    /// It took longer than it may.
    #[error("no end within {} s", .0.as_secs())]
    Timeout(Duration),
    /// It said more than it may.
    #[error("more output than {0} bytes")]
    TooLarge(usize),
    /// What ran it says that it could not be run.
    #[error("{0}")]
    NotRun(String),
}

impl ExecError {
    /// Whether the command may have been run, wholly or in part.
    #[must_use]
    pub const fn may_have_run(&self) -> bool {
        match self {
            Self::Denied | Self::NotFound | Self::Refused(_) => false,
            Self::Connection(_) | Self::Cut | Self::Timeout(_) | Self::TooLarge(_) | Self::NotRun(_) => true,
        }
    }
}

/// What runs commands in containers.
pub trait Exec {
    /// Runs one, and waits for its end.
    ///
    /// # Errors
    /// See [`ExecError`]; an exit status other than 0 is none.
    fn exec(&self, command: &Command<'_>) -> impl Future<Output = Result<Output, ExecError>> + Send;
}

/// Through the API server.
#[derive(Clone)]
pub struct KubeExec {
    client: Client,
}

impl KubeExec {
    /// With this client.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self { client }
    }
}

impl Exec for KubeExec {
    async fn exec(&self, command: &Command<'_>) -> Result<Output, ExecError> {
        let run = run(self.client.clone(), command);
        match tokio::time::timeout(command.timeout, run).await {
            Ok(came) => came,
            Err(_) => Err(ExecError::Timeout(command.timeout)),
        }
    }
}

/// Dropping the process ends its connection.
async fn run(client: Client, command: &Command<'_>) -> Result<Output, ExecError> {
    let pods: Api<Pod> = Api::namespaced(client, command.namespace);
    let wanted = AttachParams::default()
        .container(command.container)
        .stdin(false)
        .stdout(true)
        .stderr(true);
    let mut process = pods.exec(command.pod, command.arguments, &wanted).await.map_err(not_sent)?;
    let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
    let ended = async {
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        // Where the connection breaks, the streams do not end by themselves: this does it.
        status.ok_or(ExecError::Cut)
    };
    let (stdout, stderr, status) = tokio::try_join!(whole(stdout, command.limit), whole(stderr, command.limit), ended)?;
    let exit = exit(&status)?;
    Ok(Output { exit, stdout, stderr })
}

/// All of a stream, or an error.
async fn whole(stream: Option<impl AsyncRead + Unpin>, limit: usize) -> Result<Vec<u8>, ExecError> {
    let mut read = Vec::new();
    if let Some(stream) = stream {
        let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        stream.take(one_more).read_to_end(&mut read).await.map_err(|_| ExecError::Cut)?;
    }
    if read.len() > limit {
        Err(ExecError::TooLarge(limit))
    } else {
        Ok(read)
    }
}

fn not_sent(error: kube::Error) -> ExecError {
    let code = match &error {
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) => code.as_u16(),
        kube::Error::Api(status) => status.code,
        _ => return ExecError::Connection(Box::new(error)),
    };
    match code {
        401 | 403 => ExecError::Denied,
        404 => ExecError::NotFound,
        other => ExecError::Refused(other),
    }
}

/// The exit status, as the kubelet says it (Kubernetes, `remotecommand`: NonZeroExitCodeReason, ExitCodeCauseType).
fn exit(status: &Status) -> Result<i32, ExecError> {
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.iter().filter_map(|details| details.causes.as_ref()).flatten();
    let mut codes = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    let code = codes.find_map(|cause| cause.message.as_deref()?.parse().ok());
    code.ok_or_else(|| {
        let message = status.message.as_deref().unwrap_or("the command could not be run");
        ExecError::NotRun(message.chars().take(500).collect())
    })
}
