//! A run that is to be: everything about it follows from one number.

use std::fmt;
use std::time::Duration;

use csm_api::Role;
use csm_tests::proxy::{At, Fault, Moment, Refusal, Rule};
use csm_units::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

/// What an operation writes. A run of many must hit each of them.
pub const WRITES: [&str; 6] = [
    "POST storageevents",
    "PATCH storageevents/status",
    "PATCH persistentvolumeclaims",
    "PATCH postgresstorages/status",
    "PATCH clusters",
    "POST events",
];
/// What the manager writes beside, and what it reads, with how often a request of the kind comes in a run, at least.
const OTHERS: [(&str, u32); 15] = [
    ("PUT leases", 12),
    ("PUT leases", 12),
    ("GET leases", 1),
    ("POST leases", 1),
    ("POST postgresstorages", 1),
    ("PATCH storagepolicies/status", 1),
    ("LIST storageevents", 2),
    ("LIST storageevents", 2),
    ("LIST persistentvolumeclaims", 1),
    ("LIST clusters", 1),
    ("LIST pods", 1),
    ("GET storageevents", 1),
    ("GET persistentvolumeclaims", 1),
    ("WATCH storageevents", 2),
    ("WATCH persistentvolumeclaims", 2),
];
/// What is watched that an operation rests on.
const WATCHED: [&str; 6] = [
    "storageevents",
    "persistentvolumeclaims",
    "clusters",
    "postgresstorages",
    "storagepolicies",
    "pods",
];
/// The longest delay: less than the manager waits for an answer (4 s), more than it may take to renew its lease.
const LONGEST_DELAY: u64 = 3500;

/// The latest that a request comes which its process has given up: before its lease can have passed on.
const LATEST: u64 = 900;

/// What XFS keeps of a volume.
pub const XFS_LOG: Bytes = Bytes::mib(64);

/// How sizes are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    Thresholds,
    Resize,
    Target,
}

/// What goes wrong with the storage of one PVC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageFault {
    /// The driver's controller does not come back until faults stop.
    HangController,
    /// The node does not come back until faults stop.
    HangNode,
    /// The controller fails a few times.
    FailController(u32),
    /// The node fails a few times.
    FailNode(u32),
    /// The namespace's quota is used up until faults stop.
    Quota,
}

/// What a person does while the manager works, and takes back when faults stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Person {
    /// Pauses the Cluster.
    Pause,
    /// Raises the request of one PVC by hand; nothing is taken back.
    RaiseRequest,
    /// Lowers the ceiling to the present size.
    LowerLimit,
}

/// A volume that is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breach {
    pub role: Role,
    /// Serial of the instance.
    pub instance: usize,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub instances: usize,
    pub wal: bool,
    pub model: Model,
    /// Emergency growth, or planned.
    pub urgent: bool,
    pub parallelism: u8,
    pub breaches: Vec<Breach>,
    /// Whether the volume is full before the manager starts.
    pub early: bool,
    pub faults: Vec<Rule>,
    /// With the serial of the instance.
    pub storage: Option<(StorageFault, usize)>,
    /// With what the manager asks for when the person acts.
    pub person: Option<(Person, Rule)>,
    /// Whether another manager takes over in the end, and finds nothing to do.
    pub hand_over: bool,
}

impl Scenario {
    /// The run of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let r = &mut random;
        let instances = r.random_range(1..=3);
        let wal = r.random_bool(0.4);
        let mut breaches = Vec::new();
        let roles: &[Role] = match r.random_range(0..4) {
            0 if wal => &[Role::Data, Role::Wal],
            1 if wal => &[Role::Wal],
            _ => &[Role::Data],
        };
        for role in roles {
            breaches.push(Breach {
                role: *role,
                instance: r.random_range(1..=instances),
            });
        }
        let storage = r.random_bool(0.25).then(|| {
            let fault = match r.random_range(0..13) {
                0..3 => StorageFault::HangController,
                3..6 => StorageFault::HangNode,
                6..9 => StorageFault::FailController(r.random_range(1..=3)),
                9..12 => StorageFault::FailNode(r.random_range(1..=3)),
                _ => StorageFault::Quota,
            };
            (fault, r.random_range(1..=instances))
        });
        let person = (storage.is_none() && r.random_bool(0.25)).then(|| {
            let person = match r.random_range(0..3) {
                0 => Person::Pause,
                1 => Person::RaiseRequest,
                _ => Person::LowerLimit,
            };
            let rule = Rule {
                at: At::Kind(pick(r, &WRITES[..4]).to_owned()),
                nth: r.random_range(1..=2),
                fault: Fault::Meanwhile,
            };
            (person, rule)
        });
        Self {
            seed,
            instances,
            wal,
            model: [Model::Thresholds, Model::Resize, Model::Target][r.random_range(0..3)],
            urgent: r.random_bool(0.3),
            parallelism: r.random_range(1..=3),
            breaches,
            early: r.random_bool(0.5),
            faults: (0..r.random_range(1..=6)).map(|_| rule(r)).collect(),
            storage,
            person,
            hand_over: r.random_bool(0.3),
        }
    }

    /// The size that volumes of a role begin with.
    pub fn size(role: Role) -> Bytes {
        if role == Role::Wal { Bytes::gib(4) } else { Bytes::gib(10) }
    }

    /// The ceiling of volumes of a role.
    pub fn ceiling(&self, role: Role) -> Bytes {
        if role == Role::Wal && self.model != Model::Thresholds {
            Bytes::gib(40)
        } else {
            Bytes::gib(100)
        }
    }

    /// The size that a person raises a request to.
    pub fn raised(role: Role) -> Bytes {
        if role == Role::Wal { Bytes::gib(12) } else { Bytes::gib(20) }
    }

    /// How much of a breached volume is used: a share of what it had at first, whatever a person has made of it since.
    pub fn used(&self, role: Role) -> Bytes {
        let usable = Self::size(role).saturating_sub(XFS_LOG);
        usable.mul_div(if self.urgent { 97 } else { 87 }, 100)
    }

    /// What a breached volume grows to, by planner.md, section 3.
    pub fn grows_to(&self, role: Role) -> Bytes {
        match (role == Role::Wal, self.model, self.urgent) {
            // 10 + 50 %, at least 5; 4 + 5.
            (false, Model::Thresholds, _) => Bytes::gib(15),
            (true, Model::Thresholds, _) => Bytes::gib(9),
            // 20 %, at least 2; an emergency 25 %, at least 1.
            (false, Model::Resize, false) => Bytes::gib(12),
            (false, Model::Resize | Model::Target, true) => Bytes::gib(13),
            (true, Model::Resize, _) => Bytes::gib(6),
            // So that 20 % are free, at least 5 % more; of 4032 MiB that XFS makes of 4 GiB, 87 % are used.
            (false, Model::Target, false) => Bytes::gib(11),
            (true, Model::Target, false) => Bytes::mib(4455),
            (true, Model::Target, true) => Bytes::gib(5),
        }
    }

    /// The policy; `lowered` has the ceiling at the size that volumes begin with.
    pub fn policy(&self, lowered: bool) -> Value {
        let block = |role: Role| {
            let ceiling = if lowered { Self::size(role) } else { self.ceiling(role) }.to_string();
            let mut block = match self.model {
                Model::Thresholds => json!({}),
                Model::Resize => json!({"resize": {
                    "enabled": true,
                    "expansion": {"step": "20%", "limit": ceiling},
                    "strategy": {"walSafetyPolicy": {"acknowledgeWALRisk": true}},
                }}),
                Model::Target => json!({"request": Self::size(role).to_string(), "limit": ceiling, "targetBuffer": 20}),
            };
            if self.urgent {
                block["emergencyGrow"] = json!({});
            }
            block
        };
        let mut policy = json!({
            "expansion": {"parallelism": self.parallelism},
            "storage": block(Role::Data),
            "walStorage": block(Role::Wal),
        });
        if self.model == Model::Thresholds {
            let ceiling = if lowered { Self::size(Role::Wal) } else { self.ceiling(Role::Data) };
            policy["expansion"]["maxSize"] = json!(ceiling.to_string());
        }
        policy
    }
}

fn pick<'a, T: ?Sized>(random: &mut StdRng, of: &[&'a T]) -> &'a T {
    of[random.random_range(0..of.len())]
}

/// One thing that goes wrong, mostly at a write of an operation.
fn rule(r: &mut StdRng) -> Rule {
    let (kind, often) = if r.random_bool(0.75) {
        let kind = pick(r, &WRITES);
        let often = match kind {
            "POST storageevents" | "POST events" => 1,
            "PATCH persistentvolumeclaims" | "PATCH clusters" => 2,
            _ => 5,
        };
        (kind, often)
    } else {
        OTHERS[r.random_range(0..OTHERS.len())]
    };
    Rule {
        at: At::Kind(kind.to_owned()),
        nth: r.random_range(1..=often),
        fault: fault(r),
    }
}

fn fault(r: &mut StdRng) -> Fault {
    let delay = Duration::from_millis(r.random_range(100..=LONGEST_DELAY));
    let resource = pick(r, &WATCHED).to_owned();
    match r.random_range(0..18) {
        0..2 => Fault::Kill(Moment::Before),
        2..4 => Fault::Kill(Moment::After),
        4..6 => Fault::Drop(Moment::After),
        6 => Fault::Drop(Moment::Before),
        7 => Fault::Delay(Moment::Before, delay),
        8 => Fault::Delay(Moment::After, delay),
        9 => Fault::Answer(Moment::Before, Refusal::Conflict),
        10 => Fault::Answer(Moment::Before, Refusal::TooManyRequests),
        11 => Fault::Answer(Moment::Before, Refusal::Internal),
        12 => Fault::Answer(Moment::After, Refusal::Internal),
        13 => Fault::Answer(Moment::Before, Refusal::Timeout),
        14 => Fault::Answer(Moment::After, Refusal::Timeout),
        15 | 16 => Fault::Late(Duration::from_millis(r.random_range(100..=LATEST))),
        _ => Fault::CutWatch {
            resource,
            gone: r.random_bool(0.5),
        },
    }
}

/// Every sort of fault that [`fault`] makes and that is about the request itself.
pub const SORTS: [&str; 13] = [
    "late",
    "killed before",
    "killed after",
    "request lost",
    "answer lost",
    "request delayed",
    "answer delayed",
    "409",
    "429",
    "500",
    "500 after",
    "504",
    "504 after",
];

/// The sorts that end open watches, at whatever request.
pub const CUTS: [&str; 2] = ["watch cut", "watch cut, 410"];

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            instances,
            wal,
            model,
            urgent,
            parallelism,
            breaches,
            early,
            faults,
            storage,
            person,
            hand_over,
        } = self;
        writeln!(f, "seed {seed}")?;
        writeln!(
            f,
            "  {instances} instances, WAL volumes: {wal}, {model:?}, emergency: {urgent}, parallelism {parallelism}"
        )?;
        writeln!(
            f,
            "  full {}: {breaches:?}",
            if *early { "before the manager starts" } else { "afterwards" }
        )?;
        for fault in faults {
            writeln!(f, "  {fault}")?;
        }
        if let Some((fault, instance)) = storage {
            writeln!(f, "  storage of instance {instance}: {fault:?}")?;
        }
        if let Some((person, rule)) = person {
            writeln!(f, "  a person: {person:?}, {rule}")?;
        }
        write!(f, "  another manager takes over in the end: {hand_over}")
    }
}

#[test]
fn a_seed_is_one_run() {
    let text = |seed| Scenario::of(seed).to_string();
    assert_eq!(text(7), text(7));
    assert_ne!(text(7), text(8));
}
