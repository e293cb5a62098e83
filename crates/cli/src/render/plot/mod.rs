//! Plots of volumes over time: what is used as a band, sizes as steps. [`mod@terminal`] draws them with characters, [`mod@svg`] for
//! documents. Coordinates are real numbers: nothing is decided by them.

mod scale;
mod svg;
mod terminal;

use jiff::Timestamp;

use super::Tone;

pub(super) use svg::svg;
pub(super) use terminal::terminal;

/// How a line is drawn. Later ones are drawn over earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stroke {
    /// The other size of two that are compared: `═`.
    Other,
    /// A size: `─`.
    Size,
    /// What is used, from the least to the most: braille.
    Band,
}

/// A value in each part of the time.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub stroke: Stroke,
    pub tone: Tone,
    /// Written at its right end.
    pub label: &'static str,
    /// The least and the most of each part, in bytes; none where there is no value.
    pub parts: Vec<Option<(f64, f64)>>,
}

/// Moments that are marked below the x axis.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    pub letter: char,
    /// Written left of them.
    pub label: &'static str,
    pub tone: Tone,
    pub at: Vec<Timestamp>,
}

/// A plot.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub title: String,
    pub from: Timestamp,
    pub to: Timestamp,
    pub lines: Vec<Line>,
    pub marks: Vec<Marks>,
    /// The parts of the time in which an instance was down.
    pub down: Vec<bool>,
}
