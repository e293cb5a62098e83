//! One cluster, as `explain CLUSTER` shows it.

use std::fmt::Write as _;

use csm_api::{RootCause, Verdict};

use super::lines::Lines;
use super::size::{growing, size, written};
use super::spec_sizes::spec_sizes;
use super::table::{Table, plain};
use super::time::{ago, moment_and_age, with_age};
use super::{Page, Tone};
use crate::explanation::{
    Answer, BudgetExplanation, Explanation, MemberExplanation, OperationReport, Setting, VolumeExplanation, WindowExplanation,
};
use crate::figures::Trust;
use crate::read::Manager;

/// Where the values of the cluster's fields begin, and those of a volume.
const COLUMN: usize = 11;

/// One cluster: settings with their origins; each volume with what would be done, its members and every gate.
#[must_use]
pub fn explanation(explanation: &Explanation, page: &Page) -> String {
    let mut lines = Lines::default();
    head(&mut lines, explanation, page);
    if !explanation.settings.is_empty() {
        lines.gap();
        lines.line(0, &Tone::Title.paint("Settings:"));
        lines.block(&settings(explanation.settings.iter()));
    }
    for explained in &explanation.volumes {
        lines.gap();
        volume(&mut lines, explained, page);
    }
    if let Some(sizes) = &explanation.spec_sizes {
        lines.gap();
        spec_sizes(&mut lines, sizes, page);
    }
    if explanation.volumes.is_empty() {
        lines.gap();
        lines.line(0, "It has no PVCs: there is nothing to decide.");
    }
    lines.into_text()
}

/// Why a volume fills.
pub(super) fn root_cause(cause: &RootCause, page: &Page) -> String {
    format!(
        "{} since {}: {}",
        cause.cause,
        moment_and_age(cause.since.0, page.now),
        cause.message
    )
}

/// Settings with their origins.
fn settings<'a>(settings: impl Iterator<Item = &'a Setting>) -> String {
    let mut table = Table::new(&["FIELD", "VALUE>", "FROM"]).indented(2);
    for setting in settings {
        let from = match setting.from.as_str() {
            "built in" => (setting.from.clone(), Tone::Faint),
            from => plain(from),
        };
        table.row(&[plain(&setting.field), plain(&setting.value), from]);
    }
    table.text()
}

fn head(lines: &mut Lines, explanation: &Explanation, page: &Page) {
    let mut put = |name: &str, value: &str, tone: Tone| lines.field(page, 0, COLUMN, name, (value, tone));
    let Explanation {
        namespace,
        cluster,
        instances,
        primary,
        phase,
        dynamic_sizing,
        policies,
        manager,
        reported,
        observed_at,
        figures_taken_as_current,
        settings: _,
        volumes: _,
        spec_sizes: _,
    } = explanation;
    let mut about = Vec::new();
    about.extend(instances.map(|n| format!("{n} instance{}", if n == 1 { "" } else { "s" })));
    about.extend(primary.iter().map(|p| format!("primary {p}")));
    about.extend(phase.clone());
    let about = if about.is_empty() {
        String::new()
    } else {
        format!(" ({})", about.join(", "))
    };
    put("Cluster", &format!("{namespace}/{cluster}{about}"), Tone::Title);
    let tone = if dynamic_sizing.enabled { Tone::Good } else { Tone::Watch };
    put("Sizing", &dynamic_sizing.text, tone);
    if !policies.is_empty() {
        put("Policies", &policies.join(", "), Tone::Plain);
    }
    let (text, tone) = manager_line(manager, page);
    put("Manager", &text, tone);
    let (text, tone) = match (reported, observed_at) {
        (_, Some(at)) if *manager == Manager::NotAsked => {
            (format!("of the files; the newest were taken {}", ago(*at, page.now)), Tone::Plain)
        }
        (_, None) if *manager == Manager::NotAsked => ("the files have none".to_owned(), Tone::Bad),
        (false, _) => ("the manager has never written any".to_owned(), Tone::Bad),
        (true, None) => ("the manager has reported, and has none".to_owned(), Tone::Bad),
        (true, Some(at)) if *figures_taken_as_current => (
            format!(
                "as the manager last wrote them, {}; it writes again when one moves by a point, so they are taken as current",
                ago(*at, page.now)
            ),
            Tone::Plain,
        ),
        (true, Some(at)) => (format!("as the manager last wrote them, {}", ago(*at, page.now)), Tone::Plain),
    };
    put("Figures", &text, tone);
}

/// Whether the manager runs.
pub(super) fn manager_line(manager: &Manager, page: &Page) -> (String, Tone) {
    match manager {
        Manager::Running { holder, renewed } => (format!("runs ({holder}, lease renewed {})", ago(*renewed, page.now)), Tone::Plain),
        Manager::Stopped { renewed: Some(at) } => (
            format!("does not run: its lease was last renewed {}", moment_and_age(*at, page.now)),
            Tone::Bad,
        ),
        Manager::Stopped { renewed: None } => ("does not run: nobody holds its lease".to_owned(), Tone::Bad),
        Manager::NoLease { name } => (format!("does not run: there is no lease {name}"), Tone::Bad),
        Manager::NotAsked => ("not asked; all of this is from files".to_owned(), Tone::Plain),
        Manager::Unknown => ("taken to run; its lease cannot be read from here".to_owned(), Tone::Plain),
    }
}

fn volume(lines: &mut Lines, volume: &VolumeExplanation, page: &Page) {
    let verdict = match volume.verdict {
        Verdict::Balanced => Tone::Good,
        Verdict::Grow | Verdict::CatchUp | Verdict::Rescue => Tone::Watch,
        Verdict::Hold => Tone::of(volume.state),
    };
    let decided = verdict.paint(&format!("{} ({})", volume.verdict, volume.reason));
    lines.line(0, &format!("{} {decided}", Tone::Title.paint(&format!("{}:", volume.volume))));
    lines.paragraph(page, 2, &volume.message, Tone::Plain);
    lines.gap();
    let mut put = |name: &str, value: &str, tone: Tone| lines.field(page, 2, COLUMN, name, (value, tone));
    put("State", volume.state.as_str(), Tone::of(volume.state));
    if let Some(to) = volume.to {
        put(
            "Would",
            &format!("grow from {} to {}", size(volume.effective_size), size(to)),
            Tone::Plain,
        );
    }
    if let Some(wanted) = volume.wanted {
        let to = wanted.to.map_or_else(|| "a size not known".to_owned(), size);
        let text = format!("{to} ({}, {}), held by {}", wanted.reason, wanted.urgency, wanted.held_by);
        put("Wanted", &text, Tone::Plain);
    }
    let model = volume.settings.iter().find(|setting| setting.field.ends_with(MODEL));
    if let Some(Setting { value, from, .. }) = model {
        put("Model", &format!("{value} ({from})"), Tone::Plain);
    }
    let limit = match (volume.limit, &volume.limit_from) {
        (Some(limit), Some(from)) => format!("{} ({from})", size(limit)),
        _ => "none".to_owned(),
    };
    put("Limit", &limit, Tone::Plain);
    if let Some(text) = budget(&volume.budget, page) {
        put("Budget", &text, Tone::Plain);
    }
    if let Some(window) = &volume.window {
        put("Window", &window_line(window, page), Tone::Plain);
    }
    if let Some(time) = &volume.time_to_full {
        put("Forecast", &format!("full in {time}, at the rate of the last hour"), Tone::Plain);
    }
    if let Some(at) = volume.next_action_at {
        put("Next", &moment_and_age(at, page.now), Tone::Plain);
    }
    if let Some(cause) = &volume.root_cause {
        put("Cause", &root_cause(cause, page), Tone::Watch);
    }
    for message in &volume.relief.messages {
        put("Relief", message, Tone::Watch);
    }
    for warning in &volume.warnings {
        put("Warning", warning, Tone::Watch);
    }
    if let Some(said) = volume.last_decision.as_ref().filter(|_| volume.differs) {
        let text = format!(
            "decided otherwise {}: {} ({}): {}",
            ago(said.at.0, page.now),
            said.verdict,
            said.reason,
            said.message
        );
        put("Manager", &text, Tone::Watch);
    }
    if let Some(operation) = &volume.operation {
        put("Operation", &operation_line(operation, page), Tone::Plain);
        if let Some(message) = operation.message.as_ref().filter(|_| operation.phase == csm_api::Phase::Failed) {
            put("Failure", message, Tone::Bad);
        }
    }
    let mut own = volume.settings.iter().filter(|setting| !setting.field.ends_with(MODEL)).peekable();
    if own.peek().is_some() {
        lines.gap();
        lines.block(&settings(own));
    }
    lines.gap();
    lines.block(&members(volume, page));
    lines.gap();
    lines.block(&gates(volume, page));
}

/// The field that stands above the others of a volume.
const MODEL: &str = ".model";

/// "3 of 4 growths in 24h used; 0 planned ones left, and 1 for emergencies; the oldest counts until …".
fn budget(budget: &BudgetExplanation, page: &Page) -> Option<String> {
    let BudgetExplanation {
        max_actions_per_day,
        actions_last_24h: used,
        available_for_planned,
        available_for_emergency,
        resets_at,
    } = *budget;
    let mut text = match max_actions_per_day {
        Some(max) => format!("{used} of {max} growths in 24h used"),
        None if used > 0 => format!("{used} growth{} in 24h, without a limit", if used == 1 { "" } else { "s" }),
        None => return None,
    };
    if let Some(planned) = available_for_planned {
        let _ = write!(text, "; {planned} planned left");
        match available_for_emergency {
            Some(kept) if kept > 0 => {
                let _ = write!(text, ", and {kept} for emergencies");
            }
            _ => {}
        }
    }
    if let Some(at) = resets_at {
        let _ = write!(text, "; the oldest counts until {}", moment_and_age(at, page.now));
    }
    Some(text)
}

fn window_line(window: &WindowExplanation, page: &Page) -> String {
    match (window.open_until, window.next) {
        (Some(until), _) => format!("open until {}", moment_and_age(until, page.now)),
        (None, Some(next)) => format!("closed, opens {}", moment_and_age(next, page.now)),
        (None, None) => "closed, and never opens".to_owned(),
    }
}

fn operation_line(operation: &OperationReport, page: &Page) -> String {
    let growth = format!("{} to {}", size(operation.from), size(operation.to));
    let name = &operation.event;
    match operation.ended_at {
        Some(at) => format!("{growth}, {} {} ({name})", operation.phase, ago(at, page.now)),
        None => format!(
            "{growth}, {} for {} ({name})",
            operation.phase,
            super::age(page.now.duration_since(operation.started_at))
        ),
    }
}

/// The members in the order in which they are patched, with how far a resize has come.
fn members(volume: &VolumeExplanation, page: &Page) -> String {
    let operation = volume
        .operation
        .as_ref()
        .filter(|o| !o.is_over() || o.phase == csm_api::Phase::Failed);
    let grows = volume.members.iter().any(|m| m.to.is_some());
    let mut headers = vec!["INSTANCE", "ROLE", "PVC", "SIZE>"];
    if grows {
        headers.push("TO>");
    }
    headers.extend(["USED>", "AVAILABLE>", "USE%>", "FIGURES", "CLASS", "NODE"]);
    if operation.is_some() {
        headers.push("RESIZE");
    }
    let mut table = Table::new(&headers).indented(2);
    for member in &volume.members {
        let mut row = vec![
            plain(&member.instance),
            plain(if member.primary { "primary" } else { "replica" }),
            plain(&member.pvc),
            plain(growing(member.size, Some(member.request))),
        ];
        if grows {
            row.push(plain(member.to.map_or_else(|| "-".to_owned(), size)));
        }
        row.extend([
            plain(written(member.used_bytes)),
            plain(written(member.available_bytes)),
            plain(member.percent_used.map_or_else(|| "-".to_owned(), |p| format!("{p}%"))),
            figures(member, page),
            plain(if member.storage_class.is_empty() {
                "-"
            } else {
                &member.storage_class
            }),
            match (&member.node, member.running) {
                (Some(node), true) => plain(node),
                (Some(node), false) => (format!("{node} (not running)"), Tone::Watch),
                (None, _) => plain("-"),
            },
        ]);
        if let Some(operation) = operation {
            row.push(plain(resize(operation, member)));
        }
        table.row(&row);
    }
    table.text()
}

fn figures(member: &MemberExplanation, page: &Page) -> (String, Tone) {
    match (member.observed_at, member.figures) {
        (Some(at), Some(Trust::Old)) => (format!("{}, too old", ago(at, page.now)), Tone::Bad),
        (Some(at), _) => plain(ago(at, page.now)),
        (None, _) => ("none".to_owned(), Tone::Bad),
    }
}

/// How far one PVC has come: "ControllerResizing", "Completed by filesystem", "Failed: …".
fn resize(operation: &OperationReport, member: &MemberExplanation) -> String {
    let Some(pvc) = operation.pvcs.iter().find(|p| p.pvc == member.pvc) else {
        return "-".to_owned();
    };
    match (&pvc.error, pvc.verified_by) {
        (Some(error), _) => format!("{}: {error}", pvc.phase),
        (None, Some(by)) => format!("{} (seen by {by})", pvc.phase),
        (None, None) => pvc.phase.to_string(),
    }
}

fn gates(volume: &VolumeExplanation, page: &Page) -> String {
    let mut table = Table::new(&["GATE", "NOW", "LOOKS AT"]).indented(2).within(page.width);
    for gate in &volume.gates {
        let (text, tone) = match gate.answer {
            Answer::Open => ("open", Tone::Good),
            Answer::Holds => ("HOLDS", Tone::Bad),
            Answer::HoldsToo => ("holds too", Tone::Watch),
            Answer::NotAsked => ("not asked", Tone::Faint),
            Answer::WouldHold => ("would hold", Tone::Watch),
        };
        // A gate has the name of the first of its reasons.
        let text = match gate.reason {
            Some(reason) if reason.as_str() != gate.gate => format!("{text}: {reason}"),
            _ => text.to_owned(),
        };
        let inputs = gate
            .inputs
            .iter()
            .map(|(name, value)| format!("{name}: {}", with_age(value, page.now)));
        table.row(&[plain(gate.gate), (text, tone), plain(inputs.collect::<Vec<_>>().join("; "))]);
    }
    table.text()
}
