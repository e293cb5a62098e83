//! The gRPC side: decodes a call by its path, and answers it.

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::driver::{Driver, controller_capabilities, plugin_capabilities, probe};
use super::messages::Empty;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Serves the driver on a unix socket until the process ends.
pub async fn serve(driver: Driver, socket: &Path) -> anyhow::Result<()> {
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).with_context(|| format!("listen on {}", socket.display()))?;
    tracing::info!(driver = driver.kind.driver_name(), node = driver.node, socket = %socket.display(), "serving");
    tonic::transport::Server::builder()
        .serve_with_incoming(Csi(Arc::new(driver)), UnixListenerStream::new(listener))
        .await
        .context("serve gRPC")
}

/// All services of the driver: calls are told apart by their path.
#[derive(Clone)]
struct Csi(Arc<Driver>);

impl Service<http::Request<Body>> for Csi {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let driver = self.0.clone();
        Box::pin(async move { Ok(answer(driver, request).await) })
    }
}

/// One unary method, as tonic wants it.
struct Method<F>(F);

impl<F, Req, Resp, Fut> UnaryService<Req> for Method<F>
where
    F: Fn(Req) -> Fut,
    Fut: Future<Output = Result<Resp, Status>> + Send + 'static,
    Resp: 'static,
{
    type Response = Resp;
    type Future = BoxFuture<Result<Response<Resp>, Status>>;

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        let answer = (self.0)(request.into_inner());
        Box::pin(async move { answer.await.map(Response::new) })
    }
}

async fn answer(driver: Arc<Driver>, request: http::Request<Body>) -> http::Response<Body> {
    /// A method that takes its time.
    macro_rules! unary {
        ($method:ident) => {{
            let method = Method(move |message| {
                let driver = driver.clone();
                async move { driver.$method(message).await }
            });
            Grpc::new(ProstCodec::default()).unary(method, request).await
        }};
    }
    /// A method whose answer does not depend on the question.
    macro_rules! known {
        ($answer:expr) => {{
            let answer = $answer;
            let method = Method(move |_: Empty| std::future::ready(Ok(answer.clone())));
            Grpc::new(ProstCodec::default()).unary(method, request).await
        }};
    }
    match request.uri().path() {
        "/csi.v1.Identity/GetPluginInfo" => known!(driver.plugin_info()),
        "/csi.v1.Identity/GetPluginCapabilities" => known!(plugin_capabilities()),
        "/csi.v1.Identity/Probe" => known!(probe()),
        "/csi.v1.Controller/ControllerGetCapabilities" => known!(controller_capabilities()),
        "/csi.v1.Controller/CreateVolume" => unary!(create_volume),
        "/csi.v1.Controller/DeleteVolume" => unary!(delete_volume),
        "/csi.v1.Controller/ValidateVolumeCapabilities" => {
            let method = Method(move |message| std::future::ready(driver.validate(message)));
            Grpc::new(ProstCodec::default()).unary(method, request).await
        }
        "/csi.v1.Controller/ControllerExpandVolume" => unary!(controller_expand),
        "/csi.v1.Node/NodeGetCapabilities" => known!(driver.node_capabilities()),
        "/csi.v1.Node/NodeGetInfo" => known!(driver.node_info()),
        "/csi.v1.Node/NodeStageVolume" => unary!(node_stage),
        "/csi.v1.Node/NodeUnstageVolume" => unary!(node_unstage),
        "/csi.v1.Node/NodePublishVolume" => unary!(node_publish),
        "/csi.v1.Node/NodeUnpublishVolume" => unary!(node_unpublish),
        "/csi.v1.Node/NodeGetVolumeStats" => unary!(node_stats),
        "/csi.v1.Node/NodeExpandVolume" => unary!(node_expand),
        // What gRPC says to a method that a server does not have; callers ask for capabilities first.
        path => Status::unimplemented(format!("{path} is not part of this driver")).into_http(),
    }
}
