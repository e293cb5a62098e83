//! The API server's audit log: who asked for what, and what came of it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::audit::{Event, Reader};

/// One finished request.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; or the HTTP method in lower case.
    pub verb: String,
    /// For a service account `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// The pod that a service account's token was made for; else empty.
    pub pod: String,
    /// The client's name of itself.
    pub user_agent: String,
    /// Empty for the core group and for paths that are no resources.
    pub api_group: String,
    /// `persistentvolumeclaims`; empty for paths that are no resources.
    pub resource: String,
    /// `status`, or empty.
    pub subresource: String,
    /// Empty for cluster-wide requests.
    pub namespace: String,
    /// Empty for lists and for creations.
    pub name: String,
    /// The path and query.
    pub uri: String,
    /// HTTP status; 0 while a watch goes on.
    pub code: u16,
    /// What the API server said of a refusal; else empty.
    pub message: String,
    /// When the API server received it.
    pub received: Timestamp,
    /// When it had answered.
    pub done: Timestamp,
    /// The body, for writes to PVCs, CNPG's Clusters and our own kinds.
    pub request: Option<serde_json::Value>,
    /// `ResponseStarted` (long-running requests, which come twice), `ResponseComplete` or `Panic`.
    pub stage: String,
}

/// Reads the log. Positions are bytes into it: they stay true, it is never rotated.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
}

impl AuditLog {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The end of the log as it is now, for [`AuditLog::since`].
    pub fn mark(&self) -> Result<u64> {
        let meta = std::fs::metadata(&self.path).with_context(|| format!("the audit log {}", self.path.display()))?;
        Ok(meta.len())
    }

    /// All entries.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        self.since(0)
    }

    /// The entries that were added after a mark was taken.
    pub fn since(&self, mark: u64) -> Result<Vec<Entry>> {
        let at = || format!("the audit log {}", self.path.display());
        let mut reader = Reader::open(&self.path, mark).with_context(at)?;
        let mut entries = Vec::new();
        while let Some(event) = reader.event().with_context(at)? {
            entries.push(event.into());
        }
        Ok(entries)
    }
}

impl From<Event> for Entry {
    fn from(event: Event) -> Self {
        let object = event.object_ref;
        Self {
            verb: event.verb,
            user: event.user.username,
            pod: event.user.extra.pods.concat(),
            user_agent: event.user_agent,
            api_group: object.api_group,
            resource: object.resource,
            subresource: object.subresource,
            namespace: object.namespace,
            name: object.name,
            uri: event.request_uri,
            code: event.response_status.code,
            message: event.response_status.message,
            received: event.request_received_timestamp,
            done: event.stage_timestamp,
            request: event.request_object,
            stage: event.stage.as_str().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"kind":"Event","auditID":"1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/persistentvolumeclaims/a?x=1","verb":"patch","user":{"username":"system:serviceaccount:csm:manager","groups":[],"extra":{"authentication.kubernetes.io/pod-name":["manager-1"]}},"userAgent":"csm/1","objectRef":{"resource":"persistentvolumeclaims","namespace":"shop","name":"a","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":200},"requestObject":{"spec":{"resources":{"requests":{"storage":"2Gi"}}}},"requestReceivedTimestamp":"2026-01-02T03:04:05.000001Z","stageTimestamp":"2026-01-02T03:04:05.020000Z"}"#;

    #[test]
    fn entries_after_a_mark_without_the_unfinished_one() {
        let dir = tempfile::tempdir().unwrap();
        let log = AuditLog::new(dir.path().join("audit.log"));
        std::fs::write(&log.path, format!("{LINE}\n")).unwrap();
        let mark = log.mark().unwrap();
        std::fs::write(&log.path, format!("{LINE}\n{LINE}\n{}", &LINE[..40])).unwrap();
        assert_eq!(log.entries().unwrap().len(), 2);
        let entries = log.since(mark).unwrap();
        let [entry] = entries.as_slice() else { panic!("{entries:?}") };
        assert_eq!((entry.verb.as_str(), entry.code, entry.name.as_str()), ("patch", 200, "a"));
        assert_eq!(entry.pod, "manager-1");
        assert_eq!(entry.user, "system:serviceaccount:csm:manager");
        assert_eq!(entry.request.as_ref().unwrap()["spec"]["resources"]["requests"]["storage"], "2Gi");
        assert!(entry.done > entry.received);
    }
}
