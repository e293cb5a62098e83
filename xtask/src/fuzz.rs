//! `fuzz`: looks for inputs for which a property of the crate `csm-fuzz` does not hold.
//!
//! libFuzzer, with what stable Rust has: LLVM's coverage pass, and libFuzzer itself from the crate `libfuzzer-sys`, which
//! needs a C++ compiler. No sanitizer: there is no unsafe code here for one to watch.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use csm_fuzz::{TARGETS, Target};

use crate::check::{cargo, host, run};
use crate::generated::root;

/// What to fuzz, and for how long.
#[derive(clap::Args)]
pub struct FuzzArgs {
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Tries the same inputs in the same order each time; else others each time.
    #[arg(long)]
    seed: Option<u32>,
    /// Adds to the corpus in fuzz/corpus the inputs found that reach what it does not reach.
    #[arg(long)]
    keep: bool,
    /// These targets; none: all.
    targets: Vec<String>,
}

/// What `cargo fuzz` sets on a stable compiler: which edges and comparisons an input reaches.
const COVERAGE: [&str; 6] = [
    "--cfg fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// An input that takes longer than these seconds is a finding: the largest one takes some milliseconds.
const SLOW: u32 = 10;
/// More memory than these MiB is one as well.
const LARGE: u32 = 2048;
/// How much of a run's output is shown with a finding.
const SHOWN: usize = 40;

/// Fuzzes each target; fails where any has a finding.
pub fn fuzz(args: &FuzzArgs) -> anyhow::Result<()> {
    let named = |name: &String| csm_fuzz::target(name).with_context(|| format!("no fuzz target {name}; there are {}", names()));
    let mut targets = args.targets.iter().map(named).collect::<anyhow::Result<Vec<_>>>()?;
    if targets.is_empty() {
        targets = TARGETS.iter().collect();
    }
    let fuzzer = build()?;
    let mut findings = 0;
    for target in targets {
        findings += usize::from(!fuzzer.run(target, args)?);
        if args.keep {
            fuzzer.keep(target)?;
        }
    }
    ensure!(findings == 0, "{findings} of the targets have a finding; it stands above");
    Ok(())
}

fn names() -> String {
    TARGETS.iter().map(|t| t.name).collect::<Vec<_>>().join(", ")
}

/// The fuzzer's program, and the folder of all that it writes.
struct Fuzzer {
    program: PathBuf,
    folder: PathBuf,
}

/// Builds it, beside the other builds: all that it depends on is built for coverage.
fn build() -> anyhow::Result<Fuzzer> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let folder = target.join("fuzz");
    let host = host()?;
    // With `--target` the flags are for what is fuzzed alone, and not for build scripts and macros.
    run(cargo()
        .args([
            "build",
            "--quiet",
            "--package",
            "csm-fuzz",
            "--profile",
            "fuzz",
            "--target",
            &host,
            "--target-dir",
        ])
        .arg(&folder)
        .env("RUSTFLAGS", COVERAGE.join(" ")))?;
    let program = folder.join(host).join("fuzz/csm-fuzz");
    Ok(Fuzzer { program, folder })
}

impl Fuzzer {
    /// The folders of a target: what was found in this and former runs, then the seeds, which stay as they are.
    fn corpus(&self, target: &Target) -> anyhow::Result<Vec<PathBuf>> {
        let found = self.folder.join("found").join(target.name);
        fs::create_dir_all(&found)?;
        Ok(std::iter::once(found)
            .chain(target.seeds.iter().map(|seeds| root().join(seeds)))
            .collect())
    }

    fn command(&self, target: &Target) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("CSM_FUZZ_TARGET", target.name)
            .env("RUST_BACKTRACE", "0")
            .current_dir(root());
        command.arg(format!("-max_len={}", target.longest));
        command
    }

    /// Whether a target ran to its end without a finding.
    fn run(&self, target: &Target, args: &FuzzArgs) -> anyhow::Result<bool> {
        let log = self.folder.join(format!("{}.log", target.name));
        let findings = self.folder.join("findings");
        fs::create_dir_all(&findings)?;
        let status = self
            .command(target)
            .args(args.seed.map(|seed| format!("-seed={seed}")))
            .args([
                format!("-max_total_time={}", args.seconds),
                format!("-timeout={SLOW}"),
                format!("-rss_limit_mb={LARGE}"),
                format!("-artifact_prefix={}/{}-", findings.display(), target.name),
                "-print_final_stats=1".to_owned(),
            ])
            .args(self.corpus(target)?)
            .stdout(File::create(&log).with_context(|| format!("cannot write {}", log.display()))?)
            .stderr(File::options().append(true).open(&log)?)
            .status()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let said = fs::read(&log)?;
        let said = String::from_utf8_lossy(&said);
        let figure = |name: &str| {
            let line = said.lines().rev().find_map(|line| line.strip_prefix(name));
            line.map_or("unknown", str::trim)
        };
        let executions = figure("stat::number_of_executed_units:");
        let (a_second, new) = (figure("stat::average_exec_per_sec:"), figure("stat::new_units_added:"));
        let result = if status.success() { "holds" } else { "A FINDING" };
        println!(
            "{:<10} {result:<10} {executions:>12} executions, {a_second:>7} a second, {new:>6} new inputs kept",
            target.name
        );
        if !status.success() {
            Finding::of(&said).show(target, &log);
        }
        Ok(status.success())
    }

    /// Copies into the target's own seeds what reaches more than they do.
    fn keep(&self, target: &Target) -> anyhow::Result<()> {
        let corpus = self.corpus(target)?;
        let Some((found, seeds)) = corpus.split_first() else {
            bail!("{} has no corpus", target.name)
        };
        run(self.command(target).arg("-merge=1").args(seeds).arg(found))
    }
}

/// What a run says of its finding.
#[derive(Debug, PartialEq)]
struct Finding<'a> {
    /// What went wrong.
    told: Vec<&'a str>,
    /// The file with the input.
    input: Option<&'a str>,
}

impl<'a> Finding<'a> {
    /// From a run's whole output.
    fn of(said: &'a str) -> Self {
        // Before it stands the fuzzer's progress, which is of no interest.
        let begins = |line: &&str| !line.contains("panicked at") && !line.contains("ERROR: ");
        let written = said.lines().find_map(|line| line.split_once("Test unit written to "));
        Self {
            told: said.lines().skip_while(begins).take(SHOWN).collect(),
            input: written.map(|(_, path)| path.trim()),
        }
    }

    /// In words, with how to see it again.
    fn show(&self, target: &Target, log: &Path) {
        for line in &self.told {
            eprintln!("  | {line}");
        }
        match self.input {
            Some(path) => {
                eprintln!("  input:     {path}");
                eprintln!("  reproduce: cargo run -p csm-fuzz -- {} {path}", target.name);
            }
            None => eprintln!("  it wrote no input"),
        }
        eprintln!("  all of it: {}", log.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_what_went_wrong_and_its_input() {
        let said = "INFO: Seed: 1\n#5\tINITED cov: 337\nthread '<unnamed>' (7) panicked at fuzz/src/summary.rs:17:9:\nfigures\n\
            ==7== ERROR: libFuzzer: deadly signal\n\
            artifact_prefix='/t/findings/summary-'; Test unit written to /t/findings/summary-crash-13\nstat::peak_rss_mb: 3\n";
        let finding = Finding::of(said);
        assert_eq!(finding.input, Some("/t/findings/summary-crash-13"));
        assert_eq!(
            finding.told.first().copied(),
            Some("thread '<unnamed>' (7) panicked at fuzz/src/summary.rs:17:9:")
        );
        // Too slow, or too large: there is no panic.
        let finding = Finding::of("INFO: x\n==9== ERROR: libFuzzer: timeout after 10 seconds\n");
        assert_eq!((finding.told.len(), finding.input), (1, None));
    }
}
