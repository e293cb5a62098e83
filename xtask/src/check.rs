//! `test`, `lint` and `coverage`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use csm_testkit::tools;

use crate::generated::root;

/// Tools that lint and coverage need, pinned; built into the cache, outside the checkout.
const CARGO_DENY: (&str, &str) = ("cargo-deny", "0.20.2");
const CARGO_LLVM_COV: (&str, &str) = ("cargo-llvm-cov", "0.9.1");
/// The crates whose lines must be covered, and how far.
const COVERED: [&str; 3] = ["csm-units", "csm-api", "csm-core"];
const COVERAGE: u32 = 85;

/// Runs a command of this repository's root; prints it first.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let shown = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    eprintln!("+ {shown}");
    let start = Instant::now();
    let status = command
        .current_dir(root())
        .status()
        .with_context(|| format!("cannot run {shown}"))?;
    ensure!(status.success(), "failed ({status}) after {} s: {shown}", start.elapsed().as_secs());
    eprintln!("  {} s", start.elapsed().as_secs());
    Ok(())
}

/// Cargo, as this process was started with.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `cargo run` tells its program about the program's own package. Build scripts that look at these variables (ring's)
    // would run anew, and all that depends on them, each time that a build of ours follows one by hand.
    let own = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(own)) {
        command.env_remove(name);
    }
    command
}

/// Unit, property and behaviour tests.
pub fn test() -> anyhow::Result<()> {
    // Built before the tests, so that a first build does not count against their deadlines.
    tools::ensure(tools::Set::Light, &mut |line| eprintln!("{line}"))?;
    has_postgres()?;
    run(cargo().args(["build", "--workspace", "--bins"]))?;
    // Behaviour tests mostly wait: more of them at a time than there are cores.
    // Golden files are written by people: a difference is a failure.
    run(cargo()
        .args(["test", "--workspace"])
        .env("RUST_TEST_THREADS", "4")
        .env("INSTA_UPDATE", "no"))
}

/// The tests of WAL relief start a server of Debian's package, of any version that is supported. Root installs it.
fn has_postgres() -> anyhow::Result<()> {
    const INSTALL: [&str; 4] = ["install", "--yes", "--no-install-recommends", "postgresql"];
    let is_there = || {
        let mut versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        versions.any(|version| version.path().join("bin/initdb").exists())
    };
    if !is_there() && rustix::process::geteuid().is_root() {
        run(Command::new("apt-get").arg("update"))?;
        run(Command::new("apt-get").args(INSTALL).env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    ensure!(
        is_there(),
        "the tests of WAL relief need a PostgreSQL server: apt-get {}",
        INSTALL.join(" ")
    );
    Ok(())
}

/// Formatting, clippy, documentation, dependencies.
pub fn lint() -> anyhow::Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // Tests that need the lab are left out of plain `cargo test`, and with it of `--all-targets`.
    run(cargo().args(["clippy", "--workspace", "--test", "e2e", "--test", "lab", "--", "-D", "warnings"]))?;
    run(cargo()
        .args(["doc", "--workspace", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", "-D warnings"))?;
    let deny = installed(CARGO_DENY)?;
    // The advisory database is fetched from a git host, which not every machine reaches: `cargo deny check advisories` is for releases.
    run(Command::new(deny).args(["check", "bans", "licenses", "sources"]))
}

/// Line coverage of the pure crates.
pub fn coverage() -> anyhow::Result<()> {
    let coverage = installed(CARGO_LLVM_COV)?;
    let mut command = Command::new(coverage);
    command.arg("llvm-cov").args(COVERED.iter().flat_map(|name| ["--package", name]));
    command.args([
        "--summary-only",
        "--fail-under-lines",
        &COVERAGE.to_string(),
        "--ignore-filename-regex",
        "crates/(gather|cnpg|runtime|manager|testkit)/|/tests/",
    ]);
    if let Some(bin) = llvm_tools()? {
        command
            .env("LLVM_COV", bin.join("llvm-cov"))
            .env("LLVM_PROFDATA", bin.join("llvm-profdata"));
    }
    run(&mut command)
}

/// A cargo tool of that version, from the cache; built into it where it is missing.
fn installed((name, version): (&str, &str)) -> anyhow::Result<PathBuf> {
    let folder = tools::cache_dir().join("cargo").join(format!("{name}-{version}"));
    let binary = folder.join("bin").join(name);
    if !binary.exists() {
        eprintln!("installing {name} {version} into {}", folder.display());
        run(cargo()
            .args(["install", "--quiet", "--locked", "--root"])
            .arg(&folder)
            .arg(format!("{name}@{version}")))?;
    }
    Ok(binary)
}

/// What `rustc -vV` says of itself.
fn rustc() -> anyhow::Result<String> {
    let output = Command::new("rustc").args(["-vV"]).output().context("cannot run rustc")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn line_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}

/// The target triple of this machine.
pub fn host() -> anyhow::Result<String> {
    let text = rustc()?;
    Ok(line_of(&text, "host: ").context("rustc -vV names no host")?.to_owned())
}

/// Where llvm-cov and llvm-profdata of rustc's own LLVM are; none where cargo-llvm-cov finds them itself.
fn llvm_tools() -> anyhow::Result<Option<PathBuf>> {
    let text = rustc()?;
    let major = line_of(&text, "LLVM version: ").and_then(|v| v.split('.').next());
    let host = line_of(&text, "host: ").unwrap_or_default();
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .context("cannot run rustc")?;
    let bundled = Path::new(String::from_utf8_lossy(&sysroot.stdout).trim())
        .join("lib/rustlib")
        .join(host)
        .join("bin");
    if bundled.join("llvm-cov").exists() {
        return Ok(None);
    }
    let Some(major) = major else { return Ok(None) };
    let system = PathBuf::from(format!("/usr/lib/llvm-{major}/bin"));
    if system.join("llvm-cov").exists() {
        return Ok(Some(system));
    }
    bail!("coverage needs llvm-cov and llvm-profdata of LLVM {major}: `rustup component add llvm-tools`, or `apt-get install llvm-{major}`")
}
