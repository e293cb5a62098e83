//! The audit log as an API server writes it: an event of audit.k8s.io/v1 a line.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// How far the API server was with a request when it wrote the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Stage {
    /// The answer has begun and goes on: a watch.
    ResponseStarted,
    /// The answer was sent.
    ResponseComplete,
    /// The API server itself failed.
    Panic,
}

impl Stage {
    /// As the API server calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// An event, as far as we read it. Texts are empty where the request has no such thing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    #[serde(rename = "auditID")]
    pub audit_id: String,
    pub stage: Stage,
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    pub verb: String,
    pub user: User,
    #[serde(default)]
    pub user_agent: String,
    #[serde(default)]
    pub object_ref: ObjectRef,
    #[serde(default)]
    pub response_status: ResponseStatus,
    pub request_object: Option<Value>,
    pub request_received_timestamp: Timestamp,
    pub stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
pub(crate) struct User {
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub extra: Extra,
}

/// What the API server knows of a user besides.
#[derive(Default, Deserialize)]
pub(crate) struct Extra {
    #[serde(default, rename = "authentication.kubernetes.io/pod-name")]
    pub pods: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ObjectRef {
    pub api_group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

/// Zero and empty while a watch goes on.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct ResponseStatus {
    pub code: u16,
    pub message: String,
}

/// Reads a log that grows meanwhile, and is never rotated.
pub(crate) struct Reader {
    file: BufReader<File>,
    position: u64,
}

impl Reader {
    /// From a position in bytes, the beginning of a line.
    pub fn open(path: &Path, position: u64) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let mut file = BufReader::new(file);
        file.seek(SeekFrom::Start(position))?;
        Ok(Self { file, position })
    }

    /// The end of what was read, in bytes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next event; none at the end of what is there, or where that is a line that is still being written: both are seen
    /// the next time.
    pub fn event(&mut self) -> Result<Option<Event>> {
        let mut line = Vec::new();
        let length = self.file.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            self.file.seek(SeekFrom::Start(self.position))?;
            return Ok(None);
        }
        self.position += length as u64;
        let event = serde_json::from_slice(&line)
            .with_context(|| format!("an entry that ends at byte {}: {}", self.position, String::from_utf8_lossy(&line)))?;
        Ok(Some(event))
    }
}
