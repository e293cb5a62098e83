//! A small plot of characters: curves in braille, steps in box-drawing lines, hints in dots. It knows nothing of disks.

use super::text::{Line, Tone};

/// Dots in a braille character: 2 columns, 4 rows.
const DOTS: (usize, usize) = (2, 4);
/// U+2800 plus a bit for each dot, by column and row.
const BRAILLE: u32 = 0x2800;
const BITS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
/// Columns left of the drawing, for the values of the y axis.
const MARGIN: usize = 8;

/// How a series is drawn. Later kinds are drawn over earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stroke {
    /// `·`
    Hint,
    /// `─┘`
    Step,
    /// `⠤⠒`
    Curve,
}

/// A line in the plot.
#[derive(Clone, Debug)]
pub struct Series {
    /// How it is drawn.
    pub stroke: Stroke,
    /// In which tone.
    pub tone: Tone,
    /// Written at its right end.
    pub label: String,
    /// By rising x.
    pub points: Vec<(f64, f64)>,
}

/// A moment that is marked below the x axis.
#[derive(Clone, Debug)]
pub struct Mark {
    /// When.
    pub x: f64,
    /// Its letter.
    pub letter: char,
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Columns, labels included.
    pub columns: usize,
    /// Rows of the drawing itself.
    pub rows: usize,
    /// Unit of the y axis.
    pub unit: String,
    /// What is drawn.
    pub series: Vec<Series>,
    /// What is marked.
    pub marks: Vec<Mark>,
}

/// Maps values to places.
#[derive(Clone, Copy)]
struct Scale {
    from: f64,
    to: f64,
}

impl Scale {
    fn around(values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let from = values.clone().reduce(f64::min)?;
        let to = values.reduce(f64::max)?;
        Some(Self {
            from,
            to: if to > from { to } else { from + 1.0 },
        })
    }

    /// The place of a value among `count`, from 0.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0 and count, which is small"
    )]
    fn place(self, value: f64, count: usize) -> usize {
        let last = count.saturating_sub(1);
        let share = (value - self.from) / (self.to - self.from);
        ((share * real(last)).round().max(0.0) as usize).min(last)
    }

    /// The value at a place.
    fn value(self, place: usize, count: usize) -> f64 {
        self.from + (self.to - self.from) * real(place) / real(count.saturating_sub(1).max(1))
    }
}

#[expect(clippy::cast_precision_loss, reason = "columns and rows are few")]
fn real(count: usize) -> f64 {
    count as f64
}

/// What stands at one place.
#[derive(Clone, Copy, Default)]
struct Cell {
    dots: u32,
    character: Option<char>,
    tone: Tone,
}

impl Cell {
    fn glyph(self) -> char {
        let braille = char::from_u32(BRAILLE + self.dots).filter(|_| self.dots > 0);
        braille.or(self.character).unwrap_or(' ')
    }
}

struct Grid {
    columns: usize,
    rows: usize,
    cells: Vec<Cell>,
}

impl Grid {
    /// The cell of a column and a row, counted from the bottom.
    fn cell(&mut self, column: usize, row: usize) -> Option<&mut Cell> {
        let index = (self.rows.checked_sub(row + 1)?) * self.columns + column;
        self.cells.get_mut(index).filter(|_| column < self.columns)
    }

    fn put(&mut self, column: usize, row: usize, character: char, tone: Tone) {
        if let Some(cell) = self.cell(column, row) {
            *cell = Cell {
                character: Some(character),
                tone,
                dots: 0,
            };
        }
    }

    fn dot(&mut self, x: usize, y: usize, tone: Tone) {
        let bit = BITS.get(x % DOTS.0).and_then(|bits| bits.get(DOTS.1 - 1 - y % DOTS.1)).copied();
        if let (Some(cell), Some(bit)) = (self.cell(x / DOTS.0, y / DOTS.1), bit) {
            cell.dots |= bit;
            cell.tone = tone;
        }
    }
}

/// The plot as lines; none where there is nothing to plot.
pub fn draw(plot: &Plot) -> Vec<Line> {
    let points = plot.series.iter().flat_map(|series| &series.points);
    let (Some(x), Some(y)) = (
        Scale::around(points.clone().map(|(x, _)| *x)),
        Scale::around(points.map(|(_, y)| *y)),
    ) else {
        return Vec::new();
    };
    // A little room below and above.
    let room = (y.to - y.from) / real(plot.rows);
    let y = Scale {
        from: (y.from - room).max(0.0),
        to: y.to + room / 2.0,
    };
    let right = plot.series.iter().map(|series| series.label.chars().count() + 1).max().unwrap_or(0);
    let columns = plot.columns.saturating_sub(MARGIN + right).max(10);
    let mut grid = Grid {
        columns,
        rows: plot.rows,
        cells: vec![Cell::default(); columns * plot.rows],
    };
    let mut series: Vec<&Series> = plot.series.iter().collect();
    series.sort_by_key(|series| series.stroke);
    for series in series {
        match series.stroke {
            Stroke::Hint => hint(&mut grid, series, x, y),
            Stroke::Step => step(&mut grid, series, x, y),
            Stroke::Curve => curve(&mut grid, series, x, y),
        }
    }
    let labels = labels(plot, y);
    let rows = (0..plot.rows).rev().zip(labels.into_iter().rev());
    let mut lines: Vec<Line> = rows.map(|(row, label)| row_line(plot, &grid, (row, label), y)).collect();
    lines.extend(axis(plot, columns, x));
    lines
}

/// The value of a series at x: that of the last point at or before it, or between two.
fn value(series: &Series, x: f64, between: bool) -> Option<f64> {
    let after = series.points.partition_point(|(at, _)| *at <= x);
    let before = series.points.get(after.checked_sub(1)?)?;
    match series.points.get(after).filter(|_| between) {
        Some(next) => Some(before.1 + (next.1 - before.1) * (x - before.0) / (next.0 - before.0)),
        None => Some(before.1),
    }
}

fn hint(grid: &mut Grid, series: &Series, x: Scale, y: Scale) {
    for column in (0..grid.columns).step_by(2) {
        if let Some(value) = value(series, x.value(column, grid.columns), false) {
            grid.put(column, y.place(value, grid.rows), '·', series.tone);
        }
    }
}

fn step(grid: &mut Grid, series: &Series, x: Scale, y: Scale) {
    let mut before = None;
    for column in 0..grid.columns {
        let Some(value) = value(series, x.value(column, grid.columns), false) else {
            continue;
        };
        let row = y.place(value, grid.rows);
        match before.filter(|before| *before != row) {
            Some(before) => {
                let (low, high) = (row.min(before), row.max(before));
                for between in low + 1..high {
                    grid.put(column, between, '│', series.tone);
                }
                let (at_before, at_row) = if row > before { ('┘', '┌') } else { ('┐', '└') };
                grid.put(column, before, at_before, series.tone);
                grid.put(column, row, at_row, series.tone);
            }
            None => grid.put(column, row, '─', series.tone),
        }
        before = Some(row);
    }
}

fn curve(grid: &mut Grid, series: &Series, x: Scale, y: Scale) {
    let (width, height) = (grid.columns * DOTS.0, grid.rows * DOTS.1);
    let mut before = None;
    for column in 0..width {
        let Some(value) = value(series, x.value(column, width), true) else {
            continue;
        };
        let place = y.place(value, height);
        // A steep part is drawn without gaps.
        let from = before.map_or(place, |before: usize| {
            if before < place {
                before + 1
            } else {
                before.saturating_sub(1).max(place)
            }
        });
        for y in from.min(place)..=from.max(place) {
            grid.dot(column, y, series.tone);
        }
        before = Some(place);
    }
}

/// What is written left of each row, from the bottom: round values, and the unit at the top.
fn labels(plot: &Plot, y: Scale) -> Vec<String> {
    let mut labels = vec![String::new(); plot.rows];
    let step = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
        .into_iter()
        .find(|step| (y.to - y.from) / step * 2.0 <= real(plot.rows))
        .unwrap_or(y.to - y.from);
    let decimals = usize::from(step < 1.0);
    let mut value = (y.from / step).ceil() * step;
    while value <= y.to {
        if let Some(label) = labels.get_mut(y.place(value, plot.rows)) {
            *label = format!("{value:.decimals$}");
        }
        value += step;
    }
    if let Some(top) = labels.last_mut() {
        *top = format!("{} {top:>3}", plot.unit);
    }
    labels
}

fn row_line(plot: &Plot, grid: &Grid, (row, label): (usize, String), y: Scale) -> Line {
    let mut line = Line::of(Tone::Faint, format!("{label:>7}┤"));
    let start = (plot.rows - row - 1) * grid.columns;
    for cell in grid.cells.iter().skip(start).take(grid.columns) {
        line = line.and(cell.tone, cell.glyph());
    }
    let ends = plot.series.iter().filter(|series| {
        let last = series.points.last();
        last.is_some_and(|(_, value)| y.place(*value, plot.rows) == row)
    });
    ends.fold(line, |line, series| line.plain(" ").and(series.tone, series.label.clone()))
}

/// The x axis in seconds, and the marks below it.
fn axis(plot: &Plot, columns: usize, x: Scale) -> [Line; 3] {
    let mut rule: Vec<char> = vec!['─'; columns];
    let mut numbers: Vec<char> = vec![' '; columns + 4];
    let mut marks: Vec<char> = vec![' '; columns];
    let step = if x.to - x.from > 60.0 { 20.0 } else { 10.0 };
    let mut tick = (x.from / step).ceil() * step;
    while tick <= x.to {
        let column = x.place(tick, columns);
        write(&mut rule, column, "┬");
        write(&mut numbers, column, &format!("{tick:.0}"));
        tick += step;
    }
    for mark in &plot.marks {
        let column = x.place(mark.x, columns);
        // One that meets another goes to its right, so that none is lost.
        let free = (column..columns).find(|column| marks.get(*column) == Some(&' '));
        if let Some(place) = free.and_then(|column| marks.get_mut(column)) {
            *place = mark.letter;
        }
    }
    let text = |characters: Vec<char>| characters.into_iter().collect::<String>();
    let indent = " ".repeat(MARGIN);
    [
        Line::of(Tone::Faint, format!("{:>7}┴{}", "", text(rule))),
        Line::of(Tone::Faint, format!("{indent}{} s", text(numbers).trim_end())),
        Line::of(Tone::Plain, format!("{indent}{}", text(marks))),
    ]
}

fn write(into: &mut [char], column: usize, text: &str) {
    for (place, character) in into.iter_mut().skip(column).zip(text.chars()) {
        *place = character;
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::page;
    use super::*;

    fn series(stroke: Stroke, label: &str, points: &[(f64, f64)]) -> Series {
        Series {
            stroke,
            tone: Tone::Plain,
            label: label.to_owned(),
            points: points.to_vec(),
        }
    }

    #[test]
    fn a_step_a_curve_a_hint_and_marks() {
        let plot = Plot {
            columns: 44,
            rows: 8,
            unit: "GiB".to_owned(),
            series: vec![
                series(Stroke::Curve, "used", &[(0.0, 7.0), (10.0, 7.0), (30.0, 9.0)]),
                series(Stroke::Step, "size", &[(0.0, 10.0), (20.0, 14.0), (30.0, 14.0)]),
                series(Stroke::Hint, "85 %", &[(0.0, 8.5), (20.0, 11.9), (30.0, 11.9)]),
            ],
            marks: vec![
                Mark { x: 12.0, letter: 'A' },
                Mark { x: 12.1, letter: 'B' },
                Mark { x: 30.0, letter: 'C' },
            ],
        };
        insta::assert_snapshot!(page(&draw(&plot)));
    }

    #[test]
    fn nothing_and_hardly_anything() {
        let mut plot = Plot {
            columns: 30,
            rows: 4,
            unit: String::new(),
            series: Vec::new(),
            marks: Vec::new(),
        };
        assert!(draw(&plot).is_empty());
        plot.series.push(series(Stroke::Curve, "x", &[(1.0, 1.0)]));
        assert_eq!(draw(&plot).len(), 4 + 3);
        plot.columns = 0;
        assert_eq!(draw(&plot).len(), 4 + 3);
    }
}
