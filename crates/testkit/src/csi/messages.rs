//! The messages of the CSI specification 1.12 that this driver uses; field numbers as in its `csi.proto`.
//!
//! Fields that the driver neither reads nor sets are left out: protobuf skips unknown ones.

#![allow(missing_docs)]

use std::collections::HashMap;

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub struct GetPluginInfoResponse {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub vendor_version: String,
}

/// `PluginCapability`: one of a service (1) or a way of volume expansion (2), each a message with one enum field.
#[derive(Clone, PartialEq, Message)]
pub struct PluginCapability {
    #[prost(message, optional, tag = "1")]
    pub service: Option<EnumField>,
    #[prost(message, optional, tag = "2")]
    pub volume_expansion: Option<EnumField>,
}

/// A message with one enum in field 1: `Service`, `VolumeExpansion` and the `RPC` capabilities.
#[derive(Clone, PartialEq, Message)]
pub struct EnumField {
    #[prost(int32, tag = "1")]
    pub value: i32,
}

/// `PluginCapability.Service.CONTROLLER_SERVICE`.
pub const CONTROLLER_SERVICE: i32 = 1;
/// `PluginCapability.VolumeExpansion.ONLINE`.
pub const ONLINE_EXPANSION: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub struct GetPluginCapabilitiesResponse {
    #[prost(message, repeated, tag = "1")]
    pub capabilities: Vec<PluginCapability>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ProbeResponse {
    /// A `google.protobuf.BoolValue`.
    #[prost(message, optional, tag = "1")]
    pub ready: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct CapacityRange {
    #[prost(int64, tag = "1")]
    pub required_bytes: i64,
    #[prost(int64, tag = "2")]
    pub limit_bytes: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct CreateVolumeRequest {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub capacity_range: Option<CapacityRange>,
    #[prost(map = "string, string", tag = "4")]
    pub parameters: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Volume {
    #[prost(int64, tag = "1")]
    pub capacity_bytes: i64,
    #[prost(string, tag = "2")]
    pub volume_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct CreateVolumeResponse {
    #[prost(message, optional, tag = "1")]
    pub volume: Option<Volume>,
}

#[derive(Clone, PartialEq, Message)]
pub struct DeleteVolumeRequest {
    #[prost(string, tag = "1")]
    pub volume_id: String,
}

/// A capability of the controller or of the node: `rpc` (1) with one enum field.
#[derive(Clone, PartialEq, Message)]
pub struct RpcCapability {
    #[prost(message, optional, tag = "1")]
    pub rpc: Option<EnumField>,
}

/// `ControllerServiceCapability.RPC`: `CREATE_DELETE_VOLUME`.
pub const CONTROLLER_CREATE_DELETE: i32 = 1;
/// `ControllerServiceCapability.RPC`: `EXPAND_VOLUME`.
pub const CONTROLLER_EXPAND: i32 = 9;
/// `NodeServiceCapability.RPC`: `STAGE_UNSTAGE_VOLUME`.
pub const NODE_STAGE: i32 = 1;
/// `NodeServiceCapability.RPC`: `GET_VOLUME_STATS`.
pub const NODE_STATS: i32 = 2;
/// `NodeServiceCapability.RPC`: `EXPAND_VOLUME`.
pub const NODE_EXPAND: i32 = 3;

/// `ControllerGetCapabilitiesResponse` and `NodeGetCapabilitiesResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct CapabilitiesResponse {
    #[prost(message, repeated, tag = "1")]
    pub capabilities: Vec<RpcCapability>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ValidateVolumeCapabilitiesRequest {
    #[prost(string, tag = "1")]
    pub volume_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ValidateVolumeCapabilitiesResponse {
    #[prost(message, optional, tag = "1")]
    pub confirmed: Option<Empty>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ControllerExpandVolumeRequest {
    #[prost(string, tag = "1")]
    pub volume_id: String,
    #[prost(message, optional, tag = "2")]
    pub capacity_range: Option<CapacityRange>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ControllerExpandVolumeResponse {
    #[prost(int64, tag = "1")]
    pub capacity_bytes: i64,
    #[prost(bool, tag = "2")]
    pub node_expansion_required: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct NodeStageVolumeRequest {
    #[prost(string, tag = "1")]
    pub volume_id: String,
    #[prost(string, tag = "3")]
    pub staging_target_path: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct NodeUnstageVolumeRequest {
    #[prost(string, tag = "1")]
    pub volume_id: String,
    #[prost(string, tag = "2")]
    pub staging_target_path: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct NodePublishVolumeRequest {
    #[prost(string, tag = "1")]
    pub volume_id: String,
    #[prost(string, tag = "3")]
    pub staging_target_path: String,
    #[prost(string, tag = "4")]
    pub target_path: String,
    #[prost(bool, tag = "6")]
    pub readonly: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct NodeUnpublishVolumeRequest {
    #[prost(string, tag = "1")]
    pub volume_id: String,
    #[prost(string, tag = "2")]
    pub target_path: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct NodeGetVolumeStatsRequest {
    #[prost(string, tag = "1")]
    pub volume_id: String,
    #[prost(string, tag = "2")]
    pub volume_path: String,
}

/// `VolumeUsage.Unit`: `BYTES`.
pub const UNIT_BYTES: i32 = 1;
/// `VolumeUsage.Unit`: `INODES`.
pub const UNIT_INODES: i32 = 2;

#[derive(Clone, Copy, PartialEq, Message)]
pub struct VolumeUsage {
    #[prost(int64, tag = "1")]
    pub available: i64,
    #[prost(int64, tag = "2")]
    pub total: i64,
    #[prost(int64, tag = "3")]
    pub used: i64,
    #[prost(int32, tag = "4")]
    pub unit: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct NodeGetVolumeStatsResponse {
    #[prost(message, repeated, tag = "1")]
    pub usage: Vec<VolumeUsage>,
}

#[derive(Clone, PartialEq, Message)]
pub struct NodeExpandVolumeRequest {
    #[prost(string, tag = "1")]
    pub volume_id: String,
    #[prost(string, tag = "2")]
    pub volume_path: String,
    #[prost(string, tag = "4")]
    pub staging_target_path: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct NodeExpandVolumeResponse {
    #[prost(int64, tag = "1")]
    pub capacity_bytes: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct NodeGetInfoResponse {
    #[prost(string, tag = "1")]
    pub node_id: String,
}
