//! The API server's audit log: who asked for what, and what came of it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;

pub use crate::audit::Stage;
use crate::audit::{Event, Reader};
use crate::tools::write_atomically;
use crate::wait::Patience;

/// How long the log may lag behind an answer.
const SETTLE_PATIENCE: Duration = Duration::from_secs(10);
const SETTLE_POLL: Duration = Duration::from_millis(5);

/// Metadata of every request; bodies where tests look at what was asked of somebody else's object, or when a journal said what.
const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    users: ["system:apiserver"]
  - level: None
    nonResourceURLs: ["/readyz*", "/livez*", "/healthz*"]
  - level: Request
    verbs: [patch, update]
    resources:
      - group: ""
        resources: [persistentvolumeclaims, persistentvolumeclaims/status]
      - group: postgresql.cnpg.io
        resources: [clusters]
      - group: cnpg.supporttools.io
        resources: [storageevents/status]
  - level: Metadata
"#;

/// What the URI of our own barrier requests begins with.
const BARRIER: &str = "/version?audit-barrier=";

/// A place in the audit log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditMark(u64);

/// One request. Texts are empty where the request has no such thing.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// The API server's own id of the request.
    pub id: String,
    /// How far it was.
    pub stage: Stage,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// Who asked, for example `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// The groups of who asked.
    pub groups: Vec<String>,
    /// What the client calls itself.
    pub user_agent: String,
    /// Path and query.
    pub uri: String,
    /// API group of the object; empty for the core group.
    pub group: String,
    /// Resource in the plural, for example `persistentvolumeclaims`.
    pub resource: String,
    /// For example `status`.
    pub subresource: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// HTTP status of the answer.
    pub code: u16,
    /// The body of the request: for patches and updates of PVCs, CNPG clusters and the status of StorageEvents.
    pub request: Option<Value>,
    /// When it came in.
    pub received: Timestamp,
    /// When this entry was made.
    pub written: Timestamp,
}

impl From<Event> for AuditEntry {
    fn from(event: Event) -> Self {
        let Event {
            audit_id,
            stage,
            request_uri,
            verb,
            user,
            user_agent,
            object_ref: object,
            response_status,
            request_object,
            request_received_timestamp,
            stage_timestamp,
        } = event;
        Self {
            id: audit_id,
            stage,
            verb,
            user: user.username,
            groups: user.groups,
            user_agent,
            uri: request_uri,
            group: object.api_group,
            resource: object.resource,
            subresource: object.subresource,
            namespace: object.namespace,
            name: object.name,
            code: response_status.code,
            request: request_object,
            received: request_received_timestamp,
            written: stage_timestamp,
        }
    }
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join("audit.log")
}

pub fn write_policy(dir: &Path) -> Result<()> {
    write_atomically(&dir.join("audit-policy.yaml"), POLICY.as_bytes())
}

/// The API server's arguments for auditing.
pub fn arguments(dir: &Path) -> [String; 3] {
    [
        format!("--audit-policy-file={}", dir.join("audit-policy.yaml").display()),
        format!("--audit-log-path={}", log_path(dir).display()),
        // Never rotated, so that a mark stays valid: by default it is at 100 MB, which some 300 chaos runs fill.
        "--audit-log-maxsize=0".to_owned(),
    ]
}

/// The end of the log, after everything that was answered before this call; it is looked for from an `earlier` one on.
pub async fn mark(client: &Client, dir: &Path, earlier: AuditMark) -> Result<AuditMark> {
    read(client, dir, earlier).await.map(|(_, mark)| mark)
}

/// The entries after `mark`, one a request, in the order of their ends.
pub async fn since(client: &Client, dir: &Path, mark: AuditMark) -> Result<Vec<AuditEntry>> {
    read(client, dir, mark).await.map(|(entries, _)| entries)
}

async fn read(client: &Client, dir: &Path, mark: AuditMark) -> Result<(Vec<AuditEntry>, AuditMark)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    // The entry of a request is written after its answer was sent. A request of our own, once seen in the log, shows
    // that what was answered before it has been written too.
    let barrier = format!("{BARRIER}{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let request = http::Request::get(&barrier).body(Vec::new()).context("build a request")?;
    client.request_text(request).await.context("ask the API server for its version")?;

    let path = log_path(dir);
    let mut reader = Reader::open(&path, mark.0)?;
    let mut seen = Seen::default();
    let mut patience = Patience::new(SETTLE_POLL, SETTLE_PATIENCE);
    while !seen
        .read_until(&barrier, &mut reader)
        .with_context(|| format!("read {}", path.display()))?
    {
        let late = || {
            anyhow!(
                "{} does not show a request that was answered {} s ago",
                path.display(),
                SETTLE_PATIENCE.as_secs()
            )
        };
        patience.pause(()).await.map_err(|()| late())?;
    }
    Ok((seen.entries, AuditMark(reader.position())))
}

/// What was read of a log.
#[derive(Default)]
struct Seen {
    entries: Vec<AuditEntry>,
    /// Watches whose beginning has been seen: their end is the same request.
    started: HashSet<String>,
}

impl Seen {
    /// True once the entry of the request for `barrier` was passed; false at the end of what is there.
    fn read_until(&mut self, barrier: &str, reader: &mut Reader) -> Result<bool> {
        while let Some(event) = reader.event()? {
            if event.request_uri == barrier {
                return Ok(true);
            }
            let end_of_watch = event.stage == Stage::ResponseComplete && self.started.contains(&event.audit_id);
            if event.stage == Stage::ResponseStarted {
                self.started.insert(event.audit_id.clone());
            }
            if !event.request_uri.starts_with(BARRIER) && !end_of_watch {
                self.entries.push(event.into());
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, stage: &str, uri: &str, verb: &str) -> String {
        format!(
            r#"{{"kind":"Event","auditID":"{id}","stage":"{stage}","requestURI":"{uri}","verb":"{verb}","user":{{"username":"u","groups":["g"]}},"objectRef":{{"resource":"pods","namespace":"n","name":"p","apiVersion":"v1"}},"responseStatus":{{"metadata":{{}},"code":200}},"requestReceivedTimestamp":"2026-01-02T03:04:05.678901Z","stageTimestamp":"2026-01-02T03:04:06.000000Z"}}"#
        )
    }

    #[test]
    fn a_watch_counts_once_and_half_a_line_not_yet() {
        let dir = tempfile::tempdir().unwrap();
        let text = [
            line("1", "ResponseStarted", "/w", "watch"),
            line("1", "ResponseComplete", "/w", "watch"),
            line("2", "ResponseComplete", "/p", "patch"),
            line("3", "ResponseComplete", &format!("{BARRIER}other"), "get"),
        ]
        .join("\n");
        let path = log_path(dir.path());
        std::fs::write(&path, format!("{text}\n{{\"kind\":")).unwrap();
        let mut reader = Reader::open(&path, 0).unwrap();
        let mut seen = Seen::default();
        assert!(!seen.read_until("/barrier", &mut reader).unwrap());
        std::fs::write(&path, format!("{text}\n{}\n", line("4", "ResponseComplete", "/barrier", "get"))).unwrap();
        assert!(seen.read_until("/barrier", &mut reader).unwrap());
        let uris: Vec<_> = seen.entries.iter().map(|entry| (entry.uri.as_str(), entry.verb.as_str())).collect();
        assert_eq!(uris, [("/w", "watch"), ("/p", "patch")]);
        let entry = seen.entries.last().unwrap();
        assert_eq!((entry.resource.as_str(), entry.code, entry.namespace.as_str()), ("pods", 200, "n"));
    }
}
