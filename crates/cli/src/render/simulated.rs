//! What a simulation came to: a table of the volumes, or two side by side; a plot and the actions of each.

use csm_api::Reason;
use csm_units::Bytes;
use jiff::SignedDuration;

use super::lines::Lines;
use super::plot::{self, Line, Marks, Plot, Stroke};
use super::size::{growing, size};
use super::table::{Field, Table, plain};
use super::time::{elapsed, moment};
use super::{Page, Tone};
use crate::simulated::{Simulated, Tenths, VolumeReport};

/// So many volumes are plotted in a terminal: those with the longest outages, then the most actions.
const PLOTTED: usize = 4;
/// So many actions of a volume are listed, unless more is asked for.
const LISTED: usize = 20;
/// How far what belongs to a row stands from the edge.
const INDENT: usize = 2;
/// Columns of a plot, where there is no terminal, and at most.
const COLUMNS: u16 = 100;
const MOST_COLUMNS: u16 = 140;

/// All of it.
#[must_use]
pub fn simulated(data: &Simulated, page: &Page) -> String {
    let mut lines = Lines::default();
    let lasted = elapsed(data.to.duration_since(data.from));
    let (from, to) = (moment(data.from), moment(data.to));
    let samples = if data.samples == 1 { "sample" } else { "samples" };
    lines.line(0, &format!("{from} to {to} ({lasted}), {} {samples}", data.samples));
    lines.gap();
    match &data.against {
        None => table(&mut lines, &data.volumes, page),
        Some(others) => {
            lines.line(0, &format!("A: {}", data.files.join(", ")));
            lines.line(0, &format!("B: {}", data.against_files.join(", ")));
            lines.gap();
            for (a, b) in data.volumes.iter().zip(others) {
                lines.block(&side_by_side(a, b));
            }
        }
    }
    let shown = shown(&data.volumes, data.against.as_deref());
    for (a, b) in &shown {
        lines.gap();
        lines.line(0, &Tone::Title.paint(&a.title()));
        let columns = page.width.unwrap_or(COLUMNS).min(MOST_COLUMNS);
        lines.block(&plot::terminal(&plotted(a, *b), usize::from(columns)));
        lines.gap();
        actions(&mut lines, a, *b, page);
    }
    let rest = data.volumes.len().saturating_sub(shown.len());
    if rest > 0 {
        lines.gap();
        lines.line(
            0,
            &format!("{rest} more volumes are not plotted here; --svg has all of them, -o json all figures."),
        );
    }
    lines.into_text()
}

/// All plots for documents.
#[must_use]
pub fn simulated_svg(data: &Simulated) -> String {
    let plots: Vec<Plot> = pairs(&data.volumes, data.against.as_deref()).map(|(a, b)| plotted(a, b)).collect();
    plot::svg(&plots)
}

type Pair<'a> = (&'a VolumeReport, Option<&'a VolumeReport>);

fn pairs<'a>(volumes: &'a [VolumeReport], others: Option<&'a [VolumeReport]>) -> impl Iterator<Item = Pair<'a>> {
    let other = move |index: usize| others.and_then(|others| others.get(index));
    volumes.iter().enumerate().map(move |(i, volume)| (volume, other(i)))
}

/// Those that are plotted, in the order of the table.
fn shown<'a>(volumes: &'a [VolumeReport], others: Option<&'a [VolumeReport]>) -> Vec<Pair<'a>> {
    let mut all: Vec<(usize, Pair<'a>)> = pairs(volumes, others).enumerate().collect();
    let weight = |(a, b): &Pair<'a>| {
        let outage = b.map_or(a.outage, |b| a.outage.max(b.outage));
        (outage, b.map_or(a.actions, |b| a.actions.max(b.actions)))
    };
    all.sort_by_key(|(place, pair)| (std::cmp::Reverse(weight(pair)), *place));
    all.truncate(PLOTTED);
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, pair)| pair).collect()
}

fn table(lines: &mut Lines, volumes: &[VolumeReport], page: &Page) {
    let headers = [
        "NAMESPACE",
        "CLUSTER",
        "VOLUME",
        "MODEL",
        "ACTIONS>",
        "SIZE",
        "OUTAGE",
        "AVG USE>",
        "PEAK USE>",
        "GIB-HOURS>",
    ];
    let mut table = Table::new(&headers);
    for volume in volumes {
        table.row(&[
            plain(&volume.namespace),
            plain(&volume.cluster),
            plain(&volume.volume),
            plain(model(volume)),
            plain(volume.actions.to_string()),
            plain(growing(volume.size_before, Some(volume.size_after))),
            outage(volume),
            plain(average(volume)),
            plain(peak(volume)),
            plain(volume.gib_hours.to_string()),
        ]);
    }
    let table = table.text();
    let mut rows = table.lines();
    lines.line(0, rows.next().unwrap_or_default());
    for (row, volume) in rows.zip(volumes) {
        lines.line(0, row);
        if !volume.held.is_empty() {
            lines.paragraph(page, INDENT, &format!("Held by {}", held(volume)), Tone::Faint);
        }
    }
}

/// A volume with two sets of policies.
fn side_by_side(a: &VolumeReport, b: &VolumeReport) -> String {
    let mut table = Table::new(&[&a.title(), "A", "B", "B - A"]);
    let mut row = |name: &str, of: &dyn Fn(&VolumeReport) -> Field, difference: String| {
        table.row(&[plain(name), of(a), of(b), plain(difference)]);
    };
    row("Model", &|v| plain(model(v)), String::new());
    row(
        "Actions",
        &|v| plain(v.actions.to_string()),
        signed(a.actions, b.actions, u64::to_string),
    );
    row(
        "Size",
        &|v| plain(growing(v.size_before, Some(v.size_after))),
        signed(a.size_after.get(), b.size_after.get(), |d| size(Bytes::new(*d))),
    );
    let seconds = |v: &VolumeReport| v.outage.as_secs().unsigned_abs();
    row(
        "Outage",
        &outage,
        signed(seconds(a), seconds(b), |d| elapsed(SignedDuration::from_secs(d.cast_signed()))),
    );
    let use_of = |v: &VolumeReport| v.average_use.unwrap_or_default().0;
    row(
        "Average use",
        &|v| plain(average(v)),
        signed(use_of(a), use_of(b), |d| format!("{}%", Tenths(*d))),
    );
    row("Peak use", &|v| plain(peak(v)), String::new());
    row(
        "GiB-hours",
        &|v| plain(v.gib_hours.to_string()),
        signed(a.gib_hours.0, b.gib_hours.0, |d| Tenths(*d).to_string()),
    );
    let mut reasons: Vec<Reason> = a.held.keys().chain(b.held.keys()).copied().collect();
    reasons.sort_unstable();
    reasons.dedup();
    for reason in reasons {
        let of = |v: &VolumeReport| plain(v.held.get(&reason).map_or_else(|| "-".to_owned(), |time| elapsed(*time)));
        row(&format!("Held by {reason}"), &of, String::new());
    }
    table.text()
}

/// "+3", "-51.9"; empty where there is no difference.
fn signed(a: u64, b: u64, text: impl Fn(&u64) -> String) -> String {
    match a.abs_diff(b) {
        0 => String::new(),
        difference if b > a => format!("+{}", text(&difference)),
        difference => format!("-{}", text(&difference)),
    }
}

fn model(volume: &VolumeReport) -> String {
    volume.model.map_or_else(|| "-".to_owned(), |m| m.to_string())
}

fn outage(volume: &VolumeReport) -> Field {
    match volume.outages {
        0 => ("none".to_owned(), Tone::Good),
        1 => (elapsed(volume.outage), Tone::Bad),
        times => (format!("{} ({times} times)", elapsed(volume.outage)), Tone::Bad),
    }
}

fn average(volume: &VolumeReport) -> String {
    volume.average_use.map_or_else(|| "-".to_owned(), |t| format!("{t}%"))
}

fn peak(volume: &VolumeReport) -> String {
    volume.peak_percent.map_or_else(|| "-".to_owned(), |p| format!("{p}%"))
}

/// "Cooldown 2h10m, ResizeInProgress 9m", the longest first.
fn held(volume: &VolumeReport) -> String {
    let mut held: Vec<(&Reason, &SignedDuration)> = volume.held.iter().collect();
    held.sort_by_key(|(_, time)| std::cmp::Reverse(**time));
    let held = held.into_iter().map(|(reason, time)| format!("{reason} {}", elapsed(*time)));
    held.collect::<Vec<_>>().join(", ")
}

/// What was done, A and B in the order of time.
fn actions(lines: &mut Lines, a: &VolumeReport, b: Option<&VolumeReport>, page: &Page) {
    let of = |name, volume: &VolumeReport| volume.log.iter().map(|action| (name, action.clone())).collect::<Vec<_>>();
    let mut all = of("A", a);
    all.extend(b.map(|b| of("B", b)).unwrap_or_default());
    all.sort_by_key(|(name, action)| (action.at, *name));
    let count = a.actions + b.map_or(0, |b| b.actions);
    if all.is_empty() {
        return lines.line(0, "Nothing was done.");
    }
    let mut headers = vec!["AT", "AFTER>", "SIZE", "URGENCY", "REASON", "USE%>"];
    if b.is_some() {
        headers.insert(0, "");
    }
    let mut table = Table::new(&headers);
    let most = if page.wide { usize::MAX } else { LISTED };
    let listed = all.len().min(most);
    for (name, action) in all.iter().take(most) {
        let passed: Vec<String> = action.passed.iter().map(ToString::to_string).collect();
        let reason = if passed.is_empty() {
            action.reason.to_string()
        } else {
            format!("{} past {}", action.reason, passed.join(", "))
        };
        let mut row = vec![
            plain(moment(action.at)),
            plain(elapsed(action.at.duration_since(a.from))),
            plain(growing(action.from, Some(action.to))),
            plain(action.urgency.to_string()),
            plain(reason),
            plain(action.percent_used.map_or_else(|| "-".to_owned(), |p| format!("{p}%"))),
        ];
        if b.is_some() {
            row.insert(0, plain(*name));
        }
        table.row(&row);
    }
    lines.block(&table.text());
    let rest = count.saturating_sub(u64::try_from(listed).unwrap_or(count));
    if rest > 0 {
        lines.line(0, &format!("and {rest} more; -o wide and -o json list the first thousand"));
    }
}

/// A volume as it is drawn.
fn plotted(a: &VolumeReport, b: Option<&VolumeReport>) -> Plot {
    let line = |volume: &VolumeReport, stroke, tone, label| {
        let part = |part: &crate::simulated::Part| match stroke {
            Stroke::Band => Some((real(part.least?), real(part.most?))),
            Stroke::Size | Stroke::Other => part.size.map(|size| (real(size), real(size))),
        };
        Line {
            stroke,
            tone,
            label,
            parts: volume.course.iter().map(part).collect(),
        }
    };
    let mut lines = vec![line(a, Stroke::Size, Tone::Good, if b.is_some() { "size A" } else { "size" })];
    lines.extend(b.map(|b| line(b, Stroke::Other, Tone::Watch, "size B")));
    // What is used is the same, but for what does not fit: where it differs, more of it is with the larger volume.
    let fullest = b.filter(|b| b.peak_used > a.peak_used).unwrap_or(a);
    lines.push(line(fullest, Stroke::Band, Tone::Plain, "used"));
    let marks = |volume: &VolumeReport, letter, label, tone| Marks {
        letter,
        label,
        tone,
        at: volume.log.iter().map(|action| action.at).collect(),
    };
    let mut all = vec![if b.is_some() {
        marks(a, 'A', "A grows", Tone::Good)
    } else {
        marks(a, '^', "grows", Tone::Good)
    }];
    all.extend(b.map(|b| marks(b, 'B', "B grows", Tone::Watch)));
    let down = a.course.iter().enumerate().map(|(i, part)| {
        let other = b.and_then(|b| b.course.get(i)).is_some_and(|part| part.down);
        part.down || other
    });
    Plot {
        title: a.title(),
        from: a.from,
        to: a.to,
        lines,
        marks: all,
        down: down.collect(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a plot has far fewer dots than that")]
fn real(bytes: Bytes) -> f64 {
    bytes.get() as f64
}
