//! `cargo xtask demo` from its beginning to its end, and to ends that nobody wants.

use std::path::{Path, PathBuf};
use std::time::Duration;

use csm_testkit::process::{Command, Process};
use csm_testkit::wait::within;
use rustix::process::Signal;

/// A demo takes 40 s on two idle cores.
const PATIENCE: Duration = Duration::from_secs(150);

/// A demo whose output goes to a file.
struct Demo {
    process: Process,
    /// Its folder for temporary files.
    folder: tempfile::TempDir,
}

impl Demo {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let temporary = folder.path().join("tmp");
        std::fs::create_dir(&temporary).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_xtask"), folder.path().join("output"))
            .args(["demo", "--manager"])
            .arg(manager())
            .env("TMPDIR", &temporary)
            .spawn()
            .unwrap();
        Self { process, folder }
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.process.log()).unwrap_or_default()
    }

    async fn wait_for(&mut self, text: &str) {
        let said = within(PATIENCE, text, async || {
            let (ended, output) = (!self.process.is_alive(), self.output());
            let said = output.contains(text);
            // One that has ended says nothing more.
            Ok((said || ended).then_some((said, output)))
        });
        let (said, output) = said.await.unwrap();
        assert!(said, "it has ended: {output}");
    }

    /// Waits for its end; returns its status and what it wrote. Nothing of it may be left.
    fn end(mut self) -> (Option<i32>, String) {
        let children = children(self.process.pid());
        let status = self.process.wait(PATIENCE).expect("it does not end");
        let output = self.output();
        for child in children {
            assert!(!child.exists(), "{} is still there after:\n{output}", child.display());
        }
        let left: Vec<_> = std::fs::read_dir(self.folder.path().join("tmp")).unwrap().collect();
        assert!(left.is_empty(), "{left:?} is left after:\n{output}");
        (status.code(), output)
    }
}

/// The binary that `cargo build --bins` made beside ours.
fn manager() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("cnpg-storage-manager");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace --bins` first, as `make test` does",
        path.display()
    );
    path
}

/// Folders in `/proc` of the children of a process.
fn children(parent: u32) -> Vec<PathBuf> {
    let of_parent = |status: String| status.lines().any(|line| line == format!("PPid:\t{parent}"));
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes
        .filter(|path| std::fs::read_to_string(path.join("status")).is_ok_and(of_parent))
        .collect()
}

#[test]
fn the_growth_is_shown_and_verified() {
    let (status, output) = Demo::start().end();
    assert_eq!(status, Some(0), "{output}");
    for said in [
        // As it happens: a line for each thing, and now and then one for all.
        "orders    decided: data is ",
        "orders-1  growth verified by the filesystem",
        " % of 50Gi Balanced",
        // In the end.
        "orders: 10Gi → 15Gi on all 3 instances, ",
        "  orders-1 primary ",
        "Hold/AtLimit  data is ",
        "PVCs patched (audit log): orders-1 1×, orders-2 1×, orders-3 1×\n",
        "✓ reports: held by AtLimit and not touched",
        "The demo showed all that it promises",
    ] {
        assert!(output.contains(said), "{said:?} is missing in:\n{output}");
    }
    assert!(
        !output.contains('\x1b'),
        "colours and cursor movements are for terminals:\n{output}"
    );
    let widest = output.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{widest:?}:\n{output}");
}

#[tokio::test]
async fn an_interrupt_leaves_nothing_behind() {
    let mut demo = Demo::start();
    demo.wait_for("Balanced/BelowThresholds").await;
    demo.process.signal(Signal::INT);
    let (status, output) = demo.end();
    assert_eq!(status, Some(130), "{output}");
    assert!(output.contains("interrupted"), "{output}");
}

#[tokio::test]
async fn a_manager_that_dies_is_told() {
    let mut demo = Demo::start();
    demo.wait_for("Balanced/BelowThresholds").await;
    let manager = children(demo.process.pid()).into_iter().find(|child| {
        let name = std::fs::read_to_string(child.join("comm")).unwrap_or_default();
        // The kernel keeps 15 characters of a name.
        "cnpg-storage-manager".starts_with(name.trim_end()) && name.len() > 1
    });
    let pid = manager
        .expect("the manager runs")
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let (status, output) = demo.end();
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains("the manager ended with signal: 9"), "{output}");
    assert!(output.contains("the end of the manager's log:"), "{output}");
}
