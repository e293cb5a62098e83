//! Fault injection: runs that are made from a seed each. At single requests of an operation the manager is killed, answers
//! are lost, delayed or errors, watches are cut; storage fails, and people change things. When that stops, everything must
//! be as if nothing had happened: one operation for a breach, every PVC patched once, nothing lost.

mod coverage;
mod keeper;
mod run;
mod scenario;
mod verify;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;

use crate::coverage::Coverage;

/// Runs at a time: most of one is waiting for figures, and for leases.
const AT_A_TIME: u64 = 16;
/// From so many runs on every fault must have come at every kind of write, and open watches must have been ended.
const MANY: u64 = 500;

/// How many runs there are to be, and by when.
struct Plan {
    seeds: std::ops::Range<u64>,
    at_a_time: usize,
    /// No run begins after so long.
    patience: Duration,
    /// Whether fewer runs than there are seeds will do, where the time is up.
    partial: bool,
}

/// Carries out the runs of consecutive seeds.
///
/// # Errors
/// Where one of them failed, where the time was up before all of them had begun, and where they left out what they are for.
async fn runs(plan: Plan) -> anyhow::Result<()> {
    let Plan {
        seeds,
        at_a_time,
        patience,
        partial,
    } = plan;
    let start = Instant::now();
    let wanted = seeds.end.saturating_sub(seeds.start);
    println!("{wanted} runs, seeds {} to {}", seeds.start, seeds.end.saturating_sub(1));
    let within = futures::stream::iter(seeds).take_while(|_| std::future::ready(start.elapsed() < patience));
    let mut outcomes = within
        .map(|seed| async move { (seed, tokio::spawn(run::run(seed)).await) })
        .buffer_unordered(at_a_time);
    let (mut coverage, mut failed) = (Coverage::default(), Vec::new());
    let (mut done, mut starts, mut took) = (0_u64, 0, Duration::ZERO);
    while let Some((seed, outcome)) = outcomes.next().await {
        done += 1;
        match outcome.context("the run panicked").and_then(|outcome| outcome) {
            Ok(outcome) => {
                coverage.add(&outcome.seen);
                starts += outcome.starts;
                took += outcome.took;
            }
            Err(error) => {
                println!("=== FAILED, seed {seed} ===\n{error:#}\n");
                failed.push(seed);
            }
        }
        if done.is_multiple_of(50) {
            println!("{done} runs, {} s, {} failed", start.elapsed().as_secs(), failed.len());
        }
    }
    println!("{coverage}");
    println!(
        "{done} of {wanted} runs in {} s, {starts} managers, {:.1} s a run; {} failed{}",
        start.elapsed().as_secs(),
        took.as_secs_f64() / f64::from(u32::try_from(done.max(1)).unwrap_or(u32::MAX)),
        failed.len(),
        if done < wanted { "; stopped by the time limit" } else { "" }
    );
    ensure!(failed.is_empty(), "runs failed, with seeds {failed:?}; see above");
    ensure!(
        done >= wanted || partial,
        "{done} of {wanted} runs in {} min: raise MINUTES, lower RUNS, or say PARTIAL=1 where fewer will do",
        patience.as_secs() / 60
    );
    // One run, to see something again, covers little.
    if done >= 50 {
        let never = coverage.never_hit();
        ensure!(never.is_empty(), "an operation makes writes that no fault came at: {never:?}");
    }
    if done >= MANY {
        let gaps = coverage.gaps();
        ensure!(gaps.is_empty(), "never happened: {gaps:?}");
        let vain = coverage.cut_nothing();
        ensure!(vain.is_empty(), "no open watch was ended by: {vain:?}");
    }
    Ok(())
}

/// Fifty runs, always the same ones; `make chaos` asks for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_end_as_if_nothing_had_happened() -> anyhow::Result<()> {
    let asked = |name: &str, default: u64| match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is {text:?}, not a number")),
        Err(_) => Ok(default),
    };
    let (first, count) = (asked("CSM_CHAOS_SEED", 1)?, asked("CSM_CHAOS_RUNS", 50)?);
    let at_a_time = usize::try_from(asked("CSM_CHAOS_AT_A_TIME", AT_A_TIME)?)?;
    runs(Plan {
        seeds: first..first.saturating_add(count),
        at_a_time: at_a_time.max(1),
        patience: Duration::from_mins(asked("CSM_CHAOS_MINUTES", 10)?),
        partial: asked("CSM_CHAOS_PARTIAL", 0)? != 0,
    })
    .await
}
