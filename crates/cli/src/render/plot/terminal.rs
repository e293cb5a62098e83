//! Plots of characters.

use super::scale::{Height, Width, place};
use super::{Line, Plot, Stroke, Tone};

/// Dots in a braille character: 2 columns, 4 rows.
const DOTS: (usize, usize) = (2, 4);
/// U+2800 plus a bit for each dot, by column and row.
const BRAILLE: u32 = 0x2800;
const BITS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
/// Columns left of the drawing, for the values of the y axis.
const MARGIN: usize = 8;
/// Rows of the drawing.
const ROWS: usize = 14;
/// Columns between two texts of the x axis.
const BETWEEN: usize = 14;

/// What stands at one place.
#[derive(Clone, Copy, Default)]
struct Cell {
    dots: u32,
    character: Option<char>,
    tone: Option<Tone>,
}

struct Grid {
    columns: usize,
    cells: Vec<Cell>,
}

impl Grid {
    /// The cell of a column and a row, counted from the bottom.
    fn cell(&mut self, column: usize, row: usize) -> Option<&mut Cell> {
        let index = ROWS.checked_sub(row + 1)? * self.columns + column;
        self.cells.get_mut(index).filter(|_| column < self.columns)
    }

    fn put(&mut self, column: usize, row: usize, character: char, tone: Tone) {
        if let Some(cell) = self.cell(column, row) {
            *cell = Cell {
                character: Some(character),
                tone: Some(tone),
                dots: 0,
            };
        }
    }

    fn dot(&mut self, x: usize, y: usize, tone: Tone) {
        let bit = BITS.get(x % DOTS.0).and_then(|bits| bits.get(DOTS.1 - 1 - y % DOTS.1)).copied();
        if let (Some(cell), Some(bit)) = (self.cell(x / DOTS.0, y / DOTS.1), bit) {
            cell.dots |= bit;
            cell.tone = Some(tone);
        }
    }
}

/// The plot as text of so many columns, with colours.
pub(in super::super) fn terminal(plot: &Plot, columns: usize) -> String {
    let right = plot.lines.iter().map(|line| line.label.chars().count() + 1).max().unwrap_or(0);
    let columns = columns.saturating_sub(MARGIN + right).max(20);
    let (height, width) = (Height::of(plot), Width::of(plot));
    let mut grid = Grid {
        columns,
        cells: vec![Cell::default(); columns * ROWS],
    };
    let mut lines: Vec<&Line> = plot.lines.iter().collect();
    lines.sort_by_key(|line| line.stroke);
    for line in &lines {
        match line.stroke {
            Stroke::Band => band(&mut grid, line, height),
            Stroke::Size => steps(&mut grid, line, height, ['─', '│', '┘', '┌', '┐', '└']),
            Stroke::Other => steps(&mut grid, line, height, ['═', '║', '╝', '╔', '╗', '╚']),
        }
    }
    let mut text = String::new();
    let mut axis = vec![String::new(); ROWS];
    for (value, label) in height.ticks(ROWS / 3) {
        if let Some(place) = axis.get_mut(place(value / height.most, ROWS)) {
            *place = label;
        }
    }
    for (row, label) in axis.iter().enumerate().rev() {
        let cells = grid.cells.chunks(columns).nth(ROWS - row - 1).unwrap_or_default();
        let ends = ends(plot, height, row);
        let drawn = Tone::Faint.paint(&format!("{label:>7}┤")) + &painted(cells) + &ends;
        text.push_str(drawn.trim_end());
        text.push('\n');
    }
    text.push_str(&x_axis(plot, columns, width));
    text
}

/// The range of a line in a share of the time.
fn range(line: &Line, place: usize, of: usize) -> Option<(f64, f64)> {
    let count = line.parts.len();
    let from = place * count / of.max(1);
    let to = ((place + 1) * count / of.max(1)).max(from + 1);
    let parts = line.parts.get(from..to.min(count))?.iter().flatten();
    parts.copied().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

fn band(grid: &mut Grid, line: &Line, height: Height) {
    let (columns, rows) = (grid.columns * DOTS.0, ROWS * DOTS.1);
    let mut before: Option<(usize, usize)> = None;
    for column in 0..columns {
        let Some((least, most)) = range(line, column, columns) else {
            continue;
        };
        let (low, high) = (place(least / height.most, rows), place(most / height.most, rows));
        // A steep part is drawn without gaps.
        let (from, to) = match before {
            Some((_, high_before)) if high_before < low => (high_before + 1, high),
            Some((low_before, _)) if low_before > high => (low, low_before - 1),
            _ => (low, high),
        };
        for y in from..=to {
            grid.dot(column, y, line.tone);
        }
        before = Some((low, high));
    }
}

/// `[flat, between, up from the left, up to the right, down from the left, down to the right]`
fn steps(grid: &mut Grid, line: &Line, height: Height, [flat, between, up_left, up_right, down_left, down_right]: [char; 6]) {
    let mut before: Option<usize> = None;
    for column in 0..grid.columns {
        let Some((_, most)) = range(line, column, grid.columns) else {
            continue;
        };
        let row = place(most / height.most, ROWS);
        match before.filter(|before| *before != row) {
            Some(before) => {
                for passed in row.min(before) + 1..row.max(before) {
                    grid.put(column, passed, between, line.tone);
                }
                let (left, right) = if row > before {
                    (up_left, up_right)
                } else {
                    (down_left, down_right)
                };
                grid.put(column, before, left, line.tone);
                grid.put(column, row, right, line.tone);
            }
            None => grid.put(column, row, flat, line.tone),
        }
        before = Some(row);
    }
}

/// Cells of one tone are painted together.
fn painted(cells: &[Cell]) -> String {
    let mut text = String::new();
    for run in cells.chunk_by(|a, b| a.tone == b.tone) {
        let glyphs = run.iter().map(|cell| {
            let braille = char::from_u32(BRAILLE + cell.dots).filter(|_| cell.dots > 0);
            braille.or(cell.character).unwrap_or(' ')
        });
        let glyphs: String = glyphs.collect();
        text.push_str(&run.first().and_then(|c| c.tone).unwrap_or(Tone::Plain).paint(&glyphs));
    }
    text
}

/// The names of the lines that end in a row.
fn ends(plot: &Plot, height: Height, row: usize) -> String {
    let mut text = String::new();
    for line in &plot.lines {
        let last = line.parts.iter().rev().flatten().next();
        if last.is_some_and(|(_, most)| place(most / height.most, ROWS) == row) {
            text.push(' ');
            text.push_str(&line.tone.paint(line.label));
        }
    }
    text
}

/// The axis with its moments, and the marks below it.
fn x_axis(plot: &Plot, columns: usize, width: Width) -> String {
    let mut rule: Vec<char> = vec!['─'; columns];
    let mut moments: Vec<char> = vec![' '; columns + BETWEEN];
    for (at, label) in width.ticks(columns / BETWEEN) {
        let column = place(width.share(at), columns);
        write(&mut rule, column, "┬");
        write(&mut moments, column, &label);
    }
    let text = |characters: &[char]| characters.iter().collect::<String>();
    let indent = " ".repeat(MARGIN);
    let mut lines = vec![
        Tone::Faint.paint(&format!("{:>7}┴{}", "", text(&rule))),
        format!("{indent}{}", Tone::Faint.paint(text(&moments).trim_end())),
    ];
    for marks in &plot.marks {
        let mut row: Vec<char> = vec![' '; columns];
        for at in &marks.at {
            if let Some(place) = row.get_mut(place(width.share(*at), columns)) {
                *place = marks.letter;
            }
        }
        lines.extend(marked(marks.label, &row, marks.tone));
    }
    let down: Vec<char> = (0..columns)
        .map(|c| if is_down(&plot.down, c, columns) { '!' } else { ' ' })
        .collect();
    lines.extend(marked("down", &down, Tone::Bad));
    lines.iter().fold(String::new(), |all, line| all + line.trim_end() + "\n")
}

/// A row of marks; none where there are no marks in it.
fn marked(label: &str, row: &[char], tone: Tone) -> Option<String> {
    let marks: String = row.iter().collect();
    let marks = marks.trim_end();
    (!marks.is_empty()).then(|| format!("{} {}", Tone::Faint.paint(&format!("{label:>7}")), tone.paint(marks)))
}

fn is_down(down: &[bool], column: usize, columns: usize) -> bool {
    let from = column * down.len() / columns.max(1);
    let to = ((column + 1) * down.len() / columns.max(1)).max(from + 1);
    down.get(from..to.min(down.len())).unwrap_or_default().contains(&true)
}

fn write(into: &mut [char], column: usize, text: &str) {
    for (place, character) in into.iter_mut().skip(column).zip(text.chars()) {
        *place = character;
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::super::Marks;
    use super::*;

    #[test]
    fn nothing_and_hardly_anything() {
        let mut plot = Plot {
            title: String::new(),
            from: Timestamp::UNIX_EPOCH,
            to: Timestamp::UNIX_EPOCH,
            lines: Vec::new(),
            marks: Vec::new(),
            down: Vec::new(),
        };
        assert_eq!(terminal(&plot, 0).lines().count(), ROWS + 2);
        plot.lines.push(Line {
            stroke: Stroke::Band,
            tone: Tone::Plain,
            label: "used",
            parts: vec![None, Some((1.0, 1.0))],
        });
        plot.to += SignedDuration::from_hours(10_000);
        plot.marks.push(Marks {
            letter: 'A',
            label: "grows",
            tone: Tone::Plain,
            at: vec![plot.to],
        });
        plot.down = vec![false, true];
        assert_eq!(terminal(&plot, 60).lines().count(), ROWS + 4);
    }

    #[test]
    fn the_widest_line_fits() {
        let line = |stroke, value| Line {
            stroke,
            tone: Tone::Plain,
            label: "size",
            parts: vec![Some((value, value)); 7],
        };
        let plot = Plot {
            title: String::new(),
            from: Timestamp::UNIX_EPOCH,
            to: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(48),
            lines: vec![line(Stroke::Band, 3e9), line(Stroke::Size, 8e9)],
            marks: Vec::new(),
            down: Vec::new(),
        };
        for columns in [60, 79, 80, 120] {
            let text = terminal(&plot, columns);
            let plain = anstream::adapter::strip_str(&text).to_string();
            let widest = plain.lines().map(|l| l.chars().count()).max().unwrap_or(0);
            assert!(widest <= columns, "{widest} of {columns}:\n{plain}");
        }
    }
}
