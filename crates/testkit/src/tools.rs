//! The Go programs that the tests run: etcd, the Kubernetes components, CloudNativePG's operator, CSI sidecars.
//!
//! They are built from the pinned module in `crates/testkit/go` into a cache outside the checkout. The cache folder is
//! keyed by a hash of `go.mod`, `go.sum`, the sources under `cmd/` and the build flags, so a change of any of them builds
//! anew, and several checkouts share one build. A warm start does not need Go at all.

mod build;
mod go;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Deserialize;

use go::{CNPG_MODULE, module_dir, module_source, module_version};

/// Environment variable that overrides where built programs are kept.
pub const CACHE_DIR_ENV: &str = "CSM_CACHE_DIR";

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

/// Builds what is missing of `set` and returns the folder that holds it.
///
/// Blocking; returns at once when everything is there. Safe when several processes call it: one builds, the others wait.
/// Programs appear by rename, never half written; after a kill the next call goes on from Go's own build cache.
pub fn ensure(set: Set, progress: &mut dyn FnMut(&str)) -> Result<Binaries> {
    let module = module_dir();
    let go_mod = read(&module.join("go.mod"))?;
    let flags = build::flags(&go_mod)?;
    let home = build::home(&module, &go_mod, &flags)?;
    let dir = home.join("bin");
    let binaries = Binaries { dir: dir.clone() };
    let missing = |dir: &Path| set.programs().filter(|p| !dir.join(p.name).is_file()).collect::<Vec<_>>();

    if !missing(&dir).is_empty() {
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let _lock = build::lock(&home, progress)?;
        let todo = missing(&dir);
        if !todo.is_empty() {
            build::run(&module, &home, &dir, &flags, &todo, progress)?;
        }
        build::remove_unused_builds(&home);
    }
    build::mark_used(&home);
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
    fn programs_have_the_names_that_go_gives_them() {
        let built: Vec<_> = Set::Lab.programs().map(Program::built_as).collect();
        assert!(built.contains(&"server") && built.contains(&"csi-provisioner") && built.contains(&"pause"));
    }
}
