//! What a run came to: JSON and a table, with the difference to the run before.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::invariants::double;
use crate::timeline::Timeline;

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Passed,
    Failed,
    /// It passed before at this very commit.
    Skipped,
}

/// One test of a run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TestReport {
    pub id: String,
    pub title: String,
    /// What later issues add to it.
    pub left_out: String,
    pub outcome: Outcome,
    pub seconds: f64,
    pub error: Option<String>,
    /// Where objects, events and logs are, where it failed.
    pub folder: Option<PathBuf>,
    pub timelines: Vec<Timeline>,
    /// Breaches that ought to have been remediated.
    pub expected: usize,
}

/// A run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    pub began: Timestamp,
    /// With `+` where the tree differed from it.
    pub commit: String,
    pub nodes: usize,
    pub seconds: f64,
    pub tests: Vec<TestReport>,
    pub difference: Difference,
    /// Mean seconds from a breach to its verified end, over those that nothing held.
    pub mean_breach_to_verified: Option<f64>,
    /// Verified growths among those that were expected, in percent.
    pub remediated_percent: Option<f64>,
}

/// Against the last run in which each test ran.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    pub newly_failing: Vec<String>,
    pub fixed: Vec<String>,
    pub still_failing: Vec<String>,
}

/// What is remembered of earlier runs: the last outcome of each test.
type Before = std::collections::BTreeMap<String, Outcome>;

impl Run {
    /// Sums a run up.
    pub fn new(began: Timestamp, commit: String, nodes: usize, tests: Vec<TestReport>, folder: &Path) -> Result<Self> {
        let file = folder.join("outcomes.json");
        let mut before: Before = std::fs::read(&file)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        let mut difference = Difference::default();
        for test in tests.iter().filter(|t| t.outcome != Outcome::Skipped) {
            let failed_before = before.insert(test.id.clone(), test.outcome) == Some(Outcome::Failed);
            match (failed_before, test.outcome == Outcome::Failed) {
                (false, true) => difference.newly_failing.push(test.id.clone()),
                (true, false) => difference.fixed.push(test.id.clone()),
                (true, true) => difference.still_failing.push(test.id.clone()),
                (false, false) => {}
            }
        }
        std::fs::write(&file, serde_json::to_vec_pretty(&before)?).with_context(|| file.display().to_string())?;
        let verified = tests.iter().flat_map(|t| &t.timelines).filter(|t| t.to_verified().is_some());
        let remediated = verified.clone().count();
        let times: Vec<f64> = verified.filter(|t| t.held_by.is_none()).filter_map(Timeline::to_verified).collect();
        let expected: usize = tests.iter().map(|t| t.expected).sum();
        let count = |n: usize| double(n as u64);
        Ok(Self {
            seconds: crate::timeline::seconds(began, Timestamp::now()),
            began,
            commit,
            nodes,
            difference,
            mean_breach_to_verified: (!times.is_empty()).then(|| times.iter().sum::<f64>() / count(times.len())),
            remediated_percent: (expected > 0).then(|| 100.0 * count(remediated) / count(expected)),
            tests,
        })
    }

    /// How many tests ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.tests.iter().filter(|t| t.outcome == outcome).count()
    }

    /// The table.
    pub fn table(&self) -> String {
        let mut text = format!(
            "run of {} at {}, {} node(s), {:.0} s\n\n",
            self.began.strftime("%F %T UTC"),
            self.commit,
            self.nodes,
            self.seconds
        );
        let _ = writeln!(text, "{:11} {:8} {:>7}  TEST", "ID", "OUTCOME", "SECONDS");
        for test in &self.tests {
            let outcome = format!("{:?}", test.outcome).to_lowercase();
            let _ = writeln!(text, "{:11} {outcome:8} {:>7.0}  {}", test.id, test.seconds, test.title);
            if let Some(error) = &test.error {
                let _ = writeln!(text, "{:29}{}", "", error.lines().next().unwrap_or_default());
            }
            if let Some(folder) = &test.folder {
                let _ = writeln!(text, "{:29}see {}", "", folder.display());
            }
        }
        text.push('\n');
        let Difference {
            newly_failing,
            fixed,
            still_failing,
        } = &self.difference;
        for (what, tests) in [("newly failing", newly_failing), ("fixed", fixed), ("still failing", still_failing)] {
            let tests = if tests.is_empty() { "none".to_owned() } else { tests.join(", ") };
            let _ = writeln!(text, "{what}: {tests}");
        }
        if let Some(mean) = self.mean_breach_to_verified {
            let _ = writeln!(text, "mean time from breach to verified: {mean:.1} s");
        }
        if let Some(share) = self.remediated_percent {
            let _ = writeln!(text, "breaches remediated: {share:.0} %");
        }
        text
    }

    /// Writes both into the run's folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        for (name, text) in [("report.json", serde_json::to_string_pretty(self)?), ("report.txt", self.table())] {
            let file = folder.join(name);
            std::fs::write(&file, text).with_context(|| file.display().to_string())?;
        }
        Ok(())
    }
}
