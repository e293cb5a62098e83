//! Files that are made from code and committed: written, or compared with what is there.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

#[derive(Args)]
pub struct GeneratedArgs {
    /// Change nothing; fail where a file differs.
    #[arg(long)]
    pub check: bool,
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or_else(|| Path::new("."))
        .to_owned()
}

/// Writes each file that differs, or fails on the first one; `source` and `task` say where its text comes from.
pub fn keep(files: Vec<(PathBuf, String)>, args: &GeneratedArgs, source: &str, task: &str) -> anyhow::Result<()> {
    for (path, text) in files {
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        if there == text {
            continue;
        }
        if args.check {
            bail!("{} is not what {source} says; run `cargo xtask {task}`", path.display());
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
