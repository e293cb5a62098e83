//! Whether the manager runs: at rest it writes nothing but its lease.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::Manager;
use super::list::list;
use crate::connect::Connection;

/// A lease this long past its end belongs to nobody: clocks of people's machines differ from the cluster's.
const GRACE: SignedDuration = SignedDuration::from_secs(60);

/// Looks for the manager's lease. Not being allowed to is no error.
pub async fn manager(connection: &Connection, name: &str, now: Timestamp) -> Manager {
    if name.is_empty() {
        return Manager::Unknown;
    }
    // Its namespace is not known, and the one usual for it holds a Role for its own lease alone.
    let named = ListParams::default().fields(&format!("metadata.name={name}"));
    let leases: Api<Lease> = Api::all(connection.client.clone());
    match list(connection, leases, named, "leases.coordination.k8s.io").await {
        Ok(leases) => judge(&leases, name, now),
        Err(_) => Manager::Unknown,
    }
}

/// The newest of the leases of that name decides.
fn judge(leases: &[Lease], name: &str, now: Timestamp) -> Manager {
    let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|s| s.renew_time.as_ref()).map(|t| t.0);
    let newest = leases.iter().filter(|l| l.name_any() == name).max_by_key(|l| renewed(l));
    let Some(lease) = newest else {
        return Manager::NoLease { name: name.to_owned() };
    };
    let spec = lease.spec.clone().unwrap_or_default();
    let lasts = SignedDuration::from_secs(i64::from(spec.lease_duration_seconds.unwrap_or(0)));
    let holder = spec.holder_identity.filter(|h| !h.is_empty());
    let at = renewed(lease);
    let holds = |at: Timestamp| now.duration_since(at) <= lasts.saturating_add(GRACE);
    match (holder, at) {
        (Some(holder), Some(renewed)) if holds(renewed) => Manager::Running { holder, renewed },
        _ => Manager::Stopped { renewed: at },
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

    use super::*;

    fn lease(name: &str, holder: &str, renewed: Timestamp) -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                renew_time: Some(MicroTime(renewed)),
                ..LeaseSpec::default()
            }),
        }
    }

    #[test]
    fn the_newest_lease_says_whether_the_manager_runs() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
        let seconds = |n| now - SignedDuration::from_secs(n);
        let running = Manager::Running {
            holder: "manager-0".to_owned(),
            renewed: seconds(75),
        };
        let leases = [lease("m", "old", seconds(900)), lease("m", "manager-0", seconds(75))];
        assert_eq!(judge(&leases, "m", now), running);
        let stopped = |renewed| Manager::Stopped { renewed };
        assert_eq!(judge(&[lease("m", "x", seconds(76))], "m", now), stopped(Some(seconds(76))));
        assert_eq!(
            judge(&[lease("m", "", seconds(1))], "m", now),
            stopped(Some(seconds(1))),
            "given back at its end"
        );
        assert_eq!(
            judge(&[lease("other", "x", now)], "m", now),
            Manager::NoLease { name: "m".to_owned() }
        );
    }
}
