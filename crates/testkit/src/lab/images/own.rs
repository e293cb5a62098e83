//! Images of our own programs: the program, and the shared libraries that it is linked to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::archive::{ImageConfig, Layer};
use crate::lab::command::system;

/// Nobody: our programs need no rights in their container.
const USER: &str = "65534:65534";
/// Where Debian keeps the certificates that programs trust.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Makes an image of one program. It lies at `/NAME`, which is also the entrypoint. Blocking.
pub fn build(program: &Path, reference: &str, archive: &Path) -> Result<()> {
    let name = program.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} has no name to be called by", program.display()))?;
    let mut layer = Layer::create(&archive.with_extension("layer"))?;
    for dir in ["etc", "etc/ssl", "etc/ssl/certs"] {
        layer.directory(dir, 0o755)?;
    }
    layer.directory("tmp", 0o1777)?;
    layer.text("etc/passwd", "root:x:0:0:root:/:/none\nnobody:x:65534:65534:nobody:/:/none\n")?;
    layer.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")?;
    if Path::new(CERTIFICATES).exists() {
        layer.file(CERTIFICATES.trim_start_matches('/'), Path::new(CERTIFICATES), 0o644)?;
    }
    let libraries = libraries(program)?;
    let folders: BTreeSet<PathBuf> = libraries
        .iter()
        .flat_map(|library| library.ancestors().skip(1).map(Path::to_owned))
        .collect();
    for folder in folders
        .iter()
        .filter_map(|folder| folder.strip_prefix("/").ok())
        .filter(|f| !f.as_os_str().is_empty())
    {
        layer.directory(&folder.to_string_lossy(), 0o755)?;
    }
    for library in &libraries {
        layer.file(&library.to_string_lossy()[1..], library, 0o755)?;
    }
    layer.file(name, program, 0o755)?;
    let config = ImageConfig {
        reference: reference.to_owned(),
        user: USER.into(),
        environment: vec![format!("SSL_CERT_FILE={CERTIFICATES}")],
        entrypoint: vec![format!("/{name}")],
        ..ImageConfig::default()
    };
    layer.finish(&config, archive)
}

/// The shared libraries of a program, the dynamic loader included. A static program has none.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = system("ldd").arg(program).output().context("run ldd: install libc-bin")?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        if format!("{text}{errors}").contains("not a dynamic executable") {
            return Ok(Vec::new());
        }
        bail!("ldd {}: {}", program.display(), errors.trim());
    }
    parse_ldd(&text).with_context(|| format!("ldd {}", program.display()))
}

/// Lines are `name => /path (0x…)`, `/path (0x…)`, `name (0x…)` for what the kernel provides, or `name => not found`.
fn parse_ldd(text: &str) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in text.lines().map(str::trim) {
        if line == "statically linked" {
            continue;
        }
        if line.ends_with("not found") {
            bail!("a library is missing on this machine: {line}");
        }
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        let path = path.split(" (").next().unwrap_or(path);
        if path.starts_with('/') {
            libraries.push(PathBuf::from(path));
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_ldd_is_understood() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x0000)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(parse_ldd(text).unwrap(), expected);
        assert!(parse_ldd("\tlibfoo.so => not found\n").is_err());
        assert!(parse_ldd("\tstatically linked\n").unwrap().is_empty());
    }
}
