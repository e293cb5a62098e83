//! Why a volume of a Cluster fills, by what is known of its primary.

use std::sync::Arc;

use csm_api::{CauseKind, Role};
use csm_core::between::Content;
use csm_core::plan::{self, Decision};
use csm_core::root_cause::{Cause, Facts, Given, SlotFacts, StandbyFacts, causes};
use csm_core::world::{VolumeKey, World};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::index::{Snapshot, Tracked};
use crate::instance::{Primary, Reading, SlotReading, Standby, WalFigures};
use crate::views::ClusterView;

/// Before this nobody says that a cause is not known: by then a kubelet has given two figures, and the primary was asked some times.
const BEGINNING: SignedDuration = SignedDuration::from_mins(2);

/// Why a volume fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootCauses {
    /// The instance that shows it: the primary.
    pub instance: Arc<str>,
    /// The size of its volume.
    pub volume: Bytes,
    /// The causes, the strongest first.
    pub causes: Vec<Cause>,
}

/// Why the volume fills that this decision is about. None where that is not tracked, or is about to be known: of a volume that is far
/// from full and of which nothing holds WAL back, at the beginning, and while nothing is heard of the primary.
#[must_use]
pub fn of(snapshot: &Snapshot, world: &World, decision: &Decision, now: Timestamp) -> Option<RootCauses> {
    let tracked = snapshot.tracked.as_deref()?;
    let instance = world.cluster.primary.as_ref()?;
    let content = content(world, &decision.volume, instance)?;
    let volume = world.volumes.iter().find(|volume| volume.key == decision.volume)?;
    let member = volume.members.iter().find(|member| member.instance == *instance)?;
    let shared = match &decision.facts.cause {
        plan::Cause::Filesystem { filesystem, .. } => Some(*filesystem),
        _ => None,
    };
    // Its word is fresh where its health is.
    let said = snapshot.wal.as_ref().filter(|_| world.cluster.wal.is_some());
    let of = Of {
        now,
        content,
        volume: member.bytes(),
        shared,
        cluster: &snapshot.cluster,
        said: said.and_then(|figures| primary(figures)),
    };
    Some(RootCauses {
        causes: of.causes(tracked)?,
        volume: member.bytes(),
        instance: instance.clone(),
    })
}

/// A volume of the primary, and what is known of it.
pub(crate) struct Of<'a> {
    pub now: Timestamp,
    pub content: Content,
    pub volume: Bytes,
    pub shared: Option<Bytes>,
    pub cluster: &'a ClusterView,
    /// What the primary says, where that is not old.
    pub said: Option<&'a Primary>,
}

impl Of<'_> {
    /// The causes, the strongest first; none where they are about to be known, or nothing is heard that could show them.
    pub fn causes(&self, tracked: &Tracked) -> Option<Vec<Cause>> {
        let said = self.said;
        if said.is_none() && self.shared.is_none() && self.content != Content::Databases {
            return None;
        }
        let given = Given {
            now: self.now,
            content: self.content,
            volume: self.volume,
            shared: self.shared,
            archives: Some(self.cluster.archives_wal),
            slots: said.map(|said| slots(said, tracked)),
            standbys: said.map(standbys),
            settings: Some(self.cluster.wal_settings),
            base_backups: said.map(|_| tracked.base_backup.into_iter().collect()),
        };
        let causes = causes(&Facts::of(given, &tracked.tracker));
        let unknown = causes.first().is_none_or(|cause| cause.kind() == CauseKind::Unknown);
        let early = self.now.duration_since(tracked.since) < BEGINNING;
        (!(unknown && early)).then_some(causes)
    }
}

/// What an instance says, where it is primary.
pub(crate) fn primary(figures: &WalFigures) -> Option<&Primary> {
    match &figures.reading {
        Reading::Primary(primary) => Some(primary),
        Reading::Replica(_) => None,
    }
}

/// What a volume of the primary holds.
fn content(world: &World, key: &VolumeKey, primary: &Arc<str>) -> Option<Content> {
    holds(key.role, || {
        let wal = world.volumes.iter().filter(|volume| volume.key == VolumeKey::WAL);
        wal.flat_map(|volume| &volume.members).any(|member| member.instance == *primary)
    })
}

/// What a volume of a role holds, by whether its instance has a volume for WAL alone; none of a tablespace, of which an instance says
/// nothing.
pub(crate) fn holds(role: Role, own_wal: impl FnOnce() -> bool) -> Option<Content> {
    match role {
        Role::Wal => Some(Content::Wal),
        Role::Tablespace => None,
        Role::Data if own_wal() => Some(Content::Databases),
        Role::Data => Some(Content::Both),
    }
}

fn slots(primary: &Primary, tracked: &Tracked) -> Vec<SlotFacts> {
    let slot = |slot: &SlotReading| SlotFacts {
        name: slot.name.clone(),
        active: slot.active,
        retained: primary.since(slot.restart_lsn),
        since: tracked.idle_since(&slot.name).filter(|_| !slot.active),
    };
    primary.slots.iter().map(slot).collect()
}

fn standbys(primary: &Primary) -> Vec<StandbyFacts> {
    let standby = |standby: &Standby| StandbyFacts {
        name: standby.name.clone(),
        behind: primary.since(standby.flushed),
    };
    primary.standbys.iter().map(standby).collect()
}
