//! Which of an operation's writes came before which: its record, its journal, its patches, its end.

use csm_api::Growth;
use csm_testkit::controlplane::AuditEntry;
use csm_tests::writers::grown;

/// Every patch that came before its own operation was recorded and in its journal, or after its end; every operation that went
/// on after its end, or whose end nobody wrote. `audit` is in the order of the requests' ends.
pub fn out_of_order(audit: &[AuditEntry], events: &[Growth]) -> Vec<String> {
    let mut wrong = Vec::new();
    for event in events {
        let name = event.metadata.name.as_deref().unwrap_or_default();
        let of_it = |e: &AuditEntry| e.resource == "storageevents" && e.name == name && may_be_stored(e);
        let recorded = audit.iter().position(|e| e.verb == "create" && of_it(e));
        let journal: Vec<(usize, &AuditEntry)> = audit
            .iter()
            .enumerate()
            .filter(|(_, e)| e.subresource == "status" && of_it(e))
            .collect();
        // A write without a certain answer was not stored where a certain one says after it that the operation goes on.
        let certain = |e: &AuditEntry| e.code < 300;
        let open = journal.iter().rfind(|(_, e)| certain(e) && !is_end(e)).map(|(at, _)| *at);
        if journal.iter().any(|(at, e)| certain(e) && is_end(e) && open > Some(*at)) {
            wrong.push(format!("{name} went on after it had ended"));
        }
        let end = journal.iter().find(|(at, e)| is_end(e) && open < Some(*at)).map(|(at, _)| *at);
        if end.is_none() {
            wrong.push(format!("nobody wrote that {name} has ended"));
        }
        for (at, pvc) in patches(audit, event) {
            if recorded.is_none_or(|recorded| recorded > at) {
                wrong.push(format!("{pvc} was patched before {name} was recorded"));
            }
            if !journal.iter().any(|(before, e)| *before < at && lists(e, &pvc)) {
                wrong.push(format!("{pvc} was patched before the journal of {name} told of it"));
            }
            if end.is_some_and(|end| end < at) {
                wrong.push(format!("{pvc} was patched after {name} had ended"));
            }
        }
    }
    wrong
}

/// The patches of an operation, by their places.
fn patches(audit: &[AuditEntry], event: &Growth) -> Vec<(usize, String)> {
    let statuses = event.status.iter().flat_map(|s| &s.pvc_statuses);
    let patched: Vec<&str> = statuses.filter(|s| s.patched_at.is_some()).map(|s| s.name.as_str()).collect();
    let of_it = |entry: &AuditEntry| {
        let (pvc, to) = grown(entry)?;
        (patched.contains(&pvc.as_str()) && to == event.spec.expansion.requested_size).then_some(pvc)
    };
    let places = audit.iter().enumerate();
    places.filter_map(|(at, entry)| Some((at, of_it(entry)?))).collect()
}

/// 504: the client had gone before the answer was made; the change may be stored all the same.
fn may_be_stored(entry: &AuditEntry) -> bool {
    entry.code < 300 || entry.code >= 500
}

/// Whether a write of a status says that the operation has ended.
fn is_end(entry: &AuditEntry) -> bool {
    let phase = entry.request.as_ref().and_then(|body| body["status"]["phase"].as_str());
    matches!(phase, Some("Completed" | "Failed"))
}

/// Whether a write of a status tells of this PVC.
fn lists(entry: &AuditEntry, pvc: &str) -> bool {
    let statuses = entry.request.as_ref().and_then(|body| body["status"]["pvcStatuses"].as_array());
    statuses.is_some_and(|statuses| statuses.iter().any(|status| status["name"] == pvc))
}

#[cfg(test)]
mod tests {
    use csm_api::StorageEvent;
    use csm_testkit::controlplane::Stage;
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    fn entry(verb: &str, resource: &str, name: &str, request: Option<Value>) -> AuditEntry {
        let text = String::new;
        AuditEntry {
            id: text(),
            stage: Stage::ResponseComplete,
            verb: verb.to_owned(),
            user: text(),
            groups: Vec::new(),
            user_agent: text(),
            uri: text(),
            group: text(),
            resource: resource.to_owned(),
            subresource: if request.is_some() && resource == "storageevents" {
                "status"
            } else {
                ""
            }
            .to_owned(),
            namespace: text(),
            name: name.to_owned(),
            code: 200,
            request,
            received: Timestamp::UNIX_EPOCH,
            written: Timestamp::UNIX_EPOCH,
        }
    }

    fn record(name: &str) -> AuditEntry {
        entry("create", "storageevents", name, None)
    }

    fn journal(name: &str, phase: &str) -> AuditEntry {
        let status = json!({"phase": phase, "pvcStatuses": [{"name": "orders-1"}]});
        entry("patch", "storageevents", name, Some(json!({"status": status})))
    }

    fn patch() -> AuditEntry {
        let spec = json!({"resources": {"requests": {"storage": "15Gi"}}});
        entry("patch", "persistentvolumeclaims", "orders-1", Some(json!({"spec": spec})))
    }

    fn unclear(mut entry: AuditEntry) -> AuditEntry {
        entry.code = 504;
        entry
    }

    fn operation() -> Growth {
        let record: StorageEvent = serde_json::from_value(json!({
            "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "StorageEvent", "metadata": {"name": "e"},
            "spec": {
                "clusterRef": {"name": "orders", "uid": "u"}, "eventType": "expansion", "trigger": "threshold-breach",
                "volume": {"role": "data"}, "reason": "UsageThreshold", "message": "",
                "expansion": {"originalSize": "10Gi", "requestedSize": "15Gi", "parallelism": 1, "affectedPVCs": []},
            },
            "status": {
                "phase": "Completed",
                "pvcStatuses": [{"name": "orders-1", "uid": "u", "originalSize": "10Gi", "phase": "Completed", "patchedAt": "2026-01-02T03:04:05Z"}],
            },
        }))
        .expect("a record");
        Growth::try_from(record).expect("a growth")
    }

    fn wrong(audit: &[AuditEntry]) -> Vec<String> {
        out_of_order(audit, &[operation()])
    }

    #[test]
    fn what_is_in_order_and_what_is_not() {
        let (goes_on, ends) = (|| journal("e", "InProgress"), || journal("e", "Completed"));
        let right: [&[AuditEntry]; 3] = [
            &[record("e"), goes_on(), patch(), ends()],
            &[unclear(record("e")), unclear(goes_on()), patch(), unclear(ends())],
            // That end was not stored.
            &[record("e"), goes_on(), unclear(ends()), patch(), goes_on(), ends()],
        ];
        for audit in right {
            assert!(wrong(audit).is_empty(), "{:?}", wrong(audit));
        }
        let found = |audit: &[AuditEntry]| wrong(audit).join("; ");
        assert_eq!(
            found(&[record("other"), goes_on(), patch(), ends()]),
            "orders-1 was patched before e was recorded"
        );
        assert_eq!(
            found(&[record("e"), journal("other", "InProgress"), patch(), goes_on(), ends()]),
            "orders-1 was patched before the journal of e told of it"
        );
        assert_eq!(
            found(&[record("e"), goes_on(), ends(), patch(), ends()]),
            "orders-1 was patched after e had ended"
        );
        assert_eq!(
            found(&[record("e"), goes_on(), unclear(ends()), patch(), ends()]),
            "orders-1 was patched after e had ended"
        );
        assert_eq!(
            found(&[record("e"), goes_on(), patch(), ends(), goes_on(), ends()]),
            "e went on after it had ended"
        );
        assert_eq!(found(&[record("e"), goes_on(), patch()]), "nobody wrote that e has ended");
    }
}
