//! Sizes in the Cluster's spec that lag behind those of its volumes, and how to bring them level where the Cluster is kept in Git.
//!
//! Argo CD: `ignoreDifferences` with the sync option `RespectIgnoreDifferences` (Argo CD, Diff Customization, Sync Options);
//! single elements of a list cannot be left out of a sync (argo-cd#17694). Flux: `.spec.ignore` of a Kustomization
//! (kustomize-controller#1627, in releases since August 2026).

use csm_api::ApplyTo;
use csm_core::resolve::Resolution;
use csm_core::spec_size;
use csm_gather::views::size_field;
use csm_units::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::read::Facts;
use crate::thought::Thought;

/// Sizes in a Cluster's spec that lag behind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpecSizes {
    /// What growths change; none where the settings could not be resolved.
    pub apply_to: Option<ApplyTo>,
    /// The fields.
    pub fields: Vec<SpecSize>,
    /// A JSON patch of the Cluster that raises them, and nothing else.
    pub patch: Value,
    /// The command that applies it.
    pub command: String,
    /// What an Argo CD Application needs so as to leave the fields alone.
    pub argo_cd: Value,
    /// What a Flux Kustomization needs so as to leave the fields alone.
    pub flux: Value,
    /// Whether a whole list has to be left alone for them.
    pub whole_list: bool,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpecSize {
    /// The volume.
    pub volume: String,
    /// The field that CloudNativePG reads.
    pub field: String,
    /// What it says.
    pub says: Bytes,
    /// What each PVC of the volume asks for, and has.
    pub has: Bytes,
}

/// The sizes that lag behind; none where all are level, or volumes still grow.
pub(super) fn spec_sizes(facts: &Facts, thought: &Thought, now: Timestamp) -> Option<SpecSizes> {
    let cluster = facts.clusters.first()?;
    let mut fields = Vec::new();
    let mut patch = Vec::new();
    let mut pointers: Vec<String> = Vec::new();
    for volume in &thought.world.volumes {
        let Some(field) = size_field(cluster, &volume.key) else { continue };
        let Ok(says) = field.size.parse::<Bytes>() else { continue };
        let settled = spec_size::settled(&thought.world, volume, now);
        let Some(has) = settled.filter(|has| *has > says) else { continue };
        if let Some(name) = &volume.key.tablespace {
            // The place in the list is that of today.
            let place = field.pointer.split('/').take(4).collect::<Vec<_>>().join("/");
            patch.push(json!({"op": "test", "path": format!("{place}/name"), "value": **name}));
        }
        patch.push(json!({"op": "replace", "path": field.pointer, "value": has}));
        let pointer = match &volume.key.tablespace {
            Some(_) => "/spec/tablespaces".to_owned(),
            None => field.pointer,
        };
        if !pointers.contains(&pointer) {
            pointers.push(pointer);
        }
        fields.push(SpecSize {
            volume: volume.key.to_string(),
            field: field.path,
            says,
            has,
        });
    }
    if fields.is_empty() {
        return None;
    }
    let key = &thought.world.cluster.key;
    let (namespace, name) = (&*key.namespace, &*key.name);
    let patch = Value::Array(patch);
    let object = json!({"group": "postgresql.cnpg.io", "kind": "Cluster", "name": name, "namespace": namespace});
    let mut difference = object.clone();
    if let Some(difference) = difference.as_object_mut() {
        difference.insert("jsonPointers".to_owned(), json!(pointers));
    }
    Some(SpecSizes {
        apply_to: match &*thought.world.resolution {
            Resolution::Settings(settings) => Some(settings.expansion.apply_to.value),
            Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_) => None,
        },
        command: format!("kubectl patch clusters.postgresql.cnpg.io {name} -n {namespace} --type json -p '{patch}'"),
        argo_cd: json!({"spec": {
            "ignoreDifferences": [difference],
            "syncPolicy": {"syncOptions": ["RespectIgnoreDifferences=true"]},
        }}),
        flux: json!({"spec": {"ignore": [{"paths": pointers, "target": object}]}}),
        whole_list: pointers.iter().any(|pointer| pointer == "/spec/tablespaces"),
        fields,
        patch,
    })
}
