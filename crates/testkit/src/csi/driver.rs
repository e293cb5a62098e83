//! The calls of the driver.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use tonic::Status;

use super::engine::{Engine, now};
use super::faults::{Rpc, VolumeRef};
use super::messages::{
    CONTROLLER_CREATE_DELETE, CONTROLLER_EXPAND, CONTROLLER_SERVICE, CapabilitiesResponse, CapacityRange, ControllerExpandVolumeRequest,
    ControllerExpandVolumeResponse, CreateVolumeRequest, CreateVolumeResponse, DeleteVolumeRequest, Empty, EnumField,
    GetPluginCapabilitiesResponse, GetPluginInfoResponse, NODE_EXPAND, NODE_STAGE, NODE_STATS, NodeExpandVolumeRequest,
    NodeExpandVolumeResponse, NodeGetInfoResponse, NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, NodePublishVolumeRequest,
    NodeStageVolumeRequest, NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest, ONLINE_EXPANSION, PluginCapability, ProbeResponse,
    RpcCapability, UNIT_BYTES, UNIT_INODES, ValidateVolumeCapabilitiesRequest, ValidateVolumeCapabilitiesResponse, Volume, VolumeUsage,
};
use super::store::{Record, Store};
use super::{Kind, backend, control};

/// Sizes are rounded up to this many bytes.
const UNIT: u64 = 1 << 20;
/// The smallest XFS filesystem that mkfs.xfs makes.
const SMALLEST: u64 = 16 << 20;

/// Who decides about faults: this process, or the controller's.
pub enum Faults {
    /// This process is the controller.
    Here(Arc<Engine>),
    /// This process serves a node.
    Controller(control::Client),
}

/// One process of the driver.
pub struct Driver {
    /// Which kind of volume.
    pub kind: Kind,
    /// The node's name, or `controller`.
    pub node: String,
    /// The folder of volumes.
    pub store: Store,
    /// Who decides about faults.
    pub faults: Faults,
}

type Answer<T> = Result<T, Status>;

impl Driver {
    async fn enter(&self, rpc: Rpc, volume: &VolumeRef) -> Answer<()> {
        // Kubelets ask for figures all the time.
        if rpc != Rpc::NodeGetVolumeStats {
            tracing::info!(?rpc, volume = volume.id, claim = volume.claim, "call");
        }
        let refusal = match &self.faults {
            Faults::Here(engine) => engine.enter(rpc, volume, &self.node).await.err(),
            Faults::Controller(client) => client
                .enter(rpc, volume, &self.node)
                .await
                .map_err(|error| Status::unavailable(format!("{error:#}")))?,
        };
        refusal.map_or(Ok(()), |refusal| {
            tracing::info!(?rpc, volume = volume.id, ?refusal, "refused by a fault");
            Err(refusal.into())
        })
    }

    fn engine(&self) -> Answer<&Engine> {
        match &self.faults {
            Faults::Here(engine) => Ok(engine),
            Faults::Controller(_) => Err(Status::failed_precondition(
                "sizes are changed by the controller: this process serves a node",
            )),
        }
    }

    /// Whether a new size of one volume is allowed by the limits that are set.
    fn allow_size(&self, volume: &VolumeRef, bytes: u64) -> Answer<()> {
        let others = self.store.all()?;
        let others = others
            .iter()
            .filter(|other| other.id != volume.id)
            .map(|other| (reference(other), other.bytes));
        Ok(self.engine()?.allow_size(volume, bytes, others)?)
    }

    // Identity

    pub(super) fn plugin_info(&self) -> GetPluginInfoResponse {
        let vendor_version = env!("CARGO_PKG_VERSION").to_owned();
        GetPluginInfoResponse {
            name: self.kind.driver_name().to_owned(),
            vendor_version,
        }
    }

    // Controller

    pub(super) async fn create_volume(&self, request: CreateVolumeRequest) -> Answer<CreateVolumeResponse> {
        let parameter = |name: &str| request.parameters.get(name).map_or("", String::as_str);
        let claim = ["csi.storage.k8s.io/pvc/namespace", "csi.storage.k8s.io/pvc/name"]
            .map(parameter)
            .join("/");
        let volume = VolumeRef {
            id: request.name.clone(),
            claim,
            storage_class: parameter("class").to_owned(),
        };
        let bytes = required(request.capacity_range)?.max(SMALLEST);
        self.enter(Rpc::CreateVolume, &volume).await?;
        let _lock = self.store.lock(&volume.id).await?;
        let record = match self.store.load(&volume.id) {
            Ok(record) if record.bytes >= bytes => record,
            Ok(record) => {
                let message = format!("volume {} exists with {} bytes, not {bytes}", record.id, record.bytes);
                return Err(Status::already_exists(message));
            }
            Err(status) if status.code() == tonic::Code::NotFound => {
                self.allow_size(&volume, bytes)?;
                let record = Record {
                    id: volume.id,
                    claim: volume.claim,
                    storage_class: volume.storage_class,
                    bytes,
                    last_expand: 0,
                    formatted: false,
                    staged_on: None,
                };
                match self.kind {
                    Kind::Loop => set_size(&self.store.image(&record.id), bytes)?,
                    Kind::HostDir => std::fs::create_dir_all(self.store.content(&record.id)).map_err(internal)?,
                }
                self.store.save(&record)?;
                record
            }
            Err(status) => return Err(status),
        };
        let volume = Volume {
            capacity_bytes: signed(record.bytes)?,
            volume_id: record.id,
        };
        Ok(CreateVolumeResponse { volume: Some(volume) })
    }

    pub(super) async fn delete_volume(&self, request: DeleteVolumeRequest) -> Answer<Empty> {
        let id = request.volume_id;
        match self.store.load(&id) {
            Ok(record) => self.enter(Rpc::DeleteVolume, &reference(&record)).await?,
            Err(status) if status.code() == tonic::Code::NotFound => return Ok(Empty {}),
            Err(status) => return Err(status),
        }
        let _lock = self.store.lock(&id).await?;
        if let Some(node) = self.store.load(&id).ok().and_then(|record| record.staged_on) {
            return Err(Status::failed_precondition(format!("volume {id} is in use on node {node}")));
        }
        self.store.remove(&id)?;
        Ok(Empty {})
    }

    pub(super) fn validate(&self, request: ValidateVolumeCapabilitiesRequest) -> Answer<ValidateVolumeCapabilitiesResponse> {
        self.store.load(&request.volume_id)?;
        Ok(ValidateVolumeCapabilitiesResponse { confirmed: Some(Empty {}) })
    }

    pub(super) async fn controller_expand(&self, request: ControllerExpandVolumeRequest) -> Answer<ControllerExpandVolumeResponse> {
        let volume = reference(&self.store.load(&request.volume_id)?);
        let bytes = required(request.capacity_range)?;
        self.enter(Rpc::ControllerExpandVolume, &volume).await?;
        let _lock = self.store.lock(&volume.id).await?;
        let mut record = self.store.load(&volume.id)?;
        if bytes > record.bytes {
            self.allow_size(&volume, bytes)?;
            self.engine()?.allow_expand(&volume, record.last_expand)?;
            if self.kind == Kind::Loop {
                set_size(&self.store.image(&record.id), bytes)?;
            }
            (record.bytes, record.last_expand) = (bytes, now().as_secs());
            self.store.save(&record)?;
        }
        Ok(ControllerExpandVolumeResponse {
            capacity_bytes: signed(record.bytes)?,
            node_expansion_required: self.kind == Kind::Loop,
        })
    }

    // Node

    fn node_claims(&self) -> &'static [i32] {
        match self.kind {
            Kind::Loop => &[NODE_STAGE, NODE_STATS, NODE_EXPAND],
            Kind::HostDir => &[NODE_STATS],
        }
    }

    /// Whether the node part of this kind has a capability; methods of one that it lacks are not served.
    pub(super) fn node_has(&self, capability: i32) -> bool {
        self.node_claims().contains(&capability)
    }

    pub(super) fn node_capabilities(&self) -> CapabilitiesResponse {
        capabilities(self.node_claims())
    }

    pub(super) fn node_info(&self) -> NodeGetInfoResponse {
        NodeGetInfoResponse {
            node_id: self.node.clone(),
        }
    }

    pub(super) async fn node_stage(&self, request: NodeStageVolumeRequest) -> Answer<Empty> {
        let id = request.volume_id;
        self.enter(Rpc::NodeStageVolume, &reference(&self.store.load(&id)?)).await?;
        let _lock = self.store.lock(&id).await?;
        let mut record = self.store.load(&id)?;
        let (image, target) = (self.store.image(&id), request.staging_target_path);
        if backend::is_mounted(&target)? {
            return Ok(Empty {});
        }
        let device = match backend::loop_device(&image).await? {
            // One filesystem, one kernel: a second mount from another node would be the same mount, and a second
            // device would destroy the filesystem. Both are what ReadWriteOnce rules out.
            Some(_) if record.staged_on.as_ref().is_some_and(|node| *node != self.node) => {
                let node = record.staged_on.unwrap_or_default();
                return Err(Status::failed_precondition(format!("volume {id} is still in use on node {node}")));
            }
            Some(device) => device,
            None => backend::attach(&image).await?,
        };
        if record.staged_on.as_ref() != Some(&self.node) {
            record.staged_on = Some(self.node.clone());
            self.store.save(&record)?;
        }
        if !record.formatted {
            backend::make_filesystem(&device, record.bytes).await?;
            record.formatted = true;
            self.store.save(&record)?;
        }
        backend::mount_filesystem(&device, &target).await?;
        backend::release_on_unmount(&device).await?;
        backend::grow(&image, &target).await?;
        Ok(Empty {})
    }

    pub(super) async fn node_unstage(&self, request: NodeUnstageVolumeRequest) -> Answer<Empty> {
        let id = request.volume_id;
        let _lock = self.store.lock(&id).await?;
        backend::unmount(&request.staging_target_path).await?;
        if let Ok(mut record) = self.store.load(&id)
            && record.staged_on.as_ref() == Some(&self.node)
        {
            record.staged_on = None;
            self.store.save(&record)?;
        }
        Ok(Empty {})
    }

    pub(super) async fn node_publish(&self, request: NodePublishVolumeRequest) -> Answer<Empty> {
        self.enter(Rpc::NodePublishVolume, &reference(&self.store.load(&request.volume_id)?))
            .await?;
        if backend::is_mounted(&request.target_path)? {
            return Ok(Empty {});
        }
        let source = match self.kind {
            Kind::Loop if backend::is_mounted(&request.staging_target_path)? => request.staging_target_path,
            Kind::Loop => {
                return Err(Status::failed_precondition(format!("volume {} is not staged", request.volume_id)));
            }
            Kind::HostDir => self.store.content(&request.volume_id).to_string_lossy().into_owned(),
        };
        backend::bind(&source, &request.target_path, request.readonly).await?;
        Ok(Empty {})
    }

    pub(super) async fn node_unpublish(&self, request: NodeUnpublishVolumeRequest) -> Answer<Empty> {
        backend::unmount(&request.target_path).await?;
        match std::fs::remove_dir(&request.target_path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(internal(error)),
            _ => Ok(Empty {}),
        }
    }

    pub(super) async fn node_stats(&self, request: NodeGetVolumeStatsRequest) -> Answer<NodeGetVolumeStatsResponse> {
        self.enter(Rpc::NodeGetVolumeStats, &reference(&self.store.load(&request.volume_id)?))
            .await?;
        let path = request.volume_path;
        if !backend::is_mounted(&path)? {
            return Err(Status::not_found(format!("nothing is mounted at {path}")));
        }
        let stat = rustix::fs::statvfs(path.as_str()).map_err(|e| Status::internal(format!("statfs {path}: {e}")))?;
        let bytes = |blocks: u64| signed(blocks.saturating_mul(stat.f_frsize));
        Ok(NodeGetVolumeStatsResponse {
            usage: vec![
                VolumeUsage {
                    available: bytes(stat.f_bavail)?,
                    total: bytes(stat.f_blocks)?,
                    used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree))?,
                    unit: UNIT_BYTES,
                },
                VolumeUsage {
                    available: signed(stat.f_ffree)?,
                    total: signed(stat.f_files)?,
                    used: signed(stat.f_files.saturating_sub(stat.f_ffree))?,
                    unit: UNIT_INODES,
                },
            ],
        })
    }

    pub(super) async fn node_expand(&self, request: NodeExpandVolumeRequest) -> Answer<NodeExpandVolumeResponse> {
        let id = request.volume_id;
        self.enter(Rpc::NodeExpandVolume, &reference(&self.store.load(&id)?)).await?;
        let _lock = self.store.lock(&id).await?;
        let record = self.store.load(&id)?;
        let staged = !request.staging_target_path.is_empty() && backend::is_mounted(&request.staging_target_path)?;
        let path = if staged {
            &request.staging_target_path
        } else {
            &request.volume_path
        };
        backend::grow(&self.store.image(&id), path).await?;
        Ok(NodeExpandVolumeResponse {
            capacity_bytes: signed(record.bytes)?,
        })
    }
}

/// `GetPluginCapabilities`.
pub(super) fn plugin_capabilities() -> GetPluginCapabilitiesResponse {
    let service = PluginCapability {
        service: Some(EnumField { value: CONTROLLER_SERVICE }),
        volume_expansion: None,
    };
    let expansion = PluginCapability {
        service: None,
        volume_expansion: Some(EnumField { value: ONLINE_EXPANSION }),
    };
    GetPluginCapabilitiesResponse {
        capabilities: vec![service, expansion],
    }
}

/// `Probe`.
pub(super) fn probe() -> ProbeResponse {
    ProbeResponse { ready: Some(true) }
}

/// `ControllerGetCapabilities`.
pub(super) fn controller_capabilities() -> CapabilitiesResponse {
    capabilities(&[CONTROLLER_CREATE_DELETE, CONTROLLER_EXPAND])
}

fn reference(record: &Record) -> VolumeRef {
    VolumeRef {
        id: record.id.clone(),
        claim: record.claim.clone(),
        storage_class: record.storage_class.clone(),
    }
}

fn capabilities(values: &[i32]) -> CapabilitiesResponse {
    let capability = |value: &i32| RpcCapability {
        rpc: Some(EnumField { value: *value }),
    };
    CapabilitiesResponse {
        capabilities: values.iter().map(capability).collect(),
    }
}

fn required(range: Option<CapacityRange>) -> Answer<u64> {
    let bytes = range.map_or(0, |range| range.required_bytes);
    let bytes = u64::try_from(bytes).map_err(|_| Status::invalid_argument(format!("a size of {bytes} bytes")))?;
    bytes
        .checked_next_multiple_of(UNIT)
        .ok_or_else(|| Status::out_of_range(format!("a size of {bytes} bytes")))
}

fn signed(value: u64) -> Answer<i64> {
    i64::try_from(value).map_err(|_| Status::internal(format!("{value} does not fit into an int64")))
}

fn set_size(image: &PathBuf, bytes: u64) -> Answer<()> {
    let file = File::options().create(true).truncate(false).write(true).open(image);
    file.and_then(|file| file.set_len(bytes))
        .map_err(|e| Status::internal(format!("{}: {e}", image.display())))
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}
