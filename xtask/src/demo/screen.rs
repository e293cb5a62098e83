//! The picture of one moment: a table of the clusters with usage bars, what the manager says of each, and the latest
//! news. Pure.

use csm_api::{Phase, State};
use csm_units::{Bytes, Percent};
use jiff::{SignedDuration, Timestamp};

use super::scene::{Cluster, Instance, News, Operation, Scene, decision};
use super::story::{Part, Play};
use super::text::{Line, Tone, clock, gib, paragraph};

/// Below this a volume looks well, from the threshold on it is in danger.
const WATCHED: Percent = Percent::of(70);
/// Columns of a time, `12:34`.
const TIME: usize = 5;
/// Columns of names; the longest is `reports-1`.
const NAME: usize = 10;
/// Columns of roles.
const ROLE: usize = 9;
/// Columns of `10Gi → 15Gi`, with two spaces before.
const SIZE: usize = 13;
/// Columns of ` 100 %  49.9/49.9 GiB`.
const FIGURES: usize = 22;
/// With fewer rows, there are no empty lines between clusters, and the manager's words are cut.
const ROOMY: usize = 32;
/// How many lines of the manager's words are shown then: enough for a sentence that says what to do.
const FEW: usize = 3;

/// The whole picture, in `columns` and at most `rows`; of the news, the newest that fit.
pub fn draw(play: &Play, scene: &Scene, news: &[News], start: Timestamp, (columns, rows): (usize, usize)) -> Vec<Line> {
    let mut lines = heading(play, scene, start, columns);
    let words = if rows < ROOMY { FEW } else { usize::MAX };
    for part in play.cast {
        if let Some(cluster) = scene.cluster(part.name) {
            if rows >= ROOMY {
                lines.push(Line::new());
            }
            lines.extend(cluster_lines(part, cluster, columns, words));
        }
    }
    let left = rows.saturating_sub(lines.len() + 1);
    let news: Vec<Line> = news.iter().flat_map(|item| news_lines(item, start, columns)).collect();
    if left > 0 && !news.is_empty() {
        lines.push(Line::new());
        lines.extend(news.into_iter().rev().take(left).rev());
    }
    lines.truncate(rows);
    lines
}

fn heading(play: &Play, scene: &Scene, start: Timestamp, columns: usize) -> Vec<Line> {
    let time = clock(scene.at.duration_since(start));
    let title = Line::of(Tone::Strong, "CNPG Storage Manager keeps PostgreSQL from running out of disk");
    let title = title.pad_to(columns.saturating_sub(time.len())).plain(time);
    vec![title, Line::of(Tone::Faint, play.about).cut(columns)]
}

/// One cluster: a line an instance, then what the manager says.
fn cluster_lines(part: &Part, cluster: &Cluster, columns: usize, words: usize) -> Vec<Line> {
    let mut lines = vec![
        Line::of(Tone::Strong, part.name)
            .pad_to(NAME)
            .and(Tone::Faint, part.about)
            .cut(columns),
    ];
    lines.extend(cluster.instances.iter().map(|instance| instance_line(cluster, instance, columns)));
    let Some(told) = &cluster.told else {
        lines.push(Line::of(Tone::Faint, "  the manager has not looked yet"));
        return lines;
    };
    let growing = cluster.operations.iter().filter(|operation| is_open(operation));
    let growing: Vec<Line> = growing.map(|operation| operation_line(operation, columns)).collect();
    let words = words.saturating_sub(growing.len());
    lines.extend(growing);
    let tone = state_tone(told.state);
    let label = Line::of(tone, format!("  {}", told.state)).plain("  ");
    let sentence = format!("{}: {}", decision(told), told.message);
    let mut said = paragraph(label, Tone::Plain, &sentence, columns);
    if said.len() > words {
        said.truncate(words);
        let last = said.pop().map(|line| line.plain(" …").cut(columns));
        said.extend(last);
    }
    lines.extend(said);
    lines
}

fn is_open(operation: &Operation) -> bool {
    matches!(operation.phase, Phase::Pending | Phase::InProgress)
}

/// An operation under way: how far each instance is, as its StorageEvent has it.
fn operation_line(operation: &Operation, columns: usize) -> Line {
    let members = operation
        .members
        .iter()
        .map(|member| format!("{} {}", member.instance, member.phase));
    let members: Vec<String> = members.collect();
    Line::of(Tone::Active, format!("  {} → {}", operation.from, operation.to))
        .plain(format!("  {}", members.join(", ")))
        .cut(columns)
}

fn instance_line(cluster: &Cluster, instance: &Instance, columns: usize) -> Line {
    let role = if instance.primary { "primary" } else { "replica" };
    let name = Line::of(Tone::Plain, format!("  {}", instance.name)).pad_to(NAME + 2);
    let line = name.and(Tone::Faint, role).pad_to(NAME + 2 + ROLE);
    let width = columns.saturating_sub(line.width() + FIGURES + SIZE).max(10);
    let percent = instance.percent();
    let figures = match (instance.measured, percent) {
        (Some(measured), Some(percent)) => {
            let share = format!("{:>5} %", percent.get());
            let sizes = format!("{:>6}/{} GiB", gib(measured.used), gib(measured.total()));
            Line::of(usage_tone(percent, cluster.threshold), share).plain(sizes)
        }
        _ => Line::of(Tone::Faint, "  no figures"),
    };
    let end = line.width() + width + FIGURES + 2;
    line.then(bar(instance, percent, cluster.threshold, width))
        .then(figures)
        .pad_to(end)
        .then(size(instance))
}

/// Used and free, with a tick at the threshold.
fn bar(instance: &Instance, percent: Option<Percent>, threshold: Percent, width: usize) -> Line {
    let column = |share: Percent| {
        let columns = Bytes::new(width as u64).mul_div(u64::from(share.get()), 100).get();
        usize::try_from(columns).unwrap_or(width).min(width)
    };
    let (full, tick) = (percent.map_or(0, column), column(threshold));
    let tone = percent.map_or(Tone::Faint, |percent| usage_tone(percent, threshold));
    if instance.measured.is_none() {
        return Line::of(Tone::Faint, "·".repeat(width));
    }
    let used = Line::of(tone, "█".repeat(full));
    if full > tick {
        return used.and(Tone::Faint, "░".repeat(width - full));
    }
    let before = "░".repeat(tick - full);
    let after = "░".repeat(width.saturating_sub(tick + 1));
    used.and(Tone::Faint, before).plain("│").and(Tone::Faint, after)
}

fn size(instance: &Instance) -> Line {
    if instance.request > instance.capacity {
        return Line::of(Tone::Active, format!("{} → {}", instance.capacity, instance.request));
    }
    Line::of(Tone::Plain, instance.capacity.to_string())
}

/// `10Gi`, or `10Gi → 15Gi` while it grows.
fn sizes(cluster: &Cluster) -> String {
    let has = cluster.instances.iter().map(|instance| instance.capacity).min().unwrap_or_default();
    let asks = cluster.size();
    if has == asks {
        asks.to_string()
    } else {
        format!("{has} → {asks}")
    }
}

/// How a percentage looks.
fn usage_tone(percent: Percent, threshold: Percent) -> Tone {
    match percent {
        p if p >= threshold => Tone::Bad,
        p if p >= WATCHED => Tone::Warn,
        _ => Tone::Good,
    }
}

fn state_tone(state: State) -> Tone {
    match state {
        State::Balanced => Tone::Good,
        State::Resizing | State::NeedsGrow | State::PendingGrowth => Tone::Active,
        State::Emergency | State::Blocked => Tone::Bad,
        State::AtLimit | State::WaitingForDiskStatus | State::DryRun | State::Paused | State::Unmanaged => Tone::Warn,
    }
}

/// One item of the news, with its time.
pub fn news_lines(item: &News, start: Timestamp, columns: usize) -> Vec<Line> {
    let time = item.at.duration_since(start);
    let label = Line::of(Tone::Faint, format!("{:>TIME$} ", clock(time)))
        .plain(item.about.clone())
        .pad_to(TIME + 1 + NAME);
    paragraph(label, item.tone, &item.text, columns)
}

/// All clusters side by side, for output that is not drawn over: a line is broken only between two of them.
pub fn status_lines(scene: &Scene, start: Timestamp, columns: usize) -> Vec<Line> {
    const BETWEEN: &str = " | ";
    let indent = TIME + 1;
    let room = columns.saturating_sub(indent);
    let mut texts: Vec<String> = Vec::new();
    for cluster in &scene.clusters {
        let text = cluster_text(cluster);
        match texts.last_mut() {
            Some(last) if columns_of(&[last, BETWEEN, &text]) <= room => last.extend([BETWEEN, &text]),
            _ => texts.push(text),
        }
    }
    let time: SignedDuration = scene.at.duration_since(start);
    let mut label = Some(format!("{:>TIME$} ", clock(time)));
    texts
        .into_iter()
        .map(|text| Line::of(Tone::Faint, label.take().unwrap_or_else(|| " ".repeat(indent)) + &text))
        .collect()
}

fn columns_of(texts: &[&str]) -> usize {
    texts.iter().map(|text| text.chars().count()).sum()
}

fn cluster_text(cluster: &Cluster) -> String {
    let percents = cluster.instances.iter().map(|instance| {
        let percent = instance.percent();
        percent.map_or_else(|| "?".to_owned(), |percent| percent.get().to_string())
    });
    let state = cluster.told.as_ref().map_or("not seen yet", |told| told.state.as_str());
    let percents: Vec<String> = percents.collect();
    format!("{} {} % of {} {state}", cluster.name, percents.join(" "), sizes(cluster))
}

#[cfg(test)]
mod tests {
    use super::super::story::SIMULATED;
    use super::super::text::page;
    use super::super::{sample, scene};
    use super::*;

    fn all_news(until: usize) -> Vec<News> {
        let scenes: Vec<Scene> = sample::scenes().into_iter().take(until + 1).collect();
        let pairs = scenes
            .iter()
            .scan(None, |before, after| Some(scene::news(before.replace(after), after)));
        pairs.flatten().collect()
    }

    #[test]
    fn in_the_middle_of_the_growth() {
        let picture = draw(&SIMULATED, &sample::growing(27), &all_news(27), sample::at(0), (100, 40));
        insta::assert_snapshot!(page(&picture));
    }

    #[test]
    fn the_smallest_usual_terminal() {
        let picture = draw(&SIMULATED, &sample::growing(27), &all_news(27), sample::at(0), (80, 24));
        assert!(picture.len() <= 24);
        assert!(picture.iter().all(|line| line.width() <= 80), "{}", page(&picture));
        insta::assert_snapshot!(page(&picture));
    }

    #[test]
    fn before_anything_was_seen() {
        let mut scene = sample::unseen(1);
        scene.clusters.truncate(1);
        scene.clusters[0].instances[0].measured = None;
        insta::assert_snapshot!(page(&draw(&SIMULATED, &scene, &[], sample::at(0), (80, 24))));
    }

    #[test]
    fn no_size_is_too_small() {
        for rows in 0..24 {
            assert!(draw(&SIMULATED, &sample::grown(44), &all_news(44), sample::at(0), (60, rows)).len() <= rows);
        }
    }

    #[test]
    fn all_news_in_lines() {
        let news = all_news(44);
        let lines: Vec<Line> = news.iter().flat_map(|item| news_lines(item, sample::at(0), 80)).collect();
        insta::assert_snapshot!(page(&lines));
    }

    #[test]
    fn all_clusters_side_by_side() {
        let lines = status_lines(&sample::growing(27), sample::at(0), 120);
        insta::assert_snapshot!(page(&lines));
        let lines = status_lines(&sample::growing(27), sample::at(0), 80);
        insta::assert_snapshot!(page(&lines));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for columns in [60, 80, 100, 120] {
            for scene in sample::scenes().iter().chain([&sample::unseen(1)]) {
                for line in status_lines(scene, sample::at(0), columns) {
                    assert!(line.width() <= columns, "{columns}: {}", page(&[line]));
                }
            }
        }
    }
}
