//! Validation of settings and policies: one implementation for the API server's schema to agree with, for the
//! webhook, the manager and `lint`.

mod clusters;
pub(crate) mod volume;
mod warnings;

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use csm_api::{
    Bounds, BreakerScope, CircuitBreaker, ClusterStoragePolicySpec, Expansion, PostgresStorageSpec, QuantityText, Settings,
    StoragePolicySpec, Thresholds, WalCleanup,
};

use crate::resolve::{Block, Origin};
use crate::selector::Selector;

pub use self::clusters::{
    Subject, VolumeFacts, check_policies, conflicts, is_bounded_everywhere, unknown_exclusions, wal_risk, warn_cluster,
};
pub use self::warnings::{Warning, WarningKind, warn, warn_cluster_storage_policy, warn_storage_policy};

/// Something that is wrong in settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field, such as `thresholds.warning` or `storage.limit`.
    pub field: Cow<'static, str>,
    /// What it says now.
    pub value: String,
    /// What is wrong with that, as a whole sentence that names the field.
    pub reason: String,
    /// What could stand there instead; empty where the reason says it.
    pub example: String,
    /// The objects that the wrong values came from; empty where one object was looked at on its own.
    pub origins: Vec<Origin>,
}

impl Problem {
    /// What cannot be read of these objects; `why` names the field.
    #[must_use]
    pub fn unreadable<'a>(why: impl Into<String>, origins: impl IntoIterator<Item = &'a Origin>) -> Self {
        let problem = Self {
            field: Cow::Borrowed(""),
            value: String::new(),
            reason: why.into(),
            example: String::new(),
            origins: Vec::new(),
        };
        problem.from(origins)
    }

    pub(crate) fn new(field: &'static str, value: impl fmt::Display, reason: String, example: &str) -> Self {
        Self {
            field: Cow::Borrowed(field),
            value: value.to_string(),
            reason,
            example: example.to_owned(),
            origins: Vec::new(),
        }
    }

    /// Of a block of settings that stands at `path`: what it says of a field, it says of the one there.
    pub(crate) fn under(mut self, path: &str) -> Self {
        self.reason = match self.reason.strip_prefix(&*self.field) {
            Some(rest) if !self.field.is_empty() && rest.starts_with([' ', ':']) => format!("{path}.{}{rest}", self.field),
            _ => format!("{path}: {}", self.reason),
        };
        self.field = if self.field.is_empty() {
            Cow::Owned(path.to_owned())
        } else {
            Cow::Owned(format!("{path}.{}", self.field))
        };
        self
    }

    pub(crate) fn from<'a>(mut self, origins: impl IntoIterator<Item = &'a Origin>) -> Self {
        for origin in origins {
            if !self.origins.contains(origin) {
                self.origins.push(origin.clone());
            }
        }
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if !self.example.is_empty() {
            write!(f, " (it is {}; for example {})", self.value, self.example)?;
        }
        for (i, origin) in self.origins.iter().enumerate() {
            write!(f, "{}{origin}", if i == 0 { ", from " } else { " and " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// A whole number with its bounds. Its place in the settings is `field`.
pub(crate) struct Bounded {
    pub field: &'static str,
    pub range: RangeInclusive<i32>,
    unit: &'static str,
    example: &'static str,
}

const fn number(field: &'static str, range: RangeInclusive<i32>, unit: &'static str, example: &'static str) -> Bounded {
    Bounded {
        field,
        range,
        unit,
        example,
    }
}

const fn percent(field: &'static str, range: RangeInclusive<i32>, example: &'static str) -> Bounded {
    number(field, range, " percent", example)
}

pub(crate) const WARNING: Bounded = percent("thresholds.warning", 1..=99, "70");
pub(crate) const CRITICAL: Bounded = percent("thresholds.critical", 1..=99, "80");
pub(crate) const EXPANSION: Bounded = percent("thresholds.expansion", 3..=99, "85");
pub(crate) const EMERGENCY: Bounded = percent("thresholds.emergency", 1..=99, "90");
pub(crate) const PERCENTAGE: Bounded = percent("expansion.percentage", 1..=1000, "50");
pub(crate) const MIN_INCREMENT: Bounded = number("expansion.minIncrementGi", 1..=65536, " (GiB)", "5");
pub(crate) const COOLDOWN: Bounded = number("expansion.cooldownMinutes", 0..=10080, " (a week)", "30");
pub(crate) const PARALLELISM: Bounded = number("expansion.parallelism", 1..=20, "", "1");
/// `walCleanup.enabled`.
pub(crate) const CLEANUP_ENABLED: &str = "walCleanup.enabled";
pub(crate) const RETAIN_COUNT: Bounded = number("walCleanup.retainCount", 1..=10000, "", "10");
/// `walCleanup.requireArchived`.
pub(crate) const REQUIRE_ARCHIVED: &str = "walCleanup.requireArchived";
pub(crate) const CLEANUP_COOLDOWN: Bounded = number("walCleanup.cooldownMinutes", 0..=10080, " (a week)", "15");
pub(crate) const MAX_FAILURES: Bounded = number("circuitBreaker.maxFailures", 1..=100, "", "3");
pub(crate) const RESET_MINUTES: Bounded = number("circuitBreaker.resetMinutes", 1..=10080, " (a week)", "60");
/// `circuitBreaker.scope`.
pub(crate) const BREAKER_SCOPE: &str = "circuitBreaker.scope";
/// The field of the largest size.
pub(crate) const MAX_SIZE: &str = "expansion.maxSize";

/// A whole number that is only bounded below, by 0: no check.
const fn at_least(field: &'static str, example: &'static str) -> Bounded {
    number(field, 0..=i32::MAX, " (0: no check)", example)
}

/// `bounds.maxActionsPerDay`.
pub(crate) const BOUND_ACTIONS: Bounded = number("bounds.maxActionsPerDay", 1..=50, "", "6");
/// `bounds.maxSize`.
pub(crate) const BOUND_SIZE: &str = "bounds.maxSize";

impl Bounded {
    /// What is wrong with `value`, if anything.
    pub fn check(&self, value: i32) -> Option<Problem> {
        let (low, high) = (self.range.start(), self.range.end());
        (!self.range.contains(&value)).then(|| {
            let reason = if *high == i32::MAX {
                format!("{} must be {low} or more{}", self.field, self.unit)
            } else {
                format!("{} must be between {low} and {high}{}", self.field, self.unit)
            };
            Problem::new(self.field, value, reason, self.example)
        })
    }
}

/// What is wrong with a size, if anything.
pub(crate) fn check_size(field: &'static str, text: &QuantityText) -> Option<Problem> {
    let why = match text.parse() {
        Ok(size) if size.is_zero() => "is not a positive quantity".to_owned(),
        Ok(_) => return None,
        Err(error) => error.to_string(),
    };
    let reason = format!(
        "{field}: {:?} is not a positive quantity; write for example \"100Gi\"",
        text.as_str()
    );
    let mut problem = Problem::new(field, format_args!("{:?}", text.as_str()), reason, "\"100Gi\"");
    if !why.starts_with("is not") {
        problem.reason = format!("{}: {why}", problem.reason);
    }
    Some(problem)
}

/// Two thresholds that must rise: their values, and whether they may be equal.
pub(crate) fn check_rise(low: (&str, i32), high: (&str, i32), or_equal: bool) -> Option<Problem> {
    let wrong = if or_equal { low.1 > high.1 } else { low.1 >= high.1 };
    wrong.then(|| {
        let relation = if or_equal { "must not be above" } else { "must be below" };
        let reason = format!("thresholds must rise: {} ({}) {relation} {} ({})", low.0, low.1, high.0, high.1);
        let value = format!("{} {}, {} {}", low.0, low.1, high.0, high.1);
        Problem::new(
            "thresholds",
            value,
            reason,
            "{warning: 70, critical: 80, expansion: 85, emergency: 90}",
        )
    })
}

/// What is wrong with one object's settings on their own. Nothing: an empty list.
#[must_use]
pub fn validate(settings: &Settings) -> Vec<Problem> {
    let Settings {
        dry_run: _,
        thresholds,
        expansion,
        wal_cleanup,
        circuit_breaker,
        emergency_runway: _,
        storage,
        wal_storage,
        tablespaces,
    } = settings;
    let mut problems = Vec::new();
    if let Some(thresholds) = thresholds {
        validate_thresholds(thresholds, &mut problems);
    }
    if let Some(expansion) = expansion {
        validate_expansion(expansion, &mut problems);
    }
    if let Some(WalCleanup {
        enabled: _,
        retain_count,
        require_archived: _,
        cooldown_minutes,
    }) = wal_cleanup
    {
        problems.extend(retain_count.and_then(|v| RETAIN_COUNT.check(v)));
        problems.extend(cooldown_minutes.and_then(|v| CLEANUP_COOLDOWN.check(v)));
    }
    if let Some(CircuitBreaker {
        max_failures,
        reset_minutes,
        scope: _,
    }) = circuit_breaker
    {
        problems.extend(max_failures.and_then(|v| MAX_FAILURES.check(v)));
        problems.extend(reset_minutes.and_then(|v| RESET_MINUTES.check(v)));
    }
    let tablespaces = tablespaces.iter().flatten().map(|t| (Block::Tablespace(&t.name), &t.storage));
    let blocks = [(Block::Data, storage), (Block::Wal, wal_storage)];
    let blocks = blocks.into_iter().filter_map(|(block, settings)| Some((block, settings.as_ref()?)));
    for (block, settings) in blocks.chain(tablespaces) {
        let path = block.path();
        problems.extend(volume::validate(settings).into_iter().map(|p| p.under(&path)));
    }
    problems
}

fn validate_thresholds(thresholds: &Thresholds, problems: &mut Vec<Problem>) {
    let Thresholds {
        warning,
        critical,
        expansion,
        emergency,
    } = *thresholds;
    let fields = [
        ("warning", warning, &WARNING),
        ("critical", critical, &CRITICAL),
        ("expansion", expansion, &EXPANSION),
        ("emergency", emergency, &EMERGENCY),
    ];
    for (_, value, bounds) in fields {
        problems.extend(value.and_then(|v| bounds.check(v)));
    }
    let mut rest = fields.as_slice();
    while let Some((low, higher)) = rest.split_first() {
        for high in higher {
            if let (Some(a), Some(b)) = (low.1, high.1) {
                let or_equal = (low.0, high.0) == ("expansion", "emergency");
                problems.extend(check_rise((low.0, a), (high.0, b), or_equal));
            }
        }
        rest = higher;
    }
}

fn validate_expansion(expansion: &Expansion, problems: &mut Vec<Problem>) {
    let Expansion {
        enabled: _,
        percentage,
        min_increment_gi,
        max_size,
        cooldown_minutes,
        parallelism,
        apply_to: _,
    } = expansion;
    let fields = [
        (*percentage, &PERCENTAGE),
        (*min_increment_gi, &MIN_INCREMENT),
        (*cooldown_minutes, &COOLDOWN),
        (*parallelism, &PARALLELISM),
    ];
    for (value, bounds) in fields {
        problems.extend(value.and_then(|v| bounds.check(v)));
    }
    problems.extend(max_size.as_ref().and_then(|size| check_size(MAX_SIZE, size)));
}

/// What is wrong with a breaker of all Clusters in an object of one namespace, if anything.
pub(crate) fn check_scope(scope: BreakerScope) -> Option<Problem> {
    (scope == BreakerScope::Global).then(|| {
        let reason = format!("{BREAKER_SCOPE} can be global in a ClusterStoragePolicy only");
        Problem::new(BREAKER_SCOPE, scope, reason, "per-cluster")
    })
}

/// What is wrong with the settings of an object of one namespace, on their own.
fn validate_namespaced(settings: &Settings) -> Vec<Problem> {
    let scope = settings.circuit_breaker.as_ref().and_then(|breaker| breaker.scope);
    let mut problems = validate(settings);
    problems.extend(scope.and_then(check_scope));
    problems
}

/// What is wrong with a PostgresStorage on its own.
#[must_use]
pub fn validate_postgres_storage(spec: &PostgresStorageSpec) -> Vec<Problem> {
    let PostgresStorageSpec { settings } = spec;
    validate_namespaced(settings)
}

/// What is wrong with a StoragePolicy on its own.
#[must_use]
pub fn validate_storage_policy(spec: &StoragePolicySpec) -> Vec<Problem> {
    let StoragePolicySpec {
        selector,
        exclude_clusters: _,
        settings,
    } = spec;
    let (_, mut problems) = Selector::parse("selector", selector.as_ref());
    problems.extend(validate_namespaced(settings));
    problems
}

/// What is wrong with a ClusterStoragePolicy on its own.
#[must_use]
pub fn validate_cluster_storage_policy(spec: &ClusterStoragePolicySpec) -> Vec<Problem> {
    let ClusterStoragePolicySpec {
        namespace_selector,
        selector,
        exclude_clusters,
        bounds,
        settings,
    } = spec;
    let (_, mut problems) = Selector::parse("namespaceSelector", namespace_selector.as_ref());
    problems.extend(Selector::parse("selector", selector.as_ref()).1);
    for cluster in exclude_clusters.iter().filter(|c| c.namespace.is_none()) {
        let reason = "excludeClusters: each entry of a ClusterStoragePolicy needs a namespace".to_owned();
        let example = "{name: legacy, namespace: database}";
        problems.push(Problem::new(
            "excludeClusters",
            format_args!("{{name: {}}}", cluster.name),
            reason,
            example,
        ));
    }
    if let Some(Bounds {
        max_size,
        max_actions_per_day,
    }) = bounds
    {
        problems.extend(max_size.as_ref().and_then(|size| check_size(BOUND_SIZE, size)));
        problems.extend(max_actions_per_day.and_then(|v| BOUND_ACTIONS.check(v)));
    }
    problems.extend(validate(settings));
    problems
}
