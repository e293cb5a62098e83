//! Instances that are down: which of their volumes is full, and whose logs are worth reading.

use std::collections::BTreeMap;
use std::sync::Arc;

use csm_core::disk_full::{Down, Log, Suspect, assess};
use csm_core::resolve::Resolution;
use csm_core::world::{Member, Volume, VolumeKey};

use crate::index::Snapshot;
use crate::world::VolumeSettings;

/// Says of each volume of an instance that is down whether that is because it is full.
pub(crate) fn judge(snapshot: &Snapshot, settings: &VolumeSettings, volumes: &mut BTreeMap<VolumeKey, Volume>) {
    let unread = if settings.pod_logs { Log::Unread } else { Log::NotAsked };
    for (instance, pod) in &snapshot.pods {
        let Some(view) = &pod.down else { continue };
        let down = Down {
            container: &view.container,
            phase: snapshot.cluster.disk_full,
            log: snapshot.logs.get(instance).unwrap_or(&unread),
        };
        let of_instance = |member: &&mut Member| member.instance == *instance;
        let mut own: Vec<(&VolumeKey, &mut Member)> = volumes
            .iter_mut()
            .filter_map(|(key, volume)| Some((key, volume.members.iter_mut().find(of_instance)?)))
            .collect();
        let suspects: Vec<Suspect<'_>> = own.iter().map(|(key, member)| suspect(key, member)).collect();
        let found = assess(&down, &suspects);
        for ((_, member), found) in own.iter_mut().zip(found) {
            member.disk_full = found.as_ref().is_some_and(|found| found.full);
            member.findings = found.map(Arc::new);
        }
    }
}

fn suspect<'a>(volume: &'a VolumeKey, member: &'a Member) -> Suspect<'a> {
    Suspect {
        volume,
        size: member.size,
        last_resize_at: member.last_resize_at,
        figures: member.figures(),
        history: &member.history,
        // Nobody asks exporters and status ports yet.
        answer: None,
    }
}

/// A log to read: that of a container that ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogWanted {
    /// Namespace of the pod.
    pub namespace: Arc<str>,
    /// Its name.
    pub pod: Arc<str>,
    /// Its UID.
    pub uid: Arc<str>,
    /// The container that ended.
    pub container: Arc<str>,
    /// It is not the container that the pod shows now, but the one before.
    pub previous: bool,
}

/// The logs that may tell why an instance is down, where nothing else does: each once, of Clusters that are managed.
#[must_use]
pub fn logs_wanted(snapshot: &Snapshot, volumes: &[Volume], settings: &VolumeSettings) -> Vec<LogWanted> {
    if !settings.pod_logs || !matches!(&*snapshot.resolution, Resolution::Settings(_)) {
        return Vec::new();
    }
    let members = || volumes.iter().flat_map(|v| &v.members);
    let decided = |instance: &str| members().any(|m| *m.instance == *instance && m.disk_full);
    let wanted = snapshot.pods.iter().filter_map(|(instance, pod)| {
        let view = pod.down.as_ref()?;
        let container = view.container.ended.id.clone();
        let open = !container.is_empty() && !snapshot.logs.contains_key(instance) && !decided(instance);
        open.then(|| LogWanted {
            namespace: snapshot.key.namespace.clone(),
            pod: instance.clone(),
            uid: pod.uid.clone(),
            container,
            previous: view.previous,
        })
    });
    wanted.collect()
}
