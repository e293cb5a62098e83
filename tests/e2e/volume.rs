//! The logical volumes of a cluster: where each is mounted, what its PVCs are called, and where status and metrics tell of it.

use std::fmt;

use csm_api::{Growth, InstanceDisk, InstanceDisks, Role, StorageSizing, VolumeSizing};

/// A logical volume: the PVCs of one role of all instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volume {
    /// PGDATA, and pg_wal where it has no volume of its own.
    Data,
    /// The separate WAL volume.
    Wal,
    /// A tablespace.
    Tablespace(&'static str),
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data => f.write_str("data"),
            Self::Wal => f.write_str("wal"),
            Self::Tablespace(name) => write!(f, "tablespace/{name}"),
        }
    }
}

impl Volume {
    /// Where CloudNativePG mounts it.
    pub fn path(self) -> String {
        match self {
            Self::Data => "/var/lib/postgresql/data".to_owned(),
            Self::Wal => "/var/lib/postgresql/wal".to_owned(),
            Self::Tablespace(name) => format!("/var/lib/postgresql/tablespaces/{name}"),
        }
    }

    /// The PVC of an instance, as CloudNativePG names it.
    pub fn claim(self, instance: &str) -> String {
        match self {
            Self::Data => instance.to_owned(),
            Self::Wal => format!("{instance}-wal"),
            Self::Tablespace(name) => format!("{instance}-tbs-{name}"),
        }
    }

    /// The table whose rows fill it. WAL volumes are filled by WAL: the rows beside it are those of the data volume.
    pub fn table(self) -> String {
        match self {
            Self::Data | Self::Wal => "e2e_rows".to_owned(),
            Self::Tablespace(name) => format!("e2e_rows_{name}"),
        }
    }

    /// Its role.
    pub fn role(self) -> Role {
        match self {
            Self::Data => Role::Data,
            Self::Wal => Role::Wal,
            Self::Tablespace(_) => Role::Tablespace,
        }
    }

    /// Name of the tablespace.
    pub fn tablespace(self) -> Option<&'static str> {
        match self {
            Self::Data | Self::Wal => None,
            Self::Tablespace(name) => Some(name),
        }
    }

    /// The labels of an instance's `cnpg_disk_*` that tell of it.
    pub fn labels(self) -> [(&'static str, &'static str); 2] {
        [
            ("volume_type", self.role().as_str()),
            ("tablespace", self.tablespace().unwrap_or_default()),
        ]
    }

    /// What a status says of it.
    pub fn sizing(self, sizing: &StorageSizing) -> Option<&VolumeSizing> {
        match self {
            Self::Data => sizing.data.as_ref(),
            Self::Wal => sizing.wal.as_ref(),
            Self::Tablespace(name) => sizing.tablespaces.get(name),
        }
    }

    /// What a status says of an instance's part of it.
    pub fn disk(self, disks: &InstanceDisks) -> Option<&InstanceDisk> {
        match self {
            Self::Data => disks.data_volume.as_ref(),
            Self::Wal => disks.wal_volume.as_ref(),
            Self::Tablespace(name) => disks.tablespaces.get(name),
        }
    }

    /// Whether an operation is about it.
    pub fn is_of(self, event: &Growth) -> bool {
        let volume = &event.spec.volume;
        (volume.role, volume.tablespace.as_deref()) == (self.role(), self.tablespace())
    }
}
