//! What the behaviour tests share: the manager as a real process, with the permissions that it ships with, in a simulated
//! world of its own namespace.

pub mod admissions;
pub mod breakers;
pub mod cli;
pub mod contract;
pub mod instance;
pub mod journal;
pub mod kubectl;
pub mod manager;
pub mod person;
pub mod proxy;
pub mod refusals;
pub mod verdicts;
pub mod wait;
pub mod webhook;
pub mod writers;

use std::path::PathBuf;

use anyhow::Context as _;
use csm_api::{ClusterStoragePolicy, EventType, Growth, NoGrowth, PostgresStorage, StorageEvent, StoragePolicy};
use csm_testkit::scenario::{ClusterBuilder, Sim, SimCluster, SimOptions};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

pub use manager::Manager;
pub use wait::until;

/// The repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A namespace of the shared simulated world, for one test.
pub struct Stage {
    /// The world.
    pub sim: Sim,
    /// The test's namespace.
    pub namespace: String,
}

/// Our kinds are served.
static KINDS: OnceCell<()> = OnceCell::const_new();

impl Stage {
    /// A new namespace; `prefix` is the test's name in short.
    pub async fn new(prefix: &str) -> anyhow::Result<Self> {
        let sim = Sim::shared().await?;
        KINDS.get_or_try_init(|| serve_our_kinds(&sim)).await?;
        let namespace = sim.namespace(prefix).await?;
        Ok(Self { sim, namespace })
    }

    /// A world of its own, for a test whose nodes nobody else may land on.
    pub async fn alone(prefix: &str) -> anyhow::Result<Self> {
        let options = SimOptions {
            nodes: 0,
            ..SimOptions::default()
        };
        let sim = Sim::with(options).await?;
        serve_our_kinds(&sim).await?;
        let namespace = sim.namespace(prefix).await?;
        Ok(Self { sim, namespace })
    }

    /// A world of its own whose API server takes whatever a policy says.
    pub async fn unchecked(prefix: &str) -> anyhow::Result<Self> {
        let stage = Self::alone(prefix).await?;
        stage
            .sim
            .plane()
            .apply_crds(csm_api::all_crds().into_iter().filter_map(unchecked))
            .await?;
        Ok(stage)
    }

    /// How most tests begin: a new namespace where policy `default` manages the Cluster `orders`. No manager runs yet.
    pub async fn with_orders(
        prefix: &str,
        built: impl FnOnce(ClusterBuilder) -> ClusterBuilder,
        policy: Value,
    ) -> anyhow::Result<(Self, SimCluster)> {
        let stage = Self::new(prefix).await?;
        let orders = stage.orders(built).await?;
        stage.policy("default", policy).await?;
        Ok((stage, orders))
    }

    /// Creates the Cluster `orders`.
    pub async fn orders(&self, built: impl FnOnce(ClusterBuilder) -> ClusterBuilder) -> anyhow::Result<SimCluster> {
        built(self.sim.cluster(&self.namespace, "orders")).create().await
    }

    /// The manager, watching this namespace only.
    pub async fn manager(&self) -> anyhow::Result<Manager> {
        Manager::start(&self.sim, &[&self.namespace], &[]).await
    }

    /// Objects of our kinds, and others, in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.sim.client(), &self.namespace)
    }

    /// Objects of the kind of ours with this name, as they stand: in this namespace, where the kind has one.
    pub fn dynamic(&self, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("cnpg.supporttools.io", "v1alpha1", kind));
        match kind {
            "ClusterStoragePolicy" => Api::all_with(self.sim.client(), &resource),
            _ => Api::namespaced_with(self.sim.client(), &self.namespace, &resource),
        }
    }

    /// Creates or changes a StoragePolicy.
    pub async fn policy(&self, name: &str, spec: Value) -> anyhow::Result<StoragePolicy> {
        let policy =
            json!({"apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "StoragePolicy", "metadata": {"name": name}, "spec": spec});
        let parameters = PatchParams::apply("test").force();
        self.api()
            .patch(name, &parameters, &Patch::Apply(&policy))
            .await
            .with_context(|| format!("apply the policy {name}"))
    }

    /// What the API server says against an object of ours with this spec; nothing where it would take it.
    pub async fn refusal(&self, kind: &str, spec: &Value) -> anyhow::Result<Option<String>> {
        let object = verdicts::object(kind, &self.namespace, "tried", spec);
        let parameters = PatchParams {
            dry_run: true,
            ..PatchParams::apply("test").force()
        };
        match self.dynamic(kind).patch("tried", &parameters, &Patch::Apply(&object)).await {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) => Ok(Some(status.message.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// Has the API server refuse operations on a resource in this namespace, as somebody's webhook might: those for which
    /// `unless` (CEL) does not hold. It is in force a moment later; [`Stage::allow`] ends it.
    pub async fn forbid(&self, resource: &str, operations: &[&str], unless: &str) -> anyhow::Result<()> {
        let group = match resource {
            "clusters" => "postgresql.cnpg.io",
            "persistentvolumeclaims" => "",
            _ => "cnpg.supporttools.io",
        };
        let rule = json!({"apiGroups": [group], "apiVersions": ["*"], "operations": operations, "resources": [resource]});
        let here = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}}});
        let kind = |kind: &str, spec: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": self.namespace}, "spec": spec});
        for object in [
            kind(
                "ValidatingAdmissionPolicy",
                json!({
                    "matchConstraints": {"resourceRules": [rule]},
                    "validations": [{"expression": unless, "message": "not here", "reason": "Forbidden"}],
                }),
            ),
            kind(
                "ValidatingAdmissionPolicyBinding",
                json!({"policyName": self.namespace, "validationActions": ["Deny"], "matchResources": here}),
            ),
        ] {
            self.sim.plane().apply_yaml(&object.to_string()).await?;
        }
        Ok(())
    }

    /// Ends what [`Stage::forbid`] began.
    pub async fn allow(&self) -> anyhow::Result<()> {
        let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(self.sim.client());
        bindings.delete(&self.namespace, &DeleteParams::default()).await?;
        Ok(())
    }

    /// The growths of a cluster, by name.
    ///
    /// # Errors
    /// Where the record of one cannot be read as a growth: it would go unseen.
    pub async fn events(&self, cluster: &str) -> anyhow::Result<Vec<Growth>> {
        let of_cluster = ListParams::default().labels(&format!("cnpg.supporttools.io/cluster={cluster}"));
        let events = self.api::<StorageEvent>().list(&of_cluster).await?.items;
        let mut events = events.into_iter().filter_map(growth).collect::<anyhow::Result<Vec<_>>>()?;
        events.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        Ok(events)
    }

    /// The PostgresStorage of a cluster, where there is one.
    pub async fn storage(&self, cluster: &str) -> anyhow::Result<Option<PostgresStorage>> {
        Ok(self.api::<PostgresStorage>().get_opt(cluster).await?)
    }

    /// Waits until the status of a cluster's data volume satisfies `done`.
    pub async fn data_status(
        &self,
        cluster: &str,
        what: &str,
        done: impl Fn(&csm_api::VolumeSizing) -> bool,
    ) -> anyhow::Result<csm_api::VolumeSizing> {
        until(what, || async {
            let storage = self.storage(cluster).await?;
            let data = storage.and_then(|s| s.status).and_then(|s| s.storage_sizing).and_then(|s| s.data);
            Ok(data.filter(|data| done(data)))
        })
        .await
    }

    /// Waits until a StorageEvent of the cluster satisfies `done`.
    pub async fn event(&self, cluster: &str, what: &str, done: impl Fn(&Growth) -> bool) -> anyhow::Result<Growth> {
        until(what, || async {
            Ok(self.events(cluster).await?.into_iter().find(|event| done(event)))
        })
        .await
    }

    /// Waits until a cluster has a Kubernetes Event with each of these reasons, and fails where one came twice. Events are
    /// recorded after the status that they tell of.
    pub async fn told_once(&self, cluster: &str, reasons: &[&str]) -> anyhow::Result<()> {
        let what = format!("there are Events {}", reasons.join(", "));
        let told = until(&what, || async {
            let notes = self.notes(cluster).await?;
            let there = |reason: &&str| notes.iter().any(|(told, _)| told == reason);
            Ok(reasons.iter().all(there).then_some(notes))
        })
        .await?;
        for reason in reasons {
            let times = told.iter().filter(|(told, _)| told == reason).count();
            anyhow::ensure!(times == 1, "{reason} was told {times} times: {told:?}");
        }
        Ok(())
    }

    /// Reasons and texts of the Kubernetes Events on a cluster.
    pub async fn notes(&self, cluster: &str) -> anyhow::Result<Vec<(String, String)>> {
        use k8s_openapi::api::events::v1::Event;
        let events = self.api::<Event>().list(&ListParams::default()).await?.items;
        let about = |e: &Event| e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(cluster);
        Ok(events
            .iter()
            .filter(|e| about(e))
            .map(|e| (e.reason.clone().unwrap_or_default(), e.note.clone().unwrap_or_default()))
            .collect())
    }
}

/// Our kinds, as `deploy/crds` has them; waits until the API server serves each.
async fn serve_our_kinds(sim: &Sim) -> anyhow::Result<()> {
    for crd in csm_api::all_crds() {
        let file = root().join("deploy/crds").join(format!("{}.yaml", crd.name_any()));
        sim.plane()
            .apply_yaml(&std::fs::read_to_string(&file).with_context(|| file.display().to_string())?)
            .await?;
    }
    let client = sim.client();
    until("our kinds are served", || async {
        // A definition is established a moment before it is served.
        let all = ListParams::default().limit(1);
        let served = Api::<ClusterStoragePolicy>::all(client.clone()).list(&all).await.is_ok()
            && Api::<StoragePolicy>::all(client.clone()).list(&all).await.is_ok()
            && Api::<PostgresStorage>::all(client.clone()).list(&all).await.is_ok()
            && Api::<StorageEvent>::all(client.clone()).list(&all).await.is_ok();
        Ok(served.then_some(()))
    })
    .await
}

/// A kind that people write, without the schema of its spec.
fn unchecked(mut definition: CustomResourceDefinition) -> Option<CustomResourceDefinition> {
    if definition.spec.names.kind == "StorageEvent" {
        return None;
    }
    for version in &mut definition.spec.versions {
        let schema = version.schema.as_mut()?.open_api_v3_schema.as_mut()?;
        schema.properties.as_mut()?.insert(
            "spec".to_owned(),
            JSONSchemaProps {
                x_kubernetes_preserve_unknown_fields: Some(true),
                ..JSONSchemaProps::default()
            },
        );
    }
    Some(definition)
}

/// The settings of a policy that lets volumes grow at the usual thresholds, to this size at most.
pub fn up_to(size: &str) -> Value {
    json!({"expansion": {"maxSize": size}})
}

/// How many operations of a volume count in its last 24 hours, by its status: where it says nothing of a budget, none.
pub fn counted_operations(volume: &csm_api::VolumeSizing) -> i32 {
    volume.budget.as_ref().map_or(0, |budget| budget.actions_last_24h)
}

/// The growth that a record is of; none where it is of another type.
fn growth(event: StorageEvent) -> Option<anyhow::Result<Growth>> {
    match event.spec.event_type {
        EventType::Expansion | EventType::Rescue => {
            let unread = |NoGrowth(event)| anyhow::anyhow!("a growth that lacks its Cluster, its volume or its sizes: {event:?}");
            Some(Growth::try_from(event).map_err(unread))
        }
        EventType::WalCleanup | EventType::Alert | EventType::CircuitBreaker => None,
    }
}

/// The phase of a StorageEvent.
pub fn phase(event: &Growth) -> Option<csm_api::Phase> {
    event.status.as_ref().and_then(|s| s.phase)
}
