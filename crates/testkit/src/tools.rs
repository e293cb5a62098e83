//! The Go programs that the tests run: etcd, the Kubernetes components, CloudNativePG's operator, CSI sidecars.
//!
//! They are built from the pinned module in `crates/testkit/go` into a cache outside the checkout. The cache folder is
//! keyed by a hash of `go.mod`, `go.sum`, the sources under `cmd/` and the build flags, so a change of any of them builds
//! anew, and several checkouts share one build. A warm start does not need Go at all.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Environment variable that overrides where built programs are kept.
pub const CACHE_DIR_ENV: &str = "CSM_CACHE_DIR";

/// How often a long build says where it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// How much of a failed build's output goes into the error.
const ERROR_LINES: usize = 30;
/// Builds of other versions are removed when nobody used them for this long: each takes up to 1 GB.
const UNUSED_BUILD_KEPT: Duration = Duration::from_hours(14 * 24);

const KUBERNETES_MODULE: &str = "k8s.io/kubernetes";
const CNPG_MODULE: &str = "github.com/cloudnative-pg/cloudnative-pg";

/// Which programs a caller needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// `etcd`, `kube-apiserver` and `kubectl`: enough for the light control plane.
    Light,
    /// Everything that a real cluster on one machine needs, the light set included.
    Lab,
}

/// One program: the name in the cache and the Go package it is built from.
struct Program {
    name: &'static str,
    package: &'static str,
}

const fn program(name: &'static str, package: &'static str) -> Program {
    Program { name, package }
}

const LIGHT: &[Program] = &[
    program("etcd", "go.etcd.io/etcd/server/v3"),
    program("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    program("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
];

const LAB_ONLY: &[Program] = &[
    program("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    program("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    program("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    program("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    program("manager", "github.com/cloudnative-pg/cloudnative-pg/cmd/manager"),
    program("kubectl-cnpg", "github.com/cloudnative-pg/cloudnative-pg/cmd/kubectl-cnpg"),
    program(
        "csi-provisioner",
        "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner",
    ),
    program("csi-resizer", "github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer"),
    program("coredns", "./cmd/coredns"),
    program("pause", "./cmd/pause"),
    program("csi-registrar", "./cmd/csi-registrar"),
];

impl Set {
    fn programs(self) -> impl Iterator<Item = &'static Program> {
        let rest: &[Program] = match self {
            Set::Light => &[],
            Set::Lab => LAB_ONLY,
        };
        LIGHT.iter().chain(rest)
    }
}

impl Program {
    /// The file name that `go build -o DIR/` gives this package.
    fn built_as(&self) -> &'static str {
        let last = self.package.rsplit('/').next().unwrap_or(self.package);
        match last {
            // A module's major version is not part of the name.
            "v3" => "server",
            name => name,
        }
    }
}

/// A folder with the built programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// The path of one program by its usual name, for example `kube-apiserver`; CloudNativePG's operator is `manager`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The folder that holds all of them, to be put into `PATH`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// The folder for everything built or downloaded: `$CSM_CACHE_DIR`, else `$XDG_CACHE_HOME/cnpg-storage-manager`, else
/// `~/.cache/cnpg-storage-manager`, else a folder in the system's temporary one.
pub fn cache_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = set(CACHE_DIR_ENV) {
        return dir;
    }
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("cnpg-storage-manager")
}

/// The pinned Go module of this checkout.
fn module_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("go")
}

/// Builds what is missing of `set` and returns the folder that holds it.
///
/// Blocking; returns at once when everything is there. Safe when several processes call it: one builds, the others wait.
/// Programs appear by rename, never half written; after a kill the next call goes on from Go's own build cache.
pub fn ensure(set: Set, progress: &mut dyn FnMut(&str)) -> Result<Binaries> {
    let module = module_dir();
    let go_mod = read(&module.join("go.mod"))?;
    let flags = build_flags(&go_mod)?;
    let home = build_home(&module, &go_mod, &flags)?;
    let dir = home.join("bin");
    let binaries = Binaries { dir: dir.clone() };
    let missing = |dir: &Path| set.programs().filter(|p| !dir.join(p.name).is_file()).collect::<Vec<_>>();

    if !missing(&dir).is_empty() {
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let _lock = lock(&home, progress)?;
        let todo = missing(&dir);
        if !todo.is_empty() {
            build(&module, &home, &dir, &flags, &todo, progress)?;
        }
        remove_unused_builds(&home);
    }
    mark_used(&home);
    Ok(binaries)
}

/// The manifest of CloudNativePG's pinned release (its CRDs, RBAC, webhooks and Deployment), taken from its Go module.
///
/// The file in the cache is a copy, so that a cleaned Go module cache does no harm.
pub fn cnpg_manifest() -> Result<PathBuf> {
    let module = module_dir();
    let go_mod = read(&module.join("go.mod"))?;
    let version = module_version(&go_mod, CNPG_MODULE)?;
    let name = format!("cnpg-{}.yaml", version.trim_start_matches('v'));
    let home = cache_dir().join("manifests");
    let target = home.join(&name);
    if target.is_file() {
        return Ok(target);
    }
    let source = module_source(&module, CNPG_MODULE)?.join("releases").join(&name);
    let text = read(&source)?;
    fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    write_atomically(&target, text.as_bytes())?;
    Ok(target)
}

/// The CustomResourceDefinitions in [`cnpg_manifest`].
pub fn cnpg_crds() -> Result<Vec<CustomResourceDefinition>> {
    let path = cnpg_manifest()?;
    let mut crds = Vec::new();
    for document in crate::manifest::documents(&read(&path)?).with_context(|| format!("read {}", path.display()))? {
        if document.get("kind").and_then(serde_json::Value::as_str) == Some("CustomResourceDefinition") {
            let crd = CustomResourceDefinition::deserialize(document)
                .with_context(|| format!("a CustomResourceDefinition in {}", path.display()))?;
            crds.push(crd);
        }
    }
    if crds.is_empty() {
        bail!(
            "{} holds no CustomResourceDefinition: was the pinned version changed?",
            path.display()
        );
    }
    Ok(crds)
}

/// The arguments of `go build` after the word `build`. Versions are stamped as upstream's release builds do.
fn build_flags(go_mod: &str) -> Result<Vec<String>> {
    let kubernetes = module_version(go_mod, KUBERNETES_MODULE)?;
    let cnpg = module_version(go_mod, CNPG_MODULE)?;
    let mut numbers = kubernetes.trim_start_matches('v').split('.');
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        bail!("go.mod: {KUBERNETES_MODULE} {kubernetes} is not a version");
    };
    let mut stamps = vec!["-s -w".to_owned()];
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (name, value) in [("gitVersion", kubernetes), ("gitMajor", major), ("gitMinor", minor)] {
            stamps.push(format!("-X {package}.{name}={value}"));
        }
    }
    stamps.push(format!(
        "-X {CNPG_MODULE}/pkg/versions.buildVersion={}",
        cnpg.trim_start_matches('v')
    ));
    Ok(vec![
        "-trimpath".into(),
        "-buildvcs=false".into(),
        "-mod=readonly".into(),
        "-ldflags".into(),
        stamps.join(" "),
    ])
}

/// The version of one module in the text of a `go.mod`.
fn module_version<'a>(go_mod: &'a str, module: &str) -> Result<&'a str> {
    go_mod
        .lines()
        .filter_map(|line| line.trim().strip_prefix(module)?.strip_prefix(' '))
        .filter_map(|rest| rest.split_whitespace().next())
        .find(|word| word.starts_with('v'))
        .ok_or_else(|| anyhow!("go.mod does not require {module}"))
}

/// The cache folder for exactly these sources and flags.
fn build_home(module: &Path, go_mod: &str, flags: &[String]) -> Result<PathBuf> {
    let mut hash = Sha256::new();
    let mut add = |name: &str, content: &[u8]| {
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    };
    add("go.mod", go_mod.as_bytes());
    add("go.sum", read(&module.join("go.sum"))?.as_bytes());
    let mut sources = Vec::new();
    collect_files(&module.join("cmd"), &mut sources)?;
    sources.sort();
    for source in &sources {
        let name = source.strip_prefix(module).unwrap_or(source);
        add(&name.to_string_lossy(), read(source)?.as_bytes());
    }
    for flag in flags {
        add("flag", flag.as_bytes());
    }
    let digest = hash.finalize();
    let key = digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
    Ok(cache_dir().join(format!("go-{key:016x}")))
}

fn collect_files(dir: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry.with_context(|| format!("list {}", dir.display()))?.path();
        if path.is_dir() {
            collect_files(&path, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}

/// Waits for the right to build in `home`. The lock ends with the file handle, so also with a killed process.
fn lock(home: &Path, progress: &mut dyn FnMut(&str)) -> Result<File> {
    let path = home.join("lock");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    if file.try_lock().is_err() {
        progress("waiting for another process that builds the Go programs");
        file.lock().with_context(|| format!("lock {}", path.display()))?;
    }
    Ok(file)
}

fn build(module: &Path, home: &Path, dir: &Path, flags: &[String], todo: &[&Program], progress: &mut dyn FnMut(&str)) -> Result<()> {
    let started = Instant::now();
    let names: Vec<_> = todo.iter().map(|p| p.name).collect();
    progress(&format!("building {} (minutes when cold)", names.join(", ")));
    // Under the lock nobody else uses this folder: what lies there was left by a killed build.
    let temporary = home.join("build");
    if temporary.exists() {
        fs::remove_dir_all(&temporary).with_context(|| format!("remove {}", temporary.display()))?;
    }
    fs::create_dir(&temporary).with_context(|| format!("create {}", temporary.display()))?;

    let mut command = go(module);
    command
        .arg("build")
        .arg("-v")
        .args(flags)
        .arg("-o")
        .arg(format!("{}/", temporary.display()));
    command.args(todo.iter().map(|p| p.package));
    run_build(command, progress)?;

    for program in todo {
        let (from, to) = (temporary.join(program.built_as()), dir.join(program.name));
        fs::rename(&from, &to).with_context(|| format!("move {} to {}", from.display(), to.display()))?;
    }
    fs::remove_dir_all(&temporary).with_context(|| format!("remove {}", temporary.display()))?;
    progress(&format!("built {} programs in {} s", todo.len(), started.elapsed().as_secs()));
    Ok(())
}

/// A `go` command in `module` that the caller's Go settings for other projects do not disturb.
fn go(module: &Path) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        .env_remove("GOOS")
        .env_remove("GOARCH")
        .stdin(Stdio::null());
    command
}

fn run_build(mut command: Command, progress: &mut dyn FnMut(&str)) -> Result<()> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(go_missing)?;
    let stderr = child.stderr.take().context("the build has no standard error")?;
    let (mut compiled, mut downloaded, mut said) = (0_usize, 0_usize, Instant::now());
    let mut tail: VecDeque<String> = VecDeque::with_capacity(ERROR_LINES);
    for line in BufReader::new(stderr).lines() {
        let line = line.context("read the output of go build")?;
        if line.starts_with("go: downloading ") {
            downloaded += 1;
        } else if !line.is_empty() && !line.contains([' ', '\t', ':']) {
            // `-v` prints the import path of each package that is compiled.
            compiled += 1;
        } else {
            if tail.len() == ERROR_LINES {
                tail.pop_front();
            }
            tail.push_back(line);
        }
        if said.elapsed() >= PROGRESS_EVERY {
            said = Instant::now();
            progress(&format!("go build: {downloaded} modules downloaded, {compiled} packages compiled"));
        }
    }
    let status = child.wait().context("wait for go build")?;
    if status.success() {
        return Ok(());
    }
    let output = Vec::from(tail).join("\n");
    Err(explain_go_failure("go build", &output))
}

fn go_missing(error: std::io::Error) -> anyhow::Error {
    if error.kind() == std::io::ErrorKind::NotFound {
        anyhow!("the program `go` is not in PATH: install Go 1.26 or newer (https://go.dev/doc/install) and try again")
    } else {
        anyhow!(error).context("run go")
    }
}

fn explain_go_failure(what: &str, output: &str) -> anyhow::Error {
    const NETWORK: &[&str] = &[
        "dial tcp",
        "no such host",
        "i/o timeout",
        "connection refused",
        "TLS handshake",
        "proxyconnect",
    ];
    if NETWORK.iter().any(|sign| output.contains(sign)) {
        return anyhow!(
            "{what} could not download modules: check the network and `go env GOPROXY`, then try again; what was \
             downloaded is kept.\n{output}"
        );
    }
    if output.contains("requires go >=") {
        return anyhow!("{what}: the installed Go is too old for the pinned modules: install a newer one.\n{output}");
    }
    anyhow!("{what} failed:\n{output}")
}

/// Where the source of a module of our build list lies, downloading it where it is missing.
fn module_source(module: &Path, wanted: &str) -> Result<PathBuf> {
    let list = |module: &Path| -> Result<PathBuf> {
        let output = run_go(module, &["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", wanted])?;
        Ok(PathBuf::from(output.trim()))
    };
    let dir = list(module)?;
    if dir.is_dir() {
        return Ok(dir);
    }
    run_go(module, &["mod", "download", wanted])?;
    let dir = list(module)?;
    if !dir.is_dir() {
        bail!("go mod download {wanted} did not leave the module's source in the module cache");
    }
    Ok(dir)
}

fn run_go(module: &Path, arguments: &[&str]) -> Result<String> {
    let output = go(module).args(arguments).output().map_err(go_missing)?;
    if !output.status.success() {
        let what = format!("go {}", arguments.join(" "));
        return Err(explain_go_failure(&what, &String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).context("go printed something that is not UTF-8")
}

/// Notes the time of use; only a hint for [`remove_unused_builds`], so errors do not matter.
fn mark_used(home: &Path) {
    let _ = fs::write(home.join("used"), b"");
}

/// Removes builds of other versions that nobody used for long. Only folders that carry our mark are touched.
fn remove_unused_builds(current: &Path) {
    let Ok(entries) = fs::read_dir(cache_dir()) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let ours = entry.file_name().to_string_lossy().starts_with("go-") && path != current;
        let used = fs::metadata(path.join("used")).and_then(|meta| meta.modified());
        let Some(age) = used.ok().and_then(|time| SystemTime::now().duration_since(time).ok()) else {
            continue;
        };
        let free = File::open(path.join("lock")).is_ok_and(|file| file.try_lock().is_ok());
        if ours && free && age > UNUSED_BUILD_KEPT {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// Writes a file so that readers see the old content or the new, never a part.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let dir = path.parent().context("a file needs a parent folder")?;
    let file = tempfile::NamedTempFile::new_in(dir).with_context(|| format!("create a file in {}", dir.display()))?;
    fs::write(file.path(), content).with_context(|| format!("write {}", file.path().display()))?;
    file.persist(path).with_context(|| format!("write {}", path.display()))?;
    Ok(())
}

pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_go_mod() {
        let text = "require (\n\tk8s.io/kubernetes v1.36.3\n\tk8s.io/kubernetes/extra v9.9.9 // indirect\n)\n";
        assert_eq!(module_version(text, "k8s.io/kubernetes").unwrap(), "v1.36.3");
        let error = module_version(text, "example.org/absent").unwrap_err().to_string();
        assert_eq!(error, "go.mod does not require example.org/absent");
    }

    #[test]
    fn the_pinned_versions_are_stamped() {
        let flags = build_flags(&read(&module_dir().join("go.mod")).unwrap()).unwrap();
        let ldflags = flags.last().unwrap();
        assert!(ldflags.contains("-X k8s.io/component-base/version.gitMinor=36"), "{ldflags}");
        assert!(ldflags.contains("versions.buildVersion=1.30.0"), "{ldflags}");
    }

    #[test]
    fn programs_have_the_names_that_go_gives_them() {
        let built: Vec<_> = Set::Lab.programs().map(Program::built_as).collect();
        assert!(built.contains(&"server") && built.contains(&"csi-provisioner") && built.contains(&"pause"));
    }

    #[test]
    fn network_failures_are_told_from_others() {
        let network = explain_go_failure("go build", "dial tcp: lookup proxy: no such host").to_string();
        assert!(network.contains("check the network"), "{network}");
        let other = explain_go_failure("go build", "undefined: x").to_string();
        assert_eq!(other, "go build failed:\nundefined: x");
    }
}
