//! Plots for documents.

use std::fmt::Write as _;

use super::scale::{Height, Width, real};
use super::{Line, Marks, Plot, Stroke};

/// Pixels: of a plot with its margins, and of the margins themselves.
const WIDE: f64 = 960.0;
const HIGH: f64 = 320.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 88.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 40.0;

/// All plots, one below the other.
pub(in super::super) fn svg(plots: &[Plot]) -> String {
    let height = HIGH * real(plots.len().max(1));
    let mut text = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {height}" width="{WIDE}" height="{height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
"##
    );
    for (index, plot) in plots.iter().enumerate() {
        one(&mut text, plot, HIGH * real(index));
    }
    text.push_str("</svg>\n");
    text
}

const fn colour(stroke: Stroke) -> &'static str {
    match stroke {
        Stroke::Band => "#1f5fa8",
        Stroke::Size => "#2e7d32",
        Stroke::Other => "#c77700",
    }
}

/// Where a plot is.
struct Frame {
    width: Width,
    height: Height,
    top: f64,
}

impl Frame {
    fn y(&self, bytes: f64) -> f64 {
        self.top + HIGH - BOTTOM - bytes / self.height.most * (HIGH - TOP - BOTTOM)
    }
}

/// The place of a share of the time.
fn x_of(share: f64) -> f64 {
    LEFT + share * (WIDE - LEFT - RIGHT)
}

fn one(text: &mut String, plot: &Plot, top: f64) {
    let frame = Frame {
        width: Width::of(plot),
        height: Height::of(plot),
        top,
    };
    // Writing to a String cannot fail.
    let title = escaped(&plot.title);
    let _ = writeln!(text, r#"<g role="img" aria-label="{title}">"#);
    let _ = writeln!(
        text,
        r##"<text x="{LEFT}" y="{:.1}" font-size="14" fill="#222222">{title}</text>"##,
        top + 22.0
    );
    axes(text, &frame);
    outages(text, plot, &frame);
    let mut lines: Vec<&Line> = plot.lines.iter().collect();
    lines.sort_by_key(|line| line.stroke);
    for line in &lines {
        match line.stroke {
            Stroke::Band => band(text, line, &frame),
            Stroke::Size | Stroke::Other => steps(text, line, &frame),
        }
    }
    labels(text, plot, &frame);
    for marks in &plot.marks {
        marked(text, marks, &frame);
    }
    text.push_str("</g>\n");
}

fn axes(text: &mut String, frame: &Frame) {
    let (left, right, bottom) = (x_of(0.0), x_of(1.0), frame.y(0.0));
    for (value, label) in frame.height.ticks(6) {
        let y = frame.y(value);
        let _ = writeln!(
            text,
            r##"<line x1="{left:.1}" y1="{y:.1}" x2="{right:.1}" y2="{y:.1}" stroke="#dddddd"/><text x="{:.1}" y="{:.1}" text-anchor="end" fill="#555555">{label}</text>"##,
            left - 6.0,
            y + 4.0
        );
    }
    for (at, label) in frame.width.ticks(10) {
        let x = x_of(frame.width.share(at));
        let _ = writeln!(
            text,
            r##"<line x1="{x:.1}" y1="{bottom:.1}" x2="{x:.1}" y2="{:.1}" stroke="#555555"/><text x="{x:.1}" y="{:.1}" text-anchor="middle" fill="#555555">{label}</text>"##,
            bottom + 4.0,
            bottom + 18.0
        );
    }
}

/// Red where an instance was down.
fn outages(text: &mut String, plot: &Plot, frame: &Frame) {
    let count = real(plot.down.len().max(1));
    let mut place = 0;
    for run in plot.down.chunk_by(|a, b| a == b) {
        let (from, to) = (x_of(real(place) / count), x_of(real(place + run.len()) / count));
        place += run.len();
        if run.first() == Some(&true) {
            let (y, high) = (frame.y(frame.height.most), frame.y(0.0) - frame.y(frame.height.most));
            let wide = to - from;
            let _ = writeln!(
                text,
                r##"<rect x="{from:.1}" y="{y:.1}" width="{wide:.1}" height="{high:.1}" fill="#d32f2f" fill-opacity="0.2"><title>down: the volume was full</title></rect>"##
            );
        }
    }
}

/// The middle of each part of the time that has a value, as a share.
fn middles(line: &Line) -> impl DoubleEndedIterator<Item = (f64, (f64, f64))> {
    let count = real(line.parts.len().max(1));
    let parts = line.parts.iter().enumerate();
    parts.filter_map(move |(i, part)| Some(((real(i) + 0.5) / count, (*part)?)))
}

fn band(text: &mut String, line: &Line, frame: &Frame) {
    let point = |share: f64, value: f64| format!("{:.1},{:.1}", x_of(share), frame.y(value));
    let there = middles(line).map(|(share, (_, most))| point(share, most));
    let back = middles(line).rev().map(|(share, (least, _))| point(share, least));
    let points: Vec<String> = there.chain(back).collect();
    let colour = colour(line.stroke);
    let _ = writeln!(
        text,
        r#"<polygon points="{}" fill="{colour}" fill-opacity="0.5" stroke="{colour}" stroke-width="1.5"/>"#,
        points.join(" ")
    );
}

fn steps(text: &mut String, line: &Line, frame: &Frame) {
    let count = real(line.parts.len().max(1));
    let mut path = String::new();
    let mut before: Option<f64> = None;
    for (index, part) in line.parts.iter().enumerate() {
        let Some((_, most)) = part else { continue };
        let (x, y) = (x_of(real(index) / count), frame.y(*most));
        match before {
            None => drop(write!(path, "M{x:.1},{y:.1}")),
            Some(last) if last.to_bits() != most.to_bits() => drop(write!(path, "H{x:.1}V{y:.1}")),
            Some(_) => {}
        }
        before = Some(*most);
    }
    if before.is_some() {
        let _ = write!(path, "H{:.1}", x_of(1.0));
    }
    let dashes = if line.stroke == Stroke::Other {
        r#" stroke-dasharray="6 3""#
    } else {
        ""
    };
    let colour = colour(line.stroke);
    let _ = writeln!(text, r#"<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>"#);
}

/// The names of the lines at their right ends, none over another.
fn labels(text: &mut String, plot: &Plot, frame: &Frame) {
    const APART: f64 = 14.0;
    let ends = plot.lines.iter().filter_map(|line| {
        let (_, (_, most)) = middles(line).next_back()?;
        Some((frame.y(most) + 4.0, line))
    });
    let mut ends: Vec<(f64, &Line)> = ends.collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut lowest = f64::MIN;
    for (y, line) in ends {
        let y = y.max(lowest + APART);
        lowest = y;
        let (x, colour, label) = (x_of(1.0) + 6.0, colour(line.stroke), escaped(line.label));
        let _ = writeln!(text, r#"<text x="{x:.1}" y="{y:.1}" fill="{colour}">{label}</text>"#);
    }
}

fn marked(text: &mut String, marks: &Marks, frame: &Frame) {
    let colour = if marks.letter == 'B' {
        colour(Stroke::Other)
    } else {
        colour(Stroke::Size)
    };
    for at in &marks.at {
        let (x, y) = (x_of(frame.width.share(*at)), frame.y(0.0));
        let _ = writeln!(
            text,
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"><title>{at}</title></circle>"#
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
