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
    /// No run begins after so many minutes; it fails where some are left then.
    #[arg(long, default_value_t = 160)]
    minutes: u64,
    /// Fewer runs will do, as many as begin in that time.
    #[arg(long)]
    partial: bool,
}

/// A seed that is another one each time.
fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default()
}

/// Carries them out; fails where one of them did, where the time was up before all had begun, or where they left a write of
/// an operation out.
pub fn chaos(args: &ChaosArgs) -> anyhow::Result<()> {
    tools::ensure(tools::Set::Light, &mut |line| eprintln!("{line}"))?;
    run(cargo().args(["build", "--workspace", "--bins"]))?;
    run(cargo()
        .args(["test", "--package", "csm-tests", "--test", "chaos", "--"])
        .arg("--nocapture")
        .env("RUST_BACKTRACE", "0")
        .env("CSM_CHAOS_SEED", args.seed.unwrap_or_else(now).to_string())
        .env("CSM_CHAOS_RUNS", args.runs.to_string())
        .env("CSM_CHAOS_AT_A_TIME", args.at_a_time.to_string())
        .env("CSM_CHAOS_MINUTES", args.minutes.to_string())
        .env("CSM_CHAOS_PARTIAL", u8::from(args.partial).to_string()))
    .context("what failed, and how to see it again, stands above")
}
