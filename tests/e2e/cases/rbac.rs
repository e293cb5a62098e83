//! The manager needs nothing beyond the permissions that it ships with.

use anyhow::{Result, ensure};

use crate::manager::USER;
use crate::permissions;
use crate::stage::Stage;

/// Every request in the audit log of this lab.
pub fn within_what_ships(stage: &Stage) -> Result<()> {
    let entries = stage.lab.audit_log().entries()?;
    let count = permissions::check(&entries)?;
    // An audit log that lacks what the manager surely does would prove nothing.
    for (verb, resource) in [("watch", "persistentvolumeclaims"), ("watch", "clusters"), ("update", "leases")] {
        let seen = entries.iter().any(|e| e.user == USER && e.verb == verb && e.resource == resource);
        ensure!(seen, "the audit log does not tell of the manager's {verb} of {resource}");
    }
    println!("    {count} requests of the manager, all of them granted by deploy/rbac.yaml");
    Ok(())
}
