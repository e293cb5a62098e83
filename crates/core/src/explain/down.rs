//! What is known of an instance that is down, in words.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::figures::{and, measured};
use crate::decision::{Decision, Evidence, Fired};
use crate::disk_full::{Answer, Findings, Log, NO_ROOM_FOR_WAL, Sign};

/// What the names of [`evidence`] begin with.
pub const EVIDENCE: &str = "evidence.";

/// What is known of each instance that is down, for its volume or perhaps for it, by `evidence.INSTANCE`.
#[must_use]
pub fn evidence(decision: &Decision) -> BTreeMap<String, String> {
    let down = match &decision.facts.fired {
        Some(Fired {
            evidence: Evidence::Down { findings, .. },
            ..
        }) => findings.as_slice(),
        _ => &[],
    };
    let known = down.iter().chain(&decision.facts.suspected);
    known
        .map(|found| (format!("{EVIDENCE}{}", found.instance), findings(&found.findings)))
        .collect()
}

/// What says that its volume is full, what does not, and when the instance is started again.
#[must_use]
pub fn findings(found: &Findings) -> String {
    let Findings {
        full,
        signs,
        ended,
        restarts,
        back_at,
        no_figures,
        log,
    } = found;
    let mut text = format!("its container ended with exit code {}", ended.exit_code);
    if let Some(at) = ended.finished_at {
        let _ = write!(text, " at {at}");
    }
    for sign in signs {
        text.push_str(&in_words(sign));
    }
    if !full {
        let unknown = unknown(*no_figures, log);
        if !unknown.is_empty() {
            let _ = write!(text, "; more is not known: {}", and(&unknown));
        }
    }
    if let Some(at) = back_at {
        let _ = write!(
            text,
            "; the kubelet starts it again by {at} (restart {})",
            restarts.saturating_add(1)
        );
    }
    text
}

fn in_words(sign: &Sign) -> String {
    match sign {
        Sign::ExitCode => format!("; {NO_ROOM_FOR_WAL} means that there is no room for WAL"),
        Sign::Log { said, certain } => {
            let which = if *certain { "" } else { ", without naming the volume" };
            format!("; its log says \"{}\"{which}", said.text)
        }
        Sign::LastFigures {
            at,
            used: _,
            available,
            per_minute,
        } => {
            let rose = per_minute.map_or_else(String::new, |rate| format!(", and {} were written in a minute", measured(rate)));
            format!("; its last figures, of {at}, left {} available{rose}", measured(*available))
        }
        Sign::LastAnswer(Answer { at, available }) => format!("; its last answer, of {at}, left {}", measured(*available)),
        Sign::Phase => "; CloudNativePG says that the Cluster has not enough disk space".to_owned(),
    }
}

fn unknown(no_figures: bool, log: &Log) -> Vec<String> {
    let mut unknown = Vec::new();
    if no_figures {
        unknown.push("there are no figures of the volume from before".to_owned());
    }
    unknown.extend(match log {
        Log::NotAsked => Some("the manager is not set to read its log (podLogs)".to_owned()),
        Log::Unread => Some("its log is not read yet".to_owned()),
        Log::Denied => Some("its log may not be read (get on pods/log is denied)".to_owned()),
        Log::Failed(error) => Some(format!("its log could not be read ({error})")),
        Log::Silent => Some("the end of its log does not say why it ended".to_owned()),
        Log::NoSpace(_) => None,
    });
    unknown
}
