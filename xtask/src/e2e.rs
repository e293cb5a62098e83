//! `e2e`: the tests on the lab.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::check::{cargo, run};
use crate::generated::root;

/// Brings the lab up (`NODES=`), builds the manager, and runs the tests that `FOCUS=`, `SUITE=`, `FAILFAST=1` and `FRESH=1`
/// choose. The last line is theirs: how many passed, and how many failed.
pub fn e2e() -> Result<ExitCode> {
    let this = std::env::current_exe().context("find this program")?;
    run(Command::new(this).args(["lab", "up"]))?;
    run(cargo().args(["build", "--package", "cnpg-storage-manager", "--bins"]))?;
    let tests = tests()?;
    let mut command = Command::new(&tests);
    let status = command
        .current_dir(root())
        .status()
        .with_context(|| format!("start {}", tests.display()))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What cargo says of a finished build, as far as it matters here.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
}

/// Builds the tests. They are run without cargo, which would have a last word of its own.
fn tests() -> Result<PathBuf> {
    let mut build = cargo();
    build.args([
        "test",
        "--package",
        "csm-tests",
        "--test",
        "e2e",
        "--no-run",
        "--message-format",
        "json-render-diagnostics",
    ]);
    build.current_dir(root()).stderr(std::process::Stdio::inherit());
    let output = build.output().context("run cargo")?;
    ensure!(output.status.success(), "the tests could not be built");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut artifacts = text.lines().rev().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    artifacts.find_map(|artifact| artifact.executable).context("cargo built no tests")
}
