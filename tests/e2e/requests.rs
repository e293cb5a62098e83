//! What the manager asked the API server for, by its audit log.

use anyhow::Result;
use csm_testkit::lab::audit::Entry;
use csm_units::Bytes;
use jiff::Timestamp;

use crate::manager::USER;
use crate::stage::Stage;

/// A PVC patch of the manager, from the audit log.
#[derive(Clone, Debug)]
pub struct Patched {
    pub pvc: String,
    pub to: Option<Bytes>,
    /// When the API server received it.
    pub at: Timestamp,
    /// When it had answered.
    pub answered: Timestamp,
    pub code: u16,
}

/// An annotation that the manager wrote to a pod.
#[derive(Clone, Debug)]
pub struct Nudge {
    pub pod: String,
    /// When the API server received it.
    pub at: Timestamp,
    /// What it answered.
    pub code: u16,
}

impl Stage {
    /// What the manager asked the API server for, concerning the namespace, since the test began.
    pub fn requests(&self) -> Result<Vec<Entry>> {
        let entries = self.requests_of_all()?.into_iter();
        Ok(entries.filter(|entry| entry.user == USER).collect())
    }

    /// What anybody asked it for.
    pub fn requests_of_all(&self) -> Result<Vec<Entry>> {
        let entries = self.lab.audit_log().since(self.mark)?.into_iter();
        Ok(entries
            .filter(|e| e.namespace == self.namespace && e.stage == "ResponseComplete")
            .collect())
    }

    /// The manager's patches of PVCs since the test began, oldest first; those aside that say, and do nothing else, that a PVC is
    /// asked no more.
    pub fn patches(&self) -> Result<Vec<Patched>> {
        let patches = self
            .requests()?
            .into_iter()
            .filter(|e| e.verb == "patch" && e.resource == "persistentvolumeclaims" && !is_withdrawal(e));
        let mut patches: Vec<Patched> = patches
            .map(|e| Patched {
                to: e
                    .request
                    .as_ref()
                    .and_then(|body| body["spec"]["resources"]["requests"]["storage"].as_str()?.parse().ok()),
                pvc: e.name,
                at: e.received,
                answered: e.done,
                code: e.code,
            })
            .collect();
        patches.sort_by_key(|patch| patch.at);
        Ok(patches)
    }

    /// The manager's patches of pods since the test began, oldest first.
    pub fn nudges(&self) -> Result<Vec<Nudge>> {
        let patches = self.requests()?.into_iter().filter(|e| e.verb == "patch" && e.resource == "pods");
        let mut nudges: Vec<Nudge> = patches
            .map(|e| Nudge {
                pod: e.name,
                at: e.received,
                code: e.code,
            })
            .collect();
        nudges.sort_by_key(|nudge| nudge.at);
        Ok(nudges)
    }
}

/// Whether a patch of a PVC writes one annotation, by which an operation withdraws from it.
fn is_withdrawal(patch: &Entry) -> bool {
    let Some(body) = &patch.request else { return false };
    let annotations = body["metadata"]["annotations"].as_object();
    let annotated = annotations.is_some_and(|a| a.len() == 1 && a.contains_key(csm_api::RESIZE_WITHDRAWN));
    annotated && body.get("spec").is_none() && body.get("status").is_none()
}
