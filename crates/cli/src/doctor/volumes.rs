//! The volumes: whether they can grow, and how far.

use std::collections::BTreeSet;
use std::sync::Arc;

use csm_core::world::{Volume, VolumeKey};
use csm_gather::quota::QuotaView;
use csm_units::Bytes;
use kube::ResourceExt as _;

use super::{Check, Diagnosis, Level, Subject};
use crate::render::size_text as size;

/// A growth takes a fifth of a volume where nobody says more (the default `step` of the resize model).
const NEXT_GROWTH: u64 = 5;

pub(super) fn examine(subject: &Subject<'_>, diagnosis: &mut Diagnosis) {
    let world = &subject.thought.world;
    if !world.cluster.resize_in_use_volumes {
        diagnosis.add(
            Level::Problem,
            Check::ResizeInUseVolumes,
            "the Cluster has spec.storage.resizeInUseVolumes: false, which forbids the growth of all its volumes while they are in use",
            format!(
                "kubectl -n {} patch cluster {} --type merge -p '{{\"spec\":{{\"storage\":{{\"resizeInUseVolumes\":true}}}}}}'",
                world.cluster.key.namespace, world.cluster.key.name
            ),
        );
    }
    if subject.details.classes.is_none() {
        diagnosis.skip(Check::StorageClass, "StorageClasses cannot be read by you");
    }
    for decision in subject.thought.plan.decisions.iter().filter(|decision| decision.at_limit) {
        let Some(ceiling) = decision.ceiling else { continue };
        diagnosis.add(
            Level::Warning,
            Check::Ceiling,
            format!(
                "{} has reached the size that it may not pass, {} ({}): it will not be grown",
                decision.volume,
                size(ceiling.size),
                ceiling.source.as_str()
            ),
            "Raise that limit, or make room in the volume; docs/runbooks/at-limit.md",
        );
    }
    quotas(subject, diagnosis);
    if let Some(volume) = world.volumes.iter().find(|v| v.key == VolumeKey::DATA)
        && !world.volumes.iter().any(|v| v.key == VolumeKey::WAL)
        && !volume.members.is_empty()
    {
        diagnosis.add(
            Level::Advice,
            Check::SingleVolume,
            "data and WAL share one volume: WAL that piles up (a failing archive, an abandoned replication slot) stops the database for lack of space for its data, and the other way round",
            "Give the Cluster spec.walStorage; CloudNativePG moves pg_wal there, one instance after the other. It cannot be taken away again",
        );
    }
}

/// Room for one growth of all PVCs of each volume.
fn quotas(subject: &Subject<'_>, diagnosis: &mut Diagnosis) {
    let Some(quotas) = &subject.surroundings.quotas else {
        diagnosis.skip(Check::Quota, "ResourceQuotas cannot be read by you");
        return;
    };
    for quota in quotas {
        let view = QuotaView::of(quota);
        for volume in &subject.thought.world.volumes {
            let needs = needs(volume);
            let classes: BTreeSet<Arc<str>> = volume.members.iter().map(|m| Arc::clone(&m.class.name)).collect();
            let classes: Vec<Arc<str>> = classes.into_iter().collect();
            let Some(room) = view.room(&classes).filter(|room| *room < needs) else {
                continue;
            };
            diagnosis.add(
                Level::Warning,
                Check::Quota,
                format!(
                    "ResourceQuota {} leaves {} for PVCs; to grow {} by a fifth, all {} PVCs of it, takes {}",
                    quota.name_any(),
                    size(room),
                    volume.key,
                    volume.members.len(),
                    size(needs)
                ),
                "Ask the namespace's administrator to raise requests.storage of that quota, before the volume needs it",
            );
        }
    }
}

fn needs(volume: &Volume) -> Bytes {
    let all = volume.members.iter().map(|m| m.bytes().get()).fold(0, u64::saturating_add);
    Bytes::new(all.checked_div(NEXT_GROWTH).unwrap_or_default())
}
