//! The connection to the API server.

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Client, Config};

use crate::args::Common;
use crate::error::Error;

/// How long one call may take. A person waits.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a call brought nothing.
pub enum Failure {
    /// The API server knows who we are, and says no.
    Refused(Box<Status>),
    /// It was not reached, or does not know us.
    Error(Error),
}

/// A client, and what it speaks to.
#[derive(Clone)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// Address of the API server, for messages.
    pub server: String,
    /// The namespace that commands are about.
    pub namespace: String,
}

impl Connection {
    /// The answer to one call, which must come within the timeout; `what` is the kind that it is about.
    ///
    /// # Errors
    /// What its failure means, as far as that is the same for every call.
    pub fn answer<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> impl Future<Output = Result<T, Failure>> {
        // On the heap: the futures of kube are large, and this one is part of others.
        let call = Box::pin(call);
        async move {
            let server = || self.server.clone();
            let Ok(answer) = tokio::time::timeout(TIMEOUT, call).await else {
                return Err(Failure::Error(Error::Slow {
                    server: server(),
                    what,
                    seconds: TIMEOUT.as_secs(),
                }));
            };
            answer.map_err(|error| match error {
                kube::Error::Api(status) if status.code == 401 => Failure::Error(Error::Unauthorized { server: server() }),
                kube::Error::Api(status) => Failure::Refused(status),
                kube::Error::HyperError(_) | kube::Error::Service(_) => Failure::Error(Error::Unreachable {
                    server: server(),
                    source: Box::new(error),
                }),
                error => Failure::Error(Error::Other {
                    what,
                    source: Box::new(error),
                }),
            })
        }
    }
}

/// Connects as the arguments and the environment say.
///
/// # Errors
/// Where there is no usable kubeconfig. The API server itself is first asked when something is read.
pub async fn connect(common: &Common) -> Result<Connection, Error> {
    let options = KubeConfigOptions {
        context: common.context.clone(),
        ..KubeConfigOptions::default()
    };
    let mut config = match (&common.kubeconfig, &common.context) {
        (Some(path), _) => {
            let named = |error| Error::Kubeconfig(format!(" {}", path.display()), error);
            let kubeconfig = Kubeconfig::read_from(path).map_err(named)?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(named)?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options)
            .await
            .map_err(|error| Error::Kubeconfig(String::new(), error))?,
        (None, None) => Config::infer().await.map_err(|error| Error::NoCluster(Box::new(error)))?,
    };
    // A person waits: a failure is shown at once, not retried behind their back.
    config.default_retry = false;
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let namespace = common.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| Error::Client(Box::new(error)))?;
    Ok(Connection { client, server, namespace })
}
