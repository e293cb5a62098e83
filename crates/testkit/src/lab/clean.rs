//! Takes away what a lab left on the machine, and nothing else.
//!
//! All processes of a lab live in one process namespace, all its mounts in mount namespaces that end with them, its loop
//! devices go with their last mount, its network with its network namespaces: killing the namespace's first process is
//! enough for the kernel to undo nearly everything. What remains is waited for, or removed by hand: control groups, loop
//! devices that were never mounted, the lab's files.
//!
//! Files are deleted only below a folder with our marker, never over a mount, never through a symbolic link, and only
//! when no process on the machine, in whatever mount namespace, has anything mounted there: `rmdir` would detach it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, unlinkat};
use rustix::process::{Pid, Signal, kill_process};

use super::command::system;
use super::host::cgroup_hierarchies;
use super::layout::{Layout, MARKER_ENV};
use crate::wait::retry;

/// After SIGKILL the kernel ends hundreds of processes and their namespaces, one after the other.
const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(50);

/// Ends everything of the lab and deletes its run. Calling it when there is nothing does nothing.
pub async fn clear(layout: &Layout) -> Result<()> {
    if !layout.dir().exists() {
        return Ok(());
    }
    if !layout.is_claimed() {
        bail!(
            "{} is not a lab's folder: it has no marker {} written for this path. Nothing was touched",
            layout.dir().display(),
            layout.marker().display()
        );
    }
    kill_processes(layout).await?;
    wait_for("mounts below the lab's folder", || mounts_below(layout.dir())).await?;
    detach_loop_devices(layout).await?;
    wait_for("the cable into the lab's network", || Ok(links(layout))).await?;
    remove_cgroups(layout).await?;
    remove_folder(&layout.run())
}

/// Kills every process of the lab, and does nothing else: what a crash leaves. For tests of what comes after it.
pub async fn crash(layout: &Layout) -> Result<()> {
    if !layout.is_claimed() {
        bail!("{} is not a lab's folder. Nothing was touched", layout.dir().display());
    }
    kill_processes(layout).await
}

/// What of the lab is on the machine. Empty after [`clear`].
pub fn leftovers(layout: &Layout) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    found.extend(
        processes(layout)?
            .iter()
            .map(|pid| format!("process {pid} ({})", command_line(*pid))),
    );
    found.extend(mounts_below(layout.dir())?.iter().map(|mount| format!("mount {mount}")));
    found.extend(
        loop_devices(layout)?
            .iter()
            .map(|(device, file)| format!("loop device {device} of {file}")),
    );
    found.extend(links(layout).iter().map(|link| format!("network link {link}")));
    found.extend(cgroups(layout)?.iter().map(|path| format!("control group {}", path.display())));
    if layout.run().exists() {
        found.push(format!("files in {}", layout.run().display()));
    }
    Ok(found)
}

/// The lab's processes: those with our mark in their environment, and all in a process namespace that such a one began.
fn processes(layout: &Layout) -> Result<Vec<i32>> {
    let own_namespace = fs::read_link("/proc/self/ns/pid").context("read /proc/self/ns/pid")?;
    let this = std::process::id().cast_signed();
    let mark = [MARKER_ENV.as_bytes(), b"=", layout.dir().as_os_str().as_bytes()].concat();
    let all = pids()?;
    let mut namespaces = BTreeSet::new();
    let mut marked = BTreeSet::new();
    for pid in &all {
        // Processes come and go while we look: what cannot be read is gone.
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else {
            continue;
        };
        if *pid != this && environment.split(|byte| *byte == 0).any(|entry| entry == mark) {
            marked.insert(*pid);
            namespaces.extend(fs::read_link(format!("/proc/{pid}/ns/pid")).ok().filter(|ns| *ns != own_namespace));
        }
    }
    for pid in all {
        if fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|namespace| namespaces.contains(&namespace)) {
            marked.insert(pid);
        }
    }
    Ok(marked.into_iter().filter(|pid| !is_zombie(*pid)).collect())
}

fn pids() -> Result<Vec<i32>> {
    let entries = fs::read_dir("/proc").context("list /proc")?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

fn command_line(pid: i32) -> String {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = text.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    words.join(" ").chars().take(120).collect()
}

async fn kill_processes(layout: &Layout) -> Result<()> {
    let ended = retry(POLL, PATIENCE, async || match processes(layout) {
        Ok(left) if !left.is_empty() => {
            for pid in left.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                let _ = kill_process(pid, Signal::KILL);
            }
            Err(left)
        }
        ended => Ok(ended.map(|_| ())),
    });
    ended.await.unwrap_or_else(|left| {
        let list: Vec<_> = left.iter().map(|pid| format!("{pid} ({})", command_line(*pid))).collect();
        bail!("these processes do not end after SIGKILL: {}", list.join(", "))
    })
}

/// Waits until the kernel has undone something.
async fn wait_for(what: &str, mut left: impl FnMut() -> Result<Vec<String>>) -> Result<()> {
    let undone = retry(POLL, PATIENCE, async || match left() {
        Ok(left) if !left.is_empty() => Err(left),
        undone => Ok(undone.map(|_| ())),
    });
    undone.await.unwrap_or_else(|left| {
        bail!(
            "{what} are still there, so nothing was deleted. End the processes that hold them, or unmount them, and try again: {}",
            left.join(", ")
        )
    })
}

/// Mount points at or below a folder in any mount namespace of the machine, and mounts of what lies below it.
fn mounts_below(dir: &Path) -> Result<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut found = BTreeSet::new();
    for pid in pids()? {
        let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/mnt")) else {
            continue;
        };
        if !seen.insert(namespace.clone()) {
            continue;
        }
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        for point in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
            if Path::new(&unescape(point)).starts_with(dir) {
                found.insert(format!("{point} ({}, process {pid})", namespace.display()));
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The kernel writes blanks, tabs, newlines and backslashes as octal numbers (proc(5)).
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

/// Loop devices of files below the lab's folder.
fn loop_devices(layout: &Layout) -> Result<Vec<(String, String)>> {
    let output = system("losetup")
        .args(["--list", "--noheadings", "--raw", "--output", "NAME,BACK-FILE"])
        .output();
    let output = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        output => output.context("run losetup")?,
    };
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, file)| Path::new(file).starts_with(layout.dir()))
        .map(|(device, file)| (device.to_owned(), file.to_owned()))
        .collect())
}

async fn detach_loop_devices(layout: &Layout) -> Result<()> {
    // Those that were mounted go on their own; one that was cut off before its mount is detached here.
    for (device, _) in loop_devices(layout)? {
        let _ = system("losetup").args(["--detach", &device]).output();
    }
    wait_for("loop devices", || {
        Ok(loop_devices(layout)?.into_iter().map(|(device, _)| device).collect())
    })
    .await
}

fn links(layout: &Layout) -> Vec<String> {
    let link = layout.host_link();
    if !Path::new("/sys/class/net").join(&link).exists() {
        return Vec::new();
    }
    // Its other end keeps a dead namespace's devices alive for a moment; taking ours away is quicker, and harmless.
    let _ = system("ip").args(["link", "delete", &link]).output();
    let left = Path::new("/sys/class/net").join(&link).exists();

    if left { vec![link] } else { Vec::new() }
}

fn cgroups(layout: &Layout) -> Result<Vec<PathBuf>> {
    let name = layout.cgroup();
    Ok(cgroup_hierarchies()?
        .into_iter()
        .map(|root| root.join(&name))
        .filter(|path| path.exists())
        .collect())
}

async fn remove_cgroups(layout: &Layout) -> Result<()> {
    wait_for("control groups", || {
        let mut left = Vec::new();
        for path in cgroups(layout)? {
            if let Err(error) = remove_cgroup(&path) {
                left.push(format!("{} ({error})", path.display()));
            }
        }
        Ok(left)
    })
    .await
}

/// Control groups are removed from the leaves; their files go with them.
fn remove_cgroup(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// Deletes a folder of ours, if it is there: refuses when anything is mounted below it, in any mount namespace.
pub(super) fn remove_folder(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{} is no folder of ours", path.display())
    };
    let mounts = mounts_below(path)?;
    if !mounts.is_empty() {
        bail!(
            "{} is not deleted, since something is mounted below it: {}",
            path.display(),
            mounts.join(", ")
        );
    }
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let dir = rustix::fs::open(parent, flags, Mode::empty()).with_context(|| format!("open {}", parent.display()))?;
    remove_tree(dir.as_fd(), name).with_context(|| format!("delete {}", path.display()))
}

/// Deletes a folder. Every folder on the way is opened by `openat2` without following links and without crossing into
/// another mount, so that not even a race can lead out of it.
fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let dir: OwnedFd = match openat2(parent, name, flags, Mode::empty(), resolve) {
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        dir => dir.with_context(|| name.to_string_lossy().into_owned())?,
    };
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let child = OsStr::from_bytes(entry.file_name().to_bytes());
        if child == "." || child == ".." {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            remove_tree(dir.as_fd(), child).with_context(|| name.to_string_lossy().into_owned())?;
        } else {
            unlinkat(&dir, child, AtFlags::empty()).with_context(|| child.to_string_lossy().into_owned())?;
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR).with_context(|| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_marker_nothing_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path()).unwrap();
        fs::create_dir_all(layout.run()).unwrap();
        fs::write(layout.run().join("precious"), "x").unwrap();
        let error = clear(&layout).await.unwrap_err().to_string();
        assert!(error.contains("Nothing was touched"), "{error}");
        assert!(layout.run().join("precious").exists());
    }

    #[test]
    fn links_are_deleted_and_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "x").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::at(dir.path()).unwrap();
        layout.claim().unwrap();
        fs::create_dir_all(layout.run().join("a/b")).unwrap();
        std::os::unix::fs::symlink(outside.path(), layout.run().join("a/link")).unwrap();
        fs::write(layout.run().join("a/b/file"), "x").unwrap();
        remove_folder(&layout.run()).unwrap();
        assert!(!layout.run().exists());
        assert!(outside.path().join("precious").exists());
        assert!(layout.marker().exists());
    }

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescape("/a\\040b\\134c"), "/a b\\c");
    }
}
