//! What Clusters have to do with each other: resizes under way, who waits for them to end, and the breaker of all.
//!
//! Kept up with every change, so that a look at one Cluster costs what is under way, not what there is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use csm_api::{BreakerScope, BreakerState, CircuitBreakerChange, Growth, StorageEvent, Trigger};
use csm_core::breaker::{self, BreakerRules, Circuit, Ending, RUNAWAY_WINDOW, RunawayRules};
use csm_core::resolve::{Resolution, Resolved};
use csm_core::world::{ClusterKey, Fleet};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::kept::Record;
use super::{Index, ObjectName, Slot, Snapshot, Wake};
use crate::views::{ClusterView, has_begun, last_progress, started_at};

/// What the manager's own settings say of the fleet.
#[derive(Clone, Debug, Default)]
pub struct FleetRules {
    /// Resizes at a time (`fleet.concurrentResizes`); none: no limit.
    pub concurrent: Option<u32>,
    /// The same by storage class (`storageClasses.NAME.concurrentResizes`).
    pub by_class: BTreeMap<Arc<str>, u32>,
    /// A growth without progress for so long is stuck (`stuckAfter`), and is not counted; none: it always is.
    pub stuck_after: Option<SignedDuration>,
    /// When too much of the fleet grows at once; none: never.
    pub runaway: Option<RunawayRules>,
    /// The manager's own namespace, where the records of the breaker of all Clusters are.
    pub namespace: Arc<str>,
}

/// What one Cluster has to do with all others, at one moment.
#[derive(Clone, Debug, Default)]
pub struct FleetNow {
    /// Resizes under way in the fleet.
    pub all: Fleet,
    /// Those of the storage classes that have a limit of their own.
    pub classes: BTreeMap<Arc<str>, Fleet>,
    /// The breaker that the Cluster shares with others: the runaway stop, or that of failures where its settings say so.
    pub breaker: Circuit,
}

/// A Cluster that waits for a resize of another to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// When its first volume is full at this rate; none: not in sight.
    pub time_to_full: Option<SignedDuration>,
    /// The most that is used of a volume that waits, in percent.
    pub percent_used: u16,
    /// The storage classes of what waits.
    pub classes: BTreeSet<Arc<str>>,
}

impl Waiter {
    /// The most endangered first.
    fn order(&self) -> (SignedDuration, std::cmp::Reverse<u16>) {
        (
            self.time_to_full.unwrap_or(SignedDuration::MAX),
            std::cmp::Reverse(self.percent_used),
        )
    }
}

/// How long the breaker that Clusters share is good for while no growth changes: settings may.
const SHARED_FOR: SignedDuration = SignedDuration::from_secs(1);
/// How long the number of managed Clusters is good for: it only matters to a percent.
const MANAGED_FOR: SignedDuration = SignedDuration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct FleetState {
    rules: FleetRules,
    /// When a Cluster was last looked at.
    now: Timestamp,
    /// Growths that have not ended.
    open: BTreeSet<(ClusterKey, Arc<str>)>,
    /// Growths that are just being recorded, by Cluster, with the storage classes that they concern.
    reserved: HashMap<ClusterKey, BTreeSet<Arc<str>>>,
    waiting: HashMap<ClusterKey, Waiter>,
    /// When each Cluster grew last, where that was lately.
    grown: HashMap<ClusterKey, Timestamp>,
    /// Records of the breaker of all Clusters.
    records: BTreeMap<ObjectName, Arc<StorageEvent>>,
    /// Managed Clusters, and when they were counted.
    managed: Option<(Timestamp, u32)>,
    /// The breaker that Clusters share, and when it was last looked for.
    shared: Option<(Timestamp, Circuit)>,
}

impl FleetState {
    /// A StorageEvent of a Cluster is like this now.
    pub fn put(&mut self, key: &ClusterKey, name: &Arc<str>, record: &Record) {
        self.shared = None;
        let entry = (key.clone(), name.clone());
        if record.is_open() {
            self.open.insert(entry);
        } else {
            self.open.remove(&entry);
        }
        if let Some(at) = record.grew() {
            let last = self.grown.entry(key.clone()).or_insert(at);
            *last = at.max(*last);
        }
    }

    /// A StorageEvent of a Cluster is gone.
    pub fn removed(&mut self, key: &ClusterKey, name: &str) {
        self.shared = None;
        self.open.remove(&(key.clone(), Arc::from(name)));
    }

    /// A Cluster is gone.
    pub fn left(&mut self, key: &ClusterKey) {
        self.waiting.remove(key);
        self.grown.remove(key);
    }

    /// A StorageEvent that names no Cluster. Only one in the manager's own namespace counts: others may write elsewhere.
    pub fn put_record(&mut self, event: StorageEvent) {
        let namespace = event.namespace().unwrap_or_default();
        let global = |change: &CircuitBreakerChange| change.scope == BreakerScope::Global;
        if *namespace == *self.rules.namespace && event.spec.circuit_breaker.as_ref().is_some_and(global) {
            self.shared = None;
            let name = (Arc::from(namespace), Arc::from(event.name_any()));
            self.records.insert(name, Arc::new(event));
        }
    }

    pub fn remove_record(&mut self, namespace: &str, name: &str) {
        self.records.remove(&(Arc::from(namespace), Arc::from(name)));
    }

    pub fn record_names(&self) -> impl Iterator<Item = ObjectName> {
        self.records.keys().cloned()
    }

    /// Records that were made before a moment.
    pub fn records_before(&self, before: Timestamp) -> impl Iterator<Item = ObjectMeta> {
        let made = move |event: &&Arc<StorageEvent>| event.metadata.creation_timestamp.as_ref().is_some_and(|at| at.0 < before);
        self.records.values().filter(made).map(|event| event.metadata.clone())
    }

    /// When a person closed the breaker of all Clusters.
    fn closed(&self) -> impl Iterator<Item = Timestamp> {
        self.records.values().filter_map(|event| closed_by_hand(event))
    }
}

/// When a person closed a breaker, as a record says. That one closed by itself follows from the growths.
pub(crate) fn closed_by_hand(event: &StorageEvent) -> Option<Timestamp> {
    let change = event.spec.circuit_breaker.as_ref()?;
    (change.state == BreakerState::Closed && event.spec.trigger == Trigger::Manual).then_some(change.at.0)
}

/// Resizes under way: in all, and by storage class.
#[derive(Default)]
struct Counts {
    all: u32,
    classes: BTreeMap<Arc<str>, u32>,
}

impl Counts {
    fn add(&mut self, classes: &BTreeSet<Arc<str>>) {
        self.all = self.all.saturating_add(1);
        for class in classes {
            let count = self.classes.entry(class.clone()).or_default();
            *count = count.saturating_add(1);
        }
    }

    fn of(&self, class: &Arc<str>) -> u32 {
        self.classes.get(class).copied().unwrap_or(0)
    }

    /// Whether one more may go that concerns these classes.
    fn has_room(&self, classes: &BTreeSet<Arc<str>>, rules: &FleetRules) -> bool {
        let mut limited = classes.iter().filter_map(|class| Some((class, rules.by_class.get(class)?)));
        rules.concurrent.is_none_or(|limit| self.all < limit) && limited.all(|(class, limit)| self.of(class) < *limit)
    }
}

impl Slot {
    /// The storage classes that a growth concerns.
    fn classes_of(&self, growth: &Growth) -> BTreeSet<Arc<str>> {
        let listed = |uid: &str| growth.spec.expansion.affected_pvcs.iter().any(|pvc| pvc.uid == uid);
        let pvcs = self.pvcs.values().filter(|claim| listed(&claim.uid.text()));
        pvcs.filter_map(|claim| claim.class.clone()).collect()
    }

    fn settings(&self) -> Option<&Resolved> {
        match self.resolution.as_deref() {
            Some(Resolution::Settings(settings)) if self.cluster.is_some() => Some(settings),
            _ => None,
        }
    }

    /// Its settings, where it shares a breaker with others.
    fn sharing(&self) -> Option<&Resolved> {
        self.settings().filter(|s| s.circuit_breaker.scope.value == BreakerScope::Global)
    }
}

impl Index {
    /// Under these rules for the fleet.
    #[must_use]
    pub fn with_fleet(mut self, rules: FleetRules) -> Self {
        self.fleet.rules = rules;
        self
    }

    /// One Cluster as it is now, with what it has to do with others.
    pub fn snapshot_at(&mut self, key: &ClusterKey, now: Timestamp) -> Option<Snapshot> {
        let mut snapshot = self.snapshot(key)?;
        snapshot.fleet = self.fleet_now(key, now);
        snapshot.awaits_wal = self.asks_primaries && self.slots.get(key).is_some_and(|slot| slot.awaits_word(now));
        Some(snapshot)
    }

    fn fleet_now(&mut self, key: &ClusterKey, now: Timestamp) -> FleetNow {
        let runaway = self.runaway(now);
        let shares = || self.slots.get(key).is_some_and(|slot| slot.sharing().is_some());
        let mut breaker = if runaway.opened.is_none() && shares() {
            self.shared_breaker(now)
        } else {
            runaway
        };
        if !self.fleet.reserved.is_empty() {
            // It is just being recorded, and may be the trial.
            breaker.tried_until = Some(Timestamp::MAX);
        }
        self.fleet.now = now;
        let under_way = self.under_way();
        let ahead = self.ahead(key, &under_way);
        let rules = &self.fleet.rules;
        let class = |(class, limit): (&Arc<str>, &u32)| {
            let fleet = Fleet {
                in_progress: under_way.of(class),
                ahead: ahead.of(class),
                limit: Some(*limit),
            };
            (class.clone(), fleet)
        };
        FleetNow {
            all: Fleet {
                in_progress: under_way.all,
                ahead: ahead.all,
                limit: rules.concurrent,
            },
            classes: rules.by_class.iter().map(class).collect(),
            breaker,
        }
    }

    /// Growths that have begun, and get on, of Clusters that exist, also where these cannot be read, and those that are just
    /// being recorded.
    fn under_way(&self) -> Counts {
        let mut counts = Counts::default();
        for (key, name) in &self.fleet.open {
            let Some(slot) = self.slots.get(key) else { continue };
            let Some(growth) = slot.events.get(name).and_then(Record::open) else {
                continue;
            };
            let is_ours = |cluster: &Arc<ClusterView>| *cluster.uid == *growth.spec.cluster_ref.uid;
            // What one has begun that cannot be read goes on in the storage.
            let is_there = slot.is_unreadable || slot.cluster.as_ref().is_some_and(is_ours);
            if is_there && has_begun(growth) && self.gets_on(growth) {
                counts.add(&slot.classes_of(growth));
            }
        }
        for classes in self.fleet.reserved.values() {
            counts.add(classes);
        }
        counts
    }

    /// Whether a growth has got on lately. One that hangs in its storage takes no place that others need.
    fn gets_on(&self, growth: &Growth) -> bool {
        let since = self.fleet.now.duration_since(last_progress(growth));
        self.fleet.rules.stuck_after.is_none_or(|patience| since < patience)
    }

    /// Those who may go now, in their order: the most endangered first, as far as there is room.
    fn line(&self, under_way: &Counts) -> Vec<(&ClusterKey, &Waiter)> {
        let mut waiting: Vec<_> = self.fleet.waiting.iter().collect();
        waiting.sort_by(|(a, x), (b, y)| (x.order(), *a).cmp(&(y.order(), *b)));
        let mut taken = Counts {
            all: under_way.all,
            classes: under_way.classes.clone(),
        };
        waiting.retain(|(_, waiter)| {
            let goes = taken.has_room(&waiter.classes, &self.fleet.rules);
            if goes {
                taken.add(&waiter.classes);
            }
            goes
        });
        waiting
    }

    /// Who may go before this Cluster; before one that has not waited yet, everybody who may go at all.
    fn ahead(&self, key: &ClusterKey, under_way: &Counts) -> Counts {
        let mut ahead = Counts::default();
        for (_, waiter) in self.line(under_way).into_iter().take_while(|(waiting, _)| *waiting != key) {
            ahead.add(&waiter.classes);
        }
        ahead
    }

    /// The Clusters that need not wait any longer.
    pub(super) fn next_in_line(&self) -> Wake {
        if self.fleet.waiting.is_empty() {
            return Wake::new();
        }
        self.line(&self.under_way()).into_iter().map(|(key, _)| key.clone()).collect()
    }

    /// A Cluster waits for resizes of others to end, or no longer does.
    pub fn wait(&mut self, key: &ClusterKey, waiter: Option<Waiter>) -> Wake {
        let before = match waiter {
            Some(waiter) => self.fleet.waiting.insert(key.clone(), waiter.clone()).as_ref() == Some(&waiter),
            None => self.fleet.waiting.remove(key).is_none(),
        };
        // Nothing has changed for anybody.
        if before { Wake::new() } else { self.next_in_line() }
    }

    /// Takes a place for a growth that was decided when `seen` was the case, until [`release`](Self::release). False where
    /// others have taken it since: decide again. `alone`: it is to be the only one to begin since then.
    pub fn reserve(&mut self, key: &ClusterKey, seen: &FleetNow, classes: BTreeSet<Arc<str>>, alone: bool) -> bool {
        let now = self.under_way();
        let more = now.all > seen.all.in_progress;
        let crowded =
            |now: u32, seen: Option<&Fleet>| seen.is_some_and(|seen| now > seen.in_progress && seen.limit.is_some_and(|l| now >= l));
        let mut of_classes = classes.iter();
        if (alone && more) || crowded(now.all, Some(&seen.all)) || of_classes.any(|class| crowded(now.of(class), seen.classes.get(class))) {
            return false;
        }
        self.fleet.reserved.insert(key.clone(), classes);
        true
    }

    /// A growth is recorded, and known to be, or is not.
    pub fn release(&mut self, key: &ClusterKey) -> Wake {
        self.fleet.reserved.remove(key);
        self.next_in_line()
    }

    /// The records of the breaker of all Clusters.
    #[must_use]
    pub fn fleet_records(&self) -> Vec<Arc<StorageEvent>> {
        self.fleet.records.values().cloned().collect()
    }

    /// The runaway stop.
    pub fn runaway(&mut self, now: Timestamp) -> Circuit {
        let Some(rules) = self.fleet.rules.runaway else {
            return Circuit::default();
        };
        let lately = now.saturating_sub(RUNAWAY_WINDOW).unwrap_or(Timestamp::MIN);
        self.fleet.grown.retain(|_, at| *at > lately);
        let enough = usize::try_from(rules.minimum).unwrap_or(usize::MAX);
        let closed_at = self.fleet.closed().max();
        if self.fleet.grown.len() < enough.max(1) {
            return breaker::runaway(&[], 0, closed_at, rules, now);
        }
        let managed = self.managed(now);
        let is_managed = |key: &&ClusterKey| self.slots.get(*key).is_some_and(is_managed);
        let grown: Vec<Timestamp> = self
            .fleet
            .grown
            .iter()
            .filter(|(key, _)| is_managed(key))
            .map(|(_, at)| *at)
            .collect();
        breaker::runaway(&grown, managed, closed_at, rules, now)
    }

    /// Clusters that a policy manages.
    fn managed(&mut self, now: Timestamp) -> u32 {
        if let Some((at, count)) = self.fleet.managed
            && now.duration_since(at).abs() < MANAGED_FOR
        {
            return count;
        }
        for key in self.clusters() {
            self.resolution(&key);
        }
        let count = self.slots.values().filter(|slot| is_managed(slot)).count();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.fleet.managed = Some((now, count));
        count
    }

    /// The breaker of all Clusters whose settings say that they share one. Where these differ, the fewest failures and the
    /// longest time count.
    pub fn shared_breaker(&mut self, now: Timestamp) -> Circuit {
        if let Some((at, circuit)) = self.fleet.shared
            && now.duration_since(at).abs() < SHARED_FOR
        {
            return circuit;
        }
        let circuit = self.judge_shared();
        self.fleet.shared = Some((now, circuit));
        circuit
    }

    fn judge_shared(&self) -> Circuit {
        let mut rules: Option<BreakerRules> = None;
        let (mut endings, mut under_way) = (Vec::new(), Vec::new());
        for slot in self.slots.values() {
            let Some(settings) = slot.sharing() else { continue };
            let own = settings.circuit_breaker.rules();
            let strictest = rules.get_or_insert(own);
            strictest.max_failures = strictest.max_failures.min(own.max_failures);
            strictest.reset_after = strictest.reset_after.max(own.reset_after);
            endings.extend(slot.events.values().filter_map(Record::ending));
            under_way.extend(slot.open().filter(|growth| has_begun(growth)).map(|growth| started_at(growth)));
        }
        endings.extend(self.fleet.closed().map(|at| (at, Ending::Closed)));
        rules.map_or_else(Circuit::default, |rules| breaker::judge(endings, under_way, rules))
    }
}

fn is_managed(slot: &Slot) -> bool {
    slot.cluster.is_some() && slot.resolution.as_deref().is_some_and(|r| !matches!(r, Resolution::NoPolicy))
}
