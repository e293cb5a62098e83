use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ClusterRef, Condition, Settings};

/// Rules for the CNPG Clusters of one namespace.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "cnpg.supporttools.io",
    version = "v1alpha1",
    kind = "StoragePolicy",
    namespaced,
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "StoragePolicy says how the volumes of the CNPG Clusters of its namespace grow.",
    printcolumn(name = "Clusters", type_ = "integer", json_path = ".status.managedClusters"),
    printcolumn(name = "Active", type_ = "string", json_path = ".status.conditions[?(@.type=='Active')].status"),
    printcolumn(
        name = "Conflicting",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Conflicting')].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("!has(self.circuitBreaker) || !has(self.circuitBreaker.scope) || self.circuitBreaker.scope != 'global'").message("circuitBreaker.scope can be global in a ClusterStoragePolicy only")
)]
#[serde(rename_all = "camelCase")]
pub struct StoragePolicySpec {
    /// Which Clusters, by their labels and the implied label `cnpg.io/cluster`. Missing or empty: all of the
    /// namespace, as its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Clusters that this policy does not apply to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub exclude_clusters: Vec<ClusterRef>,
    /// The settings.
    #[serde(flatten)]
    pub settings: Settings,
}

/// What the manager says of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// `Active`, `Valid`, `Conflicting`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// How many Clusters it applies to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_clusters: Option<i32>,
    /// When this status last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_evaluated: Option<Time>,
    /// The generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}
