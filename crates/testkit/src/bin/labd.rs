//! The processes that make up a lab's frame. They are started by `cargo xtask lab up` and by each other, not by hand.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use csm_testkit::lab::layout::Layout;
use csm_testkit::lab::supervisor;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// The first process of the lab's process namespace: starts the supervisor, reaps orphans. When it ends, the kernel
    /// ends everything else.
    Init {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Runs the lab.
    Supervise {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Makes the mounts of one node, in its new namespaces.
    Furnish {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        node: u8,
    },
}

fn main() -> Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
    match Args::parse().role {
        Role::Init { dir } => init(dir),
        Role::Supervise { dir } => runtime()?
            .block_on(supervisor::supervise(Layout::at(&dir)?))
            .map(|()| ExitCode::SUCCESS),
        Role::Furnish { dir, node } => runtime()?
            .block_on(supervisor::node::furnish_node(&Layout::at(&dir)?, node))
            .map(|()| ExitCode::SUCCESS),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")
}

/// Containers' shims are orphans by design: somebody has to wait for them when they end, and the supervisor, which waits
/// for particular children, cannot.
fn init(dir: PathBuf) -> Result<ExitCode> {
    use rustix::process::{WaitOptions, wait};
    let this = std::env::current_exe().context("find this program")?;
    let child = Command::new(this)
        .arg("supervise")
        .arg("--dir")
        .arg(dir)
        .spawn()
        .context("start the supervisor")?;
    let supervisor = child.id().cast_signed();
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == supervisor => {
                tracing::error!(?status, "the supervisor ended");
                return Ok(ExitCode::FAILURE);
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for children"),
        }
    }
}
