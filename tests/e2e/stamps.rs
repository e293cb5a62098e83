//! Which tests passed at which commit: a second run goes on where the first ended.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

/// One passed test.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stamp {
    pub commit: String,
    pub at: jiff::Timestamp,
    pub seconds: f64,
}

/// The stamps of a folder.
pub struct Stamps {
    file: PathBuf,
    /// The commit that is checked out; none where the tree differs from it.
    pub commit: Option<String>,
    passed: BTreeMap<String, Stamp>,
}

fn git(arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(csm_tests::root())
        .output()
        .context("run git")?;
    ensure!(
        output.status.success(),
        "git {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The commit, with `+` where the tree differs from it.
pub fn described() -> String {
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|_| "unknown".to_owned());
    let clean = git(&["status", "--porcelain"]).is_ok_and(|changes| changes.is_empty());
    if clean { commit } else { format!("{commit}+") }
}

impl Stamps {
    /// Reads them.
    pub fn open(folder: &Path) -> Self {
        let file = folder.join("passed.json");
        let passed = match std::fs::read(&file) {
            // What cannot be read is forgotten: tests then run again.
            Ok(text) => serde_json::from_slice(&text).unwrap_or_default(),
            Err(_) => BTreeMap::new(),
        };
        let described = described();
        let commit = (!described.ends_with('+') && described != "unknown").then_some(described);
        Self { file, commit, passed }
    }

    /// The stamp of a test that passed at this very commit.
    pub fn passed(&self, test: &str) -> Option<&Stamp> {
        let stamp = self.passed.get(test)?;
        (self.commit.as_ref() == Some(&stamp.commit)).then_some(stamp)
    }

    /// Remembers the outcome of a test, where the tree is clean.
    pub fn put(&mut self, test: &str, passed: bool, seconds: f64) -> Result<()> {
        // What was changed while the test ran may be in it.
        let same = self.commit.as_ref().is_some_and(|commit| *commit == described());
        match (&self.commit, passed && same) {
            (Some(commit), true) => {
                let stamp = Stamp {
                    commit: commit.clone(),
                    at: jiff::Timestamp::now(),
                    seconds,
                };
                self.passed.insert(test.to_owned(), stamp);
            }
            _ => drop(self.passed.remove(test)),
        }
        std::fs::write(&self.file, serde_json::to_vec_pretty(&self.passed)?).with_context(|| self.file.display().to_string())
    }
}
