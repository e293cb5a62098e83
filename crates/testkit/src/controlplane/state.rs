//! The folder of one run, and the removal of folders whose run was killed.
//!
//! A living run holds a lock on the file `owner` in its folder. The kernel ends the lock with the process, so a folder
//! whose lock can be had belongs to nobody. (A pid would be ambiguous where runs see different process tables.)

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use tempfile::TempDir;

const PREFIX: &str = "csm-testkit-";
const OWNER: &str = "owner";
/// A folder without its mark may be one that is being made; after this long it is not.
const UNMARKED_KEPT: Duration = Duration::from_hours(1);

/// The folder of this run; it is removed when this is dropped.
pub struct StateDir {
    dir: TempDir,
    _owner: File,
}

impl StateDir {
    /// Makes a new one in the system's temporary folder, readable by its owner alone.
    pub fn create() -> Result<Self> {
        let parent = std::env::temp_dir();
        let dir = TempDir::with_prefix_in(PREFIX, &parent).with_context(|| format!("create a folder in {}", parent.display()))?;
        // Locked before it has its name: nobody ever sees the mark without the lock.
        let unnamed = dir.path().join("owner.new");
        let owner = File::create(&unnamed).with_context(|| format!("create {}", unnamed.display()))?;
        owner.lock().with_context(|| format!("lock {}", unnamed.display()))?;
        let named = dir.path().join(OWNER);
        fs::rename(&unnamed, &named).with_context(|| format!("create {}", named.display()))?;
        Ok(Self { dir, _owner: owner })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes the folders of runs that are gone. What cannot be removed is left to its owner.
pub fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // `file_type` does not follow links: a link is not a folder.
        if ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_abandoned(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_abandoned(dir: &Path) -> bool {
    match File::open(dir.join(OWNER)) {
        Ok(owner) => owner.try_lock().is_ok(),
        Err(_) => fs::metadata(dir)
            .and_then(|meta| meta.modified())
            .ok()
            .and_then(|time| SystemTime::now().duration_since(time).ok())
            .is_some_and(|age| age > UNMARKED_KEPT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_run_keeps_its_folder_and_a_dead_one_loses_it() {
        let living = StateDir::create().unwrap();
        let StateDir { dir, _owner: owner } = StateDir::create().unwrap();
        let dead = dir.keep();
        drop(owner);
        remove_leftovers();
        assert!(living.path().is_dir());
        assert!(!dead.exists());
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
    }
}
