//! The binary `cnpg-storage-manager`.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use cnpg_storage_manager::run;
use cnpg_storage_manager::settings::{Args, Command, RunArgs};

/// It gives memory back: the C library's keeps what the lists at the start needed for as long as the process lives.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Another provider cannot have been installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match Args::parse().command {
        Command::Run(args) => run_to_the_end(&args),
        Command::Crds => print_crds(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cnpg-storage-manager: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// When it has ended the process ends: a name that is still looked up, perhaps where the network is gone, is not waited for.
fn run_to_the_end(args: &RunArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    let outcome = runtime.block_on(run::run(args));
    runtime.shutdown_background();
    outcome
}

fn print_crds() -> anyhow::Result<()> {
    for crd in csm_api::all_crds() {
        println!("---\n{}", serde_saphyr::to_string(&crd)?);
    }
    Ok(())
}
