//! The gRPC side: decodes a call by its path, and answers it.

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::driver::{Driver, controller_capabilities, plugin_capabilities, probe};
use super::messages::{Empty, NODE_EXPAND, NODE_STAGE};

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
        "/csi.v1.Node/NodeStageVolume" if driver.node_has(NODE_STAGE) => unary!(node_stage),
        "/csi.v1.Node/NodeUnstageVolume" if driver.node_has(NODE_STAGE) => unary!(node_unstage),
        "/csi.v1.Node/NodePublishVolume" => unary!(node_publish),
        "/csi.v1.Node/NodeUnpublishVolume" => unary!(node_unpublish),
        "/csi.v1.Node/NodeGetVolumeStats" => unary!(node_stats),
        "/csi.v1.Node/NodeExpandVolume" if driver.node_has(NODE_EXPAND) => unary!(node_expand),
        path => not_offered(path).into_http(),
    }
}

/// The answer to a method whose capability a plugin does not claim: code 12, "the RPC is not implemented by the Plugin" (CSI
/// specification 1.12, "Error Scheme"). Callers ask for capabilities first, so that only a broken one sees it.
fn not_offered(path: &str) -> Status {
    Status::new(Code::Unimplemented, format!("{path} is not part of this driver"))
}

#[cfg(test)]
mod tests {
    use tonic::client;
    use tonic::codegen::http::uri::PathAndQuery;

    use super::super::Kind;
    use super::super::driver::Faults;
    use super::super::engine::Engine;
    use super::super::messages::{
        CONTROLLER_EXPAND, CONTROLLER_SERVICE, CapabilitiesResponse, GetPluginCapabilitiesResponse, ONLINE_EXPANSION,
    };
    use super::super::store::Store;
    use super::*;

    /// One service of the CSI specification 1.12.
    struct Api {
        name: &'static str,
        /// The `PluginCapability.Service` under which a plugin offers it; none for what each has.
        plugin: Option<i32>,
        /// Its methods, and the `RPC` capability of the service under which each is offered; none for what it always has.
        methods: &'static [(&'static str, Option<i32>)],
    }

    const IDENTITY: Api = Api {
        name: "Identity",
        plugin: None,
        methods: &[("GetPluginInfo", None), ("GetPluginCapabilities", None), ("Probe", None)],
    };
    const CONTROLLER: Api = Api {
        name: "Controller",
        plugin: Some(CONTROLLER_SERVICE),
        methods: &[
            ("ControllerGetCapabilities", None),
            ("ValidateVolumeCapabilities", None),
            ("CreateVolume", Some(1)),
            ("DeleteVolume", Some(1)),
            ("ControllerPublishVolume", Some(2)),
            ("ControllerUnpublishVolume", Some(2)),
            ("ListVolumes", Some(3)),
            ("GetCapacity", Some(4)),
            ("CreateSnapshot", Some(5)),
            ("DeleteSnapshot", Some(5)),
            ("ListSnapshots", Some(6)),
            ("ControllerExpandVolume", Some(9)),
            ("ControllerGetVolume", Some(12)),
            ("ControllerModifyVolume", Some(14)),
            ("GetSnapshot", Some(15)),
        ],
    };
    const NODE: Api = Api {
        name: "Node",
        plugin: None,
        methods: &[
            ("NodeGetCapabilities", None),
            ("NodeGetInfo", None),
            ("NodePublishVolume", None),
            ("NodeUnpublishVolume", None),
            ("NodeStageVolume", Some(1)),
            ("NodeUnstageVolume", Some(1)),
            ("NodeGetVolumeStats", Some(2)),
            ("NodeExpandVolume", Some(3)),
        ],
    };
    const GROUP_CONTROLLER: Api = Api {
        name: "GroupController",
        plugin: Some(3),
        methods: &[
            ("GroupControllerGetCapabilities", None),
            ("CreateVolumeGroupSnapshot", Some(1)),
            ("DeleteVolumeGroupSnapshot", Some(1)),
            ("GetVolumeGroupSnapshot", Some(1)),
        ],
    };
    const SNAPSHOT_METADATA: Api = Api {
        name: "SnapshotMetadata",
        plugin: Some(4),
        methods: &[("GetMetadataAllocated", None), ("GetMetadataDelta", None)],
    };

    /// Calls a method with an empty message, which names no volume: nothing comes of it.
    async fn call<T: prost::Message + Default + 'static>(driver: &Csi, service: &str, method: &str) -> Result<T, Status> {
        let path = PathAndQuery::try_from(format!("/csi.v1.{service}/{method}")).unwrap();
        let mut client = client::Grpc::new(driver.clone());
        client.ready().await.unwrap();
        let answer = client.unary(Request::new(Empty {}), path, ProstCodec::<Empty, T>::default()).await;
        answer.map(Response::into_inner)
    }

    async fn claims(driver: &Csi, service: &str, method: &str) -> Vec<i32> {
        let answer: CapabilitiesResponse = call(driver, service, method).await.unwrap();
        answer.capabilities.into_iter().map(|c| c.rpc.unwrap().value).collect()
    }

    #[tokio::test]
    async fn what_is_claimed_is_served_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for kind in [Kind::Loop, Kind::HostDir] {
            let driver = Csi(Arc::new(Driver {
                kind,
                node: "lab-1".into(),
                store: Store::open(dir.path()).unwrap(),
                faults: Faults::Here(Arc::new(Engine::in_memory())),
            }));
            let plugin: GetPluginCapabilitiesResponse = call(&driver, "Identity", "GetPluginCapabilities").await.unwrap();
            let services: Vec<i32> = plugin
                .capabilities
                .iter()
                .filter_map(|c| c.service.as_ref())
                .map(|s| s.value)
                .collect();
            let controller = claims(&driver, "Controller", "ControllerGetCapabilities").await;
            let node = claims(&driver, "Node", "NodeGetCapabilities").await;

            let apis = [
                (&IDENTITY, &[][..]),
                (&CONTROLLER, &controller),
                (&NODE, &node),
                (&GROUP_CONTROLLER, &[]),
                (&SNAPSHOT_METADATA, &[]),
            ];
            for (api, claimed) in apis {
                let offered = api.plugin.is_none_or(|service| services.contains(&service));
                for (method, capability) in api.methods {
                    let answer = call::<Empty>(&driver, api.name, method).await;
                    let served = answer.as_ref().err().map(Status::code) != Some(Code::Unimplemented);
                    let wanted = offered && capability.is_none_or(|c| claimed.contains(&c));
                    assert_eq!(served, wanted, "{kind:?} {method}: {answer:?}");
                }
                let known = |claim: &i32| api.methods.iter().any(|(_, capability)| *capability == Some(*claim));
                assert!(claimed.iter().all(known), "{kind:?} {}: {claimed:?}", api.name);
            }
            let known = |service: &i32| apis.iter().any(|(api, _)| api.plugin == Some(*service));
            assert!(services.iter().all(known), "{kind:?}: {services:?}");
            // Who says that volumes grow while they are in use has a way to grow them.
            let ways = plugin.capabilities.iter().filter_map(|c| c.volume_expansion.as_ref());
            assert!(ways.map(|way| way.value).eq([ONLINE_EXPANSION]));
            assert!(controller.contains(&CONTROLLER_EXPAND) || node.contains(&NODE_EXPAND));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
    }
}
