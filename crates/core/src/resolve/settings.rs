//! The settings of a Cluster, each with the object that it comes from.

use std::collections::BTreeMap;
use std::sync::Arc;

use csm_api::{ApplyTo, BreakerScope, Role};
use csm_units::{Bytes, Percent};
use jiff::SignedDuration;

use super::{Block, Origin, VolumeRules};
use crate::breaker::BreakerRules;
use crate::validate::{self, Problem};
use crate::wal::Rules;
use crate::world::VolumeKey;

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
}

impl<T> Field<T> {
    /// A value as it was read.
    pub(super) fn of((value, origin): (T, Origin)) -> Self {
        Self { value, origin }
    }

    /// What the value comes to; it comes from the same object.
    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> Field<U> {
        Field {
            value: f(self.value),
            origin: self.origin,
        }
    }
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
    /// `walCleanup`.
    pub wal_cleanup: ResolvedCleanup,
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

impl ResolvedBounds {
    /// The most actions a day: what a policy says, 0 being no limit, within the bound of ClusterStoragePolicies.
    #[must_use]
    pub fn actions_a_day(&self, max: u32) -> Option<u32> {
        let bound = self.max_actions.as_ref().map(|bound| bound.value);
        [(max > 0).then_some(max), bound].into_iter().flatten().min()
    }
}

/// How each volume is sized, or what is wrong with its settings: a wrong block holds its own volume only.
#[derive(Clone, Debug, PartialEq)]
pub struct Volumes {
    pub(super) data: Result<VolumeRules, Vec<Problem>>,
    pub(super) wal: Result<VolumeRules, Vec<Problem>>,
    /// Those that some object names.
    pub(super) tablespaces: BTreeMap<Arc<str>, Result<VolumeRules, Vec<Problem>>>,
    pub(super) other_tablespaces: Result<VolumeRules, Vec<Problem>>,
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

/// `walCleanup`.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedCleanup {
    /// `enabled`.
    pub enabled: Field<bool>,
    /// `retainCount`, 1 to 10000.
    pub retain_count: Field<u32>,
    /// `requireArchived`.
    pub require_archived: Field<bool>,
    /// `cooldownMinutes`.
    pub cooldown: Field<SignedDuration>,
}

impl ResolvedCleanup {
    /// What a removal of WAL goes by.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            retain_count: self.retain_count.value,
            require_archived: self.require_archived.value,
        }
    }
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
            wal_cleanup,
            circuit_breaker,
            emergency_runway,
            bounds,
            volumes: _,
        } = self;
        let ResolvedCleanup {
            enabled: cleanup_enabled,
            retain_count,
            require_archived,
            cooldown: cleanup_cooldown,
        } = wal_cleanup;
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
                validate::CLEANUP_ENABLED,
                cleanup_enabled.value.to_string(),
                cleanup_enabled.origin.clone(),
            ),
            (
                validate::RETAIN_COUNT.field,
                retain_count.value.to_string(),
                retain_count.origin.clone(),
            ),
            (
                validate::REQUIRE_ARCHIVED,
                require_archived.value.to_string(),
                require_archived.origin.clone(),
            ),
            (
                validate::CLEANUP_COOLDOWN.field,
                cleanup_cooldown.value.as_mins().to_string(),
                cleanup_cooldown.origin.clone(),
            ),
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
