//! What is said of decisions, in every situation that the conformance cases show, over all sizing models.
#![allow(clippy::disallowed_methods)] // reads fixtures

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use csm_api::{Reason, Verdict};
use csm_core::explain::{Kind, about, gates, inputs, relief, sentence, warnings};
use csm_core::plan::{Decision, plan};
use csm_core::world::World;
use csm_gather::offline::{File, Offline, read};
use jiff::Timestamp;

/// What no conformance case shows.
const MORE: &str = include_str!("more.yaml");

/// All cases by name, those of this folder last.
fn cases() -> Vec<(String, Offline)> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance"));
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = names.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    let of_file = |path: &std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    let mut texts: Vec<(String, String)> = files.iter().map(of_file).collect();
    // A line of equals signs, and then the name, begins each.
    let more = MORE
        .split("\n====")
        .skip(1)
        .map(|text| text.trim_start_matches('=').split_once('\n').unwrap());
    texts.extend(more.map(|(name, text)| (name.trim().to_owned(), text.to_owned())));
    let offline = |(name, text): (String, String)| {
        let file = File {
            name: name.clone(),
            text: text.into_bytes(),
            from_folder: false,
        };
        let offline = read(&[file], &[], None, Timestamp::UNIX_EPOCH).unwrap_or_else(|mistakes| panic!("{name}: {mistakes:?}"));
        (name, offline)
    };
    texts.into_iter().map(offline).collect()
}

/// Every decision of every case: its case, world, time and itself.
fn decisions() -> Vec<(String, World, Timestamp, Decision)> {
    let of_case = |(name, offline): (String, Offline)| {
        let Offline { now, subjects, .. } = offline;
        let worlds = subjects.into_iter().map(|subject| subject.world);
        worlds.into_iter().flat_map(move |world| {
            let name = name.clone();
            let decisions = plan(&world, now).decisions;
            decisions.into_iter().map(move |d| (name.clone(), world.clone(), now, d))
        })
    };
    cases().into_iter().flat_map(of_case).collect()
}

#[test]
fn sentences() {
    let mut text = String::new();
    let mut last = String::new();
    for (name, world, _, decision) in decisions() {
        if name != last {
            writeln!(text, "\n## {name}").unwrap();
            last = name;
        }
        let Decision {
            volume, verdict, reason, ..
        } = &decision;
        let cluster = &world.cluster.key;
        writeln!(text, "{cluster} {volume} {verdict}/{reason}\n    {}", sentence(&decision)).unwrap();
        for wanted in relief(&decision) {
            writeln!(text, "  ~ {wanted}").unwrap();
        }
        for warning in warnings(&decision) {
            writeln!(text, "  ! {warning}").unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

/// The figures of the decisions that rest on most.
#[test]
fn figures() {
    let shown = [
        "gate-circuit-open",
        "resize-time-to-full",
        "runway-archive-failure-almost-full",
        "target-critical-96-percent",
        "wal-slot-and-pending-hold",
        "window-buffer-lasts-until-the-next-one",
    ];
    let mut text = String::new();
    for (name, world, _, decision) in decisions().iter().filter(|d| shown.contains(&&*d.0)) {
        writeln!(text, "\n## {name} {} {}", world.cluster.key, decision.volume).unwrap();
        for (name, value) in inputs(decision) {
            writeln!(text, "{name}: {value}").unwrap();
        }
    }
    insta::assert_snapshot!(text);
}

/// What each reason is said as, wherever it is one.
fn said() -> BTreeMap<Reason, Vec<String>> {
    let mut said: BTreeMap<Reason, Vec<String>> = BTreeMap::new();
    for (.., decision) in decisions() {
        let text = sentence(&decision);
        let reasons = [
            Some(decision.reason),
            decision.wanted.map(|w| w.held_by),
            decision.wanted.map(|w| w.reason),
        ];
        for reason in reasons.into_iter().flatten().chain(decision.passed.first().copied()) {
            said.entry(reason).or_default().push(text.clone());
        }
        let words = warnings(&decision);
        assert_eq!(words.len(), decision.warnings.len());
        for (warning, text) in decision.warnings.iter().zip(words) {
            said.entry(warning.reason).or_default().push(text);
        }
    }
    said
}

#[test]
fn every_reason_has_its_sentence_with_numbers_and_what_to_do() {
    let said = said();
    for reason in Reason::ALL {
        let texts = said.get(reason).unwrap_or_else(|| panic!("nothing shows {reason}"));
        for text in texts {
            // No fallback, nothing that was not put into words, nothing twice.
            for wrong in ["it is held (", "an unknown size", "None", "Some(", "  ", ";;", "()"] {
                assert!(!text.contains(wrong), "{reason}: {text}");
            }
            let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
            assert!(words.all(|word| word != reason.as_str()), "{reason} is a word of ours: {text}");
            // A number, or the name of something.
            let specific = text.contains(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
            assert!(specific, "{reason}: {text}");
            if matches!(about(*reason).kind, Kind::Holds | Kind::Warns) {
                assert!(
                    text.contains("; ") || text.contains(", and "),
                    "{reason} says nothing of what to do: {text}"
                );
            }
        }
    }
}

#[test]
fn every_reason_is_explained() {
    for reason in Reason::ALL {
        for text in [reason.meaning(), about(*reason).remedy] {
            assert!(text.ends_with('.') && text.len() > 7 && !text.contains("  "), "{reason}: {text:?}");
        }
        let warns = reason.meaning().starts_with("Warning: ");
        assert_eq!(about(*reason).kind == Kind::Warns, warns, "{reason}");
    }
    let decisions = decisions();
    for (name, .., decision) in &decisions {
        let kind = about(decision.reason).kind;
        let expected = match decision.verdict {
            Verdict::Balanced => Kind::Rests,
            Verdict::Grow | Verdict::CatchUp | Verdict::Rescue => Kind::Fires,
            Verdict::Hold => Kind::Holds,
        };
        assert_eq!(kind, expected, "{name}: {}", decision.reason);
        assert!(
            decision
                .wanted
                .is_none_or(|w| about(w.held_by).kind == Kind::Holds && about(w.reason).kind == Kind::Fires)
        );
    }
}

/// Every gate says what it looks at, in every model, and the deciding one holds.
#[test]
fn every_gate_has_its_inputs() {
    for (name, world, now, decision) in decisions() {
        let reports = gates(&world, now, &decision.volume).unwrap();
        assert!(reports.iter().all(|report| !report.inputs.is_empty()), "{name}: {reports:#?}");
        if decision.verdict == Verdict::Hold && decision.wanted.is_none_or(|w| w.reason != Reason::Runway) {
            assert!(reports.iter().any(|r| r.holds == Some(decision.reason)), "{name}: {reports:#?}");
        }
    }
}
