use std::fmt;

use super::tree::Place;

/// Something wrong in a file: where, and what to do about it.
///
/// Text form: `policy.yaml:5:12: unknown key spec.thresholds.expansoin; did you mean expansion?`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Name of the file.
    pub file: String,
    /// Line and column, from 1; none where the file as a whole is wrong.
    pub place: Option<(u64, u64)>,
    /// What is wrong.
    pub message: String,
}

impl Mistake {
    pub(super) fn new(file: &str, at: Option<Place>, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            place: at.map(|Place { line, column }| (line, column)),
            message: message.into(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for Mistake {}

/// "; did you mean …?" where one of `known` is like `name`; empty where none is.
pub(super) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    /// Below this, words have little in common ("limit" and "model": 0.47).
    const ALIKE: f64 = 0.8;
    let alike = known.into_iter().map(|other| {
        let score = strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
        (score, other)
    });
    let best = alike.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or_else(String::new, |(_, other)| format!("; did you mean {other}?"))
}
