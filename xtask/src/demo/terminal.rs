//! Where the demo is shown: a terminal, whose second screen is drawn anew each time, or a file or pipe, which gets lines
//! as they come.

use std::io::{IsTerminal, Write};

use rustix::termios::tcgetwinsize;

use super::text::Line;

/// What is assumed where nobody says how large the terminal is.
const USUAL: (usize, usize) = (80, 24);
/// Below this nothing can be laid out; a narrower terminal cuts what is too long.
const NARROWEST: usize = 60;
/// Longer lines are hard to read.
const WIDEST: usize = 120;

/// Sequences of xterm that every terminal of today understands.
const SECOND_SCREEN: &str = "\x1b[?1049h\x1b[?25l";
const FIRST_SCREEN: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Standard output.
pub struct Terminal {
    live: bool,
    colour: bool,
    /// The second screen is shown.
    drawing: bool,
}

impl Terminal {
    /// Finds out what standard output is. `NO_COLOR` (<https://no-color.org>) and `TERM=dumb` are heeded.
    pub fn detect() -> Self {
        let terminal = std::io::stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        Self {
            live: terminal,
            colour: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            drawing: false,
        }
    }

    /// Whether pictures can be drawn over each other.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Columns and rows to lay things out in.
    pub fn size(&self) -> (usize, usize) {
        let (columns, rows) = tcgetwinsize(std::io::stdout())
            .ok()
            .filter(|size| self.live && size.ws_col > 0 && size.ws_row > 0)
            .map_or(USUAL, |size| (size.ws_col.into(), size.ws_row.into()));
        (columns.clamp(NARROWEST, WIDEST), rows)
    }

    /// Draws one picture over the one before.
    pub fn draw(&mut self, picture: &[Line]) {
        let (columns, rows) = self.size();
        let mut text = if self.drawing {
            HOME.to_owned()
        } else {
            format!("{SECOND_SCREEN}{HOME}")
        };
        self.drawing = true;
        for (row, line) in picture.iter().take(rows).enumerate() {
            if row > 0 {
                text.push_str("\r\n");
            }
            text.push_str(&line.clone().cut(columns).render(self.colour));
            text.push_str(CLEAR_LINE);
        }
        text.push_str(CLEAR_BELOW);
        write(&text);
    }

    /// Ends the drawing: what was on the screen before is there again.
    pub fn end_drawing(&mut self) {
        if std::mem::take(&mut self.drawing) {
            write(FIRST_SCREEN);
        }
    }

    /// Writes lines that stay.
    pub fn print(&mut self, lines: &[Line]) {
        self.end_drawing();
        let text: String = lines.iter().map(|line| line.render(self.colour) + "\n").collect();
        write(&text);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.end_drawing();
    }
}

/// Shows the first screen again, for an end that drops nothing.
pub fn restore() {
    if std::io::stdout().is_terminal() {
        write(FIRST_SCREEN);
    }
}

/// Where nobody reads any more (a closed pipe), there is nobody to tell either; the exit status still says how it went.
fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
