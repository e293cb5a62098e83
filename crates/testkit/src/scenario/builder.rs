//! Describes a simulated cluster, and writes it.

use std::collections::BTreeMap;

use anyhow::Result;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::cluster::{SimCluster, merge};
use super::objects::{self, Purpose};
use super::{EXPANDABLE, Sim};
use crate::nodesim::{Filesystem, Usage};

/// Describes a cluster before it is created.
pub struct ClusterBuilder {
    pub(super) sim: Sim,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) instances: usize,
    pub(super) class: String,
    pub(super) filesystem: Filesystem,
    /// What volumes each instance has, with the size in the Cluster's spec.
    pub(super) volumes: Vec<(Purpose, String)>,
    /// PVCs whose size differs from the spec's.
    pub(super) odd_sizes: BTreeMap<String, String>,
    pub(super) shares: Vec<(Purpose, f64)>,
    pub(super) usages: Vec<(Purpose, Usage)>,
    pub(super) nodes: Vec<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) spec: Value,
}

impl ClusterBuilder {
    pub(super) fn new(sim: Sim, namespace: &str, name: &str) -> Self {
        Self {
            sim,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            instances: 1,
            class: EXPANDABLE.to_owned(),
            filesystem: Filesystem::default(),
            volumes: vec![(Purpose::Data, "1Gi".to_owned())],
            odd_sizes: BTreeMap::new(),
            shares: Vec::new(),
            usages: Vec::new(),
            nodes: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            spec: json!({}),
        }
    }

    /// Number of instances; the first is the primary.
    #[must_use]
    pub fn instances(mut self, instances: usize) -> Self {
        self.instances = instances;
        self
    }

    /// Size of the data volumes.
    #[must_use]
    pub fn data(self, size: &str) -> Self {
        self.volume(Purpose::Data, size)
    }

    /// Gives each instance a WAL volume of this size.
    #[must_use]
    pub fn wal(self, size: &str) -> Self {
        self.volume(Purpose::Wal, size)
    }

    /// Gives each instance a tablespace volume of this size.
    #[must_use]
    pub fn tablespace(self, name: &str, size: &str) -> Self {
        self.volume(Purpose::Tablespace(name.to_owned()), size)
    }

    fn volume(mut self, purpose: Purpose, size: &str) -> Self {
        self.volumes.retain(|(other, _)| *other != purpose);
        self.volumes.push((purpose, size.to_owned()));
        self
    }

    /// Gives one PVC, by name, another size than the Cluster's spec says: it was grown before, or lags behind.
    #[must_use]
    pub fn pvc_size(mut self, claim: &str, size: &str) -> Self {
        self.odd_sizes.insert(claim.to_owned(), size.to_owned());
        self
    }

    /// Storage class of all volumes.
    #[must_use]
    pub fn storage_class(mut self, class: &str) -> Self {
        class.clone_into(&mut self.class);
        self
    }

    /// Filesystem of all volumes.
    #[must_use]
    pub fn filesystem(mut self, filesystem: Filesystem) -> Self {
        self.filesystem = filesystem;
        self
    }

    /// How full the data volumes are at first, from 0 to 1 (0.3 unless said).
    #[must_use]
    pub fn data_used(mut self, share: f64) -> Self {
        self.shares.push((Purpose::Data, share));
        self
    }

    /// How full the WAL volumes are at first, from 0 to 1 (0.3 unless said).
    #[must_use]
    pub fn wal_used(mut self, share: f64) -> Self {
        self.shares.push((Purpose::Wal, share));
        self
    }

    /// How the data volumes fill.
    #[must_use]
    pub fn data_usage(mut self, usage: Usage) -> Self {
        self.usages.push((Purpose::Data, usage));
        self
    }

    /// How the WAL volumes fill.
    #[must_use]
    pub fn wal_usage(mut self, usage: Usage) -> Self {
        self.usages.push((Purpose::Wal, usage));
        self
    }

    /// Nodes that the instances go to, in turn. Unless said, they are spread over all.
    #[must_use]
    pub fn nodes<S: Into<String>>(mut self, nodes: impl IntoIterator<Item = S>) -> Self {
        self.nodes = nodes.into_iter().map(Into::into).collect();
        self
    }

    /// A label of the Cluster object.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// An annotation of the Cluster object.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// More of the Cluster's spec; objects are merged, and what is given here wins.
    #[must_use]
    pub fn spec(mut self, spec: Value) -> Self {
        merge(&mut self.spec, spec);
        self
    }

    /// Writes all objects; returns when the kubelets see the pods and have measured their volumes.
    pub async fn create(self) -> Result<SimCluster> {
        self.sim.ensure_namespace(&self.namespace).await?;
        let spec_of = |size: &str| json!({ "size": size, "storageClass": self.class });
        let mut spec = json!({ "instances": self.instances });
        let mut tablespaces = Vec::new();
        for (purpose, size) in &self.volumes {
            match purpose {
                Purpose::Data => spec["storage"] = spec_of(size),
                Purpose::Wal => spec["walStorage"] = spec_of(size),
                Purpose::Tablespace(name) => tablespaces.push(json!({ "name": name, "storage": spec_of(size) })),
            }
        }
        if !tablespaces.is_empty() {
            spec["tablespaces"] = tablespaces.into();
        }
        merge(&mut spec, self.spec.clone());
        let object: DynamicObject = objects::typed(json!({
            "apiVersion": "postgresql.cnpg.io/v1",
            "kind": "Cluster",
            "metadata": { "name": self.name, "labels": self.labels, "annotations": self.annotations },
            "spec": spec,
        }))?;
        SimCluster::write(self, &object).await
    }
}
