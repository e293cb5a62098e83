//! The Clusters that a trace speaks of, for where files have none.

use std::collections::BTreeMap;

use csm_core::world::VolumeKey;
use csm_gather::offline::{MadeUp, MakeUp};
use csm_units::Bytes;

use crate::trace::{Name, Series};

/// What to make up for these series; one Cluster with `volume` where they name none.
#[must_use]
pub fn make_up(series: &[Series], volume: &VolumeKey, size: Bytes, instances: u32) -> MakeUp {
    let mut clusters: BTreeMap<(Option<String>, Option<String>), MadeUp> = BTreeMap::new();
    for series in series {
        let Some(name) = resolved(&series.name) else { continue };
        let key = (name.namespace.clone(), name.cluster.clone());
        let cluster = clusters.entry(key).or_insert_with(|| MadeUp {
            namespace: name.namespace.clone(),
            name: name.cluster.clone(),
            ..MadeUp::default()
        });
        let volume = name.volume.unwrap_or(VolumeKey::DATA);
        cluster.volumes.entry(volume).or_default().extend(name.instance);
    }
    if clusters.is_empty() {
        let volumes = BTreeMap::from([(volume.clone(), std::collections::BTreeSet::new())]);
        let one = MadeUp {
            volumes,
            ..MadeUp::default()
        };
        clusters.insert((None, None), one);
    }
    MakeUp {
        size,
        instances,
        clusters: clusters.into_values().collect(),
    }
}

/// What a series is of, where its PVC is named as CloudNativePG names PVCs: CLUSTER-1, CLUSTER-1-wal,
/// CLUSTER-1-tbs-TABLESPACE (`pkg/reconciler/persistentvolumeclaim`); none where it is not.
fn resolved(name: &Name) -> Option<Name> {
    let Some(pvc) = &name.pvc else { return Some(name.clone()) };
    let (instance, volume) = match (pvc.split_once("-tbs-"), pvc.strip_suffix("-wal")) {
        (Some((instance, tablespace)), _) => (instance, VolumeKey::tablespace(tablespace)),
        (None, Some(instance)) => (instance, VolumeKey::WAL),
        (None, None) => (pvc.as_str(), VolumeKey::DATA),
    };
    let (cluster, number) = instance.rsplit_once('-')?;
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(Name {
        namespace: name.namespace.clone(),
        cluster: Some(cluster.to_owned()),
        volume: Some(volume),
        instance: Some(instance.to_owned()),
        pvc: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pvcs() {
        let of = |pvc: &str| {
            let name = Name {
                pvc: Some(pvc.to_owned()),
                ..Name::default()
            };
            resolved(&name).map(|n| (n.to_string(), n.instance.unwrap_or_default()))
        };
        let some = |text: &str, instance: &str| Some((text.to_owned(), instance.to_owned()));
        assert_eq!(of("my-db-12"), some("my-db data my-db-12", "my-db-12"));
        assert_eq!(of("orders-1-wal"), some("orders wal orders-1", "orders-1"));
        assert_eq!(of("orders-1-tbs-archive"), some("orders tablespace/archive orders-1", "orders-1"));
        assert_eq!((of("grafana"), of("data-grafana-x"), of("prometheus-")), (None, None, None));
    }
}
