//! What the manual levers write: annotations of ours, with the version that was read as the precondition, and StorageEvents.

use std::collections::BTreeMap;
use std::fmt::Debug;

use csm_api::StorageEvent;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::args::DryRun;
use crate::connect::{self, Connection};
use crate::error::Error;
use crate::levers::Change;

/// Who writes, in `managedFields`.
const FIELD_MANAGER: &str = "kubectl-cnpg-storage";
/// Others (CloudNativePG, the manager) write to a Cluster now and then, and not so often in a row.
const TRIES: usize = 5;

/// Where something is written, for messages.
#[derive(Clone, Debug)]
pub struct Place {
    /// The kind, as roles call it.
    pub what: &'static str,
    /// "namespace shop", or "all namespaces".
    pub scope: String,
}

/// Why a call failed.
enum Failure {
    /// There is no such object.
    Missing,
    /// Another wrote before.
    Conflict,
    /// Anything else.
    Error(Error),
}

/// Reads the annotations of an object, and changes them as `change` says; none where there is no such object.
///
/// # Errors
/// Where it may not be read or changed, or changes all the time.
pub async fn annotate<K>(
    connection: &Connection,
    api: Api<K>,
    place: &Place,
    name: &str,
    dry_run: DryRun,
    change: impl Fn(&BTreeMap<String, String>) -> Change,
) -> Result<Option<Change>, Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    for _ in 0..TRIES {
        let object = match call(connection, "get", place, api.get_metadata(name)).await {
            Ok(object) => object,
            Err(Failure::Missing) => return Ok(None),
            Err(Failure::Conflict) => continue,
            Err(Failure::Error(error)) => return Err(error),
        };
        let change = change(object.annotations());
        if change.writes.is_empty() || dry_run == DryRun::Client {
            return Ok(Some(change));
        }
        let body = json!({"metadata": {
            "uid": object.metadata.uid,
            "resourceVersion": object.metadata.resource_version,
            "annotations": change.writes,
        }});
        let parameters = PatchParams {
            dry_run: dry_run == DryRun::Server,
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&body);
        let patched: Result<PartialObjectMeta<K>, _> =
            call(connection, "patch", place, api.patch_metadata(name, &parameters, &patch)).await;
        match patched {
            Ok(_) => return Ok(Some(change)),
            Err(Failure::Missing) => return Ok(None),
            Err(Failure::Conflict) => {}
            Err(Failure::Error(error)) => return Err(error),
        }
    }
    Err(Error::Contended {
        what: place.what,
        name: name.to_owned(),
    })
}

/// Creates a StorageEvent; what the API server made of it.
///
/// # Errors
/// Where it may not be created, or is refused.
pub async fn record(connection: &Connection, event: &StorageEvent, dry_run: DryRun) -> Result<StorageEvent, Error> {
    let place = Place {
        what: "storageevents.cnpg.supporttools.io",
        scope: format!("namespace {}", connection.namespace),
    };
    let parameters = PostParams {
        dry_run: dry_run == DryRun::Server,
        field_manager: Some(FIELD_MANAGER.to_owned()),
    };
    let api: Api<StorageEvent> = Api::namespaced(connection.client.clone(), &connection.namespace);
    call(connection, "create", &place, api.create(&parameters, event))
        .await
        .map_err(|failure| match failure {
            Failure::Missing => Error::NotInstalled(place.what),
            Failure::Conflict => Error::Contended {
                what: place.what,
                name: event.name_any(),
            },
            Failure::Error(error) => error,
        })
}

async fn call<T>(
    connection: &Connection,
    verb: &'static str,
    place: &Place,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Failure> {
    connection.answer(place.what, call).await.map_err(|failure| match failure {
        connect::Failure::Refused(status) => match status.code {
            404 => Failure::Missing,
            409 => Failure::Conflict,
            403 if is_permission(&status.message) => Failure::Error(Error::MayNot {
                verb,
                what: place.what,
                scope: place.scope.clone(),
                said: status.message.clone(),
            }),
            _ => Failure::Error(Error::NotWritten {
                verb,
                what: place.what,
                said: status.message.clone(),
            }),
        },
        connect::Failure::Error(error) => Failure::Error(error),
    })
}

/// Whether a 403 is a lack of a role: admission (webhooks, policies, quota) refuses with 403 as well, in other words.
fn is_permission(message: &str) -> bool {
    message.contains(" cannot ")
}
