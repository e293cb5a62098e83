//! What is left on the screen when the demo is over: how the growth went, a plot of it, who was held and why, and which
//! promises were kept. Pure.

use std::collections::BTreeMap;

use csm_api::Verdict;
use jiff::Timestamp;

use super::plot::{Mark, Plot, Series, Stroke, draw};
use super::scene::{Cluster, Instance, Scene, decision, spaced};
use super::story::Play;
use super::text::{Line, Tone, gib, paragraph, seconds};
use super::timeline::{Deed, Step, Timeline, Write};
use super::verdict::Check;

/// Rows of the plot: fine enough for a growth by half, small enough for one screen with the rest.
const PLOT_ROWS: usize = 9;
/// Columns of instance and role, before the first time.
const STEP: usize = 19;
/// Columns of one time in it.
const TIME: usize = 11;

/// All of it, in `columns`.
pub fn draw_summary(play: &Play, scenes: &[Scene], writes: &[Write], checks: &[Check], columns: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for part in play.cast {
        let last = scenes.last().and_then(|scene| scene.cluster(part.name));
        let Some(last) = last else { continue };
        match Timeline::of(part.name, scenes, writes) {
            Some(timeline) => {
                lines.push(growth_title(last, &timeline));
                lines.extend(plot(scenes, &timeline, part.name, columns));
                lines.extend(growth(&timeline, columns));
            }
            None => lines.extend(rest(last, columns)),
        }
        lines.push(Line::new());
    }
    lines.extend(patches(writes, columns));
    lines.extend(checks.iter().map(check_line));
    lines
}

fn growth_title(cluster: &Cluster, timeline: &Timeline) -> Line {
    let operation = &timeline.operation;
    let took = timeline.completed.map(|at| at.duration_since(timeline.breach.at));
    let took = took.map_or_else(
        || "; it has not ended".to_owned(),
        |took| format!(", {} after it passed {}", seconds(took), spaced(cluster.threshold)),
    );
    Line::of(Tone::Strong, cluster.name.clone()).plain(format!(
        ": {} → {} on all {} instances{took}",
        operation.from,
        operation.to,
        cluster.instances.len()
    ))
}

/// Seconds between two moments, for a plot.
fn offset(at: Timestamp, start: Timestamp) -> f64 {
    at.duration_since(start).as_secs_f64()
}

/// Size and usage of the instance that passed its threshold.
fn plot(scenes: &[Scene], timeline: &Timeline, cluster: &str, columns: usize) -> Vec<Line> {
    let instance = &timeline.breached;
    let Some(start) = scenes.first().map(|scene| scene.at) else {
        return Vec::new();
    };
    let (mut used, mut size, mut threshold) = (Vec::new(), Vec::new(), Vec::new());
    let mut label = String::new();
    for scene in scenes {
        let cluster = scene.cluster(cluster);
        let (Some(cluster), Some(seen)) = (cluster, cluster.and_then(|cluster| cluster.instance(instance))) else {
            continue;
        };
        let x = offset(scene.at, start);
        size.push((x, in_gib(seen.filesystem.get())));
        if let (Some(measured), Some(percent)) = (seen.measured, seen.percent()) {
            used.push((x, in_gib(measured.used.get())));
            threshold.push((x, in_gib(cluster.threshold.share_of(measured.total()).get())));
            label = format!("used {}", spaced(percent));
        }
    }
    let mine = timeline.steps.iter().find(|step| step.instance == *instance);
    let moments = [
        ('B', Some(timeline.breach.at)),
        ('D', timeline.recorded),
        ('P', mine.and_then(|step| step.patched)),
        ('G', mine.and_then(|step| step.grown)),
        ('V', mine.and_then(|step| step.verified)),
    ];
    let series = |stroke, tone, label: String, points| Series {
        stroke,
        tone,
        label,
        points,
    };
    let mut lines = draw(&Plot {
        columns,
        rows: PLOT_ROWS,
        unit: "GiB".to_owned(),
        series: vec![
            series(Stroke::Step, Tone::Active, "filesystem".to_owned(), size),
            series(Stroke::Hint, Tone::Faint, "threshold".to_owned(), threshold),
            series(Stroke::Curve, Tone::Warn, label, used),
        ],
        marks: moments
            .into_iter()
            .filter_map(|(letter, at)| {
                let x = offset(at?, start);
                Some(Mark { x, letter })
            })
            .collect(),
    });
    let legend = format!("{instance}: B breach  D decided  P patched  G filesystem grown  V verified");
    lines.push(Line::of(Tone::Faint, legend).cut(columns));
    lines
}

#[expect(clippy::cast_precision_loss, reason = "a plot has far fewer dots than that")]
fn in_gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// The time line, in seconds after the breach.
fn growth(timeline: &Timeline, columns: usize) -> Vec<Line> {
    let breach = timeline.breach.at;
    let since = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| seconds(at.duration_since(breach)));
    let moment = |at: Option<Timestamp>, text: &str| {
        let label = Line::of(Tone::Strong, format!("{:>8}", since(at))).plain("  ");
        paragraph(label, Tone::Plain, text, columns)
    };
    let measured = timeline.breach;
    let mut lines = moment(
        Some(breach),
        &format!(
            "breach: {} has used {} of {} GiB",
            timeline.breached,
            gib(measured.used),
            gib(measured.total())
        ),
    );
    lines.extend(moment(
        timeline.recorded,
        &format!(
            "decided: \"{}\"; StorageEvent {} written first",
            timeline.operation.message, timeline.operation.name
        ),
    ));
    let titles = ["patched", "controller", "filesystem", "verified"];
    let header = titles
        .iter()
        .fold(" ".repeat(STEP), |line, title| line + &format!("{title:>TIME$}"));
    lines.push(Line::of(Tone::Faint, header));
    lines.extend(timeline.steps.iter().map(|step| step_line(step, &since)));
    lines.extend(moment(timeline.completed, "StorageEvent Completed"));
    lines.into_iter().map(|line| line.cut(columns)).collect()
}

fn step_line(step: &Step, since: &dyn Fn(Option<Timestamp>) -> String) -> Line {
    let role = if step.primary { "primary" } else { "replica" };
    let name = Line::of(Tone::Plain, format!("  {}", step.instance)).and(Tone::Faint, format!(" {role}"));
    let times = [step.patched, step.driver_done, step.grown, step.verified];
    let line = times
        .iter()
        .fold(name.pad_to(STEP), |line, at| line.plain(format!("{:>TIME$}", since(*at))));
    let (before, after) = step.filesystem;
    let tone = if after > before { Tone::Good } else { Tone::Bad };
    line.and(tone, format!("  {} → {} GiB", gib(before), gib(after)))
}

/// A cluster that nothing was done to, and why.
fn rest(cluster: &Cluster, columns: usize) -> Vec<Line> {
    let percent = cluster.worst().and_then(Instance::percent);
    let percent = percent.map_or_else(|| "an unknown share".to_owned(), spaced);
    let mut lines = vec![
        Line::of(Tone::Strong, cluster.name.clone())
            .plain(format!(": {percent} of {} used, left as it is", cluster.size()))
            .cut(columns),
    ];
    if let Some(told) = &cluster.told {
        let tone = if told.verdict == Verdict::Hold { Tone::Warn } else { Tone::Good };
        let label = Line::of(tone, format!("  {}", decision(told))).plain("  ");
        lines.extend(paragraph(label, Tone::Plain, &told.message, columns));
    }
    lines
}

/// Which PVCs the manager patched, and how often.
fn patches(writes: &[Write], columns: usize) -> Vec<Line> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for write in writes.iter().filter(|write| write.deed == Deed::Patched) {
        *counts.entry(&write.name).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}×")).collect();
    let counts = if counts.is_empty() { "none".to_owned() } else { counts.join(", ") };
    let label = Line::of(Tone::Strong, "PVCs patched").plain(" (audit log): ");
    paragraph(label, Tone::Plain, &counts, columns)
}

fn check_line(check: &Check) -> Line {
    let (sign, tone) = if check.kept { ("✓", Tone::Good) } else { ("✗", Tone::Bad) };
    Line::of(tone, format!("{sign} ")).plain(check.text.clone())
}

#[cfg(test)]
mod tests {
    use super::super::story::SIMULATED;
    use super::super::text::page;
    use super::super::{sample, verdict};
    use super::*;

    #[test]
    fn a_demo_that_went_well() {
        let (scenes, writes) = (sample::scenes(), sample::writes());
        let checks = verdict::checks(&SIMULATED, &scenes, &writes);
        let lines = draw_summary(&SIMULATED, &scenes, &writes, &checks, 80);
        assert!(lines.iter().all(|line| line.width() <= 80), "{}", page(&lines));
        insta::assert_snapshot!(page(&lines));
    }

    #[test]
    fn one_that_ended_before_the_growth() {
        let scenes: Vec<_> = sample::scenes().into_iter().take(24).collect();
        let writes: Vec<_> = sample::writes().into_iter().take(2).collect();
        let checks = verdict::checks(&SIMULATED, &scenes, &writes);
        insta::assert_snapshot!(page(&draw_summary(&SIMULATED, &scenes, &writes, &checks, 100)));
    }

    #[test]
    fn one_that_never_began() {
        assert_eq!(page(&draw_summary(&SIMULATED, &[], &[], &[], 80)), "PVCs patched (audit log): none");
    }
}
