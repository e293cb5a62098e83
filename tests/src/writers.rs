//! Who wrote what, by the API server's audit log: never two writers at one time.

use csm_testkit::controlplane::{AuditEntry, AuditMark};
use csm_units::Bytes;
use jiff::SignedDuration;

use crate::Stage;
use crate::manager::ACCOUNT;

/// The requests of one group of managers, by its lease and the one namespace that it watches.
///
/// # Errors
/// Where the audit log cannot be read.
pub async fn audit(stage: &Stage, since: AuditMark) -> anyhow::Result<Vec<AuditEntry>> {
    let namespace = &stage.namespace;
    let lease = format!("test-{namespace}");
    let ours = |e: &AuditEntry| {
        let manager = e.user.ends_with(&format!(":{ACCOUNT}"));
        manager && (e.namespace == *namespace || (e.resource == "leases" && e.name == lease))
    };
    let entries = stage.sim.plane().audit_since(since).await?;
    Ok(entries.into_iter().filter(ours).collect())
}

/// A PVC that was really grown, and to what.
pub fn grown(entry: &AuditEntry) -> Option<(String, Bytes)> {
    asked_to_grow(entry).filter(|_| entry.code == 200)
}

/// A PVC that may have been grown, and to what: the API server answers 504 where its client has gone while it worked,
/// whether the change was stored by then or not.
pub fn may_have_grown(entry: &AuditEntry) -> Option<(String, Bytes)> {
    asked_to_grow(entry).filter(|_| entry.code >= 500)
}

fn asked_to_grow(entry: &AuditEntry) -> Option<(String, Bytes)> {
    let is_patch = entry.verb == "patch" && entry.resource == "persistentvolumeclaims" && entry.subresource.is_empty();
    let to = entry.request.as_ref()?["spec"]["resources"]["requests"]["storage"].as_str()?;
    is_patch.then_some((entry.name.clone(), to.parse().ok()?))
}

/// How long a lease was nobody's: from the last renewal of one process to the first write of it by another, longest first.
pub fn take_overs(audit: &[AuditEntry]) -> Vec<SignedDuration> {
    let mut leases: Vec<&AuditEntry> = audit
        .iter()
        .filter(|e| e.resource == "leases" && e.code < 300 && e.verb != "get")
        .collect();
    leases.sort_by_key(|e| e.written);
    let mut gaps: Vec<SignedDuration> = leases
        .iter()
        .zip(leases.iter().skip(1))
        .filter(|(before, after)| before.user_agent != after.user_agent)
        .map(|(before, after)| after.written.duration_since(before.written))
        .collect();
    gaps.sort_unstable_by(|a, b| b.cmp(a));
    gaps
}

/// Every write of a process while the lease was another's, or passed to another.
///
/// Who writes stands in the user agent (see [`crate::proxy`]). A lease is a process's from its successful write of it
/// until the next one of another process. Requests have a length: a write that overlaps the take-over counts as wrong. What
/// was answered with 504, or another 5xx, may have been written, and counts as a write; it gives nobody a lease.
pub fn overlaps(audit: &[AuditEntry]) -> Vec<String> {
    let writes = |e: &&AuditEntry| (e.code < 300 || e.code >= 500) && !["get", "list", "watch"].contains(&e.verb.as_str());
    let (mut leases, others): (Vec<&AuditEntry>, Vec<&AuditEntry>) = audit.iter().filter(writes).partition(|e| e.resource == "leases");
    leases.retain(|lease| lease.code < 300);
    let mut wrong = Vec::new();
    for write in others {
        let before = leases.iter().filter(|l| l.written <= write.received).max_by_key(|l| l.written);
        let holder = before.map_or("nobody", |l| l.user_agent.as_str());
        let during = leases
            .iter()
            .find(|l| l.user_agent != write.user_agent && l.received < write.written && l.written > write.received);
        if holder != write.user_agent || during.is_some() {
            let during = during.map_or_else(String::new, |l| format!(", and {} took it meanwhile", l.user_agent));
            wrong.push(format!(
                "{} wrote {} {} ({} to {}, {}) while {holder} held the lease{during}",
                write.user_agent, write.resource, write.name, write.received, write.written, write.code
            ));
        }
    }
    wrong
}
