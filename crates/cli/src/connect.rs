//! The connection to the API server.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::args::Common;
use crate::error::Error;

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
