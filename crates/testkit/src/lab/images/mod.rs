//! The images of the lab, made on the spot: nothing is pulled.

pub mod archive;
pub mod own;
pub mod postgres;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::tools::{self, Binaries};
use archive::{ImageConfig, Layer};

/// Archives of other versions are removed when nobody used them for this long: a set takes 250 MB.
const UNUSED_KEPT: Duration = Duration::from_hours(14 * 24);
/// Changes when images are made differently from the same sources.
const FORMAT: u32 = 1;

/// What every node gets.
pub struct Images {
    /// The archives.
    pub archives: Vec<PathBuf>,
    /// CloudNativePG's operator.
    pub operator: String,
    /// PostgreSQL.
    pub postgres: String,
}

/// Where finished archives are kept.
fn cache() -> Result<PathBuf> {
    let dir = tools::cache_dir().join("images");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// Makes what is missing. Blocking.
pub fn ensure(binaries: &Binaries, progress: &mut dyn FnMut(&str)) -> Result<Images> {
    let cache = cache()?;
    let lock = cache.join("lock");
    let lock_file = File::create(&lock).with_context(|| format!("create {}", lock.display()))?;
    if lock_file.try_lock().is_err() {
        progress("waiting for another process that makes images");
        lock_file.lock().with_context(|| format!("lock {}", lock.display()))?;
    }
    // The folder of the binaries is named by a hash of their sources.
    let key = binaries
        .dir()
        .parent()
        .and_then(Path::file_name)
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let version = tools::cnpg_manifest()?;
    let version = version
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .trim_start_matches("cnpg-")
        .to_owned();
    let operator = format!("localhost/cloudnative-pg:{version}");
    let mut archives = Vec::new();
    for (name, reference) in [
        ("pause", "localhost/pause:lab"),
        ("coredns", "localhost/coredns:lab"),
        ("manager", &operator),
    ] {
        let archive = cache.join(format!("{name}-{key}-{FORMAT}.tar"));
        if !archive.is_file() {
            progress(&format!("making the image {reference}"));
            let mut layer = Layer::create(&archive.with_extension("layer"))?;
            let mut config = ImageConfig {
                reference: reference.to_owned(),
                ..ImageConfig::default()
            };
            if name == "manager" {
                // Where the operator looks for itself, to copy itself into the instances' pods.
                layer.directory("operator", 0o755)?;
                layer.file(&format!("operator/manager_{}", arch()), &binaries.path(name), 0o755)?;
                layer.link("manager", &format!("operator/manager_{}", arch()))?;
                config.user = "10001:10001".into();
                config.entrypoint = vec!["/manager".into()];
            } else {
                layer.file(name, &binaries.path(name), 0o755)?;
                config.entrypoint = vec![format!("/{name}")];
            }
            layer.directory("tmp", 0o1777)?;
            layer.finish(&config, &archive)?;
        }
        archives.push(archive);
    }
    let postgres = postgres::ensure(&cache, progress)?;
    archives.push(postgres.archive);
    remove_unused(&cache, &archives);
    Ok(Images {
        archives,
        operator,
        postgres: postgres.reference,
    })
}

/// Notes which archives are in use, and removes those of other versions that nobody used for long. Neither is needed for
/// what follows, so errors do not matter.
fn remove_unused(cache: &Path, used: &[PathBuf]) {
    for archive in used {
        let _ = File::options()
            .append(true)
            .open(archive)
            .and_then(|file| file.set_modified(SystemTime::now()));
    }
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let path = entry.path();
        let age = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        if path.extension().is_some_and(|extension| extension == "tar") && age.is_some_and(|age| age > UNUSED_KEPT) {
            let _ = fs::remove_file(path);
        }
    }
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}
