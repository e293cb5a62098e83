//! The program, in a folder of its own.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

pub const POLICY: &str = "apiVersion: cnpg.supporttools.io/v1alpha1
kind: StoragePolicy
metadata: {name: default, namespace: shop}
spec:
  thresholds: {expansion: 85}
  expansion: {percentage: 50, minIncrementGi: 5, maxSize: 100Gi, cooldownMinutes: 30}
";

pub const SCENARIO: &str = r#"kind: Scenario
now: "2026-03-01T12:00:00Z"
clusters:
  - name: orders
    namespace: shop
    volumes:
      data: {size: 10Gi, members: {orders-1: {used: 7Gi, available: 3Gi}, orders-2: {used: 6Gi, available: 4Gi}}}
      wal: {size: 4Gi, members: {orders-1: {used: 1Gi, available: 3Gi}, orders-2: {used: 1Gi, available: 3Gi}}}
  - name: returns
    namespace: elsewhere
    volumes:
      data: {size: 20Gi, members: {returns-1: {used: 18Gi, available: 2Gi}}}
"#;

/// Gone at its end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kubectl-cnpg-storage-simulate-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), text).expect("a file");
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).expect("a file")
    }

    pub fn start(&self, line: &str) -> Child {
        Command::new(env!("CARGO_BIN_EXE_kubectl-cnpg-storage"))
            .args(line.split(' '))
            .current_dir(&self.0)
            // Nothing of a cluster is needed.
            .env("KUBECONFIG", "/nowhere/config")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts")
    }

    /// Status, standard output and standard error.
    pub fn run(&self, line: &str, input: &str) -> (Option<i32>, String, String) {
        let mut child = self.start(line);
        // A program that does not read its input may have ended.
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        let Output { status, stdout, stderr } = child.wait_with_output().expect("the program ends");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (status.code(), text(stdout), text(stderr))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
