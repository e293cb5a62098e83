//! A CSI driver for tests, with faults on demand.
//!
//! Two kinds of volume:
//! - [`Kind::Loop`]: a sparse file, a loop device and an XFS filesystem each. It really fills, and really grows online.
//! - [`Kind::HostDir`]: a plain directory. Its figures are those of the node's disk, as with local-path provisioners.
//!
//! The controller runs once a cluster, the node part once a node, in that node's mount namespace; all share one folder of
//! volumes. Faults live in the controller process alone ([`control`]); node processes ask it at each call.
//!
//! The messages are declared by hand from the CSI specification 1.12
//! (<https://github.com/container-storage-interface/spec>); only what this driver uses is there.

pub mod backend;
pub mod control;
pub mod driver;
pub mod engine;
pub mod faults;
pub mod messages;
pub mod server;
pub mod store;

use serde::{Deserialize, Serialize};

/// What stands behind a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Sparse file, loop device, XFS.
    Loop,
    /// A directory on the node's disk.
    HostDir,
}

impl Kind {
    /// The name under which the driver registers.
    pub const fn driver_name(self) -> &'static str {
        match self {
            Kind::Loop => "loop.csi.test",
            Kind::HostDir => "hostdir.csi.test",
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "loop" => Ok(Kind::Loop),
            "hostdir" => Ok(Kind::HostDir),
            other => Err(format!("{other:?} is no kind of volume: use loop or hostdir")),
        }
    }
}
