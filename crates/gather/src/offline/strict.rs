//! Policies against their schema: what the API server would prune in silence is an error here.

use std::sync::LazyLock;

use csm_api::{ClusterStoragePolicy, PostgresStorage, StoragePolicy};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;

use super::mistake::did_you_mean;
use super::tree::{Node, Place, Value};

/// Fields of `metadata` (Kubernetes, ObjectMeta).
const METADATA: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Something in an object that its kind's schema does not have.
pub(super) struct Wrong {
    pub at: Place,
    pub message: String,
    /// It is a key that the kind does not know.
    pub unknown: bool,
}

impl Wrong {
    fn unknown(at: Place, message: String) -> Self {
        Self {
            at,
            message,
            unknown: true,
        }
    }
}

/// A policy kind's schema of `spec`.
pub type Spec = LazyLock<Option<JSONSchemaProps>>;

pub static STORAGE_POLICY: Spec = LazyLock::new(|| spec(StoragePolicy::crd()));
pub static CLUSTER_STORAGE_POLICY: Spec = LazyLock::new(|| spec(ClusterStoragePolicy::crd()));
pub static POSTGRES_STORAGE: Spec = LazyLock::new(|| spec(PostgresStorage::crd()));

fn spec(definition: CustomResourceDefinition) -> Option<JSONSchemaProps> {
    let version = definition.spec.versions.into_iter().next()?;
    let mut fields = version.schema?.open_api_v3_schema?.properties?;
    fields.remove("spec")
}

/// Everything in a policy object that its kind does not know, or whose type is another; in the order of the file. Its
/// `status` is the manager's, perhaps of another version, and decides nothing.
pub(super) fn mistakes(object: &Node, spec: &Spec) -> Vec<Wrong> {
    let mut found = Vec::new();
    let Value::Map(entries) = &object.value else {
        return found;
    };
    for entry in entries {
        match (entry.key.as_str(), &**spec) {
            ("apiVersion" | "kind" | "status", _) => {}
            ("metadata", _) => metadata(&entry.node, &mut found),
            ("spec", Some(schema)) => check(&entry.node, schema, "spec", &mut found),
            (key, _) => {
                let near = did_you_mean(key, ["apiVersion", "kind", "metadata", "spec", "status"]);
                found.push(Wrong::unknown(entry.at, format!("unknown key {key}{near}")));
            }
        }
    }
    found
}

fn metadata(node: &Node, found: &mut Vec<Wrong>) {
    let Value::Map(entries) = &node.value else { return };
    for entry in entries.iter().filter(|e| !METADATA.contains(&e.key.as_str())) {
        let near = did_you_mean(&entry.key, METADATA);
        found.push(Wrong::unknown(entry.at, format!("unknown key metadata.{}{near}", entry.key)));
    }
}

fn check(node: &Node, schema: &JSONSchemaProps, path: &str, found: &mut Vec<Wrong>) {
    // A field without a value is a missing one.
    if matches!(node.value, Value::Null) {
        return;
    }
    if let Some(wanted) = mismatch(node, schema) {
        found.push(Wrong {
            at: node.at,
            message: format!("{path}: {} is not {wanted}", node.what()),
            unknown: false,
        });
        return;
    }
    match &node.value {
        Value::Map(entries) => {
            let known = schema.properties.as_ref();
            let open = match &schema.additional_properties {
                Some(JSONSchemaPropsOrBool::Bool(open)) => *open,
                Some(JSONSchemaPropsOrBool::Schema(_)) => true,
                None => schema.x_kubernetes_preserve_unknown_fields == Some(true) || known.is_none(),
            };
            for entry in entries {
                let path = format!("{path}.{}", entry.key);
                match (known.and_then(|k| k.get(&entry.key)), &schema.additional_properties) {
                    (Some(field), _) => check(&entry.node, field, &path, found),
                    (None, Some(JSONSchemaPropsOrBool::Schema(each))) => check(&entry.node, each, &path, found),
                    (None, _) if open => {}
                    (None, _) => {
                        let near = did_you_mean(&entry.key, known.into_iter().flatten().map(|(name, _)| name.as_str()));
                        found.push(Wrong::unknown(entry.at, format!("unknown key {path}{near}")));
                    }
                }
            }
        }
        Value::List(items) => {
            if let Some(JSONSchemaPropsOrArray::Schema(each)) = &schema.items {
                for (i, item) in items.iter().enumerate() {
                    check(item, each, &format!("{path}[{i}]"), found);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {}
    }
}

/// What should stand there instead, where something else does.
fn mismatch(node: &Node, schema: &JSONSchemaProps) -> Option<String> {
    if schema.x_kubernetes_int_or_string == Some(true) {
        let fits = matches!(node.value, Value::Int(_) | Value::Text(_));
        return (!fits).then(|| "a text or a whole number".to_owned());
    }
    let (fits, wanted) = match (schema.type_.as_deref()?, &node.value) {
        ("object", value) => (matches!(value, Value::Map(_)), "a map"),
        ("array", value) => (matches!(value, Value::List(_)), "a list"),
        ("boolean", value) => (matches!(value, Value::Bool(_)), "true or false"),
        ("integer", Value::Int(n)) if schema.format.as_deref() == Some("int32") => (i32::try_from(*n).is_ok(), "a whole number of 32 bits"),
        ("integer", value) => (matches!(value, Value::Int(n) if i64::try_from(*n).is_ok()), "a whole number"),
        ("number", value) => (matches!(value, Value::Int(_) | Value::Float(_)), "a number"),
        ("string", value) => (matches!(value, Value::Text(_)), "a text; put it in quotes"),
        _ => return None,
    };
    if !fits {
        return Some(wanted.to_owned());
    }
    let words = schema.enum_.as_ref()?;
    let words: Vec<&str> = words.iter().filter_map(|w| w.0.as_str()).collect();
    let listed = node.text().is_none_or(|text| words.contains(&text));
    (!listed).then(|| format!("one of {}", words.join(", ")))
}
