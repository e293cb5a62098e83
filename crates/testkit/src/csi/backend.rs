//! What the node part does to the machine: loop devices, filesystems, mounts.

use std::path::Path;

use tokio::process::Command;
use tonic::Status;

/// mkfs.xfs refuses smaller filesystems without `--unsupported`.
const SMALL: u64 = 300 << 20;

/// Runs a program to its end; what it prints goes into the error.
async fn run(program: &str, arguments: &[&str]) -> Result<String, Status> {
    let output = Command::new(program)
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| Status::internal(format!("{program}: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Status::internal(format!("{program} {}: {}", arguments.join(" "), said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn text(path: &Path) -> Result<&str, Status> {
    path.to_str()
        .ok_or_else(|| Status::internal(format!("{} is not UTF-8", path.display())))
}

/// Whether something is mounted at exactly this path in this process's mount namespace.
pub fn is_mounted(path: &str) -> Result<bool, Status> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(|e| Status::internal(e.to_string()))?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(4) == Some(path)))
}

/// The loop device of a file, if it has one. Loop devices are one list for the whole machine, across namespaces.
pub async fn loop_device(image: &Path) -> Result<Option<String>, Status> {
    let devices = run("losetup", &["--noheadings", "--output", "NAME", "--associated", text(image)?]).await?;
    Ok(devices.lines().map(str::trim).find(|name| !name.is_empty()).map(str::to_owned))
}

/// Attaches a file. The device goes when the last mount of it does ([`release_on_unmount`]).
pub async fn attach(image: &Path) -> Result<String, Status> {
    run("losetup", &["--find", "--show", text(image)?]).await
}

/// Marks a device that is in use: the kernel detaches it at the last unmount, also when its whole mount namespace ends.
pub async fn release_on_unmount(device: &str) -> Result<(), Status> {
    run("losetup", &["--detach", device]).await.map(drop)
}

/// Makes an XFS filesystem. `device` must hold nothing of value.
pub async fn make_filesystem(device: &str, bytes: u64) -> Result<(), Status> {
    let mut arguments = vec!["-q", "-f", "-m", "reflink=0,rmapbt=0"];
    if bytes < SMALL {
        arguments.push("--unsupported");
    }
    arguments.push(device);
    run("mkfs.xfs", &arguments).await.map(drop)
}

/// Mounts an XFS filesystem.
pub async fn mount_filesystem(device: &str, target: &str) -> Result<(), Status> {
    make_dir(target)?;
    // A small preallocation: tests compare what was written with what is used.
    run("mount", &["-t", "xfs", "-o", "noatime,nouuid,allocsize=64k", device, target])
        .await
        .map(drop)
}

/// Grows a mounted filesystem to the size that its file has by now.
pub async fn grow(image: &Path, mounted_at: &str) -> Result<(), Status> {
    let device = loop_device(image).await?;
    let device = device.ok_or_else(|| Status::failed_precondition(format!("{} has no device", image.display())))?;
    run("losetup", &["--set-capacity", &device]).await?;
    run("xfs_growfs", &["-d", mounted_at]).await.map(drop)
}

/// Binds a directory to another place.
pub async fn bind(source: &str, target: &str, readonly: bool) -> Result<(), Status> {
    make_dir(target)?;
    run("mount", &["--bind", source, target]).await?;
    if readonly {
        run("mount", &["-o", "remount,bind,ro", target]).await?;
    }
    Ok(())
}

/// Unmounts, if mounted.
pub async fn unmount(path: &str) -> Result<(), Status> {
    if is_mounted(path)? {
        run("umount", &[path]).await?;
    }
    Ok(())
}

fn make_dir(path: &str) -> Result<(), Status> {
    std::fs::create_dir_all(path).map_err(|error| Status::internal(format!("create {path}: {error}")))
}
