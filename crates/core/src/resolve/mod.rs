//! From policies to settings: which policies match a Cluster, and which object each field comes from.

mod rules;
mod volume;

use std::collections::BTreeMap;
use std::sync::Arc;

use csm_api::{ApplyTo, BreakerScope, QuantityText, Role, Settings};
use csm_units::{Bytes, Percent};
use jiff::SignedDuration;

use crate::breaker::BreakerRules;
pub use crate::policy::{Identity, Origin, OriginKind, Policy, Rank, Selection, matching};
pub use crate::selector::Selector;
use crate::validate::{self, Bounded, Problem};
use crate::world::VolumeKey;
pub use rules::{EmergencyRules, ResizeRules, Sizing, Step, TargetRules, VolumeRules, WalSafetyRules, WindowRules};
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

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
}

/// The settings of a Cluster: every field has a value that validates, and an origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The objects that match the Cluster, most specific first.
    pub policies: Vec<Origin>,
    /// `dryRun`.
    pub dry_run: Field<bool>,
    /// `thresholds`.
    pub thresholds: ResolvedThresholds,
    /// `expansion`.
    pub expansion: ResolvedExpansion,
    /// `circuitBreaker`.
    pub circuit_breaker: ResolvedBreaker,
    /// `emergencyRunway`.
    pub emergency_runway: Field<bool>,
    /// What no policy can exceed.
    pub bounds: ResolvedBounds,
    /// The volumes.
    pub volumes: Volumes,
}

/// The tightest of the bounds of all ClusterStoragePolicies that match.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResolvedBounds {
    /// `bounds.maxSize`.
    pub max_size: Option<Field<Bytes>>,
    /// `bounds.maxActionsPerDay`.
    pub max_actions: Option<Field<u32>>,
}

/// How each volume is sized, or what is wrong with its settings: a wrong block holds its own volume only.
#[derive(Clone, Debug, PartialEq)]
pub struct Volumes {
    data: Result<VolumeRules, Vec<Problem>>,
    wal: Result<VolumeRules, Vec<Problem>>,
    /// Those that some object names.
    tablespaces: BTreeMap<Arc<str>, Result<VolumeRules, Vec<Problem>>>,
    other_tablespaces: Result<VolumeRules, Vec<Problem>>,
}

impl Volumes {
    /// The rules of a volume.
    ///
    /// # Errors
    /// What is wrong with its settings.
    pub fn of(&self, key: &VolumeKey) -> Result<&VolumeRules, &[Problem]> {
        let rules = match (key.role, &key.tablespace) {
            (Role::Data, _) => &self.data,
            (Role::Wal, _) => &self.wal,
            (Role::Tablespace, name) => {
                let named = name.as_ref().and_then(|name| self.tablespaces.get(name));
                named.unwrap_or(&self.other_tablespaces)
            }
        };
        rules.as_ref().map_err(Vec::as_slice)
    }
}

/// `thresholds`: warning < critical < expansion <= emergency.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedThresholds {
    /// `warning`.
    pub warning: Field<Percent>,
    /// `critical`.
    pub critical: Field<Percent>,
    /// `expansion`.
    pub expansion: Field<Percent>,
    /// `emergency`.
    pub emergency: Field<Percent>,
}

/// `expansion`.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedExpansion {
    /// `enabled`.
    pub enabled: Field<bool>,
    /// `percentage`, of the effective size.
    pub percentage: Field<Percent>,
    /// `minIncrementGi`.
    pub min_increment: Field<Bytes>,
    /// `maxSize`, where one is set.
    pub max_size: Option<Field<Bytes>>,
    /// `cooldownMinutes`.
    pub cooldown: Field<SignedDuration>,
    /// `parallelism`, 1 to 20.
    pub parallelism: Field<u16>,
    /// `applyTo`.
    pub apply_to: Field<ApplyTo>,
}

/// `circuitBreaker`.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedBreaker {
    /// `maxFailures`, 1 to 100.
    pub max_failures: Field<u32>,
    /// `resetMinutes`.
    pub reset_after: Field<SignedDuration>,
    /// `scope`.
    pub scope: Field<BreakerScope>,
}

impl ResolvedBreaker {
    /// Its values.
    #[must_use]
    pub fn rules(&self) -> BreakerRules {
        BreakerRules {
            max_failures: self.max_failures.value,
            reset_after: self.reset_after.value,
        }
    }
}

impl Resolved {
    /// Each effective field of a volume: its name, its value as a policy would say it, and where it comes from.
    #[must_use]
    pub fn fields_of(&self, key: &VolumeKey) -> Vec<(String, String, Origin)> {
        let shared = self
            .fields()
            .into_iter()
            .map(|(name, value, origin)| (name.to_owned(), value, origin));
        let path = Block::new(key).path();
        let own = self.volumes.of(key).map(|rules| rules.fields(&path)).unwrap_or_default();
        shared.chain(own).collect()
    }

    /// Each effective field that all volumes of the Cluster share.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String, Origin)> {
        let Self {
            policies: _,
            dry_run,
            thresholds,
            expansion,
            circuit_breaker,
            emergency_runway,
            bounds,
            volumes: _,
        } = self;
        let ResolvedBreaker {
            max_failures,
            reset_after,
            scope,
        } = circuit_breaker;
        let ResolvedBounds {
            max_size: size_bound,
            max_actions: actions_bound,
        } = bounds;
        let ResolvedThresholds {
            warning,
            critical,
            expansion: threshold,
            emergency,
        } = thresholds;
        let ResolvedExpansion {
            enabled,
            percentage,
            min_increment,
            max_size,
            cooldown,
            parallelism,
            apply_to,
        } = expansion;
        let whole = |name, field: &Field<Percent>| (name, field.value.get().to_string(), field.origin.clone());
        let mut fields = vec![
            ("dryRun", dry_run.value.to_string(), dry_run.origin.clone()),
            whole(validate::WARNING.field, warning),
            whole(validate::CRITICAL.field, critical),
            whole(validate::EXPANSION.field, threshold),
            whole(validate::EMERGENCY.field, emergency),
            ("expansion.enabled", enabled.value.to_string(), enabled.origin.clone()),
            whole(validate::PERCENTAGE.field, percentage),
            (
                validate::MIN_INCREMENT.field,
                min_increment.value.mul_div(1, Bytes::GIB.get()).get().to_string(),
                min_increment.origin.clone(),
            ),
            match max_size {
                Some(size) => (validate::MAX_SIZE, size.value.to_string(), size.origin.clone()),
                None => (validate::MAX_SIZE, "none".to_owned(), Origin::built_in()),
            },
            (
                validate::COOLDOWN.field,
                cooldown.value.as_mins().to_string(),
                cooldown.origin.clone(),
            ),
            (
                validate::PARALLELISM.field,
                parallelism.value.to_string(),
                parallelism.origin.clone(),
            ),
            ("expansion.applyTo", apply_to.value.to_string(), apply_to.origin.clone()),
            (
                validate::MAX_FAILURES.field,
                max_failures.value.to_string(),
                max_failures.origin.clone(),
            ),
            (
                validate::RESET_MINUTES.field,
                reset_after.value.as_mins().to_string(),
                reset_after.origin.clone(),
            ),
            (validate::BREAKER_SCOPE, scope.value.to_string(), scope.origin.clone()),
            (
                "emergencyRunway",
                emergency_runway.value.to_string(),
                emergency_runway.origin.clone(),
            ),
        ];
        let size = size_bound.as_ref();
        fields.extend(size.map(|f| (validate::BOUND_SIZE, f.value.to_string(), f.origin.clone())));
        let actions = actions_bound.as_ref();
        fields.extend(actions.map(|f| (validate::BOUND_ACTIONS.field, f.value.to_string(), f.origin.clone())));
        fields
    }
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
        let same = |v| v;
        let flag = |(value, origin)| Field { value, origin };
        let dry_run = flag(self.field(|s| s.dry_run, false, |v| v));
        let enabled = flag(self.field(|s| s.expansion.as_ref()?.enabled, true, |v| v));

        let expansion = self.field(|s| s.thresholds.as_ref()?.expansion, 85, same);
        // A default stays within its own bounds: where the set value is out of its own, that alone is said.
        let threshold = expansion.0;
        let emergency = self.field(|s| s.thresholds.as_ref()?.emergency, 90, |v| v.max(threshold.min(99)));
        let critical = self.field(|s| s.thresholds.as_ref()?.critical, 80, |v| below(v, threshold));
        let warning = self.field(|s| s.thresholds.as_ref()?.warning, 70, |v| below(v, critical.0));
        let thresholds = thresholds([warning, critical, expansion, emergency], &mut problems);

        let percentage = self.field(|s| s.expansion.as_ref()?.percentage, 50, same);
        let increment = self.field(|s| s.expansion.as_ref()?.min_increment_gi, 5, same);
        let cooldown = self.field(|s| s.expansion.as_ref()?.cooldown_minutes, 30, same);
        let parallelism = self.field(|s| s.expansion.as_ref()?.parallelism, 1, same);
        let max_size = self.field(|s| s.expansion.as_ref()?.max_size.clone().map(Some), None, |v| v);
        let max_size = size(max_size, &mut problems);
        let (apply_to, apply_to_from) = self.field(|s| s.expansion.as_ref()?.apply_to, ApplyTo::PersistentVolumeClaims, |v| v);
        let percentage = bounded(&validate::PERCENTAGE, percentage, &mut problems);
        let increment = bounded(&validate::MIN_INCREMENT, increment, &mut problems);
        let cooldown = bounded(&validate::COOLDOWN, cooldown, &mut problems);
        let parallelism = bounded(&validate::PARALLELISM, parallelism, &mut problems);

        let circuit_breaker = self.breaker(&mut problems);
        let emergency_runway = flag(self.field(|s| s.emergency_runway, true, |v| v));
        let bounds = bounds(policies, &mut problems);

        if !problems.is_empty() {
            return Err(problems);
        }
        let bound = bounds.max_actions.as_ref().map(|f| f.value);
        let volume = |block| volume::resolve(self, block, bound);
        let tablespaces = self.tablespaces().map(|name| (Arc::from(name), volume(Block::Tablespace(name))));
        let volumes = Volumes {
            data: volume(Block::Data),
            wal: volume(Block::Wal),
            tablespaces: tablespaces.collect(),
            other_tablespaces: volume(Block::Tablespace(volume::ANY_TABLESPACE)),
        };
        let minutes = |n: u32| SignedDuration::from_mins(i64::from(n));
        Ok(Resolved {
            policies: self.objects.iter().map(|(origin, _)| (*origin).clone()).collect(),
            dry_run,
            thresholds,
            expansion: ResolvedExpansion {
                enabled,
                percentage: percentage.map(percent),
                min_increment: increment.map(|n| Bytes::gib(u64::from(n))),
                max_size,
                cooldown: cooldown.map(minutes),
                parallelism: parallelism.map(|n| u16::try_from(n).unwrap_or(u16::MAX)),
                apply_to: Field {
                    value: apply_to,
                    origin: apply_to_from,
                },
            },
            circuit_breaker,
            emergency_runway,
            bounds,
            volumes,
        })
    }

    fn breaker(&self, problems: &mut Vec<Problem>) -> ResolvedBreaker {
        let same = |v| v;
        let max_failures = self.field(|s| s.circuit_breaker.as_ref()?.max_failures, 3, same);
        let reset_minutes = self.field(|s| s.circuit_breaker.as_ref()?.reset_minutes, 60, same);
        let (scope, origin) = self.field(|s| s.circuit_breaker.as_ref()?.scope, BreakerScope::PerCluster, |v| v);
        if matches!(origin.kind, OriginKind::StoragePolicy | OriginKind::PostgresStorage) {
            problems.extend(validate::check_scope(scope).map(|p| p.from([&origin])));
        }
        let reset_minutes = bounded(&validate::RESET_MINUTES, reset_minutes, problems);
        ResolvedBreaker {
            max_failures: bounded(&validate::MAX_FAILURES, max_failures, problems),
            reset_after: reset_minutes.map(|n| SignedDuration::from_mins(i64::from(n))),
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

impl<T> Field<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Field<U> {
        Field {
            value: f(self.value),
            origin: self.origin,
        }
    }
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

fn thresholds([warning, critical, expansion, emergency]: [Raw; 4], problems: &mut Vec<Problem>) -> ResolvedThresholds {
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
