//! What `doctor` found.

use super::lines::Lines;
use super::{Page, Tone};
use crate::doctor::{Check, Diagnosis, Level};

/// The findings, the gravest first, each with its fix.
#[must_use]
pub fn doctor(cluster: &str, namespace: &str, diagnosis: &Diagnosis, page: &Page) -> String {
    let mut lines = Lines::default();
    lines.field(page, 0, 0, "Cluster", (cluster, Tone::Title));
    lines.field(page, 0, 0, "Namespace", (namespace, Tone::Plain));
    for finding in &diagnosis.findings {
        lines.gap();
        let tone = match finding.level {
            Level::Problem => Tone::Bad,
            Level::Warning => Tone::Watch,
            Level::Advice => Tone::Plain,
        };
        let head = format!("{} {}", tone.paint(&format!("{}:", finding.level.as_str())), finding.check);
        lines.line(0, &head);
        lines.paragraph(page, 2, &finding.what, Tone::Plain);
        lines.field(page, 2, 0, "Fix", (&finding.fix, Tone::Plain));
    }
    if !diagnosis.not_checked.is_empty() {
        lines.gap();
        lines.line(0, &Tone::Faint.paint("not looked at:"));
        for skipped in &diagnosis.not_checked {
            lines.paragraph(page, 2, &format!("{}: {}", skipped.check, skipped.why), Tone::Plain);
        }
    }
    lines.gap();
    lines.paragraph(page, 0, &summary(diagnosis), Tone::Plain);
    lines.into_text()
}

fn summary(diagnosis: &Diagnosis) -> String {
    let count = |level| diagnosis.findings.iter().filter(|f| f.level == level).count();
    let sound: Vec<&str> = Check::ALL
        .iter()
        .filter(|check| !diagnosis.findings.iter().any(|f| f.check == **check))
        .filter(|check| !diagnosis.not_checked.iter().any(|n| n.check == **check))
        .map(|check| check.as_str())
        .collect();
    let sound = if sound.is_empty() { "nothing".to_owned() } else { sound.join(", ") };
    let (problems, warnings, advice) = (count(Level::Problem), count(Level::Warning), count(Level::Advice));
    if problems + warnings + advice == 0 {
        let of_what = if diagnosis.not_checked.is_empty() {
            ""
        } else {
            " in what was looked at"
        };
        return format!("Nothing is wrong{of_what}. Sound: {sound}.");
    }
    let many = |n: usize, what: &str| if n == 1 { format!("{n} {what}") } else { format!("{n} {what}s") };
    let advice = match advice {
        1 => "1 piece of advice".to_owned(),
        n => format!("{n} pieces of advice"),
    };
    format!(
        "{}, {}, {advice}. Sound: {sound}.",
        many(problems, "problem"),
        many(warnings, "warning")
    )
}
