//! Short-lived programs that the lab calls: `ip`, `mount`, `losetup`, `ctr`, `kubectl`.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// None of them takes longer when all is well; importing an image is the longest.
const PATIENCE: Duration = Duration::from_mins(5);

/// Where system programs are: an ordinary user's search path lacks half of them, also for root.
pub const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A system program, to be run blocking.
pub fn system(program: &str) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.env("PATH", SYSTEM_PATH);
    command
}

/// Runs a program to its end and returns what it printed; a failure says what it printed as errors.
pub async fn run<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = A>) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", SYSTEM_PATH);
    run_command(command).await
}

/// The same for a prepared command.
pub async fn run_command(mut command: Command) -> Result<String> {
    let what = {
        let command = command.as_std();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    };
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Err(_) => bail!("{what}: still not done after {} s", PATIENCE.as_secs()),
        Ok(output) => output.with_context(|| format!("start {what}"))?,
    };
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let errors = if errors.trim().is_empty() {
            String::from_utf8_lossy(&output.stdout)
        } else {
            errors
        };
        bail!("{what}: {}: {}", output.status, errors.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Splits a command line of plain words: `run_line("ip link set lo up")`.
pub async fn run_line(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty command line")?;
    run(program, words).await
}
