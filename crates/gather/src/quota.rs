//! Resource quotas, as far as they limit how much PVCs of a namespace may ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use csm_units::Bytes;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Of all PVCs of a namespace together (Kubernetes, Resource Quotas, "Storage resource quota").
const ALL_CLASSES: &str = "requests.storage";
/// The same of one storage class: `<class>.storageclass.storage.k8s.io/requests.storage`.
const OF_CLASS: &str = ".storageclass.storage.k8s.io/requests.storage";

/// A quota: what each of its limits leaves, by storage class; the empty name is that of all together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaView {
    left: BTreeMap<Arc<str>, Bytes>,
}

impl QuotaView {
    /// What a quota limits of storage. What cannot be read limits nothing here; the API server has the last word.
    #[must_use]
    pub fn of(quota: &ResourceQuota) -> Self {
        let status = quota.status.as_ref();
        let hard = status.and_then(|s| s.hard.as_ref()).into_iter().flatten();
        let read = |quantity: &Quantity| quantity.0.parse::<Bytes>().ok();
        let left = hard.filter_map(|(name, hard)| {
            let class = if name == ALL_CLASSES { "" } else { name.strip_suffix(OF_CLASS)? };
            let used = status?.used.as_ref().and_then(|used| used.get(name));
            let used = used.map_or(Some(Bytes::ZERO), read)?;
            Some((Arc::from(class), read(hard)?.saturating_sub(used)))
        });
        Self { left: left.collect() }
    }

    /// Whether it limits no storage.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// What it leaves for PVCs of these storage classes; none where it does not limit them.
    #[must_use]
    pub fn room(&self, classes: &[Arc<str>]) -> Option<Bytes> {
        let limits = |class: &Arc<str>| class.is_empty() || classes.contains(class);
        self.left.iter().filter(|(class, _)| limits(class)).map(|(_, left)| *left).min()
    }

    /// Whether it leaves more than another version of it, for anything.
    pub(crate) fn leaves_more_than(&self, before: &Self) -> bool {
        before
            .left
            .iter()
            .any(|(class, then)| self.left.get(class).is_none_or(|now| now > then))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test
mod tests {
    use serde_json::json;

    use super::*;

    fn quota(status: serde_json::Value) -> QuotaView {
        QuotaView::of(&serde_json::from_value(json!({"metadata": {"name": "storage"}, "status": status})).unwrap())
    }

    #[test]
    fn it_leaves_what_is_not_used_of_each_of_its_limits() {
        let view = quota(json!({
            "hard": {"requests.storage": "100Gi", "fast.storageclass.storage.k8s.io/requests.storage": "30Gi", "pods": "4", "cpu": "many"},
            "used": {"requests.storage": "90Gi", "fast.storageclass.storage.k8s.io/requests.storage": "25Gi", "pods": "1"},
        }));
        assert_eq!(view.room(&[Arc::from("slow")]), Some(Bytes::gib(10)));
        assert_eq!(view.room(&[Arc::from("slow"), Arc::from("fast")]), Some(Bytes::gib(5)));
        assert_eq!(quota(json!({"hard": {"pods": "4"}})), QuotaView::default());
        assert_eq!(quota(json!({"hard": {"requests.storage": "7Gi"}})).room(&[]), Some(Bytes::gib(7)));
    }

    #[test]
    fn more_is_left_where_a_limit_rises_or_goes() {
        let with = |hard: &str, used: &str| quota(json!({"hard": {"requests.storage": hard}, "used": {"requests.storage": used}}));
        assert!(with("11Gi", "5Gi").leaves_more_than(&with("10Gi", "5Gi")));
        assert!(with("10Gi", "4Gi").leaves_more_than(&with("10Gi", "5Gi")));
        assert!(QuotaView::default().leaves_more_than(&with("10Gi", "5Gi")));
        assert!(!with("10Gi", "5Gi").leaves_more_than(&with("10Gi", "5Gi")));
        assert!(!with("9Gi", "5Gi").leaves_more_than(&with("10Gi", "5Gi")));
        assert!(!with("9Gi", "5Gi").leaves_more_than(&QuotaView::default()));
    }
}
