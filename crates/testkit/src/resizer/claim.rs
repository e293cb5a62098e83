//! The part of a PVC that concerns its expansion, and patches of its status.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimCondition};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use crate::nodesim::VolumeKey;

/// Condition types that belong to expansion; others are left alone.
const RESIZE_CONDITIONS: &[&str] = &["Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError"];

/// `status.allocatedResourceStatuses.storage`.
pub mod resource_status {
    pub const CONTROLLER_IN_PROGRESS: &str = "ControllerResizeInProgress";
    pub const CONTROLLER_INFEASIBLE: &str = "ControllerResizeInfeasible";
    pub const NODE_PENDING: &str = "NodeResizePending";
    pub const NODE_IN_PROGRESS: &str = "NodeResizeInProgress";
    pub const NODE_INFEASIBLE: &str = "NodeResizeInfeasible";
}

/// A bound PVC.
#[derive(Clone, Debug)]
pub struct Claim {
    pub key: VolumeKey,
    pub uid: String,
    pub resource_version: String,
    pub volume_name: String,
    pub request: Quantity,
    pub capacity: Quantity,
    pub allocated: Option<Quantity>,
    pub status: Option<String>,
    pub conditions: Vec<PersistentVolumeClaimCondition>,
}

/// Bytes of a quantity; `None` for what is not one.
pub fn bytes(quantity: &Quantity) -> Option<u64> {
    csm_units::parse_quantity(&quantity.0).ok().map(csm_units::Bytes::get)
}

impl Claim {
    /// None while the PVC is not bound.
    pub fn read(pvc: &PersistentVolumeClaim) -> Option<Self> {
        let (spec, status) = (pvc.spec.as_ref()?, pvc.status.as_ref()?);
        if status.phase.as_deref() != Some("Bound") {
            return None;
        }
        let request = spec.resources.as_ref()?.requests.as_ref()?.get("storage")?.clone();
        let capacity = status.capacity.as_ref()?.get("storage")?.clone();
        bytes(&request)?;
        bytes(&capacity)?;
        Some(Self {
            key: VolumeKey::new(pvc.metadata.namespace.clone()?, pvc.metadata.name.clone()?),
            uid: pvc.metadata.uid.clone()?,
            resource_version: pvc.metadata.resource_version.clone()?,
            volume_name: spec.volume_name.clone()?,
            request,
            capacity,
            allocated: status.allocated_resources.as_ref().and_then(|map| map.get("storage")).cloned(),
            status: status
                .allocated_resource_statuses
                .as_ref()
                .and_then(|map| map.get("storage"))
                .cloned(),
            conditions: status.conditions.clone().unwrap_or_default(),
        })
    }

    pub fn request_bytes(&self) -> u64 {
        bytes(&self.request).unwrap_or(0)
    }

    pub fn capacity_bytes(&self) -> Option<u64> {
        bytes(&self.capacity)
    }

    /// True when resizer or kubelet have something to do.
    pub fn wants_work(&self) -> bool {
        let node = [resource_status::NODE_PENDING, resource_status::NODE_IN_PROGRESS];
        self.request_bytes() > self.capacity_bytes().unwrap_or(0) || self.status.as_deref().is_some_and(|status| node.contains(&status))
    }

    /// `MergeResizeConditionsOfPVC`: sets resize conditions, keeping or dropping the other resize conditions. A condition
    /// that is there with the same status keeps its time and message.
    pub fn merged_conditions(&self, new: &[(&str, Option<&str>)], keep: bool, now: Timestamp) -> Vec<Value> {
        let mut merged: Vec<PersistentVolumeClaimCondition> = self
            .conditions
            .iter()
            .filter(|old| {
                let of_resize = RESIZE_CONDITIONS.contains(&old.type_.as_str());
                !of_resize || keep || new.iter().any(|(type_, _)| *type_ == old.type_)
            })
            .cloned()
            .collect();
        for (type_, message) in new {
            if !merged
                .iter()
                .any(|condition| condition.type_ == *type_ && condition.status == "True")
            {
                merged.retain(|condition| condition.type_ != *type_);
                merged.push(PersistentVolumeClaimCondition {
                    type_: (*type_).to_owned(),
                    status: "True".to_owned(),
                    last_transition_time: Some(Time(now)),
                    message: message.map(str::to_owned),
                    ..Default::default()
                });
            }
        }
        merged.iter().map(|condition| json!(condition)).collect()
    }

    /// A merge patch of the status that fails when somebody else wrote the PVC meanwhile.
    pub fn patch(&self, status: &Value) -> Value {
        json!({ "metadata": { "resourceVersion": self.resource_version }, "status": status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        let pvc: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": { "namespace": "shop", "name": "orders-1", "uid": "u", "resourceVersion": "7" },
            "spec": { "volumeName": "pv-1", "resources": { "requests": { "storage": "3Gi" } } },
            "status": {
                "phase": "Bound",
                "capacity": { "storage": "2Gi" },
                "conditions": [
                    { "type": "Resizing", "status": "True" },
                    { "type": "ModifyingVolume", "status": "True" },
                ],
            },
        }))
        .unwrap();
        Claim::read(&pvc).unwrap()
    }

    fn types(conditions: &[Value]) -> Vec<&str> {
        conditions.iter().filter_map(|condition| condition["type"].as_str()).collect()
    }

    #[test]
    fn conditions_of_others_stay() {
        let (claim, now) = (claim(), Timestamp::UNIX_EPOCH);
        assert!(claim.wants_work());
        let pending = claim.merged_conditions(&[("FileSystemResizePending", Some("wait"))], true, now);
        assert_eq!(types(&pending), ["Resizing", "ModifyingVolume", "FileSystemResizePending"]);
        assert_eq!(types(&claim.merged_conditions(&[], false, now)), ["ModifyingVolume"]);
        let again = claim.merged_conditions(&[("Resizing", None)], false, now);
        assert_eq!(types(&again), ["Resizing", "ModifyingVolume"]);
        assert!(
            again[0].get("lastTransitionTime").is_none_or(Value::is_null),
            "an unchanged condition keeps its time"
        );
    }
}
