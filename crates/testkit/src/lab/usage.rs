//! Looking into pods, and keeping what is to be seen when a test fails.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Lab;

/// What a command in a container did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it printed as errors.
    pub stderr: String,
}

/// A filesystem as a container sees it, in bytes (`statfs(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Df {
    /// The whole.
    pub total: u64,
    /// Not used by anybody.
    pub free: u64,
    /// Of that what an ordinary user can have.
    pub available: u64,
    /// Inodes in total.
    pub inodes: u64,
    /// Inodes not used.
    pub inodes_free: u64,
}

impl Df {
    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.total.saturating_sub(self.free)
    }
}

impl Lab {
    /// Runs a command in a container. A command that fails is no error here: look at its code.
    pub async fn exec(&self, namespace: &str, pod: &str, container: &str, command: &[&str]) -> Result<ExecOutput> {
        let arguments = ["exec", "--namespace", namespace, pod, "--container", container, "--"];
        let mut kubectl = self.kubectl_command(arguments.iter().chain(command));
        kubectl.stdin(std::process::Stdio::null()).kill_on_drop(true);
        let output = kubectl.output().await.context("run kubectl")?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let Some(code) = output.status.code() else {
            bail!("kubectl exec {namespace}/{pod}: {}", output.status)
        };
        // kubectl's own errors have the code 1 too, but say that they are kubectl's.
        if code != 0 && (stderr.starts_with("Error from server") || stderr.contains("error: unable to upgrade connection")) {
            bail!("kubectl exec {namespace}/{pod}: {}", stderr.trim());
        }
        Ok(ExecOutput {
            code,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr,
        })
    }

    /// The filesystem at a path in a container that has coreutils (PostgreSQL's has).
    pub async fn df(&self, namespace: &str, pod: &str, container: &str, path: &str) -> Result<Df> {
        let command = ["stat", "--file-system", "--format=%S %b %f %a %c %d", path];
        let output = self.exec(namespace, pod, container, &command).await?;
        let what = || {
            format!(
                "statfs {path} in {namespace}/{pod}: {} {}",
                output.stdout.trim(),
                output.stderr.trim()
            )
        };
        let numbers: Vec<u64> = output.stdout.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let [block, total, free, available, inodes, inodes_free] = numbers.as_slice() else {
            bail!("{}", what())
        };
        let bytes = |blocks: &u64| blocks.checked_mul(*block).with_context(what);
        Ok(Df {
            total: bytes(total)?,
            free: bytes(free)?,
            available: bytes(available)?,
            inodes: *inodes,
            inodes_free: *inodes_free,
        })
    }

    /// Writes objects, events and logs into a folder. What cannot be had is noted in its file: a diagnosis goes on.
    pub async fn collect_diagnostics(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let save = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        };
        let (report, _) = super::diagnose::report(&self.layout).await?;
        save("diagnosis.txt", &report)?;
        for (name, arguments) in [
            (
                "events.txt",
                "get events --all-namespaces --sort-by .metadata.creationTimestamp --output wide",
            ),
            ("events.json", "get events --all-namespaces --output json"),
            ("nodes.yaml", "get nodes,csinodes --output yaml"),
            ("pods.yaml", "get pods --all-namespaces --output yaml"),
            (
                "workloads.yaml",
                "get deployments,jobs,services,configmaps,resourcequotas --all-namespaces --output yaml",
            ),
            (
                "volumes.yaml",
                "get persistentvolumes,persistentvolumeclaims,storageclasses,volumeattachments --all-namespaces --output yaml",
            ),
        ] {
            save(name, &self.kubectl_or_error(arguments.split(' ')).await)?;
        }
        for group in ["postgresql.cnpg.io", "cnpg.supporttools.io"] {
            let kinds = self
                .kubectl_or_error(["api-resources", "--api-group", group, "--verbs=list", "--output=name"])
                .await;
            let kinds: Vec<&str> = kinds.split_whitespace().filter(|kind| kind.ends_with(group)).collect();
            if !kinds.is_empty() {
                let kinds = kinds.join(",");
                let objects = ["get", kinds.as_str(), "--all-namespaces", "--output", "yaml"];
                save(&format!("{group}.yaml"), &self.kubectl_or_error(objects).await)?;
            }
        }
        self.pod_logs(dir).await?;
        for (name, from) in [("components", self.layout.logs()), ("audit", self.layout.run().join("audit"))] {
            let to = dir.join(name);
            fs::create_dir_all(&to).with_context(|| format!("create {}", to.display()))?;
            for entry in fs::read_dir(&from).into_iter().flatten().flatten() {
                fs::copy(entry.path(), to.join(entry.file_name())).with_context(|| entry.path().display().to_string())?;
            }
        }
        Ok(())
    }

    async fn pod_logs(&self, dir: &Path) -> Result<()> {
        let path = r#"jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{range .spec.initContainers[*]} {.name}{end}{range .spec.containers[*]} {.name}{end}{"\n"}{end}"#;
        let pods = self.kubectl_or_error(["get", "pods", "--all-namespaces", "--output", path]).await;
        let to = dir.join("pods");
        fs::create_dir_all(&to).with_context(|| format!("create {}", to.display()))?;
        for line in pods.lines() {
            let mut words = line.split(' ');
            let (Some(namespace), Some(pod)) = (words.next(), words.next()) else {
                continue;
            };
            for container in words {
                for (suffix, previous) in [("log", "--previous=false"), ("previous.log", "--previous=true")] {
                    let logs = [
                        "logs",
                        "--namespace",
                        namespace,
                        pod,
                        "--container",
                        container,
                        "--timestamps",
                        previous,
                    ];
                    if let Ok(text) = self.kubectl(logs).await {
                        let path = to.join(format!("{namespace}_{pod}_{container}.{suffix}"));
                        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn kubectl_or_error<A: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        self.kubectl(arguments).await.unwrap_or_else(|error| format!("{error:#}\n"))
    }
}
