//! What must hold for every input, however odd: the fuzz targets. `cargo xtask fuzz` looks for an input for which it does
//! not; the tests of this crate show that it holds for the corpus.
//!
//! A target is a function of bytes that panics where its property does not hold.

mod decided;
mod exporter;
mod instance;
mod objects;
mod quantity;
mod scenario;
mod schedule;
mod summary;

/// One property, and where its first inputs are.
#[derive(Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Folders with inputs, from the root of the repository; the first one is the target's own.
    pub seeds: &'static [&'static str],
    /// The longest input that is tried: beyond it, inputs are slower and find nothing new.
    pub longest: usize,
    /// Panics where the property does not hold.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "quantity",
        seeds: &["fuzz/corpus/quantity"],
        longest: 600,
        run: quantity::run,
    },
    Target {
        name: "schedule",
        seeds: &["fuzz/corpus/schedule"],
        longest: 200,
        run: schedule::run,
    },
    Target {
        name: "scenario",
        seeds: &["fuzz/corpus/scenario", "crates/cli/tests/conformance"],
        longest: 4096,
        run: scenario::run,
    },
    Target {
        name: "summary",
        seeds: &["fuzz/corpus/summary"],
        longest: 2048,
        run: summary::run,
    },
    Target {
        name: "exporter",
        seeds: &["fuzz/corpus/exporter"],
        longest: 2048,
        run: exporter::run,
    },
    Target {
        name: "instance",
        seeds: &["fuzz/corpus/instance"],
        longest: 2048,
        run: instance::run,
    },
    Target {
        name: "objects",
        seeds: &["fuzz/corpus/objects"],
        longest: 4096,
        run: objects::run,
    },
];

/// The target of a name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
