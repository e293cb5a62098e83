//! Files, folders and standard input, for the commands that need no cluster.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use csm_gather::offline::File;

use crate::error::Error;

/// Files of a folder that are read: as kubectl has it.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Reads files as they are, those of a folder (not of folders below it) by name, and standard input for `-`.
///
/// # Errors
/// Where one cannot be read, or a folder has none.
pub fn files(paths: &[PathBuf]) -> Result<Vec<File>, Error> {
    let mut files = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = Vec::new();
            io::stdin().read_to_end(&mut text).map_err(|error| unreadable(path, error))?;
            files.push(File {
                name: "standard input".to_owned(),
                text,
                from_folder: false,
            });
        } else if path.is_dir() {
            folder(path, &mut files)?;
        } else {
            files.push(file(path, false)?);
        }
    }
    Ok(files)
}

fn folder(path: &Path, files: &mut Vec<File>) -> Result<(), Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| unreadable(path, error))? {
        let path = entry.map_err(|error| unreadable(path, error))?.path();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if EXTENSIONS.contains(&extension) && path.is_file() {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(Error::EmptyFolder(path.to_owned()));
    }
    found.sort();
    for path in found {
        files.push(file(&path, true)?);
    }
    Ok(())
}

fn file(path: &Path, from_folder: bool) -> Result<File, Error> {
    Ok(File {
        name: path.display().to_string(),
        text: fs::read(path).map_err(|error| unreadable(path, error))?,
        from_folder,
    })
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}
