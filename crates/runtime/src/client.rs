//! The Kubernetes client: where it comes from, and the timeouts that every call has.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use thiserror::Error;

/// How long a single request may take. A write that takes longer is given up; that it may still be applied is what
/// preconditions and the journal are for. It must fit between the end of our lease and its passing on (see [`crate::lease`]).
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The kubeconfig could not be read.
    #[error("cannot read the kubeconfig {path}")]
    Kubeconfig {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: kube::config::KubeconfigError,
    },
    /// Neither a kubeconfig nor a service account was found.
    #[error("no Kubernetes cluster: give --kubeconfig, set KUBECONFIG, or run in a pod with a service account")]
    Infer(#[source] kube::config::InferConfigError),
    /// The configuration is not usable.
    #[error("cannot make a client from the Kubernetes configuration")]
    Client(#[source] kube::Error),
}

/// The client's configuration: from `kubeconfig` (and `context`), or else as found in the environment.
///
/// # Errors
/// See [`ConnectError`].
pub async fn config(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Config, ConnectError> {
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let mut config = if let Some(path) = kubeconfig {
        let wrap = |source| ConnectError::Kubeconfig {
            path: path.display().to_string(),
            source,
        };
        Config::from_custom_kubeconfig(Kubeconfig::read_from(path).map_err(wrap)?, &options)
            .await
            .map_err(wrap)?
    } else if context.is_some() {
        Config::from_kubeconfig(&options).await.map_err(|source| ConnectError::Kubeconfig {
            path: "of the environment".to_owned(),
            source,
        })?
    } else {
        Config::infer().await.map_err(ConnectError::Infer)?
    };
    config.connect_timeout = Some(Duration::from_secs(5));
    // Retries are ours to make, with a class for each failure; kube's own would repeat a write behind our back.
    config.default_retry = false;
    Ok(config)
}

/// A client of that configuration.
///
/// # Errors
/// [`ConnectError::Client`].
pub fn client(config: Config) -> Result<Client, ConnectError> {
    Client::try_from(config).map_err(ConnectError::Client)
}
