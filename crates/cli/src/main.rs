//! The binary `kubectl-cnpg-storage`; installed as `kubectl-cnpg-disk` too, it is `kubectl cnpg disk`.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use kubectl_cnpg_storage::args::Invocation;
use kubectl_cnpg_storage::cmds;

#[tokio::main]
async fn main() -> ExitCode {
    // Another provider cannot have been installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let answer = match Invocation::parse_from(std::env::args_os()) {
        Ok(Invocation::Storage(arguments)) => cmds::run(&arguments).await,
        Ok(Invocation::Disk(arguments)) => cmds::disk(&arguments).await,
        Err(error) => error.exit(),
    };
    match answer {
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
