//! `e2e`: the tests on the lab.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::check::{cargo, run};
use crate::generated::root;

/// Brings the lab up (`NODES=`), builds the manager, and runs the tests that `FOCUS=`, `SUITE=`, `FAILFAST=1` and `FRESH=1`
/// choose; where they choose nothing, the lab's own tests before them. The last line is theirs: how many passed, and how
/// many failed.
pub fn e2e() -> Result<ExitCode> {
    let this = std::env::current_exe().context("find this program")?;
    run(Command::new(this).args(["lab", "up"]))?;
    let suite = chosen("SUITE");
    let lab_alone = suite == "lab";
    let mut promises = Ok(());
    if lab_alone || (matches!(suite.as_str(), "" | "all") && chosen("FOCUS").is_empty()) {
        promises = lab_promises();
        if lab_alone || (promises.is_err() && !chosen("FAILFAST").is_empty()) {
            return promises.map(|()| ExitCode::SUCCESS);
        }
    }
    run(cargo().args(["build", "--package", "cnpg-storage-manager", "--bins"]))?;
    let tests = tests()?;
    let mut command = Command::new(&tests);
    let status = command
        .current_dir(root())
        .status()
        .with_context(|| format!("start {}", tests.display()))?;
    promises.context("the lab's own tests, before all others")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(variable: &str) -> String {
    std::env::var(variable).unwrap_or_default()
}

/// What the lab itself promises: one test after the other, because some stop a part of it.
fn lab_promises() -> Result<()> {
    run(cargo().args(["test", "--package", "csm-testkit", "--test", "lab", "--", "--test-threads=1"]))
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
