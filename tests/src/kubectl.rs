//! kubectl, as people run it.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

/// What is done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// It is kept.
    Kept,
    /// The API server is asked, and nothing is changed.
    DryRun,
}

/// `kubectl apply` of an object: whether it was taken, and all that kubectl says.
pub async fn apply(program: &Path, kubeconfig: &Path, object: &Value, how: Apply) -> anyhow::Result<(bool, String)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("object.json");
    std::fs::write(&file, object.to_string())?;
    let mut command = Command::new(program);
    command.arg("--kubeconfig").arg(kubeconfig).arg("apply");
    if how == Apply::DryRun {
        command.arg("--dry-run=server");
    }
    command.arg("--filename").arg(&file);
    let output = tokio::time::timeout(Duration::from_mins(1), command.kill_on_drop(true).output()).await??;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}
