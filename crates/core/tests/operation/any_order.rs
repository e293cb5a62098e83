//! Any order of what storage, nodes, people, the API server and crashes do: the operation ends, or is told of as stuck; it
//! asks for each size once at most, and never after its end.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use csm_api::{Growth, Phase, PvcPhase, Reason, VerifiedBy};
use csm_core::alerts::{AlertKind, due};
use csm_core::operation::{Context, Patch, Withdrawal, follow, refuse};
use csm_core::world::{Operation, ResizeStage, Volume, VolumeKey};
use csm_units::Bytes;
use proptest::prelude::*;

use crate::support::*;
use crate::worlds;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Happens {
    /// The manager takes a step, and may die in it.
    Look(Dies),
    /// The driver of a PVC gets on.
    Driver(usize),
    /// Its node gets on; `pretends`: without growing the filesystem.
    Node { pvc: usize, pretends: bool },
    /// Its node says that it never can.
    NodeCannot(usize),
    /// Its figures are collected.
    Figures(usize),
    /// Its pod goes or comes.
    Pod(usize),
    /// A person changes its request.
    Asks { pvc: usize, size: u64 },
    /// It is deleted.
    Deleted(usize),
    /// It is deleted, and another one of its name is made.
    Recreated(usize),
    /// A person stops operations, or lets them go on.
    Permission(bool),
    /// What was lost comes to the API server.
    Arrives,
    /// Time passes.
    Time(i64),
}

/// Where the manager dies in a step, or what the API server says.
#[derive(Clone, Copy, Debug)]
enum Dies {
    Nowhere,
    BeforeTheJournal,
    AfterTheJournal,
    AfterTheFirstPatch,
    /// It lives; the API server refuses the patch.
    Refused,
    /// It lives; somebody else has just written the PVC.
    Conflict,
    /// It lives; its patches are lost for it, and come to the API server some time later.
    Lost,
}

/// Whether what grows a PVC ever comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hangs {
    No,
    /// The driver's controller does not.
    Driver,
    /// The node does not.
    Node,
}

/// What is at the API server, and what storage does with it.
struct Scene {
    event: Growth,
    volume: Volume,
    /// Sizes above this are infeasible, by PVC.
    most: [Bytes; 2],
    permission: Result<(), Reason>,
    seconds: i64,
    /// What the manager asked for, by UID.
    asked: HashSet<(String, Bytes)>,
    /// PVCs that a person has asked something of.
    touched: HashSet<String>,
    /// UIDs of the PVCs that nobody ever grows, and why.
    hangs: Vec<(String, Hangs)>,
    /// UIDs of PVCs that were made when the operation had begun.
    recreated: HashSet<String>,
    /// How often each PVC was written, by UID: its version.
    versions: HashMap<String, u64>,
    /// Patches that were lost for the manager, with the version of the PVC that each was made for.
    lost: Vec<(Patch, u64)>,
}

impl Scene {
    fn new(parallelism: i32, most: [u64; 2]) -> Self {
        Self {
            event: event(parallelism),
            volume: volume(vec![
                member(1, Bytes::gib(10), Bytes::gib(10)),
                member(2, Bytes::gib(10), Bytes::gib(10)),
            ]),
            most: most.map(Bytes::gib),
            permission: Ok(()),
            seconds: 0,
            asked: HashSet::new(),
            touched: HashSet::new(),
            hangs: Vec::new(),
            recreated: HashSet::new(),
            versions: HashMap::new(),
            lost: Vec::new(),
        }
    }

    /// The same, where the driver or the node of `uid-1` and `uid-2` does not come back.
    fn hanging(mut self, hangs: [Hangs; 2]) -> Self {
        let named = hangs.into_iter().enumerate();
        self.hangs = named.map(|(place, hangs)| (format!("uid-{}", place + 1), hangs)).collect();
        self
    }

    fn hangs(&self, pvc: usize, by: Hangs) -> bool {
        let member = self.volume.members.get(pvc);
        member.is_some_and(|m| self.hangs.iter().any(|(uid, hangs)| **uid == *m.uid && *hangs == by))
    }

    /// Whether the alert of a stuck resize is due, and nothing but the ledger and the PVCs is known.
    fn is_told_of_as_stuck(&self) -> bool {
        let status = self.event.status.as_ref();
        let expansion = &self.event.spec.expansion;
        let operation = Operation {
            id: self.event.metadata.name.as_deref().unwrap_or_default().into(),
            volume: VolumeKey::DATA,
            urgency: self.event.spec.urgency(),
            started_at: status.and_then(|s| s.start_time.as_ref()).map_or(at(0), |t| t.0),
            from: expansion.original_size,
            to: expansion.requested_size,
            members: Some(expansion.affected_pvcs.iter().map(|p| Arc::from(p.uid.as_str())).collect()),
            accepted: status.is_some_and(|s| s.pvc_statuses.iter().any(|p| p.patched_at.is_some())),
            done: self.ended().is_some(),
        };
        let mut world = worlds::world(self.volume.members.clone());
        world.operations.push(operation);
        let now = at(self.seconds);
        let alerts = due(&world, &worlds::plan_at(&world, now), &BTreeSet::new(), now);
        alerts.iter().any(|alert| alert.id.kind == AlertKind::ResizeStuck)
    }

    fn ended(&self) -> Option<Phase> {
        let phase = self.event.status.as_ref().and_then(|s| s.phase);
        phase.filter(|p| matches!(p, Phase::Completed | Phase::Failed))
    }

    fn happen(&mut self, what: Happens) {
        match what {
            Happens::Look(dies) => self.look(dies),
            Happens::Driver(pvc) => self.driver(pvc),
            Happens::Node { pvc, pretends } => self.node(pvc, pretends),
            Happens::NodeCannot(pvc) => {
                if let Some(resize) = self.volume.members.get_mut(pvc).and_then(|m| m.resize.as_mut())
                    && resize.stage == ResizeStage::NodePending
                {
                    resize.stage = ResizeStage::NodeInfeasible;
                }
            }
            Happens::Figures(pvc) => self.measure(pvc),
            Happens::Pod(pvc) => {
                if let Some(member) = self.volume.members.get_mut(pvc) {
                    member.pod_running = !member.pod_running;
                }
            }
            Happens::Asks { pvc, size } => {
                if let Some(member) = self.volume.members.get_mut(pvc)
                    && Bytes::gib(size) > member.size
                {
                    member.request = Bytes::gib(size);
                    self.touched.insert(member.uid.to_string());
                    *self.versions.entry(member.uid.to_string()).or_default() += 1;
                }
            }
            Happens::Deleted(pvc) => {
                if pvc < self.volume.members.len() {
                    self.volume.members.remove(pvc);
                }
            }
            Happens::Recreated(pvc) => {
                if let Some(old) = self.volume.members.get(pvc) {
                    let uid = format!("{}-again", old.uid);
                    let mut new = member(0, Bytes::gib(10), Bytes::gib(10));
                    (new.pvc, new.instance, new.uid) = (old.pvc.clone(), old.instance.clone(), uid.as_str().into());
                    self.volume.members[pvc] = new;
                    self.recreated.insert(uid);
                }
            }
            Happens::Permission(given) => self.permission = if given { Ok(()) } else { Err(Reason::Paused) },
            Happens::Arrives => self.arrive(),
            Happens::Time(seconds) => self.seconds += seconds,
        }
    }

    /// One look of a manager that remembers nothing.
    fn look(&mut self, dies: Dies) {
        self.seconds += 1;
        let ended = self.ended();
        let progress = follow(
            &self.event,
            Context {
                permission: self.permission,
                ..context(&self.volume, self.seconds)
            },
        );
        if let Some(ended) = ended {
            assert!(progress.patch.is_empty(), "nothing is asked for after the end");
            assert_eq!(progress.ended(), Some(ended), "an end is an end");
        }
        if matches!(dies, Dies::BeforeTheJournal) {
            return;
        }
        self.event.status = Some(progress.status);
        if matches!(dies, Dies::AfterTheJournal) {
            return;
        }
        for withdrawal in progress.withdraw {
            withdraw(&mut self.volume, &withdrawal);
            *self.versions.entry(withdrawal.uid).or_default() += 1;
            if matches!(dies, Dies::AfterTheFirstPatch) {
                return;
            }
        }
        for patch in progress.patch {
            match dies {
                Dies::Conflict => continue,
                Dies::Lost => {
                    let version = self.versions.get(&patch.uid).copied().unwrap_or_default();
                    self.lost.push((patch, version));
                    continue;
                }
                Dies::Refused => {
                    // Withdrawn before it is called refused.
                    let withdrawal = Withdrawal {
                        pvc: patch.pvc,
                        uid: patch.uid.clone(),
                        operation: self.event.metadata.name.clone().unwrap_or_default(),
                    };
                    withdraw(&mut self.volume, &withdrawal);
                    *self.versions.entry(withdrawal.uid).or_default() += 1;
                    let status = self.event.status.as_mut().expect("it was written");
                    refuse(status, &patch.uid, "no");
                    return;
                }
                _ => self.patch(&patch),
            }
            if matches!(dies, Dies::AfterTheFirstPatch) {
                return;
            }
        }
    }

    /// The API server's part.
    fn patch(&mut self, patch: &Patch) {
        let member = self.volume.members.iter_mut().find(|m| *m.uid == *patch.uid);
        let member = member.expect("only what is there is patched");
        assert!(
            !self.recreated.contains(&patch.uid),
            "not what took the name of one that it was begun for: {patch:?}"
        );
        match patch.instead_of {
            None => assert!(member.request < patch.to, "raised: {patch:?}"),
            Some(infeasible) => {
                assert!(
                    member.request == infeasible && patch.to < infeasible && patch.to > member.size,
                    "lowered, above what it has: {patch:?}"
                );
            }
        }
        if !self.touched.contains(&patch.uid) {
            assert!(self.asked.insert((patch.uid.clone(), patch.to)), "asked for once: {patch:?}");
        }
        member.request = patch.to;
        *self.versions.entry(patch.uid.clone()).or_default() += 1;
    }

    /// The API server takes what was lost, where it was made for the PVC as it is.
    fn arrive(&mut self) {
        for (patch, version) in std::mem::take(&mut self.lost) {
            let there = self.volume.members.iter().any(|m| *m.uid == *patch.uid);
            if !there || self.versions.get(&patch.uid).copied().unwrap_or_default() != version {
                continue;
            }
            assert_eq!(self.ended(), None, "nothing that comes late is done after the end: {patch:?}");
            self.patch(&patch);
        }
    }

    fn driver(&mut self, pvc: usize) {
        if self.hangs(pvc, Hangs::Driver) {
            return;
        }
        let most = self.most[pvc.min(1)];
        let Some(member) = self.volume.members.get_mut(pvc) else { return };
        if member.request <= member.size {
            return;
        }
        let stage = if member.request > most {
            ResizeStage::ControllerInfeasible
        } else {
            ResizeStage::NodePending
        };
        let mut resize = resize(stage);
        resize.allocated = Some(member.request);
        member.resize = Some(resize);
    }

    fn node(&mut self, pvc: usize, pretends: bool) {
        if self.hangs(pvc, Hangs::Node) {
            return;
        }
        let Some(member) = self.volume.members.get_mut(pvc) else { return };
        let Some(resize) = member.resize.take_if(|r| r.stage == ResizeStage::NodePending) else {
            return;
        };
        member.size = resize.allocated.unwrap_or(member.size);
        if !pretends {
            self.measure(pvc);
        }
    }

    /// The filesystem is a little smaller than the volume.
    fn measure(&mut self, pvc: usize) {
        let seconds = self.seconds;
        if let Some(member) = self.volume.members.get_mut(pvc).filter(|m| m.pod_running) {
            member.observation = Some(figures(member.size.mul_div(98, 100), seconds));
        }
    }

    /// People are done, storage and nodes work but for those that hang, and nobody dies any more. It takes an hour, which is
    /// longer than `stuckAfter`.
    fn settle(&mut self) {
        self.permission = Ok(());
        for _ in 0..60 {
            self.look(Dies::Nowhere);
            for pvc in 0..self.volume.members.len() {
                self.driver(pvc);
                self.node(pvc, false);
                self.measure(pvc);
            }
            self.seconds += 60;
        }
    }
}

fn happens() -> impl Strategy<Value = Happens> {
    let pvc = 0..2_usize;
    let dies = prop_oneof![
        6 => Just(Dies::Nowhere),
        1 => Just(Dies::BeforeTheJournal),
        1 => Just(Dies::AfterTheJournal),
        1 => Just(Dies::AfterTheFirstPatch),
        1 => Just(Dies::Refused),
        1 => Just(Dies::Conflict),
        1 => Just(Dies::Lost),
    ];
    prop_oneof![
        12 => dies.prop_map(Happens::Look),
        6 => pvc.clone().prop_map(Happens::Driver),
        6 => (pvc.clone(), any::<bool>()).prop_map(|(pvc, pretends)| Happens::Node { pvc, pretends }),
        1 => pvc.clone().prop_map(Happens::NodeCannot),
        3 => pvc.clone().prop_map(Happens::Figures),
        1 => pvc.clone().prop_map(Happens::Pod),
        1 => (pvc.clone(), 8..20_u64).prop_map(|(pvc, size)| Happens::Asks { pvc, size }),
        1 => pvc.clone().prop_map(Happens::Deleted),
        1 => pvc.prop_map(Happens::Recreated),
        1 => any::<bool>().prop_map(Happens::Permission),
        1 => Just(Happens::Arrives),
        2 => (1..900_i64).prop_map(Happens::Time),
    ]
}

fn hangs() -> impl Strategy<Value = Hangs> {
    prop_oneof![6 => Just(Hangs::No), 1 => Just(Hangs::Driver), 1 => Just(Hangs::Node)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8_000, ..ProptestConfig::default() })]

    #[test]
    fn it_ends_or_is_told_of_as_stuck_and_asks_for_each_size_once(
        parallelism in 1..3_i32,
        most in [10..17_u64, 10..17_u64],
        hangs in [hangs(), hangs()],
        order in prop::collection::vec(happens(), 0..40),
    ) {
        let mut scene = Scene::new(parallelism, most).hanging(hangs);
        for what in order {
            scene.happen(what);
        }
        scene.settle();
        scene.arrive();
        let status = scene.event.status.as_ref().expect("a status");
        let comes_back = hangs == [Hangs::No; 2];
        prop_assert!(
            scene.ended().is_some() || (!comes_back && scene.is_told_of_as_stuck()),
            "it has not ended, and nobody is told: {status:?}"
        );
        for new in scene.volume.members.iter().filter(|m| scene.recreated.contains(&*m.uid)) {
            let asked = scene.touched.contains(&*new.uid);
            prop_assert!(asked || new.request == Bytes::gib(10), "left alone: {new:?}");
            prop_assert!(status.pvc_statuses.iter().all(|s| *s.uid != *new.uid), "none of the operation's: {status:?}");
        }
        for pvc in &status.pvc_statuses {
            prop_assert!(pvc.recovery.as_ref().is_none_or(|r| r.halvings <= 3));
            let there = scene.volume.members.iter().find(|m| *m.uid == *pvc.uid);
            if let Some(member) = there.filter(|_| pvc.phase == PvcPhase::Completed && pvc.verified_by != Some(VerifiedBy::Gone)) {
                prop_assert!(member.size >= Bytes::gib(15), "complete is grown");
            }
            if pvc.phase == PvcPhase::Failed {
                prop_assert!(pvc.error.as_ref().is_some_and(|e| !e.is_empty()), "a failure has words");
            }
        }
    }
}

#[test]
fn a_driver_that_hangs_keeps_it_open() {
    let mut scene = Scene::new(1, [99, 99]);
    for _ in 0..100 {
        scene.happen(Happens::Look(Dies::Nowhere));
        scene.happen(Happens::Time(600));
    }
    let status = scene.event.status.as_ref().expect("a status");
    assert_eq!((scene.ended(), status.pvc_statuses[0].phase), (None, PvcPhase::ControllerResizing));
    assert!(scene.is_told_of_as_stuck(), "{status:?}");
}

#[test]
fn a_resize_is_told_of_as_stuck_only_when_it_is() {
    let mut scene = Scene::new(1, [99, 99]).hanging([Hangs::Node; 2]);
    scene.happen(Happens::Look(Dies::Nowhere));
    scene.happen(Happens::Driver(1));
    scene.happen(Happens::Time(590));
    scene.happen(Happens::Look(Dies::Nowhere));
    assert!(!scene.is_told_of_as_stuck(), "after less than ten minutes");
    scene.happen(Happens::Time(10));
    assert!(scene.is_told_of_as_stuck(), "after ten minutes");
}

#[test]
fn another_pvc_of_the_same_name_is_left_alone() {
    let mut scene = Scene::new(1, [99, 99]);
    scene.happen(Happens::Look(Dies::Nowhere));
    scene.happen(Happens::Recreated(0));
    scene.settle();
    let status = scene.event.status.as_ref().expect("a status");
    let gone = status.pvc_statuses.iter().find(|s| s.uid == "uid-1").expect("pg-1");
    assert_eq!((gone.phase, gone.verified_by), (PvcPhase::Completed, Some(VerifiedBy::Gone)));
    let sizes: Vec<_> = scene.volume.members.iter().map(|m| (&*m.pvc, m.request)).collect();
    assert_eq!(sizes, [("pg-1", Bytes::gib(10)), ("pg-2", Bytes::gib(15))]);
}
