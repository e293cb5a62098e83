//! What the second pass sees of a volume: its ceiling, its size, and which figures count.

use csm_api::Urgency;
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::sizes::unit;
use crate::forecast::{Forecast, Sample, Scratch};
use crate::resolve::{EmergencyRules, Resolution, Resolved, Sizing, VolumeRules};
use crate::world::{Member, Observation, Operation, Volume, World};

/// A volume whose settings are known.
pub(super) struct Seen<'a> {
    pub world: &'a World,
    pub volume: &'a Volume,
    pub now: Timestamp,
    pub settings: &'a Resolved,
    pub rules: &'a VolumeRules,
    /// The ceiling of planned growth.
    ceiling: Option<Bytes>,
    /// The largest size of a member that is not set aside.
    pub effective: Bytes,
}

impl<'a> Seen<'a> {
    /// None where the settings of the volume could not be resolved.
    pub fn new(world: &'a World, volume: &'a Volume, now: Timestamp) -> Option<Self> {
        let settings = match &*world.resolution {
            Resolution::Settings(settings) => settings,
            Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_) => return None,
        };
        let mut seen = Self {
            world,
            volume,
            now,
            settings,
            rules: settings.volumes.of(&volume.key).ok()?,
            ceiling: None,
            effective: Bytes::ZERO,
        };
        seen.ceiling = seen.lowest_ceiling(false);
        let counted = volume.members.iter().filter(|m| !seen.is_outsize(m)).map(bytes);
        seen.effective = counted.max().unwrap_or_default();
        Some(seen)
    }

    /// `emergencyGrow`, where it is in force.
    pub fn emergency(&self) -> Option<&'a EmergencyRules> {
        self.rules.emergency.as_ref().filter(|e| e.enabled.value)
    }

    /// The ceiling of a growth of this urgency: emergencies and rescues may pass the model's own limit by a quarter, where
    /// the settings say so.
    pub fn ceiling(&self, urgency: Urgency) -> Option<Bytes> {
        let urgent = matches!(urgency, Urgency::Emergency | Urgency::Rescue);
        if urgent && self.emergency().is_some_and(|e| e.exceed_limit.value) {
            return self.lowest_ceiling(true);
        }
        self.ceiling
    }

    fn lowest_ceiling(&self, exceeds: bool) -> Option<Bytes> {
        let max_size = self.settings.expansion.max_size.as_ref().map(|f| f.value);
        let (own, hard) = match &self.rules.sizing {
            Sizing::Thresholds => (max_size, None),
            Sizing::Resize(resize) => (resize.limit.as_ref().map(|f| f.value), max_size),
            Sizing::Target(target) => (Some(target.limit.value), max_size),
        };
        let own = match own {
            Some(limit) if exceeds => Some(Bytes::saturating_from(limit.wide().saturating_mul(5).wrapping_shr(2))),
            own => own,
        };
        let bound = self.settings.bounds.max_size.as_ref().map(|f| f.value);
        let mut lowest = None;
        for ceiling in [own, hard, bound, self.volume.learned_ceiling].into_iter().flatten() {
            lowest = Some(lowest.map_or(ceiling, |known: Bytes| known.min(ceiling)));
        }
        lowest.or(self.volume.fallback_ceiling)
    }

    /// The operations of this volume.
    pub fn operations(&self) -> impl Iterator<Item = &'a Operation> {
        let key = &self.volume.key;
        self.world.operations.iter().filter(move |o| o.volume == *key)
    }

    /// Larger than the ceiling, not by our doing, beside another that is not.
    pub fn is_outsize(&self, member: &Member) -> bool {
        let Some(ceiling) = self.ceiling else { return false };
        let size = bytes(member);
        let within = |m: &Member| bytes(m) <= ceiling;
        let less = size.wide().saturating_sub(unit(size.wide()));
        let asked = |o: &Operation| o.accepted && o.to <= size && o.to.wide() > less;
        size > ceiling && self.volume.members.iter().any(within) && !self.operations().any(asked)
    }

    /// Smaller than the volume.
    pub fn lags(&self, member: &Member) -> bool {
        bytes(member) < self.effective && !self.is_outsize(member)
    }

    /// Of the volume's size, with figures that count.
    pub fn level(&self) -> impl Iterator<Item = (&'a Member, Observation)> {
        let of_size = |m: &&Member| bytes(m) == self.effective && !self.is_outsize(m);
        let members = self.volume.members.iter().filter(of_size);
        members.filter_map(|m| self.fresh(m).map(|figures| (m, figures)))
    }

    /// Figures that are recent, and from after the last resize; with what came since, by the instance's own word.
    pub fn fresh(&self, member: &'a Member) -> Option<Observation> {
        let mut figures = member.observation?;
        let interval = self.world.limits.interval.as_nanos();
        let limit = interval.saturating_mul(3).max(300_000_000_000);
        let age = self.now.duration_since(figures.at).as_nanos();
        let after_resize = member.last_resize_at.is_none_or(|end| figures.at > end && self.now > end);
        let empty = figures.used.is_zero() && figures.available.is_zero();
        if age > limit || !after_resize || empty {
            return None;
        }
        if let Some(estimate) = member.estimate.filter(|e| e.at > figures.at && e.used > figures.used) {
            let written = estimate.used.saturating_sub(figures.used).min(figures.available);
            figures.used = figures.used.saturating_add(written);
            figures.available = figures.available.saturating_sub(written);
            figures.at = estimate.at;
        }
        Some(figures)
    }

    /// The fullest member; of equal ones the one with the least available, then the first by name.
    pub fn worst(&self) -> Option<(&'a Member, Observation)> {
        let mut worst: Option<(&Member, Observation)> = None;
        for (member, figures) in self.level() {
            let is_worse = worst.is_none_or(|(known, best)| {
                let left = figures.used.wide().saturating_mul(total(&best));
                let right = best.used.wide().saturating_mul(total(&figures));
                let names = |m: &'a Member| (&m.instance, &m.pvc, &m.uid);
                let tied = || (figures.available, names(member)) < (best.available, names(known));
                left > right || (left == right && tied())
            });
            if is_worse {
                worst = Some((member, figures));
            }
        }
        worst
    }

    /// The fresh figures of a volume's size with the most used bytes.
    pub fn most_used(&self) -> Option<(&'a Member, Observation)> {
        let less = |o: &Observation| (o.used, std::cmp::Reverse(o.available));
        // Of equal figures the size of the PVC decides nothing but the target: the larger one allows more.
        self.level().max_by_key(|(m, o)| (less(o), m.size))
    }

    /// How fast the worst member fills, by the samples of an hour.
    pub fn forecast(&self) -> Option<Forecast> {
        let (worst, figures) = self.worst()?;
        let present = Sample {
            at: figures.at,
            used: figures.used,
        };
        let hour = SignedDuration::from_hours(1);
        Forecast::of(
            &worst.history,
            present,
            worst.last_resize_at,
            self.now,
            hour,
            &mut Scratch::default(),
        )
    }
}

/// What a member has or asks for.
pub(super) fn bytes(member: &Member) -> Bytes {
    if member.size < member.request {
        member.request
    } else {
        member.size
    }
}

/// What `df` takes the percentage of.
pub(super) fn total(figures: &Observation) -> i128 {
    figures.used.wide().saturating_add(figures.available.wide())
}
