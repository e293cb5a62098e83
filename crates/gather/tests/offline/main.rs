//! Worlds from files: manifests, Scenarios, and what is wrong with them.

mod manifests;
mod mistakes;
mod scenario;
mod try_out;

use csm_gather::offline::{File, Offline, read};
use jiff::Timestamp;

/// A file that somebody named.
fn file(name: &str, text: impl AsRef<[u8]>) -> File {
    File {
        name: name.to_owned(),
        text: text.as_ref().to_vec(),
        from_folder: false,
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// The clock of these tests: what falls back on it shows this year.
const CLOCK: &str = "2031-05-06T07:08:09Z";

/// The complaints about one file, each on a line.
fn complaints(text: &str) -> Vec<String> {
    match read(&[file("f.yaml", text)], &[], None, at(CLOCK)) {
        Ok(offline) => panic!("nothing is wrong with {offline:?}"),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

fn good(text: &str) -> Offline {
    read(&[file("f.yaml", text)], &[], None, at(CLOCK)).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}
