//! Lines of text in colours, and what fits into them. Nothing here knows what the demo is about.
//!
//! Every character that the demo prints is one column wide, so characters count as columns.

use csm_units::Bytes;
use jiff::SignedDuration;

/// What a piece of text means; a terminal shows it as a colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// Headings and names.
    Strong,
    /// Of less weight.
    Faint,
    /// All is well.
    Good,
    /// To be watched.
    Warn,
    /// In danger, or failed.
    Bad,
    /// What the manager does.
    Active,
}

impl Tone {
    /// The parameters of ANSI's "select graphic rendition" (ECMA-48, 8.3.117).
    const fn codes(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("1"),
            Self::Faint => Some("2"),
            Self::Good => Some("32"),
            Self::Warn => Some("33"),
            Self::Bad => Some("31"),
            Self::Active => Some("36"),
        }
    }
}

/// One line, in pieces of different tones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Vec<(String, Tone)>);

impl Line {
    /// An empty one.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// One of a single tone.
    pub fn of(tone: Tone, text: impl Into<String>) -> Self {
        Self::new().and(tone, text)
    }

    /// With more at its end.
    #[must_use]
    pub fn and(mut self, tone: Tone, text: impl Into<String>) -> Self {
        let text = text.into();
        match self.0.last_mut() {
            Some((last, same)) if *same == tone => last.push_str(&text),
            _ => self.0.push((text, tone)),
        }
        self
    }

    /// With more at its end, in the tone of plain text.
    #[must_use]
    pub fn plain(self, text: impl Into<String>) -> Self {
        self.and(Tone::Plain, text)
    }

    /// With all of another line at its end.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// With spaces at its end, up to `width` columns.
    #[must_use]
    pub fn pad_to(self, width: usize) -> Self {
        let missing = width.saturating_sub(self.width());
        self.plain(" ".repeat(missing))
    }

    /// How many columns it takes.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(text, _)| text.chars().count()).sum()
    }

    /// Cut to `width` columns; an ellipsis shows that something is missing.
    #[must_use]
    pub fn cut(self, width: usize) -> Self {
        if self.width() <= width {
            return self;
        }
        let mut left = width.saturating_sub(1);
        let mut cut = Vec::new();
        for (text, tone) in self.0 {
            let piece: String = text.chars().take(left).collect();
            left -= piece.chars().count();
            cut.push((piece, tone));
        }
        cut.push(("…".to_owned(), Tone::Faint));
        Self(cut)
    }

    /// As a terminal is to get it, with or without colours; without spaces at the end.
    pub fn render(&self, colour: bool) -> String {
        let mut rendered = String::new();
        for (text, tone) in &self.0 {
            match tone.codes().filter(|_| colour && !text.trim().is_empty()) {
                Some(codes) => {
                    rendered.push_str("\x1b[");
                    rendered.push_str(codes);
                    rendered.push('m');
                    rendered.push_str(text);
                    rendered.push_str("\x1b[0m");
                }
                None => rendered.push_str(text),
            }
        }
        rendered.truncate(rendered.trim_end_matches(' ').len());
        rendered
    }
}

/// `text` in lines of at most `width` columns, broken at spaces, but not between a number and its percent sign; only
/// words that are longer than a line are broken.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    const TOGETHER: char = '\u{a0}';
    let text = text.replace(" %", &format!("{TOGETHER}%"));
    let width = width.max(1);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut length = 0;
    for word in text.split([' ', '\n']).filter(|word| !word.is_empty()) {
        let mut word: Vec<char> = word.chars().map(|c| if c == TOGETHER { ' ' } else { c }).collect();
        if length > 0 && length + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        while word.len() > width {
            lines.push(word.drain(..width).collect());
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        length += word.len();
        line.extend(word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// `text` behind a label, its further lines below its first.
pub fn paragraph(label: Line, tone: Tone, text: &str, width: usize) -> Vec<Line> {
    let indent = label.width();
    let mut label = Some(label);
    wrap(text, width.saturating_sub(indent))
        .into_iter()
        .map(|part| label.take().unwrap_or_default().pad_to(indent).and(tone, part))
        .collect()
}

/// A size in GiB, rounded down: with one decimal, `9.9`, or with two where one says too little, `0.93`.
pub fn gib(size: Bytes) -> String {
    if size < Bytes::gib(4) {
        let hundredths = size.mul_div(100, Bytes::GIB.get()).get();
        return format!("{}.{:02}", hundredths / 100, hundredths % 100);
    }
    let tenths = size.mul_div(10, Bytes::GIB.get()).get();
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// A duration in seconds with one decimal, rounded down: `12.3 s`.
pub fn seconds(duration: SignedDuration) -> String {
    let tenths = duration.as_millis() / 100;
    let sign = if tenths < 0 { "-" } else { "" };
    format!("{sign}{}.{} s", tenths.unsigned_abs() / 10, tenths.unsigned_abs() % 10)
}

/// A duration as a clock shows it: `0:07`.
pub fn clock(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
pub fn page(lines: &[Line]) -> String {
    lines.iter().map(|line| line.render(false)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_at_spaces_and_breaks_what_is_too_long() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("a bcdef", 3), ["a", "bcd", "ef"]);
        assert_eq!(wrap("below 85 %", 8), ["below", "85 %"]);
        assert!(wrap("  ", 10).is_empty());
    }

    #[test]
    fn a_paragraph_hangs_behind_its_label() {
        let lines = paragraph(Line::of(Tone::Strong, "why: "), Tone::Plain, "one two three", 12);
        assert_eq!(page(&lines), "why: one two\n     three");
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        let line = Line::of(Tone::Bad, "full").plain("  ");
        assert_eq!(line.render(false), "full");
        assert_eq!(line.render(true), "\x1b[31mfull\x1b[0m");
    }

    #[test]
    fn a_cut_line_shows_that_it_is_cut() {
        let line = Line::of(Tone::Plain, "abc").and(Tone::Good, "def");
        assert_eq!(line.clone().cut(6).render(false), "abcdef");
        assert_eq!(line.cut(5).render(false), "abcd…");
    }

    #[test]
    fn figures_are_rounded_down() {
        assert_eq!(gib(Bytes::mib(10_239)), "9.9");
        assert_eq!(gib(Bytes::mib(960)), "0.93");
        assert_eq!(seconds(SignedDuration::from_millis(12_390)), "12.3 s");
        assert_eq!(seconds(SignedDuration::from_millis(-250)), "-0.2 s");
        assert_eq!(clock(SignedDuration::from_secs(67)), "1:07");
    }
}
