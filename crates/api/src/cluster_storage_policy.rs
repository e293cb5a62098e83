use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{ClusterRef, PolicyStatus, QuantityText, Settings};

/// Defaults of a platform team for the Clusters of many namespaces.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "cnpg.supporttools.io",
    version = "v1alpha1",
    kind = "ClusterStoragePolicy",
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "ClusterStoragePolicy holds defaults for the CNPG Clusters of many namespaces.",
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
    validation = Rule::new("!has(self.excludeClusters) || self.excludeClusters.all(c, has(c.namespace))").message("excludeClusters: each entry of a ClusterStoragePolicy needs a namespace, such as {name: legacy, namespace: database}")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStoragePolicySpec {
    /// Which namespaces, by their labels. Missing or empty: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Which Clusters, by their labels and the implied label `cnpg.io/cluster`. Missing or empty: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Clusters that this policy does not apply to; each with its namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub exclude_clusters: Vec<ClusterRef>,
    /// What no more specific policy can exceed: the tightest of all that match a Cluster holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Bounds>,
    /// The settings.
    #[serde(flatten)]
    pub settings: Settings,
}

/// What no more specific policy can exceed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bounds {
    /// The size that no volume passes, such as "2Ti".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<QuantityText>,
    /// Growths of a volume in a rolling 24 hours, 1 to 50. Catch-ups and rescues do not count against it.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 50").message("bounds.maxActionsPerDay must be between 1 and 50"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_actions_per_day: Option<i32>,
}
