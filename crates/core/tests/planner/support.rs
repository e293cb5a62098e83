//! Worlds for tests: one Cluster `shop/orders` at noon, managed by one StoragePolicy, each thing changed by name.

use std::sync::Arc;

use csm_api::{Settings, Urgency};
use csm_core::check::check;
use csm_core::plan::{Decision, Plan, plan};
use csm_core::resolve::{Origin, OriginKind, Policy, Resolution, Selector, resolve};
use csm_core::world::{
    Circuit, Class, Cluster, ClusterKey, Fencing, Fleet, Limits, Member, Observation, Operation, Pause, Resize, ResizeStage, Volume,
    VolumeKey, WalHealth, World,
};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

/// A size from its text.
pub fn size(text: &str) -> Bytes {
    text.parse().unwrap()
}

/// A time of the day on which it is noon.
pub fn at(time: &str) -> Timestamp {
    format!("2026-03-01T{time}Z").parse().unwrap()
}

pub fn noon() -> Timestamp {
    at("12:00:00")
}

/// A resolution of one StoragePolicy with these settings (YAML).
pub fn policy(settings: &str) -> Arc<Resolution> {
    let settings: Settings = serde_saphyr::from_str(settings).unwrap();
    let policy = Policy {
        origin: Origin::object(OriginKind::StoragePolicy, Some("shop"), "standard"),
        selector: Selector::default(),
        namespace_selector: None,
        exclude: Vec::new(),
        settings: Arc::new(settings),
        bounds: None,
        problems: Vec::new(),
        unreadable: false,
    };
    Arc::new(resolve(&[&policy], None, &Settings::default()))
}

/// A member of `size` with so much used; the rest of it is available. Seen 30 s ago.
pub fn member(instance: &str, size_text: &str, used: &str) -> Member {
    let (size, used) = (size(size_text), size(used));
    Member {
        pvc: format!("{instance}-pvc").into(),
        uid: format!("{instance}-uid").into(),
        instance: instance.into(),
        node: Some(format!("{instance}-node").into()),
        request: size,
        size,
        bound: true,
        block: false,
        class: Class {
            name: "fast".into(),
            expandable: true,
            shared_filesystem: false,
            provider_limit: None,
            fleet: Fleet::default(),
        },
        observation: Some(Observation {
            used,
            available: size.saturating_sub(used),
            capacity: size,
            inodes: None,
            at: at("11:59:30"),
        }),
        estimate: None,
        last_resize_at: None,
        last_relief_at: None,
        relief_failed: false,
        resize: None,
        twin: false,
        pod_running: true,
        disk_full: false,
        findings: None,
        nudged: None,
        withdrawn: None,
        history: Arc::default(),
    }
}

/// Changes to a member, in the manner of a builder.
pub trait MemberExt: Sized {
    fn change(self, change: impl FnOnce(&mut Member)) -> Member;

    fn unseen(self) -> Member {
        self.change(|m| m.observation = None)
    }

    fn seen_at(self, at: Timestamp) -> Member {
        self.change(|m| m.observation.as_mut().unwrap().at = at)
    }

    fn resized_at(self, end: Timestamp) -> Member {
        self.change(|m| m.last_resize_at = Some(end))
    }

    fn asks_for(self, request: &str) -> Member {
        self.change(|m| m.request = size(request))
    }

    fn resizing_since(self, since: Option<Timestamp>) -> Member {
        self.change(|m| {
            m.resize = Some(Resize {
                since,
                stage: ResizeStage::NodePending,
                error: None,
                allocated: None,
            });
        })
    }
}

impl MemberExt for Member {
    fn change(mut self, change: impl FnOnce(&mut Member)) -> Member {
        change(&mut self);
        self
    }
}

pub fn volume(key: VolumeKey, members: Vec<Member>) -> Volume {
    Volume {
        key,
        members,
        learned_ceiling: None,
        fallback_ceiling: None,
        retry_after: None,
    }
}

/// A world of one data volume; its policy allows 200Gi. The first member is the primary.
pub fn world(members: Vec<Member>) -> World {
    World {
        cluster: Cluster {
            key: ClusterKey::new("shop", "orders"),
            uid: "cluster-uid".into(),
            deleting: false,
            hibernated: false,
            pause: Pause::No,
            fencing: Fencing::None,
            resize_in_use_volumes: true,
            primary: members.first().map(|m| m.instance.clone()),
            breaker: Circuit::default(),
            wal: None,
        },
        resolution: policy("expansion: {maxSize: 200Gi}"),
        volumes: vec![volume(VolumeKey::DATA, members)],
        operations: Vec::new(),
        limits: Limits::default(),
        fleet: Fleet::default(),
        global_breaker: Circuit::default(),
    }
}

/// A world whose one member of 20Gi is 90 % full: it wants 30Gi.
pub fn wants() -> World {
    world(vec![member("orders-1", "20Gi", "18Gi")])
}

/// A world where orders-2 has 20Gi of 30Gi: it wants to be caught up.
pub fn lags() -> World {
    world(vec![member("orders-1", "30Gi", "3Gi"), member("orders-2", "20Gi", "4Gi")])
}

/// A world whose one member of 20Gi is 20 % full.
pub fn calm() -> World {
    world(vec![member("orders-1", "20Gi", "4Gi")])
}

/// A world whose instances have data volumes of this size that nothing was seen of yet; WAL archiving is known, and well.
pub fn unobserved(instances: usize, size: &str) -> World {
    let member = |i| member(&format!("orders-{i}"), size, "0").unseen();
    world((1..=instances).map(member).collect()).change(|w| w.cluster.wal = Some(WalHealth::default()))
}

pub trait WorldExt: Sized {
    fn change(self, change: impl FnOnce(&mut World)) -> World;

    fn policy(self, settings: &str) -> World {
        self.change(|w| w.resolution = policy(settings))
    }

    fn operation(self, operation: Operation) -> World {
        self.change(|w| w.operations.push(operation))
    }

    fn pause(self, paused: &str, until: Option<&str>) -> World {
        self.change(|w| w.cluster.pause = Pause::read(Some(paused), until))
    }

    fn data(self, change: impl FnOnce(&mut Volume)) -> World {
        self.change(|w| change(&mut w.volumes[0]))
    }

    /// Changes the member at this place.
    fn member(self, index: usize, change: impl FnOnce(&mut Member)) -> World {
        self.data(|v| change(&mut v.members[index]))
    }
}

impl WorldExt for World {
    fn change(mut self, change: impl FnOnce(&mut World)) -> World {
        change(&mut self);
        self
    }
}

/// A growth of the data volume that has ended well.
pub fn growth(started_at: Timestamp, from: &str, to: &str) -> Operation {
    Operation {
        id: format!("growth-{started_at}").into(),
        volume: VolumeKey::DATA,
        urgency: Urgency::Planned,
        started_at,
        from: size(from),
        to: size(to),
        members: None,
        accepted: true,
        done: true,
    }
}

pub fn unfinished(operation: Operation) -> Operation {
    Operation { done: false, ..operation }
}

pub fn catch_up(operation: Operation, uids: &[&str]) -> Operation {
    Operation {
        urgency: Urgency::CatchUp,
        members: Some(uids.iter().map(|u| (*u).into()).collect()),
        ..operation
    }
}

/// The plan at this moment; it passes the check, and the order of what was gathered does not matter.
pub fn plan_at(world: &World, now: Timestamp) -> Plan {
    let decided = plan(world, now);
    check(world, &decided, now).unwrap_or_else(|v| panic!("{v:?}\n{decided:#?}"));
    let mut other = world.clone();
    other.volumes.reverse();
    other.volumes.iter_mut().for_each(|v| v.members.reverse());
    other.operations.reverse();
    assert_eq!(plan(&other, now), decided);
    decided
}

/// The decision for the first volume at noon.
pub fn decide(world: &World) -> Decision {
    decide_at(world, noon())
}

pub fn decide_at(world: &World, now: Timestamp) -> Decision {
    let key = &world.volumes[0].key;
    let plan = plan_at(world, now);
    plan.decisions.into_iter().find(|d| d.volume == *key).unwrap()
}

/// Instance and new size of every member, in order.
pub fn sizes(decision: &Decision) -> Vec<(&str, Option<String>)> {
    decision
        .members
        .iter()
        .map(|m| (&*m.instance, m.to.map(|to| to.to_string())))
        .collect()
}

/// One nanosecond.
pub const INSTANT: SignedDuration = SignedDuration::from_nanos(1);
