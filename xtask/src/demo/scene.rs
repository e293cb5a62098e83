//! What can be seen of the clusters at one moment, and what is new since the moment before. Pure.

use csm_api::{Phase, PvcPhase, Reason, State, Verdict, VerifiedBy};
use csm_units::{Bytes, Percent};
use jiff::Timestamp;

use super::text::{self, Tone};

/// All clusters at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// The moment.
    pub at: Timestamp,
    /// In the order of the cast.
    pub clusters: Vec<Cluster>,
}

/// One cluster. Of its volumes the demo looks at the data volume only.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// By name.
    pub instances: Vec<Instance>,
    /// Percent used at which it is to grow.
    pub threshold: Percent,
    /// What the manager has written into its PostgresStorage.
    pub told: Option<Told>,
    /// Its StorageEvents, the oldest first.
    pub operations: Vec<Operation>,
}

/// One instance's data volume.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// The instance's name, which is its PVC's as well.
    pub name: String,
    /// Whether it is the primary.
    pub primary: bool,
    /// What its kubelet measured last.
    pub measured: Option<Measured>,
    /// The size of the filesystem as it is now, measured or not.
    pub filesystem: Bytes,
    /// What the PVC asks for.
    pub request: Bytes,
    /// What the PVC has.
    pub capacity: Bytes,
    /// The storage driver is done with an expansion, and the node is not.
    pub waits_for_node: bool,
}

/// A kubelet's figures of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// When it was measured.
    pub at: Timestamp,
    /// Bytes used.
    pub used: Bytes,
    /// Bytes that PostgreSQL can still write.
    pub available: Bytes,
}

/// The manager's words about a data volume: state, and the last decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The state.
    pub state: State,
    /// What was decided.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The same in a sentence.
    pub message: String,
}

/// A StorageEvent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its name.
    pub name: String,
    /// Size before.
    pub from: Bytes,
    /// Size asked for.
    pub to: Bytes,
    /// The decision that it records, in a sentence.
    pub message: String,
    /// How far it has come.
    pub phase: Phase,
    /// How far each instance has come, in the order in which they are patched.
    pub members: Vec<Member>,
}

/// How far an operation has come with one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The instance.
    pub instance: String,
    /// How far.
    pub phase: PvcPhase,
    /// What showed that it has grown.
    pub verified_by: Option<VerifiedBy>,
}

impl Scene {
    /// A cluster by its name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }
}

impl Cluster {
    /// An instance by its name.
    pub fn instance(&self, name: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.name == name)
    }

    /// The fullest instance.
    pub fn worst(&self) -> Option<&Instance> {
        // The first of several that are equally full.
        self.instances.iter().rev().max_by_key(|instance| instance.percent())
    }

    /// The largest size that an instance's PVC asks for.
    pub fn size(&self) -> Bytes {
        self.instances.iter().map(|instance| instance.request).max().unwrap_or_default()
    }
}

impl Instance {
    /// Percent used, as `df` has it.
    pub fn percent(&self) -> Option<Percent> {
        self.measured.and_then(|m| Percent::used(m.used, m.available))
    }
}

impl Measured {
    /// What an ordinary user can have in all.
    pub fn total(self) -> Bytes {
        self.used.saturating_add(self.available)
    }
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// When it was seen.
    pub at: Timestamp,
    /// The instance or cluster that it is about.
    pub about: String,
    /// What.
    pub text: String,
    /// What it means.
    pub tone: Tone,
}

/// What `after` shows that `before` did not.
pub fn news(before: Option<&Scene>, after: &Scene) -> Vec<News> {
    let mut all = Vec::new();
    for cluster in &after.clusters {
        let earlier = before.and_then(|scene| scene.cluster(&cluster.name));
        let mut say = |about: &str, tone: Tone, text: String| {
            let about = about.to_owned();
            all.push(News {
                at: after.at,
                about,
                text,
                tone,
            });
        };
        // In the order of cause and effect, for what one look shows at once.
        breaches(earlier, cluster, &mut say);
        records(earlier, cluster, &mut say);
        volumes(earlier, cluster, &mut say);
        progress(earlier, cluster, &mut say);
        let told = cluster.told.as_ref();
        let was = earlier.and_then(|cluster| cluster.told.as_ref());
        let differs = |told: &&Told| was.is_none_or(|was| (was.verdict, was.reason) != (told.verdict, told.reason));
        if let Some(told) = told.filter(differs) {
            let tone = match (told.verdict, told.state) {
                (_, State::Resizing) => Tone::Active,
                (Verdict::Hold, _) => Tone::Warn,
                _ => Tone::Plain,
            };
            say(&cluster.name, tone, format!("{}: {}", decision(told), told.message));
        }
    }
    all
}

/// A decision in two words: `Hold/AtLimit`.
pub fn decision(told: &Told) -> String {
    format!("{}/{}", told.verdict, told.reason)
}

/// Instances that have reached the threshold.
fn breaches(before: Option<&Cluster>, after: &Cluster, say: &mut dyn FnMut(&str, Tone, String)) {
    let over = |instance: &Instance| instance.percent().is_some_and(|percent| percent >= after.threshold);
    for instance in after.instances.iter().filter(|instance| over(instance)) {
        if before
            .and_then(|cluster| cluster.instance(&instance.name))
            .is_some_and(|was| !over(was))
        {
            say(&instance.name, Tone::Bad, format!("reached {}", spaced(after.threshold)));
        }
    }
}

/// What the manager has begun.
fn records(before: Option<&Cluster>, after: &Cluster, say: &mut dyn FnMut(&str, Tone, String)) {
    for operation in &after.operations {
        if known(before, operation).is_none() {
            say(&after.name, Tone::Active, format!("decided: {}", operation.message));
            say(
                &after.name,
                Tone::Active,
                format!("recorded first: StorageEvent {}", operation.name),
            );
        }
    }
}

fn known<'a>(before: Option<&'a Cluster>, operation: &Operation) -> Option<&'a Operation> {
    before?.operations.iter().find(|other| other.name == operation.name)
}

/// What happened to the volumes, whoever did it.
fn volumes(before: Option<&Cluster>, after: &Cluster, say: &mut dyn FnMut(&str, Tone, String)) {
    let Some(before) = before else { return };
    for instance in &after.instances {
        let Some(was) = before.instance(&instance.name) else { continue };
        if instance.request != was.request {
            say(
                &instance.name,
                Tone::Active,
                format!("PVC patched: {} → {}", was.request, instance.request),
            );
        }
        if instance.waits_for_node && !was.waits_for_node {
            say(
                &instance.name,
                Tone::Plain,
                "volume grown by the storage driver; waits for the node".to_owned(),
            );
        }
        if instance.filesystem > was.filesystem {
            let (from, to) = (text::gib(was.filesystem), text::gib(instance.filesystem));
            say(&instance.name, Tone::Good, format!("filesystem grown: {from} → {to} GiB"));
        }
    }
}

/// How far the manager's operations have come.
fn progress(before: Option<&Cluster>, after: &Cluster, say: &mut dyn FnMut(&str, Tone, String)) {
    for operation in &after.operations {
        let was = known(before, operation);
        for member in &operation.members {
            let phase = was.and_then(|was| was.members.iter().find(|other| other.instance == member.instance));
            if phase.map(|m| m.phase) == Some(member.phase) {
                continue;
            }
            match (member.phase, member.verified_by) {
                (PvcPhase::Completed, by) => {
                    let by = by.map_or("nothing", VerifiedBy::as_str);
                    say(&member.instance, Tone::Good, format!("growth verified by the {by}"));
                }
                (PvcPhase::Failed, _) => say(&member.instance, Tone::Bad, "cannot grow".to_owned()),
                _ => {}
            }
        }
        if was.map(|was| was.phase) != Some(operation.phase) {
            match operation.phase {
                Phase::Completed => say(&after.name, Tone::Good, format!("StorageEvent {}: Completed", operation.name)),
                Phase::Failed => say(&after.name, Tone::Bad, format!("StorageEvent {}: Failed", operation.name)),
                Phase::Pending | Phase::InProgress => {}
            }
        }
    }
}

/// A percentage in prose.
pub fn spaced(percent: Percent) -> String {
    format!("{} %", percent.get())
}
