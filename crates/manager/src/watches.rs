//! Everything that is watched, into the index.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use csm_api::{ClusterStoragePolicy, PostgresStorage, StorageEvent, StoragePolicy};
use csm_runtime::readiness::Readiness;
use csm_runtime::tasks::Tasks;
use csm_runtime::watch::{self, Change, Keys};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, ResourceQuota};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use crate::shared::{Key, Shared};
use csm_gather::index::{Index, Kind, ObjectName, Wake};
use csm_gather::quota::QuotaView;
use csm_gather::views::{ClassView, ClusterView, NamespaceObject, NodeObject, NodeView, PodObject, PodView, cluster_key, namespace_labels};
use csm_gather::watched::{Unreadable, Watch, Watched};

/// Changes of many objects within this time are told to their policies once.
pub const POLICIES_AFTER: std::time::Duration = std::time::Duration::from_secs(1);
/// Pods that run PostgreSQL, and PVCs of instances.
const OF_CLUSTERS: &str = csm_cnpg::label::CLUSTER;

/// Starts all watches, among `tasks`. Readiness waits for the first complete list of each.
pub fn start(shared: &Arc<Shared>, client: &Client, readiness: &Readiness, stop: &CancellationToken, tasks: &mut Tasks) {
    let mut watches = Watches {
        shared,
        client,
        readiness,
        stop,
        tasks,
    };

    watches.namespaced::<csm_cnpg::Cluster>(
        Kind::Cluster,
        "clusters.postgresql.cnpg.io",
        None,
        |index, namespace, name, cluster| index.put_cluster(&cluster_key(namespace, name), cluster.as_ref().map(ClusterView::of)),
    );
    watches.namespaced::<PersistentVolumeClaim>(
        Kind::Pvc,
        "persistentvolumeclaims",
        Some(OF_CLUSTERS),
        |index, namespace, name, pvc| match pvc {
            Some(pvc) => index.put_pvc(&pvc, Timestamp::now()),
            None => index.remove_pvc(namespace, name),
        },
    );
    watches.namespaced::<PodObject>(Kind::Pod, "pods", Some(OF_CLUSTERS), |index, namespace, name, pod| match pod {
        Some(pod) => PodView::of(&pod).map_or_else(Wake::new, |view| index.put_pod(namespace, name, view)),
        None => index.remove_pod(namespace, name),
    });
    watches.namespaced::<StorageEvent>(
        Kind::StorageEvent,
        "storageevents.cnpg.supporttools.io",
        None,
        |index, namespace, name, event| match event {
            Some(event) => index.put_event(event),
            None => index.remove_event(namespace, name),
        },
    );
    watches.namespaced::<PostgresStorage>(
        Kind::PostgresStorage,
        "postgresstorages.cnpg.supporttools.io",
        None,
        |index, namespace, name, storage| match storage {
            Some(storage) => index.put_storage(storage),
            None => index.remove_storage(namespace, name),
        },
    );
    watches.namespaced::<StoragePolicy>(
        Kind::StoragePolicy,
        "storagepolicies.cnpg.supporttools.io",
        None,
        |index, namespace, name, policy| match policy {
            Some(policy) => index.put_policy(&policy),
            None => index.remove_policy(namespace, name),
        },
    );
    watches.namespaced::<ResourceQuota>(Kind::Quota, "resourcequotas", None, |index, namespace, name, quota| {
        index.put_quota(namespace, name, quota.as_ref().map(QuotaView::of))
    });
    watches.cluster_wide::<ClusterStoragePolicy>(
        Kind::ClusterStoragePolicy,
        "clusterstoragepolicies.cnpg.supporttools.io",
        |index, _, name, policy| match policy {
            Some(policy) => index.put_cluster_policy(&policy),
            None => index.remove_policy("", name),
        },
    );
    watches.cluster_wide::<NamespaceObject>(Kind::Namespace, "namespaces", |index, _, name, namespace| {
        index.put_namespace(name, namespace.as_ref().map(namespace_labels))
    });
    watches.cluster_wide::<StorageClass>(Kind::StorageClass, "storageclasses.storage.k8s.io", |index, _, name, class| {
        index.put_class(name, class.as_ref().map(ClassView::of))
    });
    watches.cluster_wide::<NodeObject>(Kind::Node, "nodes", |index, _, name, node| {
        index.put_node(name, node.as_ref().map(NodeView::of));
        Wake::new()
    });
}

struct Watches<'a> {
    shared: &'a Arc<Shared>,
    client: &'a Client,
    readiness: &'a Readiness,
    stop: &'a CancellationToken,
    tasks: &'a mut Tasks,
}

/// What a watch does with a change: namespace, name, and the object unless it is gone.
type Put<K> = fn(&mut Index, &str, &str, Option<K>) -> Wake;

impl Watches<'_> {
    fn namespaced<K>(&mut self, kind: Kind, name: &str, labels: Option<&'static str>, put: Put<K>)
    where
        K: Watch<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Send + 'static,
    {
        if self.shared.settings.watch_namespaces.is_empty() {
            self.spawn(kind, name.to_owned(), Api::all(self.client.clone()), labels, put);
            return;
        }
        // The breaker of all Clusters is recorded in the manager's own namespace.
        let watched = &self.shared.settings.watch_namespaces;
        let own = &*self.shared.settings.fleet.namespace;
        let own = Some(own).filter(|own| kind == Kind::StorageEvent && !own.is_empty() && !watched.iter().any(|w| w == own));
        for namespace in watched.iter().map(String::as_str).chain(own) {
            self.spawn(
                kind,
                format!("{name} in {namespace}"),
                Api::namespaced(self.client.clone(), namespace),
                labels,
                put,
            );
        }
    }

    fn cluster_wide<K>(&mut self, kind: Kind, name: &str, put: Put<K>)
    where
        K: Watch<Scope = ClusterResourceScope, DynamicType = ()> + Clone + Debug + Send + 'static,
    {
        self.spawn(kind, name.to_owned(), Api::all(self.client.clone()), None, put);
    }

    fn spawn<K>(&mut self, kind: Kind, name: String, api: Api<Watched<K>>, labels: Option<&'static str>, put: Put<K>)
    where
        K: Watch + Clone + Debug + Send + 'static,
    {
        let (shared, readiness, stop) = (self.shared.clone(), self.readiness.clone(), self.stop.clone());
        // Known to readiness before the task runs, so that nothing is ready too soon.
        readiness.wait_for(&name, "first list not complete");
        self.tasks.spawn(format!("watch of {name}"), async move {
            let of = |object: &Watched<K>| -> ObjectName { (object.namespace().unwrap_or_default().into(), object.name_any().into()) };
            let known = || shared.index().names(kind);
            let keys = Keys { of, known };
            let mut unreadable = HashMap::new();
            let mut counted = 0;
            let sink = |change: Change<ObjectName, Watched<K>>| {
                let (wake, matches_changed) = {
                    let mut index = shared.index();
                    let wake = match change {
                        Change::Put(Watched::Readable(object)) => {
                            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
                            unreadable.remove(&(namespace.as_str().into(), name.as_str().into()));
                            put(&mut index, &namespace, &name, Some(object))
                        }
                        Change::Put(Watched::Unreadable(object)) => {
                            tell::<K>(&shared, kind, &mut unreadable, &object);
                            index.put_unreadable(kind, &object)
                        }
                        Change::Gone(key) => {
                            unreadable.remove(&key);
                            put(&mut index, &key.0, &key.1, None)
                        }
                    };
                    (wake, index.take_matches_changed())
                };
                if unreadable.len() != counted {
                    counted = unreadable.len();
                    shared.metrics.unreadable(&name, counted);
                }
                if kind == Kind::ClusterStoragePolicy {
                    shared.queue.add(Key::Fleet);
                }
                if matches_changed {
                    shared.queue.add_after(Key::Policies, POLICIES_AFTER);
                }
                shared.wake(wake);
            };
            watch::run(&name, api, labels, readiness, stop, keys, sink).await;
        });
    }
}

/// Says once what cannot be read of an object, and once more when that is something else. A Cluster is not managed then, so
/// that it is counted as well.
fn tell<K: Watch>(shared: &Shared, kind: Kind, told: &mut HashMap<ObjectName, Vec<String>>, object: &Unreadable) {
    let Unreadable { metadata, why, .. } = object;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    if told.insert((namespace.into(), name.into()), why.clone()).as_ref() == Some(why) {
        return;
    }
    tracing::error!(kind = %K::kind(&()), namespace, name, why = why.join("; "), "an object cannot be read; what it may be about is held, all others go on");
    if kind == Kind::Cluster {
        shared.metrics.error(&cluster_key(namespace, name), "unreadable");
    }
}
