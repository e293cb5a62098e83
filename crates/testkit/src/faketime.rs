//! A wall clock that a test steps while a program runs: libfaketime (Debian's package), preloaded into that program alone.
//!
//! Only the wall clock is changed. The monotonic clock goes on as it is, as it does where a person or NTP steps a real one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::tools::{cache_dir, write_atomically};

/// Debian's package.
const PACKAGE: &str = "libfaketime";
/// The library in it that is for programs with threads.
const LIBRARY: &str = "libfaketimeMT.so.1";

/// The wall clock of one program, right at first.
pub struct Clock {
    library: PathBuf,
    offset: tempfile::TempPath,
}

/// A step of a clock from the right time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So much ahead.
    Ahead(Duration),
    /// So much behind.
    Behind(Duration),
    /// Right again.
    Right,
}

impl Clock {
    /// A clock that is right. Blocking where the library is not there yet: it is taken from Debian's packages.
    pub fn new() -> Result<Self> {
        let library = library()?;
        let offset = tempfile::NamedTempFile::new()
            .context("a file for the clock's offset")?
            .into_temp_path();
        let clock = Self { library, offset };
        clock.step(Step::Right)?;
        Ok(clock)
    }

    /// What the program's environment must have.
    pub fn environment(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.offset.to_path_buf()),
            // Looks at the file each time that it is asked for the time.
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }

    /// Steps it, from the program's next look at it on.
    pub fn step(&self, step: Step) -> Result<()> {
        let offset = match step {
            Step::Ahead(by) => format!("+{}", by.as_secs()),
            Step::Behind(by) => format!("-{}", by.as_secs()),
            Step::Right => "+0".to_owned(),
        };
        // At once: half a number would be another time.
        write_atomically(&self.offset, format!("{offset}\n").as_bytes())
    }
}

/// The library: the installed one, or from the cache, which is filled where it is not there.
fn library() -> Result<PathBuf> {
    if let Some(installed) = find(Path::new("/usr/lib"))? {
        return Ok(installed);
    }
    let home = cache_dir().join("debian");
    let folder = home.join(PACKAGE);
    if let Some(cached) = find(&folder.join("usr/lib"))? {
        return Ok(cached);
    }
    fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    let work = tempfile::tempdir_in(&home).context("a folder to unpack in")?;
    // With lists of its own: a fresh machine has none, and they need no root here.
    let (lists, cache) = (work.path().join("lists"), work.path().join("cache"));
    for folder in [lists.join("partial"), cache.join("archives/partial")] {
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    }
    for arguments in [["update"].as_slice(), &["download", PACKAGE]] {
        let mut apt = Command::new("apt-get");
        apt.args(["-q", "-o", "Debug::NoLocking=1"])
            .arg("-o")
            .arg(format!("Dir::State::Lists={}", lists.display()))
            .arg("-o")
            .arg(format!("Dir::Cache={}", cache.display()))
            .args(arguments)
            .current_dir(work.path());
        run(&mut apt).with_context(|| format!("download Debian's {PACKAGE}"))?;
    }
    let mut entries = fs::read_dir(work.path()).context("list the download")?.flatten();
    let package = entries
        .find(|entry| entry.path().extension().is_some_and(|e| e == "deb"))
        .context("apt-get downloaded nothing")?;
    let unpacked = work.path().join("unpacked");
    run(Command::new("dpkg-deb").arg("--extract").arg(package.path()).arg(&unpacked))?;
    // Another process may have been quicker.
    if let Err(error) = fs::rename(&unpacked, &folder)
        && !folder.exists()
    {
        return Err(error).with_context(|| format!("move {} to {}", unpacked.display(), folder.display()));
    }
    find(&folder.join("usr/lib"))?.with_context(|| format!("Debian's {PACKAGE} holds no {LIBRARY}"))
}

/// The library below a folder of libraries: in `ARCH-linux-gnu/faketime`.
fn find(libraries: &Path) -> Result<Option<PathBuf>> {
    if !libraries.is_dir() {
        return Ok(None);
    }
    let folders = fs::read_dir(libraries).with_context(|| format!("list {}", libraries.display()))?;
    let candidates = folders.flatten().map(|folder| folder.path().join("faketime").join(LIBRARY));
    Ok(candidates.into_iter().find(|path| path.is_file()))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}: {}",
            command.get_program().display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `date` says, in seconds since 1970, from the right time.
    fn off(clock: &Clock) -> i64 {
        let mut date = Command::new("date");
        date.arg("+%s").envs(clock.environment());
        let said = String::from_utf8(date.output().unwrap().stdout).unwrap();
        said.trim().parse::<i64>().unwrap() - jiff::Timestamp::now().as_second()
    }

    #[test]
    fn a_clock_is_stepped_and_set_right() {
        let clock = Clock::new().unwrap();
        assert!(off(&clock).abs() <= 2);
        clock.step(Step::Ahead(Duration::from_hours(1))).unwrap();
        assert!((off(&clock) - 3600).abs() <= 2);
        clock.step(Step::Behind(Duration::from_hours(1))).unwrap();
        assert!((off(&clock) + 3600).abs() <= 2);
        clock.step(Step::Right).unwrap();
        assert!(off(&clock).abs() <= 2);
    }
}
