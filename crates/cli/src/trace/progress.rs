//! How far a long command has come: on standard error, where that is a terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// What takes less is not shown, and how often it is shown.
const EVERY: Duration = Duration::from_millis(250);
/// The clock is looked at once for so much.
const GRAIN: u64 = 4096;

/// Says how far one step after the other has come.
#[derive(Debug)]
pub struct Progress {
    /// None: nobody looks.
    shown: Option<Instant>,
    what: &'static str,
    done: u64,
    of: u64,
    next: u64,
    is_on_screen: bool,
}

impl Progress {
    /// Shows something where standard error is a terminal.
    #[must_use]
    pub fn on_terminal() -> Self {
        Self::new(io::stderr().is_terminal())
    }

    /// Shows nothing.
    #[must_use]
    pub fn hidden() -> Self {
        Self::new(false)
    }

    fn new(shown: bool) -> Self {
        Self {
            shown: shown.then(Instant::now),
            what: "",
            done: 0,
            of: 0,
            next: 0,
            is_on_screen: false,
        }
    }

    /// A step begins, of so much; 0 where nobody knows.
    pub fn begin(&mut self, what: &'static str, of: u64) {
        (self.what, self.of, self.done, self.next) = (what, of, 0, GRAIN);
    }

    /// So much more is done.
    pub fn add(&mut self, count: u64) {
        self.done = self.done.saturating_add(count);
        if self.done < self.next {
            return;
        }
        self.next = self.done.saturating_add(GRAIN);
        let Some(last) = self.shown.filter(|last| last.elapsed() >= EVERY) else {
            return;
        };
        self.shown = Some(last + last.elapsed());
        let share = match self.done.saturating_mul(100).checked_div(self.of) {
            Some(percent) => format!("{} %", percent.min(100)),
            None => self.done.to_string(),
        };
        self.is_on_screen = true;
        // Whether it can be seen changes nothing.
        let _ = write!(io::stderr(), "\r{}: {share}  ", self.what);
    }

    /// The step is over: nothing of it stays on the screen.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.is_on_screen) {
            let _ = write!(io::stderr(), "\r{:width$}\r", "", width = self.what.len() + 24);
        }
    }
}
