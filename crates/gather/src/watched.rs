//! Objects as watches get them. One that cannot be read costs only itself: a list of all others is read all the same.

use std::borrow::Cow;

use csm_api::{ClusterStoragePolicy, PostgresStorage, StorageEvent, StoragePolicy};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, ResourceQuota};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::offline::{self, Spec, read_one};
use crate::views::{NamespaceObject, NodeObject, PodObject};

/// A kind of object that is watched.
pub trait Watch: Resource<DynamicType = ()> + DeserializeOwned {
    /// The schema of its spec, where a person writes settings there and its status is ours: such an object is held against
    /// the schema once more, and a status that cannot be read is none.
    #[must_use]
    fn settings() -> Option<&'static Spec> {
        None
    }
}

impl Watch for csm_cnpg::Cluster {}
impl Watch for PersistentVolumeClaim {}
impl Watch for PodObject {}
impl Watch for StorageEvent {}
impl Watch for NamespaceObject {}
impl Watch for StorageClass {}
impl Watch for ResourceQuota {}
impl Watch for NodeObject {}
impl Watch for StoragePolicy {
    fn settings() -> Option<&'static Spec> {
        Some(&offline::STORAGE_POLICY)
    }
}
impl Watch for ClusterStoragePolicy {
    fn settings() -> Option<&'static Spec> {
        Some(&offline::CLUSTER_STORAGE_POLICY)
    }
}
impl Watch for PostgresStorage {
    fn settings() -> Option<&'static Spec> {
        Some(&offline::POSTGRES_STORAGE)
    }
}

/// An object, whether it can be read or not.
#[derive(Clone, Debug)]
pub enum Watched<K> {
    /// It can.
    Readable(K),
    /// It cannot.
    Unreadable(Box<Unreadable>),
}

/// An object that cannot be read as what its kind says that it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreadable {
    /// Which object.
    pub metadata: ObjectMeta,
    /// What cannot be read, each with its field; at least one.
    pub why: Vec<String>,
    /// All of it.
    pub object: Value,
}

impl<K: Watch> Watched<K> {
    /// Reads an object from its JSON.
    #[must_use]
    pub fn read(json: &str) -> Self {
        match serde_json::from_str(json) {
            Ok(object) if K::settings().is_none_or(|spec| fits(json, spec)) => Self::Readable(object),
            _ => Self::slowly(json),
        }
    }

    /// The same of an object that is null where it should be missing, or is wrong: then with words for people.
    fn slowly(json: &str) -> Self {
        let mut object: Value = match serde_json::from_str(json) {
            Ok(object) => object,
            Err(error) => return Self::unreadable(Value::Null, vec![error.to_string()]),
        };
        let spec = K::settings();
        if let Ok(read) = read_one(&object, spec) {
            return Self::Readable(read);
        }
        let status = match (&mut object, spec) {
            (Value::Object(object), Some(_)) => object.remove("status"),
            _ => None,
        };
        match read_one(&object, spec) {
            Ok(read) => Self::Readable(read),
            Err(why) => {
                if let (Value::Object(object), Some(status)) = (&mut object, status) {
                    object.insert("status".to_owned(), status);
                }
                Self::unreadable(object, why)
            }
        }
    }

    fn unreadable(object: Value, why: Vec<String>) -> Self {
        let metadata = metadata(object.get("metadata").unwrap_or(&Value::Null));
        Self::Unreadable(Box::new(Unreadable { metadata, why, object }))
    }
}

/// Whether a spec has the types of its schema: serde takes a list for a struct, the API server and `lint` do not.
fn fits(json: &str, spec: &Spec) -> bool {
    #[derive(serde::Deserialize)]
    struct OnlySpec {
        #[serde(default)]
        spec: Value,
    }
    #[derive(serde::Deserialize)]
    struct Anything {}
    let Ok(OnlySpec { spec: said }) = serde_json::from_str(json) else {
        return false;
    };
    let empty = said.as_object().is_some_and(serde_json::Map::is_empty);
    empty || read_one::<Anything>(&serde_json::json!({"spec": said}), Some(spec)).is_ok()
}

/// What can be read of an object's metadata.
fn metadata(value: &Value) -> ObjectMeta {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut metadata = ObjectMeta::deserialize(value).unwrap_or_else(|_| ObjectMeta {
        name: text("name"),
        namespace: text("namespace"),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
        generation: value.get("generation").and_then(Value::as_i64),
        ..ObjectMeta::default()
    });
    metadata.managed_fields = None;
    metadata
}

impl<'de, K: Watch> Deserialize<'de> for Watched<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Its text first: what is read of a stream cannot be read again.
        let json = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self::read(json.get()))
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Watched<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Readable(object) => object.meta(),
            Self::Unreadable(object) => &object.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Readable(object) => object.meta_mut(),
            Self::Unreadable(object) => &mut object.metadata,
        }
    }
}
