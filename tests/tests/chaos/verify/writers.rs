//! Never two writers at one time.

use csm_testkit::controlplane::AuditEntry;

/// Every write of a process while the lease was another's, or passed to another.
///
/// Who writes stands in the user agent (see `csm_tests::proxy`). A lease is a process's from its successful write of it
/// until the next one of another process. Requests have a length: a write that overlaps the take-over counts as wrong.
pub fn overlaps(audit: &[AuditEntry]) -> Vec<String> {
    let writes = |e: &&AuditEntry| e.code < 300 && !["get", "list", "watch"].contains(&e.verb.as_str());
    let (leases, others): (Vec<&AuditEntry>, Vec<&AuditEntry>) = audit.iter().filter(writes).partition(|e| e.resource == "leases");
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
                "{} wrote {} {} ({} to {}) while {holder} held the lease{during}",
                write.user_agent, write.resource, write.name, write.received, write.written
            ));
        }
    }
    wrong
}
