//! The facts of one volume, as triggers and gates ask for them.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::sync::Arc;

use csm_api::{Model, Role, Urgency};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use smallvec::SmallVec;

use crate::decision::{Ceiling, CeilingSource};
use crate::forecast::{Forecast, Sample, Scratch};
use crate::freshness::{DAY, Freshness};
use crate::ledger::Ledger;
use crate::resolve::{EmergencyRules, ResizeRules, Resolution, Resolved, Sizing, VolumeRules};
use crate::validate::Problem;
use crate::world::{Member, Observation, Operation, Volume, World};

/// How far back the history counts that a forecast is made of.
const LOOK_BACK: SignedDuration = SignedDuration::from_mins(60);

/// How a member stands to its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has the volume's effective size.
    Level,
    /// It is smaller: it is caught up.
    Lagging,
    /// It is larger than the ceiling, and not by our doing: it is set aside.
    Outsize,
}

pub(crate) struct MemberView<'a> {
    pub member: &'a Member,
    /// What it has or asks for, whichever is larger.
    pub bytes: Bytes,
    pub standing: Standing,
    /// Its fresh figures: the sample of its filesystem, or the estimate of what is used since.
    pub fresh: Option<Observation>,
}

/// The members of a volume; without an allocation for as many as Clusters have, which is three.
pub(crate) type Members<'a> = SmallVec<[MemberView<'a>; 8]>;

impl MemberView<'_> {
    pub fn is_lagging(&self) -> bool {
        self.standing == Standing::Lagging
    }

    pub fn is_outsize(&self) -> bool {
        self.standing == Standing::Outsize
    }

    /// Whether the PVC itself shows a resize: it asks for more than it has, or says so.
    ///
    /// A PVC without any capacity is being provisioned, not resized.
    pub fn resizes(&self) -> bool {
        let Member { request, size, resize, .. } = self.member;
        resize.is_some() || (!size.is_zero() && request > size)
    }
}

/// One volume of a world, at one moment.
pub(crate) struct View<'a> {
    pub world: &'a World,
    pub volume: &'a Volume,
    /// None where they could not be resolved (gates 1 to 3).
    pub settings: Option<&'a Resolved>,
    /// What is wrong with the settings of this volume.
    pub problems: &'a [Problem],
    /// The settings of this volume; none where they do not validate, or there are no settings at all.
    pub rules: Option<&'a VolumeRules>,
    pub freshness: Freshness,
    pub ceiling: Option<Ceiling>,
    /// By name of the instance, so that no answer depends on the order in which they were gathered.
    pub members: &'a [MemberView<'a>],
    /// The largest size that a member, other than an outsize one, has or asks for.
    pub effective: Bytes,
    /// The fullest of the members that have fresh figures and do not lag.
    pub worst: Option<(&'a MemberView<'a>, &'a Observation)>,
    pub ledger: Ledger,
    forecast: OnceCell<Option<Forecast>>,
}

impl<'a> View<'a> {
    /// `scratch` is filled with the members; it is an argument so that one allocation serves all volumes.
    pub fn new<'w: 'a>(world: &'w World, volume: &'w Volume, now: Timestamp, scratch: &'a mut Members<'w>) -> Self {
        let settings = match &*world.resolution {
            Resolution::Settings(resolved) => Some(resolved),
            Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_) => None,
        };
        let freshness = Freshness::new(&world.limits, now);
        let (rules, problems) = match settings.map(|settings| settings.volumes.of(&volume.key)) {
            Some(Ok(rules)) => (Some(rules), &[] as &[Problem]),
            Some(Err(problems)) => (None, problems),
            None => (None, &[] as &[Problem]),
        };
        let ceiling = settings
            .zip(rules)
            .and_then(|(settings, rules)| ceiling(settings, rules, volume, false));
        let effective = members(world, volume, freshness, ceiling, scratch);
        let members: &'a [MemberView<'w>] = scratch;
        Self {
            world,
            volume,
            settings,
            problems,
            rules,
            freshness,
            ceiling,
            members,
            effective,
            worst: worst(members),
            ledger: Ledger::new(world, volume, now),
            forecast: OnceCell::new(),
        }
    }

    /// How the volume is sized.
    pub fn model(&self) -> Option<Model> {
        self.rules.map(|rules| rules.model.value)
    }

    /// The settings of the resize model, where the volume is of it.
    pub fn resize(&self) -> Option<&'a ResizeRules> {
        match &self.rules?.sizing {
            Sizing::Resize(resize) => Some(resize),
            Sizing::Thresholds | Sizing::Target(_) => None,
        }
    }

    /// `emergencyGrow`, where it is in force.
    pub fn emergency(&self) -> Option<&'a EmergencyRules> {
        self.rules?.emergency.as_ref().filter(|rules| rules.enabled.value)
    }

    /// The ceiling of a growth of this urgency.
    pub fn ceiling_of(&self, urgency: Urgency) -> Option<Ceiling> {
        let exceeds = matches!(urgency, Urgency::Emergency | Urgency::Rescue) && self.emergency().is_some_and(|e| e.exceed_limit.value);
        if !exceeds {
            return self.ceiling;
        }
        let (settings, rules) = self.settings.zip(self.rules)?;
        ceiling(settings, rules, self.volume, true)
    }

    /// Whether WAL is written to this volume.
    pub fn holds_wal(&self) -> bool {
        match self.volume.key.role {
            Role::Wal => true,
            Role::Data => !self.has_wal_volume(),
            Role::Tablespace => false,
        }
    }

    /// Whether the Cluster has a volume for WAL alone.
    pub fn has_wal_volume(&self) -> bool {
        self.world.volumes.iter().any(|v| v.key.role == Role::Wal)
    }

    /// How fast the worst member fills, by its samples of the last hour. Made once, when it is first asked for.
    pub fn forecast(&self) -> Option<Forecast> {
        *self.forecast.get_or_init(|| self.forecast_over(LOOK_BACK))
    }

    /// The same over its samples of the last day.
    pub fn forecast_of_a_day(&self) -> Option<Forecast> {
        self.forecast_over(DAY)
    }

    fn forecast_over(&self, look_back: SignedDuration) -> Option<Forecast> {
        let (worst, figures) = self.worst?;
        let present = Sample {
            at: figures.at,
            used: figures.used,
        };
        let member = worst.member;
        let scratch = &mut Scratch::default();
        Forecast::of(&member.history, present, member.last_resize_at, self.now(), look_back, scratch)
    }

    /// How long until the worst member is full, where it fills.
    pub fn time_to_full(&self) -> Option<SignedDuration> {
        let (_, figures) = self.worst?;
        self.forecast().map(|forecast| forecast.time_to_full(figures.available))
    }

    /// The members whose instances are down because the volume is full, other than outsize ones.
    pub fn disk_full(&self) -> impl Iterator<Item = &'a MemberView<'a>> {
        self.counted().filter(|m| m.member.disk_full)
    }

    /// Fresh figures of members that neither lag nor are outsize, each with its member.
    pub fn observed(&self) -> impl Iterator<Item = (&'a MemberView<'a>, &'a Observation)> {
        let level = self.members.iter().filter(|m| m.standing == Standing::Level);
        level.filter_map(|m| m.fresh.as_ref().map(|figures| (m, figures)))
    }

    pub fn now(&self) -> Timestamp {
        self.freshness.now
    }

    /// The operations of this volume.
    pub fn operations(&self) -> impl Iterator<Item = &'a Operation> + Clone {
        let key = &self.volume.key;
        self.world.operations.iter().filter(move |o| o.volume == *key)
    }

    /// All members but outsize ones.
    pub fn counted(&self) -> impl Iterator<Item = &'a MemberView<'a>> {
        self.members.iter().filter(|m| !m.is_outsize())
    }

    pub fn lagging(&self) -> impl Iterator<Item = &'a MemberView<'a>> {
        self.members.iter().filter(|m| m.is_lagging())
    }

    /// The figures that rules on usage may look at: fresh ones of members that neither lag nor are outsize.
    pub fn figures(&self) -> impl Iterator<Item = &'a Observation> {
        self.observed().map(|(_, figures)| figures)
    }

    /// Whether the volume has reached its ceiling.
    pub fn at_ceiling(&self) -> bool {
        self.ceiling.is_some_and(|c| self.effective >= c.size)
    }

    /// Whether this is the primary's PVC.
    pub fn is_primary(&self, member: &Member) -> bool {
        self.world.cluster.primary.as_ref() == Some(&member.instance)
    }

    /// Whether there is a primary and nothing fresh is known of its filesystem.
    pub fn primary_is_blind(&self) -> bool {
        let seen = |m: &MemberView| m.fresh.is_some() && self.is_primary(m.member);
        self.world.cluster.primary.is_some() && !self.members.iter().any(seen)
    }

    pub fn names(&self, which: impl Fn(&MemberView<'a>) -> bool) -> Vec<Arc<str>> {
        let which = self.members.iter().filter(|m| which(m));
        which.map(|m| m.member.instance.clone()).collect()
    }
}

/// The smallest ceiling of those that are set; the manager's own only where none is. `exceeds`: the model's own limit
/// may be passed by a quarter.
fn ceiling(settings: &Resolved, rules: &VolumeRules, volume: &Volume, exceeds: bool) -> Option<Ceiling> {
    let of = |source| move |size| Ceiling { size, source };
    let raised = |size: Bytes| if exceeds { size.mul_div(125, 100) } else { size };
    let max_size = settings.expansion.max_size.as_ref().map(|f| f.value);
    // In the thresholds model, `maxSize` is the model's own limit.
    let max_size = match rules.sizing {
        Sizing::Thresholds => max_size.map(raised),
        Sizing::Resize(_) | Sizing::Target(_) => max_size,
    };
    let set = [
        max_size.map(of(CeilingSource::MaxSize)),
        rules.limit().map(raised).map(of(CeilingSource::Limit)),
        settings.bounds.max_size.as_ref().map(|f| f.value).map(of(CeilingSource::Bound)),
        volume.learned_ceiling.map(of(CeilingSource::Learned)),
    ];
    let smallest = set.into_iter().flatten().min_by_key(|c| c.size);
    smallest.or_else(|| volume.fallback_ceiling.map(of(CeilingSource::Fallback)))
}

/// The ceiling that a growth of the volume does not pass; `urgent`: an emergency or a rescue, which may exceed the limit
/// where the settings say so.
pub(crate) fn ceiling_of(settings: &Resolved, rules: &VolumeRules, volume: &Volume, urgent: bool) -> Option<Bytes> {
    let exceeds = urgent && rules.emergency.as_ref().is_some_and(|e| e.enabled.value && e.exceed_limit.value);
    ceiling(settings, rules, volume, exceeds).map(|c| c.size)
}

/// Fills in the members and returns the effective size.
fn members<'a>(world: &'a World, volume: &'a Volume, freshness: Freshness, ceiling: Option<Ceiling>, members: &mut Members<'a>) -> Bytes {
    members.clear();
    members.extend(volume.members.iter().map(|member| MemberView {
        member,
        bytes: member.bytes(),
        standing: Standing::Level,
        fresh: freshness.newest(member),
    }));
    members.sort_by(|a, b| {
        let by_name = a.member.instance.cmp(&b.member.instance);
        by_name.then_with(|| (&a.member.pvc, &a.member.uid).cmp(&(&b.member.pvc, &b.member.uid)))
    });
    if let Some(Ceiling { size: ceiling, .. }) = ceiling
        && members.iter().any(|m| m.bytes <= ceiling)
    {
        for member in members.iter_mut().filter(|m| m.bytes > ceiling) {
            if !asked_for(world, volume, member.bytes) {
                member.standing = Standing::Outsize;
            }
        }
    }
    let counted = members.iter().filter(|m| !m.is_outsize());
    let effective = counted.map(|m| m.bytes).max().unwrap_or_default();
    for member in members.iter_mut().filter(|m| !m.is_outsize() && m.bytes < effective) {
        member.standing = Standing::Lagging;
    }
    effective
}

/// Whether an accepted operation of the volume asked for this size, or for so little less that the storage
/// driver can have rounded up to it.
fn asked_for(world: &World, volume: &Volume, size: Bytes) -> bool {
    let of_volume = world.operations.iter().filter(|o| o.accepted && o.volume == volume.key);
    let mut asked = of_volume.map(|o| o.to);
    asked.any(|to| to <= size && size.saturating_sub(to) < size.unit())
}

/// The highest percent used; ties by least available, then by name.
fn worst<'a>(members: &'a [MemberView<'a>]) -> Option<(&'a MemberView<'a>, &'a Observation)> {
    let level = members.iter().filter(|m| m.standing == Standing::Level);
    let seen = level.filter_map(|m| m.fresh.as_ref().map(|figures| (m, figures)));
    // The members are in the order of their names, and the first of equals stays.
    seen.reduce(|best, next| if fuller(next.1, best.1) { next } else { best })
}

/// Whether a filesystem has the higher percent used; of equal ones, the less available.
pub(crate) fn fuller(a: &Observation, b: &Observation) -> bool {
    let (total_a, total_b) = (total(a), total(b));
    // used/total compared exactly; below 2^63 × 2^64, which 128 bits hold.
    let (left, right) = (a.used.wide().saturating_mul(total_b), b.used.wide().saturating_mul(total_a));
    match left.cmp(&right) {
        Ordering::Greater => true,
        Ordering::Less => false,
        Ordering::Equal => a.available < b.available,
    }
}

/// used + available: what `df` takes the percentage of.
pub(crate) fn total(figures: &Observation) -> i128 {
    figures.used.wide().saturating_add(figures.available.wide())
}

/// Who grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All members.
    Growth,
    /// The lagging members, to the size of the volume.
    CatchUp,
    /// Nobody: only a member that is larger than the ceiling wants it, and that one sizes nothing.
    Outsize,
}

/// A growth that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Want {
    pub reason: csm_api::Reason,
    pub urgency: Urgency,
    pub kind: Kind,
    /// The size before the ceiling.
    pub unbounded: Bytes,
    /// The size, never above the ceiling.
    pub to: Bytes,
    /// The ceiling leaves no room.
    pub at_limit: bool,
}

impl Want {
    /// The size to speak of: where the ceiling leaves no room, the one before it.
    pub fn shown(&self) -> Option<Bytes> {
        match self.kind {
            Kind::Outsize => None,
            Kind::Growth | Kind::CatchUp => Some(if self.at_limit { self.unbounded } else { self.to }),
        }
    }

    pub fn is_catch_up(&self) -> bool {
        self.kind == Kind::CatchUp
    }

    pub fn is_planned(&self) -> bool {
        self.urgency == Urgency::Planned
    }
}
