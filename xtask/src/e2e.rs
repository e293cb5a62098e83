//! `e2e`: the tests on the lab.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::check::{cargo, run};
use crate::crdgen::root;

/// Brings the lab up (`NODES=`), builds the manager, and runs the tests that `FOCUS=`, `SUITE=`, `FAILFAST=1` and `FRESH=1`
/// choose.
pub fn e2e() -> Result<ExitCode> {
    let this = std::env::current_exe().context("find this program")?;
    run(Command::new(this).args(["lab", "up"]))?;
    run(cargo().args(["build", "--package", "cnpg-storage-manager", "--bins"]))?;
    run(cargo().args(["test", "--package", "csm-tests", "--test", "e2e", "--no-run"]))?;
    // Its last line is the outcome: nothing of ours comes after it.
    let mut tests = cargo();
    tests.args(["test", "--quiet", "--package", "csm-tests", "--test", "e2e"]);
    let status = tests.current_dir(root()).status().context("run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
