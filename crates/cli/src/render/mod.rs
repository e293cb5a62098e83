//! From data to text. Text always carries colours; the writer takes them away where there is no terminal.

mod cluster;
mod disk;
mod doctor;
mod explanation;
mod fleet;
mod levers;
mod lines;
mod plan;
mod plot;
mod relief;
mod simulated;
mod size;
mod spec_sizes;
mod table;
mod time;

use anstyle::{AnsiColor, Style};
use csm_api::State;
use jiff::Timestamp;

pub use cluster::cluster;
pub use disk::{disk, disks};
pub use doctor::doctor;
pub use explanation::explanation;
pub use fleet::fleet;
pub use levers::{expansion, lever};
pub use plan::plan;
pub use relief::relief;
pub use simulated::{simulated, simulated_svg};
pub(crate) use size::size as size_text;
pub(crate) use time::moment_and_age;
pub use time::{age, ago};

/// What a page is rendered for.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The time.
    pub now: Timestamp,
    /// Columns of the terminal, where there is one: long lines are broken.
    pub width: Option<u16>,
    /// More columns.
    pub wide: bool,
}

/// What a text tells a person by its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Plain,
    Good,
    Watch,
    Bad,
    Faint,
    Title,
}

impl Tone {
    const fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Watch => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Title => Style::new().bold(),
        }
    }

    fn of(state: State) -> Self {
        match state {
            State::Balanced => Self::Good,
            State::Resizing | State::NeedsGrow | State::PendingGrowth | State::Paused | State::DryRun => Self::Watch,
            State::Emergency | State::AtLimit | State::Blocked | State::WaitingForDiskStatus => Self::Bad,
            State::Unmanaged => Self::Faint,
        }
    }

    fn paint(self, text: &str) -> String {
        if self == Self::Plain || text.is_empty() {
            return text.to_owned();
        }
        let style = self.style();
        format!("{style}{text}{style:#}")
    }
}
