use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use csm_api::{Bounds, ClusterRef, ClusterStoragePolicy, PostgresStorage, Settings, StoragePolicy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::resolve::{Resolution, resolve};
use crate::selector::Selector;
use crate::validate::{self, Problem};
use crate::world::ClusterKey;

/// How specific an object is; the greater one overrides the lesser one, field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// A ClusterStoragePolicy without any selector.
    ClusterStoragePolicy,
    /// A ClusterStoragePolicy with a selector or a namespaceSelector.
    ClusterStoragePolicyWithSelector,
    /// A StoragePolicy without a selector: the default of its namespace.
    StoragePolicy,
    /// A StoragePolicy with a selector.
    StoragePolicyWithSelector,
    /// The PostgresStorage of the Cluster.
    PostgresStorage,
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ClusterStoragePolicy => "ClusterStoragePolicy without a selector",
            Self::ClusterStoragePolicyWithSelector => "ClusterStoragePolicy with a selector",
            Self::StoragePolicy => "StoragePolicy without a selector",
            Self::StoragePolicyWithSelector => "StoragePolicy with a selector",
            Self::PostgresStorage => "PostgresStorage",
        })
    }
}

/// Kind of a source of settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OriginKind {
    /// Nobody set it.
    BuiltIn,
    /// The manager's own defaults (its configuration file, Helm values).
    Defaults,
    /// A ClusterStoragePolicy.
    ClusterStoragePolicy,
    /// A StoragePolicy.
    StoragePolicy,
    /// A PostgresStorage.
    PostgresStorage,
}

impl OriginKind {
    /// Name of the kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BuiltIn => "built in",
            Self::Defaults => "the manager's defaults",
            Self::ClusterStoragePolicy => "ClusterStoragePolicy",
            Self::StoragePolicy => "StoragePolicy",
            Self::PostgresStorage => "PostgresStorage",
        }
    }
}

/// Where a setting comes from: an object, the manager's defaults, or nowhere (built in).
///
/// Text form: `StoragePolicy database/production-postgres`, `ClusterStoragePolicy fleet`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Its kind.
    pub kind: OriginKind,
    /// Its namespace, where it has one.
    pub namespace: Option<Arc<str>>,
    /// Its name; empty for what is no object.
    pub name: Arc<str>,
}

impl Origin {
    /// The manager's own defaults.
    #[must_use]
    pub fn defaults() -> Self {
        Self::without_object(OriginKind::Defaults)
    }

    /// What stands where nobody sets anything.
    #[must_use]
    pub fn built_in() -> Self {
        Self::without_object(OriginKind::BuiltIn)
    }

    /// The PostgresStorage of this name.
    #[must_use]
    pub fn postgres_storage(namespace: &str, name: &str) -> Self {
        Self::object(OriginKind::PostgresStorage, Some(namespace), name)
    }

    /// An object of this kind and name.
    #[must_use]
    pub fn object(kind: OriginKind, namespace: Option<&str>, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.map(Into::into),
            name: name.into(),
        }
    }

    fn without_object(kind: OriginKind) -> Self {
        Self::object(kind, None, "")
    }
}

impl From<&PostgresStorage> for Origin {
    fn from(object: &PostgresStorage) -> Self {
        let meta = &object.metadata;
        Self::postgres_storage(
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
        )
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        match &self.namespace {
            Some(namespace) => write!(f, " {namespace}/{}", self.name),
            None if self.name.is_empty() => Ok(()),
            None => write!(f, " {}", self.name),
        }
    }
}

/// A StoragePolicy or ClusterStoragePolicy, its selectors parsed once.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The object.
    pub origin: Origin,
    /// Which Clusters.
    pub selector: Selector,
    /// Which namespaces; a ClusterStoragePolicy's.
    pub namespace_selector: Option<Selector>,
    /// Clusters that it leaves out. An empty namespace stands for any: an entry of a ClusterStoragePolicy
    /// without one is refused by the schema, and where it slips through, leaving out too much is safe.
    pub exclude: Vec<ClusterKey>,
    /// What it sets.
    pub settings: Arc<Settings>,
    /// What no more specific policy can exceed; a ClusterStoragePolicy's.
    pub bounds: Option<Bounds>,
    /// What is wrong with it on its own.
    pub problems: Vec<Problem>,
    /// What it sets cannot be read: every Cluster that it may apply to is held.
    pub unreadable: bool,
}

/// What a policy selects Clusters by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Which namespaces.
    pub namespace_selector: Option<LabelSelector>,
    /// Which Clusters.
    pub selector: Option<LabelSelector>,
    /// Which Clusters not.
    pub exclude_clusters: Vec<ClusterRef>,
}

impl Policy {
    /// From a StoragePolicy.
    #[must_use]
    pub fn from_storage_policy(policy: &StoragePolicy) -> Self {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        let name = policy.metadata.name.as_deref().unwrap_or_default();
        Self {
            origin: Origin::object(OriginKind::StoragePolicy, Some(namespace), name),
            selector: Selector::parse("selector", policy.spec.selector.as_ref()).0,
            namespace_selector: None,
            exclude: exclusions(&policy.spec.exclude_clusters, namespace),
            settings: Arc::new(policy.spec.settings.clone()),
            bounds: None,
            problems: validate::validate_storage_policy(&policy.spec),
            unreadable: false,
        }
    }

    /// From a ClusterStoragePolicy.
    #[must_use]
    pub fn from_cluster_storage_policy(policy: &ClusterStoragePolicy) -> Self {
        let name = policy.metadata.name.as_deref().unwrap_or_default();
        Self {
            origin: Origin::object(OriginKind::ClusterStoragePolicy, None, name),
            selector: Selector::parse("selector", policy.spec.selector.as_ref()).0,
            namespace_selector: Some(Selector::parse("namespaceSelector", policy.spec.namespace_selector.as_ref()).0),
            exclude: exclusions(&policy.spec.exclude_clusters, ""),
            settings: Arc::new(policy.spec.settings.clone()),
            bounds: policy.spec.bounds.clone(),
            problems: validate::validate_cluster_storage_policy(&policy.spec),
            unreadable: false,
        }
    }

    /// One that cannot be read, for the reasons given; `selection` is what can be read of whom it selects. Whatever cannot
    /// is taken to select all, so that no other policy acts in its place.
    #[must_use]
    pub fn unreadable(origin: Origin, selection: &Selection, problems: Vec<Problem>) -> Self {
        let wide = |field, selector: Option<&LabelSelector>| match Selector::parse(field, selector) {
            (selector, wrong) if wrong.is_empty() => selector,
            _ => Selector::default(),
        };
        let namespace = origin.namespace.as_deref();
        Self {
            selector: wide("selector", selection.selector.as_ref()),
            namespace_selector: namespace
                .is_none()
                .then(|| wide("namespaceSelector", selection.namespace_selector.as_ref())),
            exclude: exclusions(&selection.exclude_clusters, namespace.unwrap_or_default()),
            settings: Arc::default(),
            bounds: None,
            problems,
            unreadable: true,
            origin,
        }
    }

    /// How specific it is. An empty selector is as good as none.
    #[must_use]
    pub fn rank(&self) -> Rank {
        let selects = !self.selector.is_empty() || self.namespace_selector.as_ref().is_some_and(|s| !s.is_empty());
        match (self.origin.kind, selects) {
            (OriginKind::StoragePolicy, true) => Rank::StoragePolicyWithSelector,
            (OriginKind::StoragePolicy, false) => Rank::StoragePolicy,
            (_, true) => Rank::ClusterStoragePolicyWithSelector,
            (_, false) => Rank::ClusterStoragePolicy,
        }
    }

    /// Whether it can apply to any Cluster at all. A mistake in the settings of one volume holds that volume alone; one in
    /// a selector selects nothing, and one in what all volumes share holds every Cluster that does not override it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let selectors = [Some(&self.selector), self.namespace_selector.as_ref()];
        let selects = !selectors.into_iter().flatten().any(Selector::is_broken);
        selects && !matches!(resolve(&[self], None, &Settings::default()), Resolution::Invalid(_))
    }

    /// Whether it applies to a Cluster.
    #[must_use]
    pub fn matches(&self, identity: &Identity<'_>) -> bool {
        let Identity {
            key,
            labels,
            namespace_labels,
        } = identity;
        let in_scope = match &self.namespace_selector {
            Some(selector) => selector.matches(namespace_labels, (NAMESPACE_LABEL, &key.namespace)),
            None => self.origin.namespace.as_ref() == Some(&key.namespace),
        };
        let excluded = |e: &ClusterKey| e.name == key.name && (e.namespace.is_empty() || e.namespace == key.namespace);
        in_scope && self.selector.matches(labels, (CLUSTER_LABEL, &key.name)) && !self.exclude.iter().any(excluded)
    }
}

/// The label that every Cluster implies, with its name.
const CLUSTER_LABEL: &str = "cnpg.io/cluster";
/// The label that Kubernetes gives every namespace, with its name.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

fn exclusions(clusters: &[ClusterRef], namespace: &str) -> Vec<ClusterKey> {
    let key = |c: &ClusterRef| ClusterKey::new(c.namespace.as_deref().unwrap_or(namespace), c.name.as_str());
    clusters.iter().map(key).collect()
}

/// What policies select a Cluster by.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Its name.
    pub key: &'a ClusterKey,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The labels of its namespace.
    pub namespace_labels: &'a BTreeMap<String, String>,
}

/// The policies that match a Cluster, most specific first; within a rank by name.
pub fn matching<'a>(identity: &Identity<'_>, policies: impl Iterator<Item = &'a Policy>) -> Vec<&'a Policy> {
    let mut found: Vec<&Policy> = policies.filter(|p| p.matches(identity)).collect();
    found.sort_by(|a, b| b.rank().cmp(&a.rank()).then_with(|| a.origin.cmp(&b.origin)));
    found
}
