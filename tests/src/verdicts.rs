//! What `kubectl cnpg-storage lint` and the manager say of an object of ours.

use anyhow::Context as _;
use csm_api::{ClusterStoragePolicy, PostgresStorage, StoragePolicy};
use csm_core::resolve::Policy;
use csm_core::validate;
use csm_gather::offline::{self, File, Severity};
use csm_gather::watched::{Watch, Watched};
use jiff::Timestamp;
use serde_json::{Value, json};

/// An object of one of our kinds.
#[must_use]
pub fn object(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    let mut metadata = json!({"name": name});
    if kind != "ClusterStoragePolicy" {
        metadata["namespace"] = json!(namespace);
    }
    json!({"apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// The errors that `lint` finds in the object as YAML, in order.
pub fn lint(object: &Value) -> anyhow::Result<Vec<String>> {
    let file = File {
        name: "object.yaml".to_owned(),
        text: serde_saphyr::to_string(object)?.into_bytes(),
        from_folder: false,
    };
    let errors = offline::lint(&[file], Timestamp::UNIX_EPOCH).findings.into_iter();
    let mut errors: Vec<String> = errors.filter(|f| f.severity == Severity::Error).map(|f| f.message).collect();
    errors.sort();
    Ok(errors)
}

/// What the manager finds wrong in the object as its watch reads it, in order.
pub fn manager(object: &Value) -> anyhow::Result<Vec<String>> {
    let problems = |problems: Vec<validate::Problem>| problems.iter().map(ToString::to_string).collect();
    let mut wrong: Vec<String> = match object["kind"].as_str().context("an object has a kind")? {
        "StoragePolicy" => read::<StoragePolicy>(object, |policy| problems(Policy::from_storage_policy(policy).problems)),
        "ClusterStoragePolicy" => {
            read::<ClusterStoragePolicy>(object, |policy| problems(Policy::from_cluster_storage_policy(policy).problems))
        }
        _ => read::<PostgresStorage>(object, |storage| problems(validate::validate(&storage.spec.settings))),
    };
    wrong.sort();
    Ok(wrong)
}

fn read<K: Watch>(object: &Value, problems: impl Fn(&K) -> Vec<String>) -> Vec<String> {
    match Watched::read(&object.to_string()) {
        Watched::Readable(object) => problems(&object),
        Watched::Unreadable(object) => object.why,
    }
}
