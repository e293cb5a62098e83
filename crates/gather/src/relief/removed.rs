//! What `remove.sh` says.

use csm_core::relief::Removed;

/// The output of a removal is not what it prints: what it did is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableRemoval;

/// The output of [`super::commands::remove`]. A gap that it sees is found again, with more words, when the directory is read after it.
///
/// # Errors
/// It ends in the middle, or is something else.
pub fn removed(output: &str) -> Result<Removed, UnreadableRemoval> {
    let mut lines = output.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().ok_or(UnreadableRemoval)?;
    if let Some(held) = first.strip_prefix("held ") {
        let (why, about) = held.split_once(' ').ok_or(UnreadableRemoval)?;
        return lines
            .next()
            .is_none()
            .then(|| Removed::Held(why_held(why, about)))
            .ok_or(UnreadableRemoval);
    }
    first.strip_prefix("removing ").ok_or(UnreadableRemoval)?;
    let mut failed = None;
    for line in lines {
        if let Some(said) = line.strip_prefix("failed") {
            failed = Some(format!("pg_archivecleanup failed: {}", said.trim()));
        } else if line.starts_with("done ") {
            return Ok(failed.map_or(Removed::Done, Removed::Failed));
        } else if !line.starts_with("gap ") {
            break;
        }
    }
    Err(UnreadableRemoval)
}

fn why_held(why: &str, about: &str) -> String {
    let objection = match why {
        "waiting" => "waits to be archived",
        "not-done" => "is not marked as archived",
        "timeline" => "is of another timeline",
        "not-below" => "is not below the cutoff",
        "not-agreed" => "was not in the list that was agreed on",
        "no-segment" => "is no complete WAL segment",
        "too-many" => "files would go, which is more than was agreed on",
        "no-list" => "as the cutoff makes pg_archivecleanup -n fail",
        "no-directory" => "has no archive_status",
        _ => "was objected to",
    };
    let about: String = about.chars().take(80).collect();
    format!("just before the removal: {about} {objection}; nothing was removed")
}
