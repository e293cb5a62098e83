//! Resource quotas, by namespace.

use std::sync::Arc;

use super::{Index, Wake};
use crate::quota::QuotaView;

impl Index {
    /// A quota is like this now, or gone. Where it leaves more than before, growths that it refused are tried again.
    pub fn put_quota(&mut self, namespace: &str, name: &str, view: Option<QuotaView>) -> Wake {
        let view = view.filter(|view| !view.is_empty());
        let quotas = self.quotas.entry(Arc::from(namespace)).or_default();
        let before = match &view {
            Some(view) => quotas.insert(Arc::from(name), view.clone()),
            None => quotas.remove(name),
        };
        if quotas.is_empty() {
            self.quotas.remove(namespace);
        }
        let more = before.is_some_and(|before| view.unwrap_or_default().leaves_more_than(&before));
        let concerned = |key: &&csm_core::world::ClusterKey| more && *key.namespace == *namespace;
        self.slots.keys().filter(concerned).cloned().collect()
    }

    pub(super) fn quotas_of(&self, namespace: &str) -> Vec<QuotaView> {
        self.quotas
            .get(namespace)
            .into_iter()
            .flat_map(|quotas| quotas.values().cloned())
            .collect()
    }
}
