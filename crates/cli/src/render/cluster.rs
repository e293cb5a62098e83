//! One cluster, as `status CLUSTER` shows it.

use std::fmt::Write as _;

use csm_core::world::VolumeKey;

use super::explanation::{manager_line, root_cause};
use super::lines::Lines;
use super::size::{growing, size, written};
use super::table::{Field, Table, plain};
use super::time::{age, ago, moment, moment_and_age};
use super::{Page, Tone};
use crate::explanation::{BudgetExplanation, Explanation, OperationReport, Setting, VolumeExplanation};
use crate::figures::Trust;
use crate::report::{ClusterReport, InstanceReport, VolumeReport};

/// Where the values of a volume's fields begin.
const COLUMN: usize = 16;

/// One cluster: its volumes with settings, sizes, instances and decisions.
#[must_use]
pub fn cluster(report: &ClusterReport, explanation: &Explanation, page: &Page) -> String {
    let mut lines = Lines::default();
    lines.field(page, 0, 0, "Cluster", (&report.cluster, Tone::Title));
    lines.field(page, 0, 0, "Namespace", (&report.namespace, Tone::Plain));
    let sizing = &explanation.dynamic_sizing;
    let tone = if sizing.enabled { Tone::Good } else { Tone::Watch };
    lines.field(page, 0, 0, "Dynamic Sizing", (&sizing.text, tone));
    if !explanation.policies.is_empty() {
        lines.field(page, 0, 0, "Policies", (&explanation.policies.join(", "), Tone::Plain));
    }
    if explanation.manager.is_away() {
        let (text, tone) = manager_line(&explanation.manager, page);
        lines.field(page, 0, 0, "Manager", (&text, tone));
    }
    if !report.reported {
        let text = "the manager has not reported on it yet; usage is not known";
        lines.field(page, 0, 0, "Figures", (text, Tone::Bad));
    }
    if !report.needs_person.is_empty() {
        lines.field(page, 0, 0, "Needs a Person", (&report.needs_person.join("; "), Tone::Bad));
    }
    let mut volumes: Vec<&VolumeReport> = report.volumes.iter().collect();
    volumes.sort_by(|a, b| a.volume.cmp(&b.volume));
    for volume in volumes {
        let explained = explanation.volumes.iter().find(|v| v.volume == volume.volume.to_string());
        lines.gap();
        lines.line(0, &Tone::Title.paint(&format!("{}:", title(&volume.volume))));
        fields(&mut lines, volume, explained, explanation, page);
        lines.gap();
        let operation = explained.and_then(|e| e.operation.as_ref()).filter(|o| !o.is_over());
        lines.block(&instances(volume, operation, page));
        if let Some(explained) = explained {
            pace(&mut lines, explained, page);
        }
    }
    lines.into_text()
}

/// "Data Volume", "WAL Volume", "Tablespace archive".
fn title(volume: &VolumeKey) -> String {
    match &volume.tablespace {
        Some(name) => format!("Tablespace {name}"),
        None if *volume == VolumeKey::WAL => "WAL Volume".to_owned(),
        None => "Data Volume".to_owned(),
    }
}

fn fields(lines: &mut Lines, volume: &VolumeReport, explained: Option<&VolumeExplanation>, explanation: &Explanation, page: &Page) {
    let mut put = |name: &str, value: &str, tone: Tone| lines.field(page, 2, COLUMN, name, (value, tone));
    let own = explained.map_or(&[][..], |explained| explained.settings.as_slice());
    for (name, value) in model_fields(own, &explanation.settings) {
        put(name, &value, Tone::Plain);
    }
    let limit = volume.limit.or(explained.and_then(|e| e.limit));
    put("Limit", &limit.map_or_else(|| "none".to_owned(), size), Tone::Plain);
    if let Some(buffer) = ending(own, ".targetBuffer") {
        put("Target Buffer", &format!("{buffer}%"), Tone::Plain);
    }
    put("Effective Size", &size(volume.effective_size), Tone::Plain);
    if let Some(target) = volume.target_size.filter(|to| *to > volume.size_now()) {
        put("Target Size", &size(target), Tone::Watch);
    }
    match volume.state {
        Some(state) => put("State", state.as_str(), Tone::of(state)),
        None => put("State", "not reported", Tone::Faint),
    }
    if let Some(operation) = explained.and_then(|e| e.operation.as_ref()).filter(|o| !o.is_over()) {
        put("Operation", &under_way(operation, page), Tone::Watch);
    }
    if let Some(action) = &volume.last_action {
        let text = format!(
            "{} from {} to {}: {}, {}",
            action.kind,
            size(action.from),
            size(action.to),
            action.result,
            moment_and_age(action.timestamp.0, page.now)
        );
        put(
            "Last Action",
            &text,
            if action.result == "Failed" { Tone::Bad } else { Tone::Plain },
        );
        let failure = explained.and_then(|e| e.operation.as_ref()).filter(|o| o.event == action.event);
        if let Some(message) = failure.filter(|_| action.result == "Failed").and_then(|o| o.message.as_ref()) {
            put("Failure", message, Tone::Bad);
        }
    }
    if let Some(text) = last_decision(volume, explained, page) {
        put("Last Decision", &text, Tone::Plain);
    }
    if let Some(at) = volume.next_action_at {
        put("Next Action", &moment_and_age(at, page.now), Tone::Plain);
    }
    if let Some(time) = explained.and_then(|e| e.time_to_full.as_ref()) {
        put("Time To Full", time, Tone::Plain);
    }
    if let Some(cause) = &volume.root_cause {
        put("Root Cause", &root_cause(cause, page), Tone::Watch);
    }
}

/// The value of the setting whose name ends so.
fn ending<'a>(settings: &'a [Setting], name: &str) -> Option<&'a str> {
    settings.iter().find(|s| s.field.ends_with(name)).map(|s| s.value.as_str())
}

/// What the volume's model goes by.
fn model_fields(own: &[Setting], shared: &[Setting]) -> Vec<(&'static str, String)> {
    let set = |name: &str| ending(own, name).filter(|value| *value != "none");
    if let Some(request) = set(".request") {
        return vec![("Request", request.to_owned())];
    }
    if let (Some(usage), Some(step)) = (set("triggers.usageThreshold"), set("expansion.step")) {
        let mut at = format!("over {usage}% used");
        if let Some(least) = set("triggers.minAvailable") {
            let _ = write!(at, ", less than {least} available");
        }
        if let Some(inodes) = set("triggers.inodeThreshold") {
            let _ = write!(at, ", over {inodes}% of inodes used");
        }
        if let (Some("Predictive"), Some(time)) = (set("strategy.mode"), set("triggers.timeToFull")) {
            let _ = write!(at, ", full in less than {time}");
        }
        let by = match (set("expansion.minStep"), set("expansion.maxStep")) {
            (Some(least), Some(most)) => format!("{step}, at least {least}, at most {most}"),
            _ => step.to_owned(),
        };
        return vec![("Grows At", at), ("Grows By", by)];
    }
    let mut fields = Vec::new();
    if let Some(threshold) = ending(shared, "thresholds.expansion") {
        fields.push(("Grows At", format!("{threshold}% used")));
    }
    if let (Some(percentage), Some(least), Some(cooldown)) = (
        ending(shared, "expansion.percentage"),
        ending(shared, "expansion.minIncrementGi"),
        ending(shared, "expansion.cooldownMinutes"),
    ) {
        let by = format!("{percentage}%, at least {least}Gi, at most once in {cooldown}m");
        fields.push(("Grows By", by));
    }
    fields
}

/// Where the values of the budget begin.
const BUDGET_COLUMN: usize = 22;

/// The budget and the maintenance window of a volume, where it has them.
fn pace(lines: &mut Lines, explained: &VolumeExplanation, page: &Page) {
    let BudgetExplanation {
        max_actions_per_day,
        actions_last_24h,
        available_for_planned,
        available_for_emergency,
        resets_at,
    } = explained.budget;
    if let Some(max) = max_actions_per_day {
        lines.gap();
        lines.line(0, "Budget:");
        let number = |n: Option<u32>| n.map_or_else(|| "no limit".to_owned(), |n| n.to_string());
        let mut put = |name: &str, value: &str| lines.field(page, 2, BUDGET_COLUMN, name, (value, Tone::Plain));
        put("Max Actions/Day", &max.to_string());
        put("Used (24h)", &actions_last_24h.to_string());
        put("Available (Planned)", &number(available_for_planned));
        put("Available (Emergency)", &number(available_for_emergency));
        if let Some(at) = resets_at {
            put("Resets At", &moment(at));
        }
    }
    if let Some(window) = &explained.window {
        lines.gap();
        if let Some(at) = window.open_until {
            lines.field(
                page,
                0,
                0,
                "Maintenance Window",
                (&format!("open until {}", moment_and_age(at, page.now)), Tone::Plain),
            );
        }
        let next = window.next.map_or_else(|| "never".to_owned(), |at| moment_and_age(at, page.now));
        lines.field(page, 0, 0, "Next Maintenance Window", (&next, Tone::Plain));
    }
}

/// The manager's decision. It writes one when it changes, not when its figures move: while it stands, the sentence is
/// said with the figures of now.
fn last_decision(volume: &VolumeReport, explained: Option<&VolumeExplanation>, page: &Page) -> Option<String> {
    let decision = volume.last_decision.as_ref()?;
    Some(match explained {
        Some(explained) if !explained.differs => format!("{} (for {})", explained.message, age(page.now.duration_since(decision.at.0))),
        _ => format!("{} (decided {})", decision.message, ago(decision.at.0, page.now)),
    })
}

fn under_way(operation: &OperationReport, page: &Page) -> String {
    format!(
        "{} to {}, {} for {} ({})",
        size(operation.from),
        size(operation.to),
        operation.phase,
        age(page.now.duration_since(operation.started_at)),
        operation.event
    )
}

fn instances(volume: &VolumeReport, operation: Option<&OperationReport>, page: &Page) -> String {
    let mut headers = vec!["Instance", "PVC Size>", "Used>", "Available>", "Usage%>"];
    if page.wide {
        headers.extend(["Inodes%>", "Role", "PVC", "Figures>"]);
    }
    if operation.is_some() {
        headers.push("Resize");
    }
    let mut table = Table::new(&headers).indented(2);
    for instance in &volume.instances {
        let mut row = vec![
            plain(&instance.instance),
            plain(growing(instance.size, instance.request)),
            plain(written(instance.used_bytes)),
            plain(written(instance.available_bytes)),
            usage(instance),
        ];
        if page.wide {
            let percent = |p: i32| format!("{p}%");
            row.push(plain(instance.inodes_percent_used.map_or_else(|| "-".to_owned(), percent)));
            row.push(plain(if instance.primary { "primary" } else { "replica" }));
            row.push(plain(instance.pvc.as_deref().unwrap_or("-")));
            row.push(plain(
                instance.observed_at.map_or_else(|| "never".to_owned(), |at| ago(at, page.now)),
            ));
        }
        if let Some(operation) = operation {
            let pvc = operation.pvcs.iter().find(|p| Some(&p.pvc) == instance.pvc.as_ref());
            row.push(plain(pvc.map_or_else(|| "-".to_owned(), |p| p.phase.to_string())));
        }
        table.row(&row);
    }
    table.text()
}

fn usage(instance: &InstanceReport) -> Field {
    match (instance.percent_used, instance.figures) {
        (Some(percent), Some(Trust::Old)) => (format!("old: {percent}%"), Tone::Bad),
        (Some(percent), _) => plain(format!("{percent}%")),
        (None, _) => ("unknown".to_owned(), Tone::Bad),
    }
}
