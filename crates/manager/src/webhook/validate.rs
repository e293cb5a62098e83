//! Policy objects: what `lint` and the manager say of them, before they are written.

use csm_api::{ClusterStoragePolicy, PostgresStorage, StoragePolicy};
use csm_core::validate::Problem;
use csm_gather::index::{Candidate, Index, Verdict};
use csm_gather::watched::{Watch, Watched};
use csm_gather::world::VolumeSettings;
use kube::Resource;
use serde_json::Value;
use serde_json::value::RawValue;

use super::review::{Answer, Request};

/// What is answered on a policy object. Without an `index` (its lists are not complete yet) only what the object says by
/// itself counts.
pub fn answer(request: &Request, index: Option<&Index>, settings: &VolumeSettings) -> Answer {
    let Some(object) = object(request) else { return Answer::default() };
    let before = request.old_object.as_deref().filter(|_| request.operation == "UPDATE");
    // Whoever takes off a finalizer or changes a label is not held up by what the settings were before.
    if is_going(object) || before.is_some_and(|before| spec(before) == spec(object)) {
        return Answer::default();
    }
    let candidate = match read(request, object) {
        Ok(candidate) => candidate,
        Err(why) => {
            return Answer {
                refused: Some(why),
                ..Answer::default()
            };
        }
    };
    let before = before.and_then(|before| read(request, before).ok());
    let Verdict { problems, warnings } = match index {
        Some(index) => index.judge(&candidate, before.as_ref(), settings),
        None => candidate.alone(),
    };
    Answer {
        refused: (!problems.is_empty()).then(|| texts(&problems).join("; ")),
        warnings: texts(&warnings),
        replace: None,
    }
}

/// The object that is about to be written, where one is, and of a kind that has settings.
fn object(request: &Request) -> Option<&RawValue> {
    let is_written = matches!(request.operation.as_str(), "CREATE" | "UPDATE");
    request.object.as_deref().filter(|object| is_written && object.get() != "null")
}

fn texts(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn spec(object: &RawValue) -> Option<Value> {
    serde_json::from_str::<Value>(object.get()).ok()?.get_mut("spec").map(Value::take)
}

fn is_going(object: &RawValue) -> bool {
    let object: Option<Value> = serde_json::from_str(object.get()).ok();
    object.is_some_and(|object| object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null()))
}

/// The object, or what cannot be read of it.
fn read(request: &Request, object: &RawValue) -> Result<Candidate, String> {
    let candidate = match request.kind.kind.as_str() {
        "StoragePolicy" => Candidate::StoragePolicy(Box::new(typed::<StoragePolicy>(request, object)?)),
        "ClusterStoragePolicy" => Candidate::ClusterStoragePolicy(Box::new(typed::<ClusterStoragePolicy>(request, object)?)),
        "PostgresStorage" => Candidate::PostgresStorage(Box::new(typed::<PostgresStorage>(request, object)?)),
        kind => return Err(format!("a {kind} is none of the kinds that are validated here")),
    };
    Ok(candidate)
}

fn typed<K: Watch + Resource>(request: &Request, object: &RawValue) -> Result<K, String> {
    match Watched::<K>::read(object.get()) {
        Watched::Readable(mut object) => {
            let meta = object.meta_mut();
            // What was just asked for by `generateName` has its name in the question alone.
            if meta.name.is_none() {
                meta.name = Some(request.name.clone());
            }
            if meta.namespace.is_none() && !request.namespace.is_empty() {
                meta.namespace = Some(request.namespace.clone());
            }
            Ok(object)
        }
        Watched::Unreadable(object) => Err(object.why.join("; ")),
    }
}
