//! What the Cluster says of an instance, beside that itself. What is not known stays so, and then there is no proof.

use std::collections::BTreeSet;
use std::sync::Arc;

use csm_cnpg::{Backup, Cluster};
use csm_core::wal::{BaseBackup, Feed};

use super::{Archived, Around, Instance, Reading};

impl Around {
    /// Around `instance`, which says `reading`. `known` are the instances that have volumes; `primary` is what the primary says, where
    /// that is another one and answers: read before the instance, since bounds only move forwards; `backups` are those of the namespace.
    #[must_use]
    pub fn of(
        instance: &str,
        reading: &Reading,
        primary: Option<&Reading>,
        cluster: &Cluster,
        known: impl IntoIterator<Item = Arc<str>>,
        backups: &[Backup],
    ) -> Self {
        let current = cluster.status.current_primary.as_deref().filter(|name| !name.is_empty());
        let target = cluster.status.target_primary.as_deref().filter(|name| !name.is_empty());
        let is_primary = current == Some(instance);
        // During a switchover, and where the Cluster follows another one, nobody can say who archives.
        let is_steady = current.is_some() && target.is_none_or(|target| current == Some(target)) && !cluster.follows_another();
        let archived = if !is_steady || is_primary != reading.is_primary() {
            None
        } else if !cluster.archives_wal() {
            Some(Archived::Nobody)
        } else if !cluster.surely_archives_wal() {
            // A plugin may, or may not: what has a mark may be kept nowhere.
            None
        } else if is_primary {
            Some(Archived::Here)
        } else {
            primary.and_then(Reading::unarchived).map(Archived::Elsewhere)
        };
        let named = cluster.status.instance_names.iter().flatten().map(|name| Arc::from(name.as_str()));
        let names: BTreeSet<Arc<str>> = known.into_iter().chain(named).collect();
        let others = names.into_iter().filter(|name| **name != *instance && current != Some(&**name));
        let instances = others
            .map(|name| Instance {
                slot: cluster.slot_of(&name).map(Arc::from),
                flushed: primary.and_then(|primary| primary.flushed(&name)),
                name,
            })
            .collect();
        let cluster_name = cluster.metadata.name.as_deref().unwrap_or_default();
        let of_cluster = |backup: &&Backup| backup.spec.cluster.name == cluster_name && backup.may_run();
        let backups = backups.iter().filter(of_cluster).map(|backup| BaseBackup {
            name: backup.metadata.name.as_deref().unwrap_or_default().into(),
            start: None,
        });
        let own_slot = cluster.slot_of(instance);
        Self {
            instances,
            archived,
            backups: backups.collect(),
            feed: match (primary, own_slot) {
                (Some(primary), Some(slot)) if primary.reserves(&slot) => Feed::Slot,
                _ => Feed::Nothing,
            },
        }
    }
}
