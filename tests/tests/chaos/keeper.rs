//! Keeps a manager running, as a kubelet would: one that has ended is started again.

use std::time::Duration;

use anyhow::{Result, ensure};
use csm_testkit::process::ProcessId;
use csm_tests::Stage;
use csm_tests::manager::{Manager, kubeconfig};
use csm_tests::proxy::Proxy;
use tempfile::NamedTempFile;

/// More ends than this of one run are no accidents: six faults can end it six times or cost it its lease, and so can a machine
/// that is too busy to renew it.
const STARTS: usize = 30;
/// How long one that is stopped by SIGTERM may take.
const GRACE: Duration = Duration::from_secs(15);
/// A lease that passes on quickly, and that one request without an answer (4 s) does not lose. One that is lost all the same
/// only costs a restart.
const LEASE: [&str; 6] = ["--lease-duration", "6s", "--renew-deadline", "5s", "--retry-period", "500ms"];

pub struct Keeper {
    stage: Stage,
    kubeconfig: NamedTempFile,
    manager: Manager,
    /// What those that have ended have logged.
    logs: Vec<String>,
}

impl Keeper {
    /// Starts the first one.
    pub async fn start(stage: &Stage, proxy: &Proxy) -> Result<Self> {
        let kubeconfig = proxy.kubeconfig(&kubeconfig(&stage.sim).await?)?;
        let stage = Stage {
            sim: stage.sim.clone(),
            namespace: stage.namespace.clone(),
        };
        let manager = spawn(&stage, &kubeconfig, proxy, 1)?;
        Ok(Self {
            stage,
            kubeconfig,
            manager,
            logs: Vec::new(),
        })
    }

    /// Starts another where it has ended.
    pub fn keep(&mut self, proxy: &Proxy) -> Result<()> {
        if !self.manager.is_alive() {
            ensure!(self.logs.len() < STARTS, "the manager has ended {STARTS} times");
            self.again(proxy)?;
        }
        Ok(())
    }

    /// Stops it as a Deployment's roll-out would, and starts another.
    pub async fn hand_over(&mut self, proxy: &Proxy) -> Result<()> {
        self.stop().await?;
        self.again(proxy)
    }

    /// Stops it for good.
    pub async fn stop(&mut self) -> Result<()> {
        self.manager.handles_signals().await?;
        if self.manager.is_alive() {
            // It needs the proxy for its last words, and so this thread.
            let status = tokio::task::block_in_place(|| self.manager.stop(GRACE))?;
            ensure!(status.success(), "stopped by SIGTERM, the manager ended with {status}");
        }
        Ok(())
    }

    fn again(&mut self, proxy: &Proxy) -> Result<()> {
        self.logs.push(self.manager.log());
        self.manager = spawn(&self.stage, &self.kubeconfig, proxy, self.logs.len() + 1)?;
        Ok(())
    }

    /// Whether a metric of the manager that runs has this value.
    pub async fn says(&self, name: &str, labels: &[&str], value: f64) -> bool {
        let found = self.manager.metric(name, labels).await;
        found.is_ok_and(|found| found.is_some_and(|found| (found - value).abs() < f64::EPSILON))
    }

    /// The metrics of the manager that runs.
    pub async fn metrics(&self) -> Result<String> {
        self.manager.metrics().await
    }

    /// The logs of all of them, in order.
    pub fn logs(&self) -> Vec<String> {
        self.logs.iter().cloned().chain([self.manager.log()]).collect()
    }
}

fn spawn(stage: &Stage, kubeconfig: &NamedTempFile, proxy: &Proxy, number: usize) -> Result<Manager> {
    let manager = Manager::spawn_as(&stage.sim, kubeconfig.path(), &[&stage.namespace], &LEASE)?;
    // It may be gone already where it could not start; it is started again.
    if let Ok(process) = ProcessId::of(manager.pid()) {
        proxy.serves(process, &format!("manager-{number}"));
    }
    Ok(manager)
}
