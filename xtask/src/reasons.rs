//! The table of all reasons, from csm-api (what each means) and csm-core (what to do) to `docs/reasons.md`.

use std::fmt::Write as _;
use std::path::PathBuf;

use csm_api::Reason;
use csm_core::explain::{About, Kind, about};

use crate::generated::{GeneratedArgs, keep, root};

const INTRODUCTION: &str = "\
<!-- Made by `cargo xtask reasons` from crates/api/src/reason.rs and crates/core/src/explain/reasons.rs; do not edit. -->
# Reasons

Every decision for a volume has a verdict and a reason, also when it is to do nothing. These are all the reasons there are: the status of a PostgresStorage, events, metrics, StorageEvents
and `kubectl cnpg storage explain` use these and no others, and say them in a sentence with their numbers.
";

/// Each part of the page: of which reasons, and what is said of them all.
const PARTS: [(Kind, &str, &str); 4] = [
    (Kind::Rests, "Nothing is wanted", "The verdict is `Balanced`."),
    (
        Kind::Fires,
        "A growth is wanted",
        "The reason of `Grow`, `Rescue` and `CatchUp`, and of what is `wanted` while something holds it.",
    ),
    (
        Kind::Holds,
        "A growth is held",
        "The reason of `Hold`. They are asked in this order, and the first that holds is the reason; `explain` shows the others too.",
    ),
    (Kind::Warns, "Warnings", "Besides any verdict: they hold nothing."),
];

/// The page.
fn page() -> String {
    let mut text = INTRODUCTION.to_owned();
    for (part, title, about_all) in PARTS {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n## {title}\n\n{about_all}\n\n| reason | what it means | what to do |\n|---|---|---|\n"
        );
        for reason in Reason::ALL {
            let About { kind, remedy } = about(*reason);
            if kind == part {
                let meaning = reason.meaning();
                let meaning = capitalised(meaning.strip_prefix("Warning: ").unwrap_or(meaning));
                let _ = writeln!(text, "| `{reason}` | {meaning} | {remedy} |");
            }
        }
    }
    text
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    first + chars.as_str()
}

/// The file with its text.
pub fn files() -> Vec<(PathBuf, String)> {
    vec![(root().join("docs/reasons.md"), page())]
}

pub fn run(args: &GeneratedArgs) -> anyhow::Result<()> {
    keep(files(), args, "the code", "reasons")
}

#[cfg(test)]
mod tests {
    use csm_api::Reason;

    #[test]
    fn the_committed_page_is_what_the_code_says() {
        super::run(&super::GeneratedArgs { check: true }).unwrap_or_else(|e| panic!("{e:#}"));
    }

    #[test]
    fn every_reason_stands_there_once() {
        let page = super::page();
        for reason in Reason::ALL {
            assert_eq!(page.matches(&format!("\n| `{reason}` | ")).count(), 1, "{reason}");
        }
        assert!(!page.contains(" |  |"));
    }
}
