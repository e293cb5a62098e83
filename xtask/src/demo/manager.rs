//! The manager: the real binary, as a child of this process, with the service account and the permissions that it ships
//! with.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use csm_testkit::process::{Command, Process};
use csm_testkit::scenario::Sim;

use crate::check::cargo;
use crate::generated::root;

/// The namespace and the name of its service account, as deploy/rbac.yaml has them.
const NAMESPACE: &str = "cnpg-storage-manager";
const ACCOUNT: &str = "cnpg-storage-manager";
/// Its user in the API server's audit log.
pub const USER: &str = "system:serviceaccount:cnpg-storage-manager:cnpg-storage-manager";
/// The shortest interval that the manager takes; the default is made for kubelets that measure once a minute.
const INTERVAL: &str = "5s";
/// It gives its lease back and closes its connections; anything longer is a fault.
const GRACE: Duration = Duration::from_secs(10);

/// Builds the manager where it is missing or out of date, in the profile of this program, and returns where it is.
pub fn build() -> Result<PathBuf> {
    let this = std::env::current_exe().context("find this program")?;
    let folder = this.parent().context("this program has no folder")?;
    let mut command = cargo();
    command.args(["build", "--package", "cnpg-storage-manager"]).current_dir(root());
    if folder.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "cnpg-storage-manager could not be built ({status})");
    let binary = folder.join("cnpg-storage-manager");
    ensure!(
        binary.is_file(),
        "{} is missing after the build; is a target folder set for one of the two programs only?",
        binary.display()
    );
    Ok(binary)
}

/// A running manager. Dropping it kills it.
pub struct Manager {
    process: Process,
}

impl Manager {
    /// Starts it.
    pub async fn start(sim: &Sim, binary: &Path, namespace: &str) -> Result<Self> {
        let file = root().join("deploy/rbac.yaml");
        let rbac = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        sim.ensure_namespace(NAMESPACE).await?;
        let kubeconfig = sim.kubeconfig_with_rbac(NAMESPACE, ACCOUNT, &rbac).await?;
        // Free now, and taken again at once; whoever loses that race is told by the manager's own words.
        let admin = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .context("find a free port on 127.0.0.1")?;
        let process = Command::new(binary, sim.plane().state_dir().join("manager.log"))
            .named("the manager")
            .args(["run", "--kubeconfig"])
            .arg(kubeconfig)
            .args(["--watch-namespaces", namespace, "--metrics-interval", INTERVAL])
            .args(["--lease-namespace", NAMESPACE, "--admin-address", &admin.to_string()])
            .args(["--log-format", "text"])
            .spawn()?;
        Ok(Self { process })
    }

    /// An error with the end of its log if it has ended.
    pub fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    /// Asks it to end, and waits for it.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.stop(GRACE)
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        self.process.tail(30)
    }
}
