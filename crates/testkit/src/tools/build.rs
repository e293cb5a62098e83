//! One build into the cache: its key, its lock, and what it says meanwhile.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::go::{CNPG_MODULE, KUBERNETES_MODULE, explain_go_failure, go, go_missing, module_version};
use super::{Program, cache_dir, read};

/// How often a long build says where it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// How much of a failed build's output goes into the error.
const ERROR_LINES: usize = 30;
/// Builds of other versions are removed when nobody used them for this long: each takes up to 1 GB.
const UNUSED_BUILD_KEPT: Duration = Duration::from_hours(14 * 24);

/// The arguments of `go build` after the word `build`. Versions are stamped as upstream's release builds do.
pub(super) fn flags(go_mod: &str) -> Result<Vec<String>> {
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

/// The cache folder for exactly these sources and flags.
pub(super) fn home(module: &Path, go_mod: &str, flags: &[String]) -> Result<PathBuf> {
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
pub(super) fn lock(home: &Path, progress: &mut dyn FnMut(&str)) -> Result<File> {
    let path = home.join("lock");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    if file.try_lock().is_err() {
        progress("waiting for another process that builds the Go programs");
        file.lock().with_context(|| format!("lock {}", path.display()))?;
    }
    Ok(file)
}

pub(super) fn run(
    module: &Path,
    home: &Path,
    dir: &Path,
    flags: &[String],
    todo: &[&Program],
    progress: &mut dyn FnMut(&str),
) -> Result<()> {
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

/// Notes the time of use; only a hint for [`remove_unused_builds`], so errors do not matter.
pub(super) fn mark_used(home: &Path) {
    let _ = fs::write(home.join("used"), b"");
}

/// Removes builds of other versions that nobody used for long. Only folders that carry our mark are touched.
pub(super) fn remove_unused_builds(current: &Path) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::go::module_dir;

    #[test]
    fn the_pinned_versions_are_stamped() {
        let flags = flags(&read(&module_dir().join("go.mod")).unwrap()).unwrap();
        let ldflags = flags.last().unwrap();
        assert!(ldflags.contains("-X k8s.io/component-base/version.gitMinor=36"), "{ldflags}");
        assert!(ldflags.contains("versions.buildVersion=1.30.0"), "{ldflags}");
    }
}
