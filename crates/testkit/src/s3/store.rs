//! The folder of the store, as tests see it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::Fault;

/// The most objects that a listing takes: a test that makes more has gone wrong.
const MOST_OBJECTS: usize = 100_000;

/// An object of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens the folder, making it where it is missing.
    pub fn open(dir: &Path) -> Result<Self> {
        let store = Self { dir: dir.to_owned() };
        for dir in [store.buckets(), store.faults()] {
            fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        }
        Ok(store)
    }

    pub(super) fn buckets(&self) -> PathBuf {
        self.dir.join("buckets")
    }

    fn faults(&self) -> PathBuf {
        self.dir.join("faults")
    }

    fn fault_file(&self, bucket: &str) -> PathBuf {
        self.faults().join(format!("{bucket}.json"))
    }

    /// The folder of a bucket.
    fn bucket(&self, bucket: &str) -> Result<PathBuf> {
        if !is_name(bucket) {
            bail!("{bucket:?} is no name of a bucket: use lower-case letters, digits and dashes");
        }
        Ok(self.buckets().join(bucket))
    }

    /// Makes a bucket. It is no error when it is there.
    pub fn create(&self, bucket: &str) -> Result<()> {
        let dir = self.bucket(bucket)?;
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))
    }

    /// Whether there is a bucket.
    pub(super) fn has(&self, bucket: &str) -> bool {
        self.bucket(bucket).is_ok_and(|dir| dir.is_dir())
    }

    /// All buckets.
    pub fn list(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.buckets()).with_context(|| self.buckets().display().to_string())? {
            let entry = entry?;
            // The server keeps what it knows of objects in files beside the buckets.
            if entry.file_type()?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Removes a bucket with all that is in it, and its fault. It is no error when there is none.
    pub fn remove(&self, bucket: &str) -> Result<()> {
        let dir = self.bucket(bucket)?;
        self.clear(bucket)?;
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| format!("remove {}", dir.display())),
            _ => Ok(()),
        }
    }

    /// What is in a bucket, by key.
    pub fn objects(&self, bucket: &str) -> Result<Vec<Object>> {
        let top = self.bucket(bucket)?;
        let mut objects = Vec::new();
        let mut folders = vec![top.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
                let path = entry?.path();
                // What is being replaced just now is there the next time.
                let Ok(meta) = fs::symlink_metadata(&path) else { continue };
                if meta.is_dir() {
                    folders.push(path);
                    continue;
                }
                let key = path.strip_prefix(&top).unwrap_or(&path).to_string_lossy().into_owned();
                objects.push(Object { key, size: meta.len() });
                if objects.len() > MOST_OBJECTS {
                    bail!("{bucket} has more than {MOST_OBJECTS} objects");
                }
            }
        }
        objects.sort();
        Ok(objects)
    }

    /// From now on every call that concerns a bucket ends like this.
    pub fn set(&self, bucket: &str, fault: Fault) -> Result<()> {
        self.bucket(bucket)?;
        let (file, new) = (self.fault_file(bucket), self.faults().join(format!(".{bucket}.new")));
        fs::write(&new, serde_json::to_vec(&fault)?).with_context(|| format!("write {}", new.display()))?;
        // In one step: a call never reads half a fault.
        fs::rename(&new, &file).with_context(|| format!("write {}", file.display()))
    }

    /// From now on a bucket is well again.
    pub fn clear(&self, bucket: &str) -> Result<()> {
        let file = self.fault_file(bucket);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| format!("remove {}", file.display())),
            _ => Ok(()),
        }
    }

    /// All buckets are well again. Returns those that were not.
    pub fn clear_all(&self) -> Result<Vec<String>> {
        let mut cleared = Vec::new();
        for entry in fs::read_dir(self.faults()).with_context(|| self.faults().display().to_string())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(bucket) = name.strip_suffix(".json") {
                self.clear(bucket)?;
                cleared.push(bucket.to_owned());
            }
        }
        Ok(cleared)
    }

    /// What is wrong with a bucket just now.
    pub(super) fn fault(&self, bucket: &str) -> Result<Option<Fault>> {
        if !is_name(bucket) {
            return Ok(None);
        }
        let file = self.fault_file(bucket);
        match fs::read(&file) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text).with_context(|| file.display().to_string())?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| file.display().to_string()),
        }
    }
}

/// Whether a word can be the name of a bucket here; none of them leads out of the folder.
fn is_name(word: &str) -> bool {
    (3..=63).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
