//! The Kubernetes client: where it comes from, and the timeouts that every call has.

use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use thiserror::Error;
use tower::{BoxError, Service};

/// How long a single request may take. A write that takes longer is given up; that it may still be applied is what
/// preconditions and the journal are for. It must fit between the end of our lease and its passing on (see [`crate::lease`]).
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// How long the head of the answer to a watch may take. The API server sends it before there is anything to tell, once what
/// it knows is as new as what is asked for; it waits 3 s for that.
pub const WATCH_ANSWER: Duration = Duration::from_secs(10);
/// How long the head of any other answer may take: the API server itself ends what takes it a minute.
const ANSWER: Duration = Duration::from_secs(70);

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

/// A client of that configuration. Whatever takes its requests and answers none costs them a time-out.
///
/// # Errors
/// [`ConnectError::Client`].
pub fn client(config: Config) -> Result<Client, ConnectError> {
    let builder = ClientBuilder::try_from(config).map_err(ConnectError::Client)?;
    Ok(builder.with_layer(&tower::layer::layer_fn(Answered)).build())
}

/// There was no answer, not even its head.
#[derive(Debug, Error)]
#[error("no answer within {} s", .0.as_secs())]
struct Unanswered(Duration);

/// A service that answers within a time, or fails; how long the body takes is the caller's concern. Without it a
/// connection to something that is up and answers nothing would hold up a list or a watch for ever.
#[derive(Clone, Debug)]
pub(crate) struct Answered<S>(pub S);

impl<S, B> Service<Request<Body>> for Answered<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let within = if is_watch(request.uri()) { WATCH_ANSWER } else { ANSWER };
        let answer = self.0.call(request);
        async move {
            match tokio::time::timeout(within, answer).await {
                Ok(answer) => answer.map_err(Into::into),
                Err(_) => Err(Unanswered(within).into()),
            }
        }
        .boxed()
    }
}

fn is_watch(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"))
}
