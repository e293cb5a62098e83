//! Where everything of a lab lies: one folder, with a marker, and names derived from its path.
//!
//! ```text
//! DIR/.csm-lab          the marker: without it nothing is ever deleted
//! DIR/lock              held by `up` and `down`
//! DIR/logs/             one file a component; kept by `down`, so that a failed run can be looked at
//! DIR/run/              everything of one run; deleted by `down`
//!     config.json  control.sock  admin.kubeconfig  bin/  pki/  conf/  etcd/  audit/
//!     loop/ hostdir/    volumes and sockets of the CSI drivers
//!     s3/               buckets of the object store
//!     n1/ n2/           a node: kubelet/ containerd/ pods/ (logs) cni/
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::csi::Kind;

/// Environment variable that names the lab's folder.
pub const DIR_ENV: &str = "CSM_LAB_DIR";
/// The lab's folder unless [`DIR_ENV`] says otherwise. One for the machine, so that every checkout finds the same lab.
pub const DEFAULT_DIR: &str = "/var/lib/csm-lab";
/// The environment variable by which processes of a lab are found; its value is the lab's folder.
pub const MARKER_ENV: &str = "CSM_LAB_OF";
/// The file without which a folder is not a lab's.
const MARKER: &str = ".csm-lab";
/// A unix socket's path has at most 107 bytes (unix(7)); the longest below the folder takes 64.
const LONGEST_DIR: usize = 40;

/// The folder of one lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// From the environment, or the default.
    pub fn from_env() -> Result<Self> {
        let dir = std::env::var_os(DIR_ENV).filter(|dir| !dir.is_empty());
        Self::at(Path::new(dir.as_deref().unwrap_or(DEFAULT_DIR.as_ref())))
    }

    /// At a given folder, which need not exist yet.
    pub fn at(dir: &Path) -> Result<Self> {
        // Resolved, since the kernel reports mounts and backing files by their real path.
        let dir = match fs::canonicalize(dir) {
            Ok(dir) => dir,
            Err(_) => match (dir.parent().map(fs::canonicalize), dir.file_name()) {
                (Some(Ok(parent)), Some(name)) => parent.join(name),
                _ => bail!("{DIR_ENV}={}: the parent folder does not exist, make it first", dir.display()),
            },
        };
        let Some(text) = dir.to_str() else {
            bail!("{DIR_ENV}={}: not UTF-8", dir.display())
        };
        if text.len() > LONGEST_DIR || text.contains(char::is_whitespace) || dir.parent().is_none() {
            bail!(
                "{DIR_ENV}={text}: at most {LONGEST_DIR} characters and no blanks, since unix sockets below it have \
                 short names"
            );
        }
        Ok(Self { dir })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Six characters that tell labs of different folders apart, in names that the whole machine shares.
    pub fn id(&self) -> String {
        let hash = Sha256::digest(self.dir.as_os_str().as_encoded_bytes());
        hex(hash.get(..3).unwrap_or_default())
    }

    /// The host's end of the cable into the lab. At most 15 characters (`IFNAMSIZ`).
    pub fn host_link(&self) -> String {
        format!("csm-{}", self.id())
    }

    /// The control group of the lab, in each hierarchy.
    pub fn cgroup(&self) -> String {
        format!("csm-lab-{}", self.id())
    }

    /// The file that makes a folder ours.
    pub fn marker(&self) -> PathBuf {
        self.dir.join(MARKER)
    }

    /// Makes the folder ours. Refuses one that holds something else.
    pub fn claim(&self) -> Result<()> {
        let at = || format!("the lab's folder {}", self.dir.display());
        fs::create_dir_all(&self.dir).with_context(at)?;
        if self.is_claimed() {
            return Ok(());
        }
        if fs::read_dir(&self.dir).with_context(at)?.next().is_some() {
            bail!(
                "{} exists, is not empty and has no marker of ours: choose another with {DIR_ENV}",
                at()
            );
        }
        fs::write(self.marker(), self.dir.as_os_str().as_encoded_bytes()).with_context(at)
    }

    /// Whether the folder carries our marker, written for exactly this path.
    pub fn is_claimed(&self) -> bool {
        fs::symlink_metadata(self.marker()).is_ok_and(|meta| meta.is_file())
            && fs::read(self.marker()).is_ok_and(|content| content == self.dir.as_os_str().as_encoded_bytes())
    }

    /// Held while the lab is brought up or taken down.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// Everything of one run.
    pub fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// The logs of the components.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// The log of one component.
    pub fn log(&self, component: &str) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    /// What the supervisor was started with.
    pub fn config(&self) -> PathBuf {
        self.run().join("config.json")
    }

    /// The supervisor's socket.
    pub fn control(&self) -> PathBuf {
        self.run().join("control.sock")
    }

    /// Copies of our own programs, so that a build does not change a running lab.
    pub fn bin(&self) -> PathBuf {
        self.run().join("bin")
    }

    /// Certificates.
    pub fn pki(&self) -> PathBuf {
        self.run().join("pki")
    }

    /// Configuration files.
    pub fn conf(&self) -> PathBuf {
        self.run().join("conf")
    }

    /// A kubeconfig that may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.run().join("admin.kubeconfig")
    }

    /// The API server's audit log.
    pub fn audit_log(&self) -> PathBuf {
        self.run().join("audit/audit.log")
    }

    /// The volumes of one CSI driver.
    pub fn volumes(&self, kind: Kind) -> PathBuf {
        self.csi(kind).join("volumes")
    }

    /// The controller's CSI socket of one driver.
    pub fn csi_socket(&self, kind: Kind) -> PathBuf {
        self.csi(kind).join("csi.sock")
    }

    /// The control socket of one driver.
    pub fn csi_control(&self, kind: Kind) -> PathBuf {
        self.csi(kind).join("control.sock")
    }

    fn csi(&self, kind: Kind) -> PathBuf {
        self.run().join(match kind {
            Kind::Loop => "loop",
            Kind::HostDir => "hostdir",
        })
    }

    /// The object store: its buckets and their faults.
    pub fn s3(&self) -> PathBuf {
        self.run().join("s3")
    }

    /// One node, counted from 1.
    pub fn node(&self, number: u8) -> NodeLayout {
        NodeLayout {
            dir: self.run().join(format!("n{number}")),
            name: node_name(number),
        }
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The name of a node in Kubernetes.
pub fn node_name(number: u8) -> String {
    format!("lab-{number}")
}

/// Where one node's things lie.
#[derive(Clone, Debug)]
pub struct NodeLayout {
    /// Its folder.
    pub dir: PathBuf,
    /// Its name in Kubernetes.
    pub name: String,
}

impl NodeLayout {
    /// The kubelet's root. A mount of its own, shared with the containers.
    pub fn kubelet(&self) -> PathBuf {
        self.dir.join("kubelet")
    }

    /// The kubelet's folder of registration sockets.
    pub fn registry(&self) -> PathBuf {
        self.kubelet().join("plugins_registry")
    }

    /// The CSI socket of one driver on this node.
    pub fn csi_socket(&self, kind: Kind) -> PathBuf {
        self.kubelet().join("plugins").join(kind.driver_name()).join("csi.sock")
    }

    /// The folder of the containers' logs.
    pub fn pod_logs(&self) -> PathBuf {
        self.dir.join("pods")
    }

    /// containerd's images and containers.
    pub fn containerd_root(&self) -> PathBuf {
        self.dir.join("containerd")
    }

    /// containerd's socket.
    pub fn containerd_socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// The addresses that the network plugin gave out.
    pub fn cni(&self) -> PathBuf {
        self.dir.join("cni")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_folders_are_refused() {
        let dir = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
        let layout = Layout::at(dir.path()).unwrap();
        fs::write(dir.path().join("precious"), "x").unwrap();
        assert!(layout.claim().unwrap_err().to_string().contains("no marker"));
        assert!(!layout.is_claimed());
        fs::remove_file(dir.path().join("precious")).unwrap();
        layout.claim().unwrap();
        layout.claim().unwrap();
        assert!(layout.is_claimed());
        // A marker that was copied or moved along is not ours.
        let other = Layout::at(&dir.path().join("other")).unwrap();
        fs::create_dir(other.dir()).unwrap();
        fs::copy(layout.marker(), other.marker()).unwrap();
        assert!(!other.is_claimed());
    }

    #[test]
    fn socket_paths_fit() {
        let layout = Layout::at(Path::new("/tmp/0123456789012345678901234567890123")).unwrap();
        let longest = layout.node(1).registry().join("hostdir.csi.test-reg.sock");
        assert!(longest.as_os_str().len() <= 107, "{}", longest.display());
        assert!(layout.host_link().len() <= 15);
        assert!(Layout::at(Path::new("/tmp/01234567890123456789012345678901234567890")).is_err());
    }
}
