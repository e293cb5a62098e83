//! CNPG's Cluster.

use std::sync::Arc;

use csm_api::Role;
use csm_cnpg::{annotation, role};
use csm_core::root_cause::WalSettings;
use csm_core::wal::SegmentSize;
use csm_core::world::{Fencing, Pause, VolumeKey};
use csm_units::Bytes;

use super::{Labels, ResourceVersion, asks_for_reset, shared, text};
use crate::compact::{Packed, SmallMap};
use crate::wal_size;

/// A CNPG Cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterView {
    pub uid: Arc<str>,
    pub resource_version: ResourceVersion,
    /// Read where its settings are resolved.
    pub labels: Packed<Labels>,
    pub deleting: bool,
    pub hibernated: bool,
    pub pause: Pause,
    pub pause_reason: Option<Arc<str>>,
    /// A person asks for its circuit breaker to be closed.
    pub reset_breaker: bool,
    pub fencing: Fencing,
    pub resize_in_use_volumes: bool,
    pub primary: Option<Arc<str>>,
    /// Its WAL is archived somewhere.
    pub archives_wal: bool,
    /// What its settings keep of WAL.
    pub wal_settings: WalSettings,
    /// How large the segments of its WAL are, as far as it says.
    pub wal_segment: SegmentSize,
    /// The exporters of its instances speak TLS.
    pub exporter_tls: bool,
    /// CloudNativePG says that there is not enough disk space.
    pub disk_full: bool,
    /// The sizes that its spec asks for.
    pub spec_sizes: SmallMap<VolumeKey, Bytes>,
    /// Our own annotations, as they stand.
    pub written: SmallMap<&'static str, String>,
}

impl ClusterView {
    pub fn of(cluster: &csm_cnpg::Cluster) -> Self {
        let meta = &cluster.metadata;
        let get = |name: &str| meta.annotations.as_ref().and_then(|a| a.get(name)).map(String::as_str);
        let mut spec_sizes = SmallMap::default();
        let mut add = |key: VolumeKey, storage: Option<&csm_cnpg::StorageConfiguration>| {
            if let Some(size) = storage.and_then(|s| s.requested_size()).and_then(|s| s.parse::<Bytes>().ok()) {
                spec_sizes.insert(key, size);
            }
        };
        add(
            VolumeKey {
                role: Role::Data,
                tablespace: None,
            },
            cluster.spec.storage.as_ref(),
        );
        add(
            VolumeKey {
                role: Role::Wal,
                tablespace: None,
            },
            cluster.spec.wal_storage.as_ref(),
        );
        for tablespace in cluster.spec.tablespaces.iter().flatten() {
            add(
                VolumeKey {
                    role: Role::Tablespace,
                    tablespace: Some(shared(&tablespace.name)),
                },
                tablespace.storage.as_ref(),
            );
        }
        let written = WRITTEN
            .iter()
            .filter_map(|name| get(name).map(|value| (*name, value.to_owned())))
            .collect();
        Self {
            uid: text(meta.uid.as_ref()),
            resource_version: ResourceVersion::of(meta),
            labels: Packed::new(meta.labels.clone().unwrap_or_default()),
            deleting: meta.deletion_timestamp.is_some(),
            hibernated: get(annotation::HIBERNATION) == Some("on"),
            pause: Pause::read(get(csm_api::annotation::PAUSED), get(csm_api::annotation::PAUSE_UNTIL)),
            reset_breaker: asks_for_reset(meta),
            pause_reason: get(csm_api::annotation::PAUSE_REASON).map(shared),
            fencing: Fencing::read(get(annotation::FENCED_INSTANCES)),
            resize_in_use_volumes: cluster.spec.storage.as_ref().and_then(|s| s.resize_in_use_volumes).unwrap_or(true),
            primary: cluster.status.current_primary.as_deref().filter(|p| !p.is_empty()).map(shared),
            archives_wal: cluster.archives_wal(),
            wal_settings: wal_size::settings(cluster),
            wal_segment: wal_segment(cluster),
            exporter_tls: cluster.exporter_tls(),
            disk_full: cluster.status.phase.as_deref() == Some(csm_cnpg::phase::NOT_ENOUGH_DISK_SPACE),
            spec_sizes,
            written,
        }
    }
}

fn wal_segment(cluster: &csm_cnpg::Cluster) -> SegmentSize {
    let mebibytes = cluster.wal_segment_mebibytes();
    let size = mebibytes.and_then(|size| SegmentSize::new(Bytes::mib(size).get()).ok());
    size.unwrap_or(SegmentSize::DEFAULT)
}

/// The field of a Cluster that says how large a volume is; none where there is none.
#[must_use]
pub fn size_field(cluster: &csm_cnpg::Cluster, volume: &VolumeKey) -> Option<csm_cnpg::SizeField> {
    let role = match volume.role {
        Role::Data => role::DATA,
        Role::Wal => role::WAL,
        Role::Tablespace => role::TABLESPACE,
    };
    cluster.size_field(role, volume.tablespace.as_deref())
}

/// The annotations that we write to a Cluster.
pub const WRITTEN: [&str; 7] = [
    csm_api::annotation::MANAGED,
    csm_api::annotation::TARGET_SIZE,
    csm_api::annotation::EXPANSION_REQUESTED,
    csm_api::annotation::EXPANSION_REASON,
    csm_api::annotation::LAST_CHECK,
    csm_api::annotation::WAL_CLEANUP_LAST,
    csm_api::annotation::CURRENT_USAGE_PERCENT,
];
