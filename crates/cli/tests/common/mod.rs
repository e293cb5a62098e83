//! The program as these tests run it: on files of their own, and without a cluster.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// A scenario at noon: `orders` in the namespace `shop` with these members of its data volume, and `returns`, whose
/// metadata these lines are.
#[allow(unused_macros)] // not all tests need one
macro_rules! scenario {
    ($members:literal, $returns:literal) => {
        concat!(
            r#"kind: Scenario
now: "2026-03-01T12:00:00Z"
clusters:
  - name: orders
    namespace: shop
    volumes:
      data: {size: 10Gi, members: {"#,
            $members,
            r#"}}
      wal: {size: 4Gi, members: {orders-1: {used: 1Gi, available: 3Gi}, orders-2: {used: 1Gi, available: 3Gi}}}
  - name: returns
"#,
            $returns,
            r#"
    volumes:
      data: {size: 20Gi, members: {returns-1: {used: 18Gi, available: 2Gi}}}
"#
        )
    };
}
#[allow(unused_imports)]
pub(crate) use scenario;

/// Status, standard output and standard error.
pub type Ended = (Option<i32>, String, String);

/// The program, its three streams as pipes. Whatever cluster the caller of the tests is at home in, it knows of none.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-cnpg-storage"));
    command
        .args(arguments)
        .env("KUBECONFIG", "/nowhere/config")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env_remove("CNPG_STORAGE_MANAGER_LEASE_NAME")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the program to its end, called by another name.
#[cfg(unix)]
#[allow(dead_code)] // not all tests need it
pub fn run_as(name: &str, arguments: &[&str]) -> Ended {
    use std::os::unix::process::CommandExt as _;
    end(program(arguments).arg0(name).spawn().expect("the program starts"), "")
}

/// Runs the program to its end.
pub fn run(arguments: &[&str], input: &str) -> Ended {
    end(program(arguments).spawn().expect("the program starts"), input)
}

fn end(mut child: Child, input: &str) -> Ended {
    // A program that does not read its input may have ended.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the program ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// A folder of a test's own, gone at its end.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn name(&self) -> String {
        self.path().display().to_string()
    }

    /// Writes a file; its path.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).expect("a file")
    }

    /// Starts the program in here; its arguments are the words of `line`.
    pub fn start(&self, line: &str) -> Child {
        let arguments: Vec<&str> = line.split(' ').collect();
        program(&arguments).current_dir(&self.0).spawn().expect("the program starts")
    }

    /// Runs the program in here to its end.
    pub fn run(&self, line: &str, input: &str) -> Ended {
        end(self.start(line), input)
    }
}
