//! Image archives of one layer, in the form of `docker save`, made without any container tool.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::lab::layout::hex;
use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// What an image says of itself.
#[derive(Clone, Debug, Default)]
pub struct ImageConfig {
    /// `localhost/name:version`; a tag other than latest, so that kubelets do not try to pull it.
    pub reference: String,
    /// `uid` or `uid:gid`; empty is root.
    pub user: String,
    /// `NAME=value`.
    pub environment: Vec<String>,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Its working directory; empty is `/`.
    pub directory: String,
}

/// The one layer of an image, being written. Everything in it is owned by root and dated 1970, unless said otherwise, so
/// that the same content gives the same image.
pub struct Layer {
    builder: Builder<Hashing<BufWriter<File>>>,
    path: PathBuf,
}

struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

impl Layer {
    /// A layer that is written to `path` until the image is finished.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        let mut builder = Builder::new(Hashing {
            inner: BufWriter::new(file),
            hash: Sha256::new(),
        });
        builder.follow_symlinks(false);
        Ok(Self {
            builder,
            path: path.to_owned(),
        })
    }

    /// Adds a file of the machine under another name (without a leading slash).
    pub fn file(&mut self, name: &str, source: &Path, mode: u32) -> Result<()> {
        let file = File::open(source).with_context(|| format!("open {}", source.display()))?;
        let size = file.metadata().with_context(|| source.display().to_string())?.len();
        let mut header = header(EntryType::Regular, mode);
        header.set_size(size);
        self.append(&mut header, name, file)
    }

    /// Adds a file with this content.
    pub fn text(&mut self, name: &str, content: &str) -> Result<()> {
        let mut header = header(EntryType::Regular, 0o644);
        header.set_size(content.len() as u64);
        self.append(&mut header, name, content.as_bytes())
    }

    /// Adds a folder.
    pub fn directory(&mut self, name: &str, mode: u32) -> Result<()> {
        self.append(&mut header(EntryType::Directory, mode), name, std::io::empty())
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, target: &str) -> Result<()> {
        let mut header = header(EntryType::Symlink, 0o777);
        self.builder
            .append_link(&mut header, name, target)
            .with_context(|| format!("add {name} to the image"))
    }

    /// Adds everything below a folder, with its owners and modes. Devices and sockets are left out.
    pub fn tree(&mut self, root: &Path) -> Result<()> {
        self.subtree(root, Path::new(""))
    }

    fn subtree(&mut self, root: &Path, below: &Path) -> Result<()> {
        let dir = root.join(below);
        let entries = fs::read_dir(&dir).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let mut entries = entries.with_context(|| format!("list {}", dir.display()))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), below.join(entry.file_name()));
            let meta = fs::symlink_metadata(&path).with_context(|| path.display().to_string())?;
            let kind = match meta.file_type() {
                kind if kind.is_dir() => EntryType::Directory,
                kind if kind.is_symlink() => EntryType::Symlink,
                kind if kind.is_file() => EntryType::Regular,
                _ => continue,
            };
            let mut header = header(kind, meta.permissions().mode() & 0o7777);
            header.set_uid(meta.uid().into());
            header.set_gid(meta.gid().into());
            let at = || format!("add {} to the image", name.display());
            match kind {
                EntryType::Directory => {
                    self.builder.append_data(&mut header, &name, std::io::empty()).with_context(at)?;
                    self.subtree(root, &name)?;
                }
                EntryType::Symlink => {
                    let target = fs::read_link(&path).with_context(at)?;
                    self.builder.append_link(&mut header, &name, target).with_context(at)?;
                }
                _ => {
                    header.set_size(meta.len());
                    let file = File::open(&path).with_context(at)?;
                    self.builder.append_data(&mut header, &name, file).with_context(at)?;
                }
            }
        }
        Ok(())
    }

    fn append(&mut self, header: &mut Header, name: &str, content: impl Read) -> Result<()> {
        self.builder
            .append_data(header, name, content)
            .with_context(|| format!("add {name} to the image"))
    }

    /// Writes the archive: complete or not at all. The layer's own file is removed.
    pub fn finish(self, config: &ImageConfig, archive: &Path) -> Result<()> {
        let mut writer = self.builder.into_inner().context("finish the image's layer")?;
        writer.flush().context("finish the image's layer")?;
        let digest = hex(&writer.hash.finalize());
        let image = json!({
            "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "User": config.user,
                "Env": config.environment,
                "Entrypoint": config.entrypoint,
                "WorkingDir": if config.directory.is_empty() { "/" } else { &config.directory },
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
            "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "csm-lab" }],
        });
        let image = image.to_string();
        let image_name = format!("{}.json", hex(&Sha256::digest(image.as_bytes())));
        let manifest = json!([{ "Config": image_name, "RepoTags": [config.reference], "Layers": ["layer.tar"] }]);

        let unfinished = archive.with_extension("new");
        let file = File::create(&unfinished).with_context(|| format!("create {}", unfinished.display()))?;
        let mut builder = Builder::new(BufWriter::new(file));
        for (name, text) in [(image_name.as_str(), image.as_str()), ("manifest.json", &manifest.to_string())] {
            let mut header = header(EntryType::Regular, 0o644);
            header.set_size(text.len() as u64);
            builder
                .append_data(&mut header, name, text.as_bytes())
                .context("write the image's archive")?;
        }
        let mut layer = File::open(&self.path).context("read the image's layer")?;
        let mut header = header(EntryType::Regular, 0o644);
        header.set_size(layer.metadata().context("read the image's layer")?.len());
        builder
            .append_data(&mut header, "layer.tar", &mut layer)
            .context("write the image's archive")?;
        builder
            .into_inner()
            .and_then(|mut writer| writer.flush())
            .context("write the image's archive")?;
        fs::rename(&unfinished, archive).with_context(|| format!("write {}", archive.display()))?;
        fs::remove_file(&self.path).context("remove the image's layer")
    }
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_gives_the_same_archive() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("etc")).unwrap();
        fs::write(tree.join("etc/passwd"), "x").unwrap();
        std::os::unix::fs::symlink("passwd", tree.join("etc/link")).unwrap();
        let make = |name: &str| {
            let archive = dir.path().join(name);
            let mut layer = Layer::create(&dir.path().join("layer")).unwrap();
            layer.text("hello", "world").unwrap();
            layer.link("greeting", "hello").unwrap();
            layer.tree(&tree).unwrap();
            let config = ImageConfig {
                reference: "localhost/x:1".into(),
                ..ImageConfig::default()
            };
            layer.finish(&config, &archive).unwrap();
            fs::read(archive).unwrap()
        };
        assert_eq!(make("a.tar"), make("b.tar"));
        let mut archive = tar::Archive::new(File::open(dir.path().join("a.tar")).unwrap());
        let names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|e| e.unwrap().path().unwrap().into_owned())
            .collect();
        assert_eq!(names.len(), 3);
        assert_eq!(names[1..], [PathBuf::from("manifest.json"), PathBuf::from("layer.tar")]);
        assert!(!dir.path().join("layer").exists());
    }
}
