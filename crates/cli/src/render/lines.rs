//! Lines of the form "Name:   value".

use std::fmt::Write as _;

use super::{Page, Tone};

/// Below this, broken lines are harder to read than long ones.
const NARROWEST: usize = 60;

/// Collects lines.
#[derive(Default)]
pub(super) struct Lines {
    text: String,
}

impl Lines {
    /// An empty line, unless it is the first.
    pub fn gap(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    /// Text as it is, with its own ends of lines.
    pub fn block(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// One line.
    pub fn line(&mut self, indent: usize, text: &str) {
        self.text.push_str(&" ".repeat(indent));
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// "Name: value", the values of all names of this length one below the other.
    pub fn field(&mut self, page: &Page, indent: usize, column: usize, name: &str, (value, tone): (&str, Tone)) {
        let name = format!("{name}:");
        let start = indent.saturating_add(column).max(indent + name.len() + 1);
        let room = page.width.map(|w| usize::from(w).saturating_sub(start));
        for (i, part) in wrap(value, room.filter(|r| *r >= NARROWEST)).iter().enumerate() {
            let lead = if i == 0 {
                format!("{}{name}", " ".repeat(indent))
            } else {
                String::new()
            };
            // Writing to a String cannot fail.
            let _ = writeln!(self.text, "{lead:start$}{}", tone.paint(part));
        }
    }

    /// A paragraph, broken at the page's width.
    pub fn paragraph(&mut self, page: &Page, indent: usize, text: &str, tone: Tone) {
        let room = page.width.map(|w| usize::from(w).saturating_sub(indent));
        for part in wrap(text, room.filter(|r| *r >= NARROWEST)) {
            self.line(indent, &tone.paint(&part));
        }
    }

    /// All of it.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// Breaks between words.
fn wrap(text: &str, room: Option<usize>) -> Vec<String> {
    let Some(room) = room else { return vec![text.to_owned()] };
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}
