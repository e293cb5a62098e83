//! The folder of volumes that the controller and all nodes share.
//!
//! A volume is `ID.json` (its record), `ID.img` or `ID.d` (its content) and `ID.lock` (held while it is changed, by
//! whichever process changes it).

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tonic::Status;

/// What is known of one volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The volume's id, which is also its name: `pvc-<uid>`.
    pub id: String,
    /// The claim that it was made for, as `namespace/name`.
    pub claim: String,
    /// The storage class, from its parameter `class`.
    pub storage_class: String,
    /// Capacity in bytes, as the controller knows it.
    pub bytes: u64,
    /// When the controller last expanded it, in seconds since the epoch; 0 is never.
    pub last_expand: u64,
    /// Whether it has a filesystem already.
    pub formatted: bool,
    /// The node that has it staged.
    pub staged_on: Option<String>,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// Exclusive right to change one volume; ends when dropped, or with the process.
pub struct VolumeLock {
    _file: File,
}

impl Store {
    /// Opens the folder, making it where it is missing.
    pub fn open(dir: &Path) -> std::io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The sparse file of a volume.
    pub fn image(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.img"))
    }

    /// The directory of a volume of kind `HostDir`.
    pub fn content(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.d"))
    }

    /// Waits for the right to change a volume.
    pub async fn lock(&self, id: &str) -> Result<VolumeLock, Status> {
        check_id(id)?;
        let path = self.dir.join(format!("{id}.lock"));
        tokio::task::spawn_blocking(move || {
            let file = File::create(&path)?;
            file.lock()?;
            Ok::<_, std::io::Error>(VolumeLock { _file: file })
        })
        .await
        .map_err(internal)?
        .map_err(internal)
    }

    /// Reads a record; `NotFound` where there is none.
    pub fn load(&self, id: &str) -> Result<Record, Status> {
        check_id(id)?;
        let path = self.dir.join(format!("{id}.json"));
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Status::not_found(format!("there is no volume {id}")));
            }
            other => other.map_err(|e| Status::internal(format!("read {}: {e}", path.display())))?,
        };
        serde_json::from_slice(&text).map_err(|e| Status::internal(format!("read {}: {e}", path.display())))
    }

    /// Writes a record: readers see the old or the new one.
    pub fn save(&self, record: &Record) -> Result<(), Status> {
        let path = self.dir.join(format!("{}.json", record.id));
        let temporary = path.with_extension("json.new");
        let text = serde_json::to_vec_pretty(record).map_err(internal)?;
        fs::write(&temporary, text)
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(|e| Status::internal(format!("write {}: {e}", path.display())))
    }

    /// Removes what belongs to a volume. The content goes first, so that a kill in between leaves a record to delete by.
    pub fn remove(&self, id: &str) -> Result<(), Status> {
        check_id(id)?;
        let gone = |result: std::io::Result<()>| match result {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(internal(error)),
            _ => Ok(()),
        };
        gone(fs::remove_file(self.image(id)))?;
        gone(fs::remove_dir_all(self.content(id)))?;
        gone(fs::remove_file(self.dir.join(format!("{id}.json"))))?;
        gone(fs::remove_file(self.dir.join(format!("{id}.lock"))))
    }

    /// All records, by id. One that is being removed is left out.
    pub fn all(&self) -> Result<Vec<Record>, Status> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(internal)? {
            let path = entry.map_err(internal)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let id = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
                match self.load(id) {
                    Ok(record) => records.push(record),
                    Err(status) if status.code() == tonic::Code::NotFound => {}
                    Err(status) => return Err(status),
                }
            }
        }
        records.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(records)
    }
}

/// Volume ids become file names: nothing may lead out of the folder.
fn check_id(id: &str) -> Result<(), Status> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if id.is_empty() || id.len() > 200 || !id.chars().all(harmless) {
        return Err(Status::invalid_argument(format!("{id:?} cannot be a volume's id")));
    }
    Ok(())
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_leave_the_folder() {
        for bad in ["", "..", "a/b", "a.b"] {
            assert_eq!(check_id(bad).unwrap_err().code(), tonic::Code::InvalidArgument, "{bad:?}");
        }
        assert!(check_id("pvc-0a1b").is_ok());
    }

    #[tokio::test]
    async fn records_are_kept_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let record = Record {
            id: "pvc-1".into(),
            claim: "shop/orders-1".into(),
            storage_class: "loop".into(),
            bytes: 7,
            last_expand: 3,
            formatted: true,
            staged_on: Some("lab-2".into()),
        };
        store.save(&record).unwrap();
        let _lock = store.lock("pvc-1").await.unwrap();
        assert_eq!(store.all().unwrap(), vec![record]);
        store.remove("pvc-1").unwrap();
        store.remove("pvc-1").unwrap();
        assert_eq!(store.load("pvc-1").unwrap_err().code(), tonic::Code::NotFound);
        assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
    }
}
