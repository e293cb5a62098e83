//! The real binary, against the simulated world.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use csm_testkit::process::{Command, Process};
use csm_testkit::scenario::Sim;

use crate::{root, until};

/// The namespace and the name of its service account, as deploy/rbac.yaml has them.
pub const NAMESPACE: &str = "cnpg-storage-manager";
pub const ACCOUNT: &str = "cnpg-storage-manager";

/// A running manager. Dropping it kills it.
pub struct Manager {
    process: Process,
    admin: SocketAddr,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

/// The binary that `cargo build --bins` made beside this test's.
pub fn binary() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe().context("where is this test?")?;
    let folder = test
        .parent()
        .and_then(Path::parent)
        .context("this test is not in a target folder")?;
    let binary = folder.join("cnpg-storage-manager");
    ensure!(
        binary.exists(),
        "{} is missing: run `cargo build --bins` first, as `make test` does",
        binary.display()
    );
    Ok(binary)
}

/// A kubeconfig of the manager's service account, with the permissions that it ships with and no others.
pub async fn kubeconfig(sim: &Sim) -> anyhow::Result<PathBuf> {
    sim.ensure_namespace(NAMESPACE).await?;
    let rbac = std::fs::read_to_string(root().join("deploy/rbac.yaml"))?;
    sim.kubeconfig_with_rbac(NAMESPACE, ACCOUNT, &rbac).await
}

impl Manager {
    /// Starts it for some namespaces (none: all), and waits until it leads. Later arguments win.
    pub async fn start(sim: &Sim, namespaces: &[&str], arguments: &[&str]) -> anyhow::Result<Self> {
        let manager = Self::spawn(sim, namespaces, arguments).await?;
        manager.leads().await?;
        Ok(manager)
    }

    /// Starts it.
    pub async fn spawn(sim: &Sim, namespaces: &[&str], arguments: &[&str]) -> anyhow::Result<Self> {
        Self::spawn_as(sim, &kubeconfig(sim).await?, namespaces, arguments)
    }

    /// Starts it with a kubeconfig of the caller's.
    pub fn spawn_as(sim: &Sim, kubeconfig: &Path, namespaces: &[&str], arguments: &[&str]) -> anyhow::Result<Self> {
        Self::spawn_in(sim, kubeconfig, namespaces, arguments, &[])
    }

    /// The same, with variables of its environment.
    pub fn spawn_in(
        _sim: &Sim,
        kubeconfig: &Path,
        namespaces: &[&str],
        arguments: &[&str],
        environment: &[(&str, PathBuf)],
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("manager.log");
        // Free now, and taken again at once; a test that loses that race fails with the manager's own words.
        let admin = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let lease = format!("test-{}", namespaces.first().copied().unwrap_or("all"));
        let mut command = Command::new(binary()?, &log)
            .arg("run")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args([
                "--metrics-interval",
                "5s",
                "--log-format",
                "text",
                "--log-level",
                "debug",
                "--lease-name",
                &lease,
            ])
            .args(["--lease-namespace", NAMESPACE, "--admin-address", &admin.to_string()])
            // A lease that passes on quickly, since tests kill its holder; not so quickly that a busy machine loses it.
            .args(["--lease-duration", "6s", "--renew-deadline", "4s", "--retry-period", "500ms"]);
        if !namespaces.is_empty() {
            command = command.arg("--watch-namespaces").arg(namespaces.join(","));
        }
        for (name, value) in environment {
            command = command.env(name, value);
        }
        let process = command.args(arguments).spawn()?;
        Ok(Self {
            process,
            admin,
            log,
            _folder: folder,
        })
    }

    /// Waits until it leads.
    pub async fn leads(&self) -> anyhow::Result<()> {
        let result = until("the manager leads", || async {
            Ok(self
                .metrics()
                .await
                .ok()
                .filter(|text| text.contains("cnpg_storage_manager_leader 1"))
                .map(|_| ()))
        });
        result.await.with_context(|| self.tail())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().map(|_| ())
    }

    /// Waits until it handles signals, or has ended: before that, SIGTERM ends it as it ends any process.
    pub async fn handles_signals(&mut self) -> anyhow::Result<()> {
        let Self { process, log, .. } = self;
        until("the manager handles signals", || {
            let begun = std::fs::read_to_string(&*log).unwrap_or_default().contains(" starting ") || !process.is_alive();
            std::future::ready(Ok(begun.then_some(())))
        })
        .await
    }

    /// SIGTERM; it must end by itself within `grace`.
    pub fn stop(&mut self, grace: Duration) -> anyhow::Result<std::process::ExitStatus> {
        self.process.stop(grace)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits a moment for its end.
    pub fn process_ended(&mut self) -> bool {
        self.process.wait(Duration::from_secs(5)).is_some()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.is_alive()
    }

    /// Where its admin server listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// A page of its admin server: status and text.
    pub async fn page(&self, path: &str) -> anyhow::Result<(u16, String)> {
        csm_testkit::controlplane::install_crypto_provider();
        let answer = reqwest::Client::builder()
            .no_proxy()
            .build()?
            .get(format!("http://{}{path}", self.admin))
            .send()
            .await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Its metrics.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let (status, text) = self.page("/metrics").await?;
        ensure!(status == 200, "/metrics answered {status}: {text}");
        Ok(text)
    }

    /// The value of the one series whose line starts with `name` and contains all of `labels`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> anyhow::Result<Option<f64>> {
        let text = self.metrics().await?;
        let line = text.lines().find(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
        });
        Ok(line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok()))
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        self.process.tail(40)
    }
}
