//! `chaos`: many random runs of fault injection, each made from a seed (tests/tests/chaos).

use anyhow::Context as _;
use csm_testkit::tools;

use crate::check::{cargo, run};

/// How many runs, and which.
#[derive(clap::Args)]
pub struct ChaosArgs {
    /// How many.
    #[arg(long, default_value_t = 1000)]
    runs: u64,
    /// The seed of the first; the others have the numbers after it. Else others each time.
    #[arg(long)]
    seed: Option<u64>,
    /// How many at a time: each is a process of the manager, at about 40 MiB.
    #[arg(long, default_value_t = 16)]
    at_a_time: u64,
    /// No run begins after so many minutes.
    #[arg(long, default_value_t = 160)]
    minutes: u64,
}

/// Carries them out; fails where one of them did, or where they left a write of an operation out.
pub fn chaos(args: &ChaosArgs) -> anyhow::Result<()> {
    tools::ensure(tools::Set::Light, &mut |line| eprintln!("{line}"))?;
    run(cargo().args(["build", "--workspace", "--bins"]))?;
    let mut command = cargo();
    command
        .args(["test", "--package", "csm-tests", "--test", "chaos", "--"])
        .args(["--ignored", "--exact", "--nocapture", "as_many_runs_as_asked_for"])
        .env("RUST_BACKTRACE", "0")
        .env("CSM_CHAOS_RUNS", args.runs.to_string())
        .env("CSM_CHAOS_AT_A_TIME", args.at_a_time.to_string())
        .env("CSM_CHAOS_MINUTES", args.minutes.to_string());
    if let Some(seed) = args.seed {
        command.env("CSM_CHAOS_SEED", seed.to_string());
    }
    run(&mut command).context("what failed, and how to see it again, stands above")
}
