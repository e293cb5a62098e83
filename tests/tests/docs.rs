//! What the documents say is so: every alert and reason has its runbook, what a runbook names exists, and links lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use csm_api::{BreakerState, ConditionStatus, EventReason, Outcome, Phase, PvcPhase, Reason, State, Verdict};
use csm_core::alerts::AlertKind;
use csm_tests::root;

/// Words of Kubernetes that runbooks name, and two of the plugin's own output.
const OTHERS: [&str; 9] = [
    "Bound",
    "ControllerResizeInfeasible",
    "ControllerResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizePending",
    "WaitForFirstConsumer",
    "Enabled",
    "State",
];

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below a folder of the repository, with this ending.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut open = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder");
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The runbooks by name, the index as `README`.
fn runbooks() -> BTreeMap<String, String> {
    let name = |path: &PathBuf| path.file_stem().and_then(|s| s.to_str()).expect("a name").to_owned();
    files("docs/runbooks", "md").iter().map(|path| (name(path), read(path))).collect()
}

fn index() -> String {
    runbooks().remove("README").expect("an index")
}

/// A text without its blocks of code.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let outside = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    outside.collect::<Vec<_>>().join("\n")
}

/// What stands in backticks.
fn codes(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn headings(text: &str) -> Vec<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| line.trim_start_matches('#').trim().to_owned()).collect()
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// `AtLimit` as a page is called: `at-limit`.
fn page_of(reason: Reason) -> String {
    let mut name = String::new();
    for c in reason.as_str().chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.extend(c.to_lowercase());
    }
    name
}

/// The cells of the index's tables with so many columns.
fn rows(index: &str, columns: usize) -> Vec<Vec<&str>> {
    let lines = index.lines().filter(|line| line.starts_with('|') && !line.starts_with("|-"));
    let cells = lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells.filter(|cells| cells.len() == columns).collect()
}

/// The targets of the links of a text.
fn links(text: &str) -> Vec<&str> {
    let after = text.split("](").skip(1);
    after.filter_map(|rest| rest.split(')').next()).collect()
}

#[test]
fn every_alert_has_its_page_and_its_row() {
    let (pages, index) = (runbooks(), index());
    let rows = rows(&index, 3);
    for kind in AlertKind::ALL {
        let (name, severity) = (kind.as_str(), kind.severity().as_str());
        let page = pages.get(name).unwrap_or_else(|| panic!("docs/runbooks/{name}.md is missing"));
        assert!(page.starts_with(&format!("# {name}\n")), "{name}: its first line is its name");
        assert!(page.contains(&format!("alert `{name}` ({severity})")), "{name}: how grave it is");
        let row = [format!("`{name}`"), severity.to_owned(), format!("[{name}]({name}.md)")];
        assert!(rows.iter().any(|cells| cells[..] == row), "the index has no row {row:?}");
    }
}

#[test]
fn every_reason_has_a_heading_and_a_row_that_leads_to_it() {
    let (pages, index) = (runbooks(), index());
    let rows = rows(&index, 5);
    for reason in Reason::ALL {
        let code = reason.as_str();
        let of_reason = rows.iter().filter(|cells| codes(cells[1]).any(|c| c == code));
        let targets = of_reason.flat_map(|cells| links(cells[4]));
        let leads = |target: &str| {
            let name = target.split(".md").next().unwrap_or_default();
            let page = &pages[name];
            let heading = headings(page).iter().any(|h| *h == code || *h == page_of(*reason));
            heading || (name == "ordinary-growth" && codes(page).any(|c| c == code))
        };
        assert!(
            targets.into_iter().any(leads),
            "{code}: the index has no row that leads to a page with a heading of that name"
        );
    }
}

#[test]
fn every_page_says_what_tells_of_it_and_the_index_knows_it() {
    let (pages, index) = (runbooks(), index());
    for (name, page) in pages.iter().filter(|(name, _)| *name != "README") {
        assert!(page.contains("\nTold by: "), "{name}: what tells of it?");
        assert!(index.contains(&format!("({name}.md")), "the index does not name {name}");
        assert_eq!(prose(page).matches('`').count() % 2, 0, "{name}: a backtick is missing");
    }
}

#[test]
fn every_event_that_there_is_stands_in_the_index_and_no_other() {
    let (pages, index) = (runbooks(), index());
    let known: BTreeSet<&str> = EventReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let rows = rows(&index, 5);
    let told = rows
        .iter()
        .skip_while(|cells| cells[2] != "Event")
        .filter(|cells| cells[2] != "Event");
    let told: BTreeSet<&str> = told.flat_map(|cells| codes(cells[2])).collect();
    assert_eq!(told, known);
    // "Events `A`, `B` and `C`", wherever a page says so.
    for (name, page) in &pages {
        let prose = prose(page);
        for after in prose.split("Event").skip(1) {
            let list = after.strip_prefix('s').unwrap_or(after);
            let Some(mut rest) = list.strip_prefix(' ') else { continue };
            while let Some((code, more)) = rest.strip_prefix('`').and_then(|rest| rest.split_once('`')) {
                assert!(known.contains(code), "{name}: there is no Event {code}");
                let next = more.strip_prefix(", or ").or(more.strip_prefix(", "));
                rest = next.or(more.strip_prefix(" and ")).unwrap_or("");
            }
        }
    }
}

/// All string literals of the code of some folders, tests aside.
fn literals(folders: &[&str]) -> BTreeSet<String> {
    let sources = folders.iter().flat_map(|folder| files(folder, "rs"));
    let mut found = BTreeSet::new();
    for source in sources {
        let text = read(&source);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        found.extend(code.split('"').map(str::to_owned));
    }
    found
}

#[test]
fn every_metric_that_a_page_names_is_made_by_the_manager() {
    let made = literals(&["crates/manager/src/report", "crates/manager/src/webhook"]);
    let prefixes = ["cnpg_storage_manager_", "cnpg_disk_", "cnpg_dynamic_storage_", "cnpg_wal_"];
    let is_made = |name: &str| {
        let plain = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
        let suffixes = ["", "_total", "_bucket", "_sum", "_count"];
        let forms = suffixes
            .iter()
            .flat_map(|suffix| [Some(name), plain].map(|form| form.and_then(|form| form.strip_suffix(suffix))));
        plain.is_some() && forms.flatten().any(|form| made.contains(form))
    };
    for (name, page) in runbooks() {
        let words = page.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        for metric in words.filter(|word| word.starts_with("cnpg_")) {
            assert!(is_made(metric), "{name}: the manager makes no metric {metric}");
        }
    }
}

#[test]
fn every_word_of_ours_that_a_page_names_is_one() {
    let mut known: BTreeSet<&str> = OTHERS.into_iter().collect();
    known.extend(Reason::ALL.iter().map(|x| x.as_str()));
    known.extend(EventReason::ALL.iter().map(|x| x.as_str()));
    known.extend(State::ALL.iter().map(|x| x.as_str()));
    known.extend(Verdict::ALL.iter().map(|x| x.as_str()));
    known.extend(Phase::ALL.iter().map(|x| x.as_str()));
    known.extend(Outcome::ALL.iter().map(|x| x.as_str()));
    known.extend(PvcPhase::ALL.iter().map(|x| x.as_str()));
    known.extend(BreakerState::ALL.iter().map(|x| x.as_str()));
    known.extend(ConditionStatus::ALL.iter().map(|x| x.as_str()));
    // Conditions.
    let said = literals(&["crates/api/src", "crates/core/src"]);
    for (name, page) in runbooks() {
        let prose = prose(&page);
        let named = codes(&prose).filter(|code| code.starts_with(|c: char| c.is_ascii_uppercase()));
        let words = named.filter(|code| code.len() > 3 && code.chars().all(|c| c.is_ascii_alphabetic()));
        let words = words.filter(|code| code.chars().any(|c| c.is_ascii_lowercase()));
        for word in words {
            assert!(known.contains(word) || said.contains(word), "{name}: the code does not know {word}");
        }
    }
}

#[test]
fn every_way_to_end_has_its_heading_and_its_row() {
    let pages = runbooks();
    let headings: BTreeSet<String> = headings(&pages["operations"]).into_iter().collect();
    let index = index();
    let told: BTreeSet<&str> = rows(&index, 5).into_iter().flat_map(|cells| codes(cells[1])).collect();
    for outcome in Outcome::ALL {
        assert!(headings.contains(outcome.as_str()), "operations.md has no heading {outcome}");
        assert!(told.contains(outcome.as_str()), "the index has no row of {outcome}");
    }
}

#[test]
fn links_lead_somewhere() {
    let documents = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name));
    for document in documents.into_iter().chain(files("docs", "md")) {
        let text = prose(&read(&document));
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                document.clone()
            } else {
                document.parent().expect("a folder").join(path)
            };
            assert!(target.exists(), "{}: {link} leads nowhere", document.display());
            if !fragment.is_empty() {
                let anchors: Vec<String> = headings(&read(&target)).iter().map(|h| anchor(h)).collect();
                assert!(
                    anchors.iter().any(|a| a == fragment),
                    "{}: {link} leads to no heading of {anchors:?}",
                    document.display()
                );
            }
        }
    }
}
