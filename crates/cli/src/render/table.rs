//! Tables without lines, as kubectl prints them.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement};

use super::Tone;

/// Spaces between two columns.
const GAP: u16 = 3;

/// A table under construction.
pub(super) struct Table {
    inner: comfy_table::Table,
    indent: usize,
}

/// A cell: its text and what its colour tells.
pub(super) type Field = (String, Tone);

/// A plain cell.
pub(super) fn plain(text: impl Into<String>) -> Field {
    (text.into(), Tone::Plain)
}

impl Table {
    /// A table with these columns; those whose header ends with `>` (not printed) are aligned to the right.
    pub fn new(headers: &[&str]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(comfy_table::presets::NOTHING);
        inner.enforce_styling();
        inner.style_text_only();
        inner.set_content_arrangement(ContentArrangement::Disabled);
        inner.set_header(headers.iter().map(|h| cell(&(h.trim_end_matches('>').to_owned(), Tone::Title))));
        for (column, header) in inner.column_iter_mut().zip(headers) {
            column.set_padding((0, GAP));
            if header.ends_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self { inner, indent: 0 }
    }

    /// Set in by so many spaces.
    pub fn indented(mut self, indent: usize) -> Self {
        self.indent = indent;
        self
    }

    /// Breaks lines in the last column, where the width is known.
    pub fn within(mut self, width: Option<u16>) -> Self {
        /// Below this, broken lines are harder to read than long ones.
        const NARROWEST: u16 = 60;
        let indent = u16::try_from(self.indent).unwrap_or(0);
        if let Some(width) = width.map(|w| w.saturating_sub(indent)).filter(|w| *w >= NARROWEST) {
            self.inner.set_content_arrangement(ContentArrangement::Dynamic);
            self.inner.set_width(width);
        }
        self
    }

    /// Adds a row.
    pub fn row(&mut self, fields: &[Field]) {
        self.inner.add_row(fields.iter().map(cell));
    }

    /// The lines, without blanks at their ends.
    pub fn text(&self) -> String {
        let indent = " ".repeat(self.indent);
        let mut text = String::new();
        for line in self.inner.lines() {
            text.push_str(&indent);
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn cell((text, tone): &Field) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::Green),
        Tone::Watch => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red).add_attribute(Attribute::Bold),
        Tone::Faint => cell.add_attribute(Attribute::Dim),
        Tone::Title => cell.add_attribute(Attribute::Bold),
    }
}
