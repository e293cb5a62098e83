//! Memory does not grow with the length of a trace.
#![cfg(target_os = "linux")]

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::process::Child;

use super::POLICY;
use super::common::Folder;

/// The most that a process has had in memory so far, in KiB.
fn peak(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The peak for a trace of three volumes with so many lines.
fn peak_of(folder: &Folder, lines: u64) -> u64 {
    let mut child = folder.start("simulate -f policy.yaml --size 100Gi -o json --trace -");
    let mut input = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || {
        let mut text = String::from("time,cluster,volume,used\n");
        for line in 0..lines {
            let volume = ["data", "wal", "tablespace/archive"][usize::try_from(line % 3).expect("small")];
            writeln!(text, "{},orders,{volume},{}", line / 3 * 30, (50 << 30) + line * 1000).expect("a text");
            if text.len() > 60_000 {
                input.write_all(text.as_bytes()).expect("the program reads");
                text.clear();
            }
        }
        input.write_all(text.as_bytes()).expect("the program reads");
    });
    // The answer is longer than a pipe holds: once it begins, all is done, and the program waits for us to read.
    let mut output = child.stdout.take().expect("a pipe");
    let mut text = vec![0; 1];
    output.read_exact(&mut text).expect("an answer");
    let peak = peak(&child);
    output.read_to_end(&mut text).expect("an answer");
    writer.join().expect("all was written");
    assert!(child.wait().expect("it ends").success());
    assert!(text.len() > 100_000, "{} bytes fit into a pipe", text.len());
    peak
}

#[test]
fn ten_times_the_samples_take_no_more_memory() {
    let folder = Folder::new();
    folder.file("policy.yaml", POLICY);
    let (short, long) = (peak_of(&folder, 30_000), peak_of(&folder, 300_000));
    // The samples themselves would be 4.8 MB more.
    assert!(long < short + 3000, "{short} KiB for 30 000 lines, {long} KiB for 300 000");
}
