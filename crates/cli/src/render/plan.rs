//! Decisions, as `plan` shows them: a line each, and below it why, where something is done or held.

use csm_api::Verdict;
use csm_units::Bytes;
use jiff::SignedDuration;

use super::lines::Lines;
use super::size::{growing, size};
use super::table::{Field, Table, plain};
use super::time::{age, moment_and_age};
use super::{Page, Tone};
use crate::decisions::VolumeDecision;

/// How far the sentences stand from the edge.
const INDENT: usize = 2;

/// All decisions.
#[must_use]
pub fn plan(decisions: &[VolumeDecision], page: &Page) -> String {
    if decisions.is_empty() {
        return String::new();
    }
    let mut headers = vec!["NAMESPACE", "CLUSTER", "VOLUME", "MODEL", "VERDICT", "REASON", "SIZE", "STATE"];
    if page.wide {
        headers.extend(["USE%>", "WORST", "FULL IN", "ACTIONS>", "LEFT>", "NEXT"]);
    }
    let mut table = Table::new(&headers);
    for decision in decisions {
        table.row(&row(decision, page));
    }
    let mut lines = Lines::default();
    let table = table.text();
    let mut rows = table.lines();
    lines.line(0, rows.next().unwrap_or_default());
    for (row, decision) in rows.zip(decisions) {
        lines.line(0, row);
        if decision.verdict != Verdict::Balanced {
            lines.paragraph(page, INDENT, &decision.message, Tone::Faint);
        }
        for message in &decision.relief.messages {
            lines.paragraph(page, INDENT, message, Tone::Watch);
        }
        for warning in &decision.warnings {
            lines.paragraph(page, INDENT, &format!("Warning: {}", warning.message), Tone::Watch);
        }
    }
    lines.into_text()
}

fn row(decision: &VolumeDecision, page: &Page) -> Vec<Field> {
    let tone = match decision.verdict {
        Verdict::Balanced => Tone::Good,
        Verdict::Grow | Verdict::CatchUp | Verdict::Rescue => Tone::Watch,
        Verdict::Hold => Tone::of(decision.state),
    };
    let none = || "-".to_owned();
    let mut row = vec![
        plain(&decision.namespace),
        plain(&decision.cluster),
        plain(&decision.volume),
        plain(decision.model.map_or_else(none, |m| m.to_string())),
        (decision.verdict.to_string(), tone),
        plain(decision.reason.to_string()),
        plain(sizes(decision)),
        (decision.state.to_string(), Tone::of(decision.state)),
    ];
    if page.wide {
        let full = decision.time_to_full_seconds.map(SignedDuration::from_secs);
        row.extend([
            plain(decision.percent_used.map_or_else(none, |p| format!("{p}%"))),
            plain(decision.worst.clone().unwrap_or_else(none)),
            plain(full.map_or_else(none, age)),
            plain(decision.budget.actions_last_24h.to_string()),
            plain(decision.budget.available_for_planned.map_or_else(none, |n| n.to_string())),
            plain(decision.next_action_at.map_or_else(none, |at| moment_and_age(at, page.now))),
        ]);
    }
    row
}

/// "10Gi -> 15Gi" where it grows; of a catch-up, from the smallest of those that do.
fn sizes(decision: &VolumeDecision) -> String {
    let lagging = || decision.members.iter().filter(|m| m.to.is_some()).map(|m| m.request).min();
    let from = match decision.verdict {
        Verdict::CatchUp => lagging().unwrap_or(decision.from),
        _ => decision.from,
    };
    if from == Bytes::ZERO && decision.to.is_none() {
        return "-".to_owned();
    }
    match decision.to {
        Some(to) if to > from => growing(from, Some(to)),
        _ => size(decision.from),
    }
}
