//! A real cluster on this machine: etcd, the Kubernetes components, containerd, CloudNativePG, and volumes that fill and
//! grow. `cargo xtask lab up` brings it up; tests use it through [`Lab`].
//!
//! Everything lives in namespaces of its own (process, network, mount) and in one folder ([`layout`]), under one process
//! ([`supervisor`]). A cluster's state does not outlive `down`: a start begins with an empty etcd, and with binaries and
//! images from the cache.

pub mod audit;
pub mod clean;
mod command;
pub mod config;
pub mod diagnose;
mod host;
pub mod images;
pub mod layout;
pub mod protocol;
pub mod shipped;
pub mod supervisor;
mod up;
mod usage;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};

pub use self::up::{Options, PROGRAMS, down, up};
pub use self::usage::{Df, ExecOutput};

use self::audit::AuditLog;
use self::layout::Layout;
use self::protocol::{Phase, Request, Status, ask};
use crate::csi::{Kind, control};
use crate::s3::Store;

/// How often a kubelet of the lab looks at each pod again; one minute elsewhere.
pub const SYNC_FREQUENCY: &str = "1s";
/// How often the kubelets measure volumes (`volumeStatsAggPeriod`); Kubernetes' own period is a minute.
pub const MEASURE_FREQUENCY: &str = "5s";

/// The component that is the object store. Who stops it has an endpoint at which nobody listens.
pub const S3: &str = "s3";

/// A running lab.
#[derive(Clone, Debug)]
pub struct Lab {
    layout: Layout,
    status: Status,
    kubectl: PathBuf,
}

impl Lab {
    /// Finds the running lab of this machine (or of `$CSM_LAB_DIR`).
    pub async fn connect() -> Result<Self> {
        let layout = Layout::from_env()?;
        let Some(status) = ask::<Status>(&layout, &Request::Status).await? else {
            bail!("no lab is running in {}: run `make lab` first", layout.dir().display());
        };
        match &status.phase {
            Phase::Ready => Ok(Self::over(layout, status)),
            Phase::Starting => bail!("the lab is still being brought up: wait for `make lab`"),
            Phase::Failed(error) => bail!("the lab is broken, run `make lab` again: {error}"),
        }
    }

    pub(crate) fn over(layout: Layout, status: Status) -> Self {
        let config = std::fs::read(layout.config()).ok();
        let config = config.and_then(|text| serde_json::from_slice::<config::Config>(&text).ok());
        // Without it kubectl's error says so.
        let kubectl = config.map_or_else(|| PathBuf::from("kubectl"), |config| config.binaries.join("kubectl"));
        Self { layout, status, kubectl }
    }

    /// As it was when connected; [`Lab::refresh`] renews it.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Asks the supervisor again.
    pub async fn refresh(&mut self) -> Result<&Status> {
        let status = ask(&self.layout, &Request::Status).await?;
        self.status = status.context("the lab is gone")?;
        Ok(&self.status)
    }

    /// Adds nodes until there are `count`. Nodes stay until the lab is taken down.
    pub async fn ensure_nodes(&mut self, count: usize) -> Result<()> {
        while self.refresh().await?.nodes.len() < count {
            ask::<u8>(&self.layout, &Request::AddNode).await?.context("the lab is gone")?;
        }
        Ok(())
    }

    /// Where its files are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A kubeconfig that may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// The PostgreSQL image that the nodes have, for `spec.imageName` of a Cluster.
    pub fn postgres_image(&self) -> &str {
        &self.status.postgres_image
    }

    /// The certificate authority that API server and kubelets are verified by, as PEM.
    pub fn ca_pem(&self) -> Result<String> {
        let path = self.layout.pki().join("ca.crt");
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    /// A client that may do everything.
    pub async fn client(&self) -> Result<kube::Client> {
        // A second call finds it installed: that is what is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let path = self.kubeconfig();
        let kubeconfig = Kubeconfig::read_from(&path).with_context(|| format!("read {}", path.display()))?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// Runs kubectl, and returns what it prints.
    pub async fn kubectl<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        command::run_command(self.kubectl_command(arguments)).await
    }

    fn kubectl_command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.kubectl);
        command.arg("--cache-dir").arg(self.layout.run().join("kubectl-cache"));
        command.args(arguments).env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// The path of kubectl, and the environment variable that it needs, for a command run by hand.
    pub fn kubectl_program(&self) -> (&Path, (&'static str, PathBuf)) {
        (&self.kubectl, ("KUBECONFIG", self.kubeconfig()))
    }

    /// The API server's audit log.
    pub fn audit_log(&self) -> AuditLog {
        AuditLog::new(self.layout.audit_log())
    }

    /// The faults of the driver behind the classes `loop` and `loop-fixed`.
    pub fn csi_faults(&self) -> control::Client {
        control::Client::new(self.layout.csi_control(Kind::Loop))
    }

    /// The faults of the driver behind the class `hostdir`.
    pub fn hostdir_faults(&self) -> control::Client {
        control::Client::new(self.layout.csi_control(Kind::HostDir))
    }

    /// The buckets of the object store, and their faults.
    pub fn s3(&self) -> Result<Store> {
        Store::open(&self.layout.s3())
    }

    /// Where the object store answers, for pods and for the machine.
    pub fn s3_endpoint(&self) -> String {
        format!("http://{}", self.status.network.s3())
    }

    /// Ends a component, for example `kubelet@lab-1`, and keeps it ended. Returns when it is gone.
    pub async fn stop(&self, component: &str) -> Result<()> {
        self.order(&Request::Stop {
            name: component.to_owned(),
        })
        .await
    }

    /// Starts a stopped component again.
    pub async fn start(&self, component: &str) -> Result<()> {
        self.order(&Request::Start {
            name: component.to_owned(),
        })
        .await
    }

    /// Has a node's kubelet look at each pod again so often, such as `1m0s`; it is started anew where it does not yet.
    pub async fn kubelet_syncs(&self, node: u8, every: &str) -> Result<()> {
        self.set_kubelet(node, "syncFrequency", every).await
    }

    /// Has a node's kubelet measure volumes so often; it is started anew where it does not yet.
    pub async fn kubelet_measures(&self, node: u8, every: &str) -> Result<()> {
        self.set_kubelet(node, "volumeStatsAggPeriod", every).await
    }

    async fn set_kubelet(&self, node: u8, name: &str, value: &str) -> Result<()> {
        let layout = self.layout.node(node);
        let path = layout.dir.join("kubelet.yaml");
        let at = || path.display().to_string();
        let text = std::fs::read_to_string(&path).with_context(at)?;
        let mut settings: serde_json::Value = serde_json::from_str(&text).with_context(at)?;
        if settings[name] == value {
            return Ok(());
        }
        settings[name] = value.into();
        std::fs::write(&path, settings.to_string()).with_context(at)?;
        let name = format!("kubelet@{}", layout.name);
        self.stop(&name).await?;
        self.start(&name).await
    }

    /// Kills a component with SIGKILL. It is started again.
    pub async fn kill(&self, component: &str) -> Result<()> {
        self.signal(component, rustix::process::Signal::KILL).await
    }

    /// Sends a signal to a component, for example STOP and CONT.
    pub async fn signal(&self, component: &str, signal: rustix::process::Signal) -> Result<()> {
        self.order(&Request::Signal {
            name: component.to_owned(),
            signal: signal.as_raw(),
        })
        .await
    }

    /// Pulls a node's network cable (`false`), or plugs it in again. Its processes go on.
    pub async fn set_link(&self, node: &str, up: bool) -> Result<()> {
        self.order(&Request::Link { node: node.to_owned(), up }).await
    }

    async fn order(&self, request: &Request) -> Result<()> {
        ask::<()>(&self.layout, request).await?.context("the lab is gone")
    }

    /// Imports an image archive into every node.
    pub async fn load_image(&self, archive: &Path) -> Result<()> {
        for node in &self.status.nodes {
            supervisor::node::import(&self.layout.node(node.number), archive).await?;
        }
        Ok(())
    }

    /// Makes an image of a program of ours (with its shared libraries, running as nobody) and imports it into every node.
    /// A reference that was loaded before is replaced; pods use the new one when they are made anew.
    pub async fn load_own_image(&self, program: &Path, reference: &str) -> Result<()> {
        let dir = tempfile::tempdir_in(self.layout.run()).context("make a folder for the image")?;
        let archive = dir.path().join("image.tar");
        let (program, name, target) = (program.to_owned(), reference.to_owned(), archive.clone());
        tokio::task::spawn_blocking(move || images::own::build(&program, &name, &target)).await??;
        self.load_image(&archive).await
    }
}
