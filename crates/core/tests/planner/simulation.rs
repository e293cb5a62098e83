//! A volume that fills, over days, with each plan carried out: what is done stays within its budget at every moment.

use std::collections::VecDeque;
use std::sync::Arc;

use csm_api::{Model, Urgency};
use csm_core::check::check;
use csm_core::plan::{Decision, plan};
use csm_core::resolve::{Resolution, Resolved, Sizing};
use csm_core::world::{Breaker, Fleet, Observation, Operation, ProviderLimit, Resize, ResizeStage, Sample, VolumeKey, World};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::support::*;
use crate::worlds::{Dice, GIB, grow, numbers, recorded_as, resolution};

const STEPS: usize = 250;
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A Cluster that runs, and the clock that it runs by.
struct Simulation {
    world: World,
    now: Timestamp,
    /// What volumes have in the beginning.
    size: String,
    /// Bytes a second, for each volume.
    rates: Vec<u64>,
    /// Operations whose filesystems have not grown yet, and the steps that are left.
    in_flight: VecDeque<(usize, usize)>,
}

impl Simulation {
    fn new(dice: &mut Dice) -> Option<Self> {
        let base = dice.pick(&[10 * GIB, 20 * GIB, 3 * GIB, 100 * GIB, 2048 * GIB]);
        let mut world = calm();
        world.resolution = Arc::new(resolution(dice, base));
        if !matches!(*world.resolution, Resolution::Settings(_)) {
            return None;
        }
        let size = Bytes::new(base).to_string();
        let mut members = || {
            let names = ["orders-1", "orders-2", "orders-3"];
            let count = 1 + dice.roll() as usize % 3;
            let limit = dice.maybe(4, |d| ProviderLimit {
                max_actions: d.pick(&[1, 2, 4]),
                period: SignedDuration::from_hours(d.pick(&[24, 6])),
            });
            let member = |name: &&str| member(name, &size, "1Gi").change(|m| m.class.provider_limit = limit);
            names[..count].iter().map(member).collect::<Vec<_>>()
        };
        world.volumes = vec![volume(VolumeKey::DATA, members()), volume(VolumeKey::WAL, members())];
        if dice.rarely(2) {
            world.volumes.pop();
        }
        let rates = world.volumes.iter().map(|_| 0).collect();
        Some(Self {
            world,
            now: noon(),
            size,
            rates,
            in_flight: VecDeque::new(),
        })
    }

    /// Time passes: what is used grows, growths end, everything is observed.
    fn pass(&mut self, dice: &mut Dice) {
        let step = SignedDuration::from_secs(dice.pick(&[300, 60, 1800, 30, 7200, 20_000]));
        self.now += step;
        if self.now == noon() + step || dice.rarely(12) {
            for (rate, volume) in self.rates.iter_mut().zip(&self.world.volumes) {
                let size = volume.members.iter().map(|m| m.size.get()).max().unwrap_or(0);
                // Full in an hour, a day, a month, not at all, or in a minute.
                *rate = size / dice.pick(&[3600, 86_400, 2_600_000, u64::MAX, 60]);
            }
        }
        for (steps, _) in &mut self.in_flight {
            *steps = steps.saturating_sub(1);
        }
        while let Some((0, index)) = self.in_flight.front().copied() {
            self.in_flight.pop_front();
            self.end(index);
        }
        for (rate, volume) in self.rates.iter().zip(&mut self.world.volumes) {
            for member in &mut volume.members {
                let seconds = u64::try_from(step.as_secs()).unwrap();
                let written = Bytes::new(rate.saturating_mul(seconds));
                let Some(Observation { used, available, at, .. }) = &mut member.observation else {
                    continue;
                };
                let written = written.min(*available);
                *used = used.saturating_add(written);
                *available = available.saturating_sub(written);
                *at = self.now;
                let mut history = member.history.to_vec();
                history.push(Sample { at: self.now, used: *used });
                let excess = history.len().saturating_sub(60);
                member.history = history.split_off(excess).into();
                member.disk_full = available.is_zero();
            }
        }
        self.join(dice);
        self.world.fleet = Fleet {
            in_progress: u32::from(dice.rarely(8)),
            ahead: 0,
            limit: Some(1),
        };
        self.world.cluster.breaker = if dice.rarely(30) {
            Breaker::Open.into()
        } else {
            Breaker::Closed.into()
        };
    }

    /// Sometimes a replica is added, of the size that the volume had in the beginning.
    fn join(&mut self, dice: &mut Dice) {
        let volume = &mut self.world.volumes[0];
        let count = volume.members.len();
        if count > 3 || !dice.rarely(100) {
            return;
        }
        let name = format!("orders-{}", count + 1);
        volume.members.push(member(&name, &self.size, "1Gi"));
    }

    /// The filesystems of an operation have grown.
    fn end(&mut self, index: usize) {
        let operation = &mut self.world.operations[index];
        operation.done = true;
        let volume = self.world.volumes.iter_mut().find(|v| v.key == operation.volume).unwrap();
        for member in volume.members.iter_mut().filter(|m| operation.concerns(&m.uid)) {
            member.resize = None;
            // The request was raised when it began.
            member.request = member.size;
            grow(member, operation.to, self.now);
        }
    }

    /// Carries out a decision, or has it refused.
    fn act(&mut self, decision: &Decision, dice: &mut Dice) {
        let accepted = !dice.rarely(20);
        let patched: Vec<_> = decision.members.iter().filter_map(|m| Some((m.uid.clone(), m.to?))).collect();
        self.world.operations.push(Operation {
            id: format!("operation-{}", self.world.operations.len()).into(),
            volume: decision.volume.clone(),
            urgency: recorded_as(decision),
            started_at: self.now,
            from: decision.from,
            to: decision.to.unwrap(),
            members: Some(patched.iter().map(|(uid, _)| uid.clone()).collect()),
            accepted,
            done: !accepted,
        });
        if !accepted {
            return;
        }
        let volume = self.world.volumes.iter_mut().find(|v| v.key == decision.volume).unwrap();
        for member in &mut volume.members {
            if let Some((_, to)) = patched.iter().find(|(uid, _)| *uid == member.uid) {
                member.request = *to;
                member.resize = Some(Resize {
                    since: Some(self.now),
                    stage: ResizeStage::Controller,
                    error: None,
                    allocated: None,
                });
            }
        }
        self.in_flight.push_back((dice.pick(&[1, 1, 3]), self.world.operations.len() - 1));
    }
}

/// The most actions a day: of planned growth, of emergencies, and what planned growth leaves; none: no limit.
struct Allowed {
    planned: Option<u32>,
    emergency: Option<u32>,
    reserved: u32,
    /// Emergencies are counted by themselves.
    apart: bool,
}

fn allowed(settings: &Resolved, key: &VolumeKey) -> Option<Allowed> {
    let rules = settings.volumes.of(key).ok()?;
    let bound = settings.bounds.max_actions.as_ref().map(|f| f.value);
    let capped = |max: u32| match (max, bound) {
        (0, bound) => bound,
        (max, Some(bound)) => Some(max.min(bound)),
        (max, None) => Some(max),
    };
    let emergency = rules.emergency.as_ref();
    Some(match &rules.sizing {
        Sizing::Resize(resize) => Allowed {
            planned: capped(resize.max_actions.value),
            emergency: capped(resize.max_actions.value),
            reserved: 0,
            apart: false,
        },
        Sizing::Target(_) => {
            let max = capped(emergency.unwrap().max_actions.value);
            Allowed {
                planned: max,
                emergency: max,
                reserved: emergency.filter(|e| e.enabled.value).map_or(0, |e| e.reserved.value),
                apart: false,
            }
        }
        Sizing::Thresholds => Allowed {
            planned: bound,
            emergency: emergency.and_then(|e| capped(e.max_actions.value)),
            reserved: 0,
            apart: true,
        },
    })
}

/// Every operation was allowed when it began, by what the ledger said then: counted anew, not by the planner.
fn within_budget(world: &World) -> Result<(), TestCaseError> {
    let Resolution::Settings(settings) = &*world.resolution else {
        unreachable!()
    };
    for (i, operation) in world.operations.iter().enumerate() {
        if !operation.accepted || operation.urgency == Urgency::CatchUp {
            continue;
        }
        let allowed = allowed(settings, &operation.volume).unwrap();
        let start = operation.started_at;
        // Those of the 24 hours that end with it, and itself.
        let day = world.operations[..=i].iter().filter(|o| {
            let counts = o.accepted && o.urgency != Urgency::CatchUp && o.volume == operation.volume;
            counts && o.started_at > start - DAY && o.started_at <= start
        });
        let of = |urgency: Urgency| day.clone().filter(|o| o.urgency == urgency).count();
        let all = day.clone().count();
        let (count, max) = match operation.urgency {
            Urgency::Rescue => (of(Urgency::Rescue), Some(3)),
            Urgency::Emergency if allowed.apart => (of(Urgency::Emergency), allowed.emergency),
            Urgency::Emergency => (all, allowed.emergency),
            Urgency::Runway => (all, allowed.planned),
            Urgency::Planned => (all + allowed.reserved as usize, allowed.planned),
            Urgency::CatchUp => continue,
        };
        prop_assert!(
            max.is_none_or(|max| count <= max as usize),
            "{:?} is number {} of {:?}: {:#?}",
            operation.urgency,
            count,
            max,
            world.operations
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn budgets_hold_at_every_moment(numbers in numbers(), later in numbers()) {
        let dice = &mut Dice::new(&numbers);
        let Some(mut simulation) = Simulation::new(dice) else { return Ok(()) };
        // What happens is rolled from the second numbers, again and again.
        let later: Vec<u32> = later.iter().copied().cycle().take(if later.is_empty() { 0 } else { STEPS * 20 }).collect();
        let dice = &mut Dice::new(&later);
        for _ in 0..STEPS {
            simulation.pass(dice);
            let decided = plan(&simulation.world, simulation.now);
            prop_assert_eq!(check(&simulation.world, &decided, simulation.now), Ok(()));
            for decision in decided.decisions.iter().filter(|d| d.acts()) {
                simulation.act(decision, dice);
            }
        }
        within_budget(&simulation.world)?;
    }
}

/// The simulation reaches its budgets: in each model something is used up.
#[test]
fn budgets_are_reached() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut held = std::collections::BTreeSet::new();
    let mut urgencies = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let mut numbers = || numbers().new_tree(&mut runner).unwrap().current();
        let (first, later) = (numbers(), numbers());
        let Some(mut simulation) = Simulation::new(&mut Dice::new(&first)) else {
            continue;
        };
        let later: Vec<u32> = later
            .iter()
            .copied()
            .cycle()
            .take(if later.is_empty() { 0 } else { STEPS * 20 })
            .collect();
        let dice = &mut Dice::new(&later);
        for _ in 0..STEPS {
            simulation.pass(dice);
            for decision in plan(&simulation.world, simulation.now).decisions {
                if let (Some(model), Some(wanted)) = (decision.model, decision.wanted) {
                    held.insert((model, wanted.held_by.to_string()));
                }
                if decision.acts() {
                    urgencies.insert(decision.urgency);
                    simulation.act(&decision, dice);
                }
            }
        }
    }
    for expected in [
        (Model::Resize, "BudgetExhausted"),
        (Model::Target, "BudgetExhausted"),
        (Model::Target, "BudgetReservedForEmergency"),
        (Model::Thresholds, "BudgetExhausted"),
        (Model::Thresholds, "Cooldown"),
    ] {
        assert!(held.contains(&(expected.0, expected.1.to_owned())), "{expected:?}; {held:#?}");
    }
    for urgency in Urgency::ALL {
        assert!(urgencies.contains(&Some(*urgency)), "{urgency}; {urgencies:?}");
    }
}
