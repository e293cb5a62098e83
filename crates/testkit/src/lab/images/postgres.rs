//! The PostgreSQL image, from Debian's packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::archive::{ImageConfig, Layer};
use crate::lab::clean::remove_folder;
use crate::lab::command::system;

/// Changes when the image is made differently.
const FORMAT: u32 = 2;
/// The release of Debian whose PostgreSQL is taken.
const SUITE: &str = "trixie";
/// PostgreSQL's major version there.
const MAJOR: &str = "17";
/// The user of CloudNativePG's own images; it sets the owner of volumes by it.
const UID: &str = "26";
/// Where packages come from, unless the environment says otherwise.
const MIRROR: &str = "http://deb.debian.org/debian";
/// Environment variable that names another mirror.
const MIRROR_ENV: &str = "CSM_DEBIAN_MIRROR";

/// What CloudNativePG's instance manager calls to archive to an object store, with what reads S3 for it and compresses.
const ARCHIVING: &[&str] = &["barman-cli-cloud", "python3-boto3", "python3-snappy"];

/// What an instance never uses: the JIT compiler, the administration scripts and their Perl, documentation, apt.
const PRUNED: &[&str] = &[
    "dev",
    "debootstrap",
    "usr/lib/apt",
    "usr/share/doc",
    "usr/share/i18n",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/postgresql-common",
    "usr/sbin/policy-rc.d",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/log",
];
/// The same, for names that begin so.
const PRUNED_PREFIXES: &[(&str, &str)] = &[
    ("usr/lib", "llvm"),
    ("usr/share", "perl"),
    ("usr/lib/postgresql/17/lib", "llvmjit"),
    ("usr/lib/postgresql/17/lib", "bitcode"),
    ("usr/lib/postgresql/17/lib", "pgxs"),
];
/// The same, below `usr/lib/ARCH-linux-gnu`.
const PRUNED_LIBRARIES: &[&str] = &["libLLVM", "libperl", "libz3", "libapt", "perl", "gconv"];

/// Descriptions of AWS's services, a folder each: some 400 of them take 100 MB.
const SERVICES: &str = "usr/lib/python3/dist-packages/botocore/data";
/// Those that archiving needs.
const SERVICES_KEPT: &[&str] = &["s3", "sts"];

/// A finished image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Image {
    /// `localhost/postgresql:17.11`.
    pub reference: String,
    /// Its archive.
    pub archive: PathBuf,
}

/// Makes the image, unless it is in the cache. Blocking.
pub fn ensure(cache: &Path, progress: &mut dyn FnMut(&str)) -> Result<Image> {
    let note = cache.join(format!("postgresql-{MAJOR}-{SUITE}-{FORMAT}.json"));
    if let Ok(text) = fs::read(&note)
        && let Ok(image) = serde_json::from_slice::<Image>(&text)
        && image.archive.is_file()
    {
        return Ok(image);
    }
    // A run that was killed leaves its folder; it holds no mounts, they ended with that run's namespace.
    let work = cache.join("postgresql.work");
    remove_folder(&work)?;
    let root = work.join("root");
    fs::create_dir_all(&root).with_context(|| format!("create {}", root.display()))?;
    let mirror = std::env::var(MIRROR_ENV).unwrap_or_else(|_| MIRROR.to_owned());
    progress(&format!("debootstrap {SUITE} from {mirror}"));
    isolated("debootstrap", &["--variant=minbase", SUITE, &root.to_string_lossy(), &mirror])?;
    prepare(&root)?;
    progress(&format!("installing postgresql-{MAJOR} into the image"));
    let inside = |words: &[&str]| isolated("chroot", &[&[root.to_string_lossy().as_ref()], words].concat());
    // Debian gives the group 26 to tape drives.
    inside(&["groupdel", "tape"])?;
    inside(&["groupadd", "--gid", UID, "postgres"])?;
    inside(&[
        "useradd",
        "--uid",
        UID,
        "--gid",
        UID,
        "--home-dir",
        "/var/lib/postgresql",
        "postgres",
    ])?;
    inside(&["apt-get", "-q", "update"])?;
    let package = format!("postgresql-{MAJOR}");
    let install = ["apt-get", "-q", "-y", "--no-install-recommends", "install", &package];
    inside(&[&install[..], ARCHIVING].concat())?;
    let version = inside(&["dpkg-query", "--showformat", "${Version}", "--show", &package])?;
    // 17.11-0+deb13u1
    let version = version.split(['-', '+']).next().unwrap_or_default().to_owned();
    if !version.starts_with(MAJOR) {
        bail!("{package} has the version {version:?}");
    }
    prune(&root)?;

    progress("packing the PostgreSQL image");
    let archive = cache.join(format!("postgresql-{version}-{FORMAT}.tar"));
    let config = ImageConfig {
        reference: format!("localhost/postgresql:{version}"),
        user: UID.into(),
        environment: vec![
            format!("PATH=/usr/lib/postgresql/{MAJOR}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            "LANG=C.UTF-8".into(),
        ],
        ..ImageConfig::default()
    };
    let mut layer = Layer::create(&work.join("layer.tar"))?;
    layer.directory("dev", 0o755)?;
    layer.tree(&root)?;
    layer.finish(&config, &archive)?;
    let image = Image {
        reference: config.reference,
        archive,
    };
    let new = note.with_extension("new");
    fs::write(&new, serde_json::to_vec_pretty(&image)?).with_context(|| format!("write {}", new.display()))?;
    fs::rename(&new, &note).with_context(|| format!("write {}", note.display()))?;
    remove_folder(&work)?;
    Ok(image)
}

/// Runs a program in a mount and process namespace of its own: whatever it mounts or starts ends with it, and it ends with
/// us.
fn isolated(program: &str, arguments: &[&str]) -> Result<String> {
    let output = system("setpriv")
        .args(["--pdeathsig", "KILL", "--", "unshare"])
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--propagation",
            "private",
            "--",
            program,
        ])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C")
        .output()
        .with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        let text = format!(
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let lines: Vec<&str> = text.trim().lines().collect();
        let last = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n");
        bail!("{program} {}: {}\n{last}", arguments.join(" "), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn prepare(root: &Path) -> Result<()> {
    let files = [
        // No service is to be started by its installation, no database made, no documentation unpacked.
        ("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n"),
        ("etc/postgresql-common/createcluster.conf", "create_main_cluster = false\n"),
        (
            "etc/dpkg/dpkg.cfg.d/lean",
            "path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n",
        ),
    ];
    for (name, content) in files {
        let path = root.join(name);
        let dir = path.parent().context("a file needs a folder")?;
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    }
    let policy = root.join("usr/sbin/policy-rc.d");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&policy, mode).with_context(|| policy.display().to_string())
}

fn prune(root: &Path) -> Result<()> {
    let mut doomed: Vec<PathBuf> = PRUNED.iter().map(|name| root.join(name)).collect();
    let beginning = |dir: PathBuf, prefix: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path())
            .collect()
    };
    for (dir, prefix) in PRUNED_PREFIXES {
        doomed.extend(beginning(root.join(dir), prefix));
    }
    for dir in beginning(root.join("usr/lib"), std::env::consts::ARCH) {
        for prefix in PRUNED_LIBRARIES {
            doomed.extend(beginning(dir.clone(), prefix));
        }
    }
    doomed.extend(unused_services(root)?);
    for path in doomed {
        let removed = match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(_) => continue,
        };
        removed.with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

/// Services of AWS that nobody here calls. Settings beside them are files, and stay.
fn unused_services(root: &Path) -> Result<Vec<PathBuf>> {
    let dir = root.join(SERVICES);
    let mut unused = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let kept = SERVICES_KEPT.iter().any(|name| entry.file_name() == *name);
        if entry.file_type()?.is_dir() && !kept {
            unused.push(entry.path());
        }
    }
    Ok(unused)
}
