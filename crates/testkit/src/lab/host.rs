//! What the lab needs of the machine: packages, kernel features, control groups.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::command::system;

/// Debian's packages, each with a program (or folder) by which its presence is known.
const PACKAGES: &[(&str, &str)] = &[
    ("containerd", "/usr/bin/containerd"),
    ("runc", "/usr/sbin/runc"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("xfsprogs", "/usr/sbin/mkfs.xfs"),
    ("nftables", "/usr/sbin/nft"),
    ("iptables", "/usr/sbin/iptables"),
    ("conntrack", "/usr/sbin/conntrack"),
    ("debootstrap", "/usr/sbin/debootstrap"),
    ("iproute2", "/usr/sbin/ip"),
    ("procps", "/usr/sbin/sysctl"),
    ("util-linux", "/usr/bin/nsenter"),
    ("mount", "/usr/sbin/losetup"),
    ("libc-bin", "/usr/bin/ldd"),
];

/// The least space for a cold start: images, their unpacked content, and room for tests' volumes.
const FREE_BYTES: u64 = 12 << 30;

/// Installs what is missing, and checks that the kernel can do what the lab does. Blocking.
pub fn ensure(layout_dir: &Path, progress: &mut dyn FnMut(&str)) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the lab needs root: it makes namespaces, mounts and loop devices");
    }
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(_, file)| !is_there(file))
        .map(|(package, _)| *package)
        .collect();
    if !missing.is_empty() {
        install(&missing, progress)?;
    }
    check_kernel()?;
    let stat = rustix::fs::statvfs(layout_dir).with_context(|| layout_dir.display().to_string())?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < FREE_BYTES {
        bail!(
            "{} has {} MiB free, the lab needs {}",
            layout_dir.display(),
            free >> 20,
            FREE_BYTES >> 20
        );
    }
    Ok(())
}

/// Present under its name in Debian, before or after the merge of /usr.
fn is_there(file: &str) -> bool {
    let alternatives = [file.to_owned(), file.replacen("/usr/", "/", 1), file.replacen("/sbin/", "/bin/", 1)];
    alternatives.iter().any(|file| Path::new(file).exists())
}

fn install(missing: &[&str], progress: &mut dyn FnMut(&str)) -> Result<()> {
    let list = missing.join(" ");
    if !is_there("/usr/bin/apt-get") {
        bail!("missing: {list}. This machine has no apt-get: install these (by their Debian names) and try again");
    }
    progress(&format!("installing {list}"));
    let apt = |arguments: &[&str]| -> Result<()> {
        let output = system("apt-get")
            .args(["-q", "-y", "-o", "DPkg::Lock::Timeout=300"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .context("start apt-get")?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("apt-get {} failed; install by hand: {list}\n{}", arguments.join(" "), errors.trim());
        }
        Ok(())
    };
    apt(&["update"])?;
    apt(&[&["install", "--no-install-recommends"], missing].concat())?;
    let still: Vec<&str> = PACKAGES.iter().filter(|(_, file)| !is_there(file)).map(|(_, file)| *file).collect();
    if !still.is_empty() {
        bail!("after the installation of {list} these are still missing: {}", still.join(" "));
    }
    Ok(())
}

fn check_kernel() -> Result<()> {
    let filesystems = fs::read_to_string("/proc/filesystems").context("read /proc/filesystems")?;
    for name in ["xfs", "overlay"] {
        let known = |text: &str| text.lines().any(|line| line.split_whitespace().next_back() == Some(name));
        if !known(&filesystems) {
            // A module that is not loaded yet is loaded by this; what it says does not matter, what is there then does.
            let _ = system("modprobe").arg(name).output();
            let again = fs::read_to_string("/proc/filesystems").context("read /proc/filesystems")?;
            if !known(&again) {
                bail!("this kernel has no filesystem {name} (/proc/filesystems): the lab's volumes need xfs, its containers overlay");
            }
        }
    }
    if !Path::new("/dev/loop-control").exists() {
        let _ = system("modprobe").arg("loop").output();
    }
    if !Path::new("/dev/loop-control").exists() {
        bail!("/dev/loop-control is missing: the lab's volumes are loop devices");
    }
    if !Path::new("/proc/sys/net/bridge").exists() {
        let _ = system("modprobe").arg("br_netfilter").output();
    }
    if cgroup_hierarchies()?.is_empty() {
        bail!("no control group hierarchy is mounted below /sys/fs/cgroup");
    }
    Ok(())
}

/// Where control group hierarchies are mounted: one with version 2, one for each controller with version 1.
pub fn cgroup_hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    Ok(mounts
        .lines()
        .filter_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let kind = kind.split(' ').next()?;
            matches!(kind, "cgroup" | "cgroup2").then(|| mount.split(' ').nth(4).map(PathBuf::from))?
        })
        .collect())
}

/// Makes a control group in every hierarchy, ready for the kubelet: with version 1 a cpuset is empty until filled in, with
/// version 2 controllers are off until turned on.
pub fn make_cgroups(path: &str) -> Result<()> {
    for root in cgroup_hierarchies()? {
        let mut dir = root;
        for part in path.split('/') {
            let controllers = dir.join("cgroup.controllers");
            if let Ok(names) = fs::read_to_string(&controllers) {
                for name in names.split_whitespace() {
                    // In a hybrid hierarchy there is nothing to turn on; a controller that cannot be is missed later.
                    let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{name}"));
                }
            }
            let child = dir.join(part);
            fs::create_dir_all(&child).with_context(|| format!("create the control group {}", child.display()))?;
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let (from, to) = (dir.join(file), child.join(file));
                if dir.join("cgroup.controllers").exists() || !from.exists() {
                    continue;
                }
                let value = fs::read_to_string(&from).with_context(|| from.display().to_string())?;
                fs::write(&to, value.trim()).with_context(|| to.display().to_string())?;
            }
            dir = child;
        }
    }
    Ok(())
}
