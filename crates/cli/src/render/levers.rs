//! What a manual lever did.

use csm_api::Phase;

use super::lines::Lines;
use super::table::{Table, plain};
use super::{Page, Tone};
use crate::levers::{Asked, Expansion, Lever};

/// Behind what was only tried.
pub(super) fn dry(dry_run: Option<&str>) -> String {
    dry_run.map_or_else(String::new, |how| format!(" ({how} dry run: nothing was written)"))
}

/// An annotation that was set or removed: what was, what is, what follows.
#[must_use]
pub fn lever(lever: &Lever, page: &Page) -> String {
    let Lever {
        object,
        before,
        after,
        changed,
        dry_run,
        annotations: _,
        follows,
    } = lever;
    let mut lines = Lines::default();
    if *changed {
        lines.line(0, &format!("{}: {}{}", Tone::Title.paint(object), after, dry(*dry_run)));
        lines.line(0, &format!("Before: {before}"));
    } else {
        lines.line(0, &format!("{}: {before} already; nothing to write", Tone::Title.paint(object)));
    }
    for sentence in follows {
        lines.paragraph(page, 0, sentence, Tone::Plain);
    }
    lines.into_text()
}

/// A growth that a person asked for.
#[must_use]
pub fn expansion(expansion: &Expansion, page: &Page) -> String {
    let Expansion {
        asked:
            Asked {
                cluster,
                volume,
                from,
                to,
                asked_for,
                members,
                ceiling,
                passed,
                spec: _,
            },
        event,
        dry_run,
        phase,
        message,
        follow,
    } = expansion;
    let mut lines = Lines::default();
    let verb = match phase {
        Some(Phase::Completed) => "grew",
        Some(Phase::Failed) => "was to grow",
        Some(Phase::Pending | Phase::InProgress) | None => "grows",
    };
    let head = format!("Cluster {cluster}, {volume}:");
    lines.line(
        0,
        &format!("{} {verb} from {from} to {to}{}", Tone::Title.paint(&head), dry(*dry_run)),
    );
    if asked_for != to {
        lines.line(
            0,
            &format!("{asked_for} was asked for; sizes are a whole MiB, from 10Gi on a whole GiB"),
        );
    }
    let mut table = Table::new(&["INSTANCE", "PVC", "REQUEST>", "TO>", "ROLE"]).indented(2);
    for member in members {
        let role = if member.primary { "primary" } else { "replica" };
        let cells = [&member.instance, &member.pvc, &member.request.to_string(), &to.to_string(), role];
        table.row(&cells.map(plain));
    }
    lines.block(&table.text());
    let ceiling = ceiling.as_deref().unwrap_or("none");
    lines.paragraph(page, 0, &format!("Ceiling: {ceiling}"), Tone::Plain);
    for passed in passed {
        let text = format!("Goes ahead although {} ({})", passed.text, passed.reason);
        lines.paragraph(page, 0, &text, Tone::Watch);
    }
    lines.line(0, "Volumes never shrink: there is no way back but a new Cluster.");
    if let Some(event) = event {
        lines.paragraph(
            page,
            0,
            &format!("Recorded as StorageEvent {event}; the manager does the work, replicas first, and counts it in the budget."),
            Tone::Plain,
        );
    }
    match (phase, message) {
        (Some(Phase::Completed), Some(message)) => lines.line(0, &format!("{} {message}", Tone::Good.paint("Completed:"))),
        (Some(Phase::Failed), Some(message)) => lines.paragraph(page, 0, &format!("Failed: {message}"), Tone::Bad),
        _ => {}
    }
    if let Some(follow) = follow {
        lines.line(0, follow);
    }
    lines.into_text()
}
