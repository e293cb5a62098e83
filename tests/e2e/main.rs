//! What must be shown on a real cluster: the manager as a Pod with the permissions that it ships with, on the lab.
//! `cargo xtask e2e` runs it; `FOCUS=` (ids), `SUITE=` (smoke, manager, resize, target, operations, instances, rescue, wal,
//! relief or all),
//! `FAILFAST=1` and `FRESH=1` choose.

mod archive;
mod cable;
mod cases;
mod cluster;
mod conditions;
mod course;
mod expect;
mod filling;
mod flight;
mod growth;
mod invariants;
mod kubelet;
mod manager;
mod metrics;
mod outage;
mod people;
mod permissions;
mod processes;
mod relief;
mod report;
mod requests;
mod runner;
mod stage;
mod stamps;
mod steps;
mod timeline;
mod volume;
mod wal;
mod window;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match runner::run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the tests could not be run: {error:#}");
            ExitCode::FAILURE
        }
    }
}
