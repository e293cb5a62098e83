//! Tasks of this repository: `cargo xtask TASK`.

mod bench;
mod chaos;
mod check;
mod crdgen;
mod demo;
mod e2e;
mod fuzz;
mod generated;
mod lab;
mod reasons;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Tasks of this repository")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The main job in this terminal, on a light control plane with simulated nodes.
    Demo(demo::DemoArgs),
    /// The same on the lab, with real PostgreSQL.
    LabDemo,
    /// The CustomResourceDefinitions in deploy/crds.
    Crdgen(generated::GeneratedArgs),
    /// The table of all reasons in docs/reasons.md.
    Reasons(generated::GeneratedArgs),
    /// Unit, property and behaviour tests.
    Test,
    /// Formatting, clippy, documentation, dependencies.
    Lint,
    /// Decisions a second, and what the manager costs for simulated fleets.
    Bench(bench::BenchArgs),
    /// Looks for inputs for which what must always hold does not: libFuzzer, in need of a C++ compiler.
    Fuzz(fuzz::FuzzArgs),
    /// Many random runs of fault injection against a real API server.
    Chaos(chaos::ChaosArgs),
    /// Line coverage of the pure crates.
    Coverage,
    /// What must be shown on a real cluster, on the lab.
    E2e,
    /// A real cluster on this machine.
    Lab(lab::LabArgs),
}

#[tokio::main]
async fn main() -> anyhow::Result<std::process::ExitCode> {
    match Args::parse().task {
        Task::Demo(args) => demo::run(args).await,
        Task::LabDemo => demo::lab::run().await,
        Task::Crdgen(args) => crdgen::run(&args).map(|()| std::process::ExitCode::SUCCESS),
        Task::Reasons(args) => reasons::run(&args).map(|()| std::process::ExitCode::SUCCESS),
        Task::Test => check::test().map(|()| std::process::ExitCode::SUCCESS),
        Task::Lint => check::lint().map(|()| std::process::ExitCode::SUCCESS),
        Task::Bench(args) => bench::bench(&args).await.map(|()| std::process::ExitCode::SUCCESS),
        Task::Fuzz(args) => fuzz::fuzz(&args).map(|()| std::process::ExitCode::SUCCESS),
        Task::Chaos(args) => chaos::chaos(&args).map(|()| std::process::ExitCode::SUCCESS),
        Task::Coverage => check::coverage().map(|()| std::process::ExitCode::SUCCESS),
        Task::E2e => e2e::e2e(),
        Task::Lab(args) => lab::run(args).await,
    }
}
