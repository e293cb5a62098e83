//! Every property holds for its corpus, and for odd inputs that need no fuzzer.

use std::path::{Path, PathBuf};

fn inputs(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let entries = std::fs::read_dir(root.join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn every_property_holds_for_its_corpus() {
    for target in csm_fuzz::TARGETS {
        for folder in target.seeds {
            let inputs = inputs(folder);
            assert!(!inputs.is_empty(), "{folder} is empty");
            for path in inputs {
                println!("{} {}", target.name, path.display());
                (target.run)(&std::fs::read(&path).expect("an input"));
            }
        }
    }
}

#[test]
fn odd_inputs_are_no_surprise() {
    for target in csm_fuzz::TARGETS {
        for odd in ["", "\n", "\0", "{}", "[]", "null", "\u{feff}", "---\n---\n", "\u{2028}", "🐘"] {
            (target.run)(odd.as_bytes());
        }
        (target.run)(&[0xff, 0xfe, 0xfd]);
    }
}
