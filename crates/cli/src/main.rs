//! The binary `kubectl-cnpg-storage`.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use kubectl_cnpg_storage::args::Arguments;
use kubectl_cnpg_storage::cmds;

#[tokio::main]
async fn main() -> ExitCode {
    // Another provider cannot have been installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    match cmds::run(&arguments).await {
        Ok(answer) => {
            let written = anstream::stdout().lock().write_all(answer.text.as_bytes());
            for note in &answer.notes {
                anstream::eprintln!("Note: {note}");
            }
            for problem in &answer.problems {
                anstream::eprintln!("Problem: {problem}");
            }
            if let Some(summary) = &answer.summary {
                anstream::eprintln!("{summary}");
            }
            match written {
                // Whoever reads has read enough (`| head`).
                Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                    anstream::eprintln!("error: cannot write the answer: {error}");
                    ExitCode::FAILURE
                }
                _ => ExitCode::from(answer.status),
            }
        }
        Err(error) => {
            for line in error.lines() {
                anstream::eprintln!("error: {line}");
            }
            ExitCode::from(error.status())
        }
    }
}
