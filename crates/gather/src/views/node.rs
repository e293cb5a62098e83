//! Nodes: where their kubelets are.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ClusterResourceScope, Resource};
use serde::Deserialize;

use super::shared;

/// What is decoded of a Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeObject {
    metadata: ObjectMeta,
    status: NodeObjectStatus,
}
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeObjectStatus {
    addresses: Option<Vec<AddressObject>>,
    daemon_endpoints: Option<DaemonEndpointsObject>,
}
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AddressObject {
    #[serde(rename = "type")]
    type_: String,
    address: String,
}
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DaemonEndpointsObject {
    kubelet_endpoint: Option<EndpointObject>,
}
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct EndpointObject {
    port: Option<u16>,
}
narrow!(NodeObject, "Node", "nodes", ClusterResourceScope);

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Addresses as (type, address).
    pub addresses: Vec<(Arc<str>, Arc<str>)>,
    /// The kubelet's port, where the node says it.
    pub port: Option<u16>,
}

impl NodeView {
    pub fn of(node: &NodeObject) -> Self {
        let addresses = node.status.addresses.iter().flatten();
        Self {
            addresses: addresses.map(|a| (shared(&a.type_), shared(&a.address))).collect(),
            port: node
                .status
                .daemon_endpoints
                .as_ref()
                .and_then(|d| d.kubelet_endpoint.as_ref())
                .and_then(|e| e.port)
                .filter(|p| *p != 0),
        }
    }
}
