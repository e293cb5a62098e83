//! From policies to settings: which policies match a Cluster, and which object each field comes from.

mod rules;
mod settings;
mod volume;

use std::collections::BTreeMap;
use std::sync::Arc;

use csm_api::{ApplyTo, BreakerScope, QuantityText, Settings};
use csm_units::{Bytes, Percent};
use jiff::SignedDuration;

pub use crate::policy::{Identity, Origin, OriginKind, Policy, Rank, Selection, matching};
pub use crate::selector::Selector;
use crate::validate::{self, Bounded, Problem};
pub use rules::{EmergencyRules, ResizeRules, Sizing, Step, TargetRules, VolumeRules, WalSafetyRules, WindowRules};
pub use settings::{Field, Resolved, ResolvedBounds, ResolvedBreaker, ResolvedCleanup, ResolvedExpansion, ResolvedThresholds, Volumes};
pub(crate) use volume::Block;

/// What the policies of a Cluster come to.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // one a Cluster at most, and behind an Arc
pub enum Resolution {
    /// No policy matches: the Cluster is monitored only.
    NoPolicy,
    /// Policies of one rank match, for at least one rank, the most specific first.
    Conflict(Vec<Conflict>),
    /// What was resolved does not validate.
    Invalid(Vec<Problem>),
    /// These settings.
    Settings(Resolved),
}

/// Policies of one rank that match one Cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Their rank.
    pub rank: Rank,
    /// The policies: at least two, by name.
    pub policies: Vec<Origin>,
}

/// Resolves the settings of a Cluster, field by field.
///
/// `matching` is what [`matching`] returned, `postgres_storage` the Cluster's own object (one with an empty
/// spec is none), `defaults` the manager's own defaults. A default, the manager's own included, gives way to
/// a value that an object sets: `expansion: 92` alone moves the emergency level to 92.
#[must_use]
pub fn resolve(matching: &[&Policy], postgres_storage: Option<(&Origin, &Settings)>, defaults: &Settings) -> Resolution {
    let own = postgres_storage.filter(|(_, settings)| !settings.is_empty());
    if own.is_none() && matching.is_empty() {
        return Resolution::NoPolicy;
    }
    // Whatever else is said: what it sets, or bounds, is not known.
    let unreadable: Vec<Problem> = matching.iter().filter(|p| p.unreadable).flat_map(|p| of(p)).collect();
    if !unreadable.is_empty() {
        return Resolution::Invalid(unreadable);
    }
    let conflicts = conflicts(matching);
    if !conflicts.is_empty() {
        return Resolution::Conflict(conflicts);
    }
    let from_policies = matching.iter().map(|p| (&p.origin, &*p.settings));
    let layers = Layers {
        objects: own.into_iter().chain(from_policies).collect(),
        defaults,
    };
    match layers.resolved(matching) {
        Ok(resolved) => Resolution::Settings(resolved),
        Err(problems) => Resolution::Invalid(problems),
    }
}

/// What is wrong with a policy, with its name.
fn of(policy: &Policy) -> impl Iterator<Item = Problem> {
    policy.problems.iter().map(|problem| problem.clone().from([&policy.origin]))
}

fn conflicts(matching: &[&Policy]) -> Vec<Conflict> {
    let mut by_rank: BTreeMap<Rank, Vec<Origin>> = BTreeMap::new();
    for policy in matching {
        by_rank.entry(policy.rank()).or_default().push(policy.origin.clone());
    }
    let conflict = |(rank, mut policies): (Rank, Vec<Origin>)| {
        policies.sort();
        (policies.len() > 1).then_some(Conflict { rank, policies })
    };
    by_rank.into_iter().rev().filter_map(conflict).collect()
}

/// The objects that have a say, most specific first, and the manager's defaults below them.
struct Layers<'a> {
    objects: Vec<(&'a Origin, &'a Settings)>,
    defaults: &'a Settings,
}

/// A value as it was written, and whether an object (not a default) set it.
type Raw = (i32, Origin);

impl Layers<'_> {
    /// The place of the most specific object of which this is true.
    fn place(&self, is: impl Fn(&Settings) -> bool) -> Option<usize> {
        self.objects.iter().position(|(_, settings)| is(settings))
    }

    /// The names of all tablespaces that anybody names.
    fn tablespaces(&self) -> impl Iterator<Item = &str> {
        let all = self.objects.iter().map(|(_, settings)| *settings).chain([self.defaults]);
        let named = all.flat_map(|s| s.tablespaces.iter().flatten()).map(|t| t.name.as_str());
        named.filter(|name| *name != volume::ANY_TABLESPACE)
    }

    /// What the most specific object says.
    fn set<T>(&self, read: impl Fn(&Settings) -> Option<T>) -> Option<(T, Origin)> {
        self.objects
            .iter()
            .find_map(|(origin, settings)| read(settings).map(|v| (v, (*origin).clone())))
    }

    /// What the manager's defaults say, else what is built in.
    fn default<T>(&self, read: impl Fn(&Settings) -> Option<T>, built_in: T) -> (T, Origin) {
        read(self.defaults).map_or_else(|| (built_in, Origin::built_in()), |v| (v, Origin::defaults()))
    }

    /// What an object says, else a default that gives way.
    fn field<T>(&self, read: impl Fn(&Settings) -> Option<T>, built_in: T, give_way: impl FnOnce(T) -> T) -> (T, Origin) {
        self.set(&read).unwrap_or_else(|| {
            let (value, origin) = self.default(&read, built_in);
            (give_way(value), origin)
        })
    }

    fn resolved(&self, policies: &[&Policy]) -> Result<Resolved, Vec<Problem>> {
        let mut problems = Vec::new();
        let dry_run = Field::of(self.field(|s| s.dry_run, false, |v| v));
        let thresholds = self.thresholds(&mut problems);
        let expansion = self.expansion(&mut problems);
        let wal_cleanup = self.cleanup(&mut problems);
        let circuit_breaker = self.breaker(&mut problems);
        let emergency_runway = Field::of(self.field(|s| s.emergency_runway, true, |v| v));
        let bounds = bounds(policies, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Resolved {
            policies: self.objects.iter().map(|(origin, _)| (*origin).clone()).collect(),
            dry_run,
            thresholds,
            expansion,
            wal_cleanup,
            circuit_breaker,
            emergency_runway,
            volumes: self.volumes(&bounds),
            bounds,
        })
    }

    fn volumes(&self, bounds: &ResolvedBounds) -> Volumes {
        let bound = bounds.max_actions.as_ref().map(|f| f.value);
        let volume = |block| volume::resolve(self, block, bound);
        let tablespaces = self.tablespaces().map(|name| (Arc::from(name), volume(Block::Tablespace(name))));
        Volumes {
            data: volume(Block::Data),
            wal: volume(Block::Wal),
            tablespaces: tablespaces.collect(),
            other_tablespaces: volume(Block::Tablespace(volume::ANY_TABLESPACE)),
        }
    }

    fn thresholds(&self, problems: &mut Vec<Problem>) -> ResolvedThresholds {
        let expansion = self.field(|s| s.thresholds.as_ref()?.expansion, 85, |v| v);
        // A default stays within its own bounds: where the set value is out of its own, that alone is said.
        let threshold = expansion.0;
        let emergency = self.field(|s| s.thresholds.as_ref()?.emergency, 90, |v| v.max(threshold.min(99)));
        let critical = self.field(|s| s.thresholds.as_ref()?.critical, 80, |v| below(v, threshold));
        let warning = self.field(|s| s.thresholds.as_ref()?.warning, 70, |v| below(v, critical.0));
        rising([warning, critical, expansion, emergency], problems)
    }

    fn expansion(&self, problems: &mut Vec<Problem>) -> ResolvedExpansion {
        let enabled = self.field(|s| s.expansion.as_ref()?.enabled, true, |v| v);
        let percentage = self.field(|s| s.expansion.as_ref()?.percentage, 50, |v| v);
        let increment = self.field(|s| s.expansion.as_ref()?.min_increment_gi, 5, |v| v);
        let cooldown = self.field(|s| s.expansion.as_ref()?.cooldown_minutes, 30, |v| v);
        let parallelism = self.field(|s| s.expansion.as_ref()?.parallelism, 1, |v| v);
        let max_size = self.field(|s| s.expansion.as_ref()?.max_size.clone().map(Some), None, |v| v);
        let apply_to = self.field(|s| s.expansion.as_ref()?.apply_to, ApplyTo::PersistentVolumeClaims, |v| v);
        // Problems are told in this order.
        let max_size = size(max_size, problems);
        let percentage = bounded(&validate::PERCENTAGE, percentage, problems);
        let increment = bounded(&validate::MIN_INCREMENT, increment, problems);
        let cooldown = bounded(&validate::COOLDOWN, cooldown, problems);
        let parallelism = bounded(&validate::PARALLELISM, parallelism, problems);
        ResolvedExpansion {
            enabled: Field::of(enabled),
            percentage: percentage.map(percent),
            min_increment: increment.map(|n| Bytes::gib(u64::from(n))),
            max_size,
            cooldown: cooldown.map(minutes),
            parallelism: parallelism.map(|n| u16::try_from(n).unwrap_or(u16::MAX)),
            apply_to: Field::of(apply_to),
        }
    }

    fn cleanup(&self, problems: &mut Vec<Problem>) -> ResolvedCleanup {
        let enabled = self.field(|s| s.wal_cleanup.as_ref()?.enabled, true, |v| v);
        let retain_count = self.field(|s| s.wal_cleanup.as_ref()?.retain_count, 10, |v| v);
        let require_archived = self.field(|s| s.wal_cleanup.as_ref()?.require_archived, true, |v| v);
        let cooldown = self.field(|s| s.wal_cleanup.as_ref()?.cooldown_minutes, 15, |v| v);
        ResolvedCleanup {
            enabled: Field::of(enabled),
            retain_count: bounded(&validate::RETAIN_COUNT, retain_count, problems),
            require_archived: Field::of(require_archived),
            cooldown: bounded(&validate::CLEANUP_COOLDOWN, cooldown, problems).map(minutes),
        }
    }

    fn breaker(&self, problems: &mut Vec<Problem>) -> ResolvedBreaker {
        let max_failures = self.field(|s| s.circuit_breaker.as_ref()?.max_failures, 3, |v| v);
        let reset_minutes = self.field(|s| s.circuit_breaker.as_ref()?.reset_minutes, 60, |v| v);
        let (scope, origin) = self.field(|s| s.circuit_breaker.as_ref()?.scope, BreakerScope::PerCluster, |v| v);
        if matches!(origin.kind, OriginKind::StoragePolicy | OriginKind::PostgresStorage) {
            problems.extend(validate::check_scope(scope).map(|p| p.from([&origin])));
        }
        let reset_minutes = bounded(&validate::RESET_MINUTES, reset_minutes, problems);
        ResolvedBreaker {
            max_failures: bounded(&validate::MAX_FAILURES, max_failures, problems),
            reset_after: reset_minutes.map(minutes),
            scope: Field { value: scope, origin },
        }
    }
}

/// The tightest bounds; of equal ones those of the more specific policy.
fn bounds(policies: &[&Policy], problems: &mut Vec<Problem>) -> ResolvedBounds {
    let mut tightest = ResolvedBounds::default();
    for policy in policies {
        let Some(bounds) = &policy.bounds else { continue };
        let csm_api::Bounds {
            max_size,
            max_actions_per_day,
        } = bounds;
        if let Some(text) = max_size {
            problems.extend(validate::check_size(validate::BOUND_SIZE, text).map(|p| p.from([&policy.origin])));
            let value = text.parse().unwrap_or(Bytes::ZERO);
            tighten(&mut tightest.max_size, value, &policy.origin);
        }
        if let Some(number) = *max_actions_per_day {
            let number = bounded(&validate::BOUND_ACTIONS, (number, policy.origin.clone()), problems);
            tighten(&mut tightest.max_actions, number.value, &policy.origin);
        }
    }
    tightest
}

fn tighten<T: PartialOrd>(tightest: &mut Option<Field<T>>, value: T, origin: &Origin) {
    if tightest.as_ref().is_none_or(|known| value < known.value) {
        *tightest = Some(Field {
            value,
            origin: origin.clone(),
        });
    }
}

/// A default threshold that gives way to the next higher one.
fn below(default: i32, higher: i32) -> i32 {
    default.min(higher.saturating_sub(1)).max(1)
}

fn minutes(number: u32) -> SignedDuration {
    SignedDuration::from_mins(i64::from(number))
}

fn percent(value: u32) -> Percent {
    Percent::of(u16::try_from(value).unwrap_or(u16::MAX))
}

/// A whole number that must lie within its bounds; where it does not, the problem is noted.
fn bounded(bounds: &Bounded, (value, origin): Raw, problems: &mut Vec<Problem>) -> Field<u32> {
    problems.extend(bounds.check(value).map(|p| p.from([&origin])));
    Field {
        value: u32::try_from(value).unwrap_or(0),
        origin,
    }
}

fn size((text, origin): (Option<QuantityText>, Origin), problems: &mut Vec<Problem>) -> Option<Field<Bytes>> {
    let text = text?;
    problems.extend(validate::check_size(validate::MAX_SIZE, &text).map(|p| p.from([&origin])));
    let value = text.parse().unwrap_or(Bytes::ZERO);
    Some(Field { value, origin })
}

/// The thresholds, each within its bounds and above the one before it.
fn rising([warning, critical, expansion, emergency]: [Raw; 4], problems: &mut Vec<Problem>) -> ResolvedThresholds {
    let before = problems.len();
    let fields = ResolvedThresholds {
        warning: bounded(&validate::WARNING, warning.clone(), problems).map(percent),
        critical: bounded(&validate::CRITICAL, critical.clone(), problems).map(percent),
        expansion: bounded(&validate::EXPANSION, expansion.clone(), problems).map(percent),
        emergency: bounded(&validate::EMERGENCY, emergency.clone(), problems).map(percent),
    };
    // Values out of bounds have been named; that they do not rise either would say it twice.
    if problems.len() == before {
        let pairs = [
            (("warning", &warning), ("critical", &critical), false),
            (("critical", &critical), ("expansion", &expansion), false),
            (("expansion", &expansion), ("emergency", &emergency), true),
        ];
        for ((low, a), (high, b), or_equal) in pairs {
            problems.extend(validate::check_rise((low, a.0), (high, b.0), or_equal).map(|p| p.from([&a.1, &b.1])));
        }
    }
    fields
}
