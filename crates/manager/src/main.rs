//! The binary `cnpg-storage-manager`.

use std::process::ExitCode;

use clap::Parser;
use cnpg_storage_manager::run;
use cnpg_storage_manager::settings::{Args, Command};

/// It gives memory back: the C library's keeps what the lists at the start needed for as long as the process lives.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    // Another provider cannot have been installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match Args::parse().command {
        Command::Run(args) => run::run(&args).await,
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

fn print_crds() -> anyhow::Result<()> {
    for crd in csm_api::all_crds() {
        println!("---\n{}", serde_saphyr::to_string(&crd)?);
    }
    Ok(())
}
