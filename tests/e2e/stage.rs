//! What a test has: the lab, the manager, and a namespace of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_api::{EventType, Growth, PostgresStorage, StorageEvent, Verdict, VolumeSizing};
use csm_testkit::lab::Lab;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::cluster::{Builder, Cluster};
use crate::filling::Breach;
use crate::manager::Manager;
use crate::metrics::Metrics;
use crate::timeline::Timeline;
use crate::volume::Volume;
use csm_testkit::manifest;
use csm_testkit::wait::within;
use csm_tests::cli::Cli;
use csm_tests::journal::Journal;
use csm_tests::kubectl::{self, Apply};
use csm_tests::person;

/// The label of all that these tests make; what an earlier run left is found by it.
pub const MARK: &str = "csm-e2e";
/// The kubelet renews its figures every 5 to 7 s here, the manager reads them every 5 s; with room for a busy machine.
pub const SOON: Duration = Duration::from_mins(1);
/// A growth of two members, one after the other.
pub const GROWTH: Duration = Duration::from_secs(150);

/// A test's surroundings.
pub struct Stage {
    pub lab: Lab,
    pub client: Client,
    pub manager: Arc<Manager>,
    pub namespace: String,
    /// When the test began.
    pub began: Timestamp,
    /// The end of the audit log then.
    pub mark: u64,
    /// What the PVCs of the namespace went through.
    pub journal: Journal,
    /// Files of the test.
    folder: tempfile::TempDir,
    timelines: Mutex<Vec<Timeline>>,
    excused: Mutex<Vec<&'static str>>,
    expected: AtomicUsize,
}

impl Stage {
    /// A new namespace, whose name begins with `id`.
    pub async fn new(lab: &Lab, client: &Client, manager: &Arc<Manager>, id: &str) -> Result<Arc<Self>> {
        let began = Timestamp::now();
        // Names and labels take no "+".
        let id = id.replace('+', "-");
        let namespace = format!("e2e-{}-{:05x}", id.to_lowercase(), began.as_millisecond() & 0xf_ffff);
        let object: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace, "labels": {MARK: id}}}))?;
        Api::all(client.clone()).create(&PostParams::default(), &object).await?;
        Ok(Arc::new(Self {
            lab: lab.clone(),
            client: client.clone(),
            manager: manager.clone(),
            began,
            mark: lab.audit_log().mark()?,
            journal: Journal::start(client, &namespace),
            namespace,
            folder: tempfile::tempdir()?,
            timelines: Mutex::default(),
            excused: Mutex::default(),
            expected: AtomicUsize::new(0),
        }))
    }

    /// Objects of the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Describes a cluster of CloudNativePG.
    pub fn cluster(self: &Arc<Self>, name: &str) -> Builder {
        Builder::new(self.clone(), name)
    }

    /// Creates an object of ours, or takes what differs over.
    pub async fn apply<K>(&self, api: Api<K>, kind: &str, name: &str, spec: Value) -> Result<K>
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let object = json!({
            "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": kind,
            "metadata": {"name": name, "labels": {MARK: "true"}}, "spec": spec,
        });
        let parameters = PatchParams::apply("e2e").force();
        let applied = api.patch(name, &parameters, &Patch::Apply(&object)).await;
        applied.with_context(|| format!("apply the {kind} {name}"))
    }

    /// Creates or changes a StoragePolicy of the namespace.
    pub async fn policy(&self, name: &str, spec: Value) -> Result<()> {
        self.apply(self.api::<csm_api::StoragePolicy>(), "StoragePolicy", name, spec)
            .await
            .map(|_| ())
    }

    /// `kubectl apply` of an object: whether it was taken, and all that kubectl says.
    pub async fn kubectl(&self, object: &Value, how: Apply) -> Result<(bool, String)> {
        let (program, (_, kubeconfig)) = self.lab.kubectl_program();
        kubectl::apply(program, &kubeconfig, object, how).await
    }

    /// The plugin, as a person who may edit the namespace and nothing else.
    pub async fn editor(&self) -> Result<Cli> {
        let rbac = manifest::documents(&person::editor_rbac(&self.namespace))?;
        manifest::apply(&self.client, rbac, &self.namespace).await?;
        let mut kubeconfig: Value = serde_saphyr::from_str(&std::fs::read_to_string(self.lab.kubeconfig())?)?;
        let user = kubeconfig["users"][0]["user"]
            .as_object_mut()
            .context("a kubeconfig without a user")?;
        user.insert(
            "as".to_owned(),
            format!("system:serviceaccount:{}:{}", self.namespace, person::EDITOR).into(),
        );
        let path = self.folder.path().join("editor.kubeconfig");
        std::fs::write(&path, kubeconfig.to_string())?;
        Ok(Cli::new(&path, &self.namespace))
    }

    /// The growths of a cluster, oldest first. A record of a growth that cannot be read as one is an error.
    pub async fn events(&self, cluster: &str) -> Result<Vec<Growth>> {
        let of_cluster = ListParams::default().labels(&format!("cnpg.supporttools.io/cluster={cluster}"));
        let events = self.api::<StorageEvent>().list(&of_cluster).await?.items;
        let is_growth = |event: &StorageEvent| matches!(event.spec.event_type, EventType::Expansion | EventType::Rescue);
        let read = |event: StorageEvent| {
            let name = event.name_any();
            Growth::try_from(event).with_context(|| format!("the StorageEvent {name}"))
        };
        let mut events = events.into_iter().filter(is_growth).map(read).collect::<Result<Vec<_>>>()?;
        events.sort_by_key(|event| (event.creation_timestamp().map(|at| at.0), event.name_any()));
        Ok(events)
    }

    /// Those of one volume.
    pub async fn events_of(&self, cluster: &str, volume: Volume) -> Result<Vec<Growth>> {
        let events = self.events(cluster).await?;
        Ok(events.into_iter().filter(|event| volume.is_of(event)).collect())
    }

    /// The PostgresStorage of a cluster.
    pub async fn storage(&self, cluster: &str) -> Result<Option<PostgresStorage>> {
        Ok(self.api::<PostgresStorage>().get_opt(cluster).await?)
    }

    /// The PVCs of a cluster, by name.
    pub async fn claims(&self, cluster: &str) -> Result<BTreeMap<String, PersistentVolumeClaim>> {
        let of_cluster = ListParams::default().labels(&format!("cnpg.io/cluster={cluster}"));
        let claims = self.api::<PersistentVolumeClaim>().list(&of_cluster).await?.items;
        Ok(claims.into_iter().map(|claim| (claim.name_any(), claim)).collect())
    }

    /// The Kubernetes Events on a cluster that the manager recorded: reason and words.
    pub async fn notes(&self, cluster: &str) -> Result<Vec<(String, String)>> {
        self.notes_of(cluster, |_| true).await
    }

    /// Those of a type, `Normal` or `Warning`.
    pub async fn notes_of_type(&self, cluster: &str, wanted: &str) -> Result<Vec<(String, String)>> {
        self.notes_of(cluster, |event| event.type_.as_deref() == Some(wanted)).await
    }

    async fn notes_of(&self, cluster: &str, wanted: impl Fn(&Event) -> bool) -> Result<Vec<(String, String)>> {
        let events = self.api::<Event>().list(&ListParams::default()).await?.items;
        let about = |e: &Event| e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(cluster);
        let ours = |e: &Event| {
            e.reporting_controller
                .as_deref()
                .is_some_and(|c| c.contains("cnpg-storage-manager"))
        };
        Ok(events
            .iter()
            .filter(|e| about(e) && ours(e) && wanted(e))
            .map(|e| (e.reason.clone().unwrap_or_default(), e.note.clone().unwrap_or_default()))
            .collect())
    }

    /// Waits until the cluster's PostgresStorage satisfies `done`.
    pub async fn status(
        &self,
        cluster: &Cluster,
        what: &str,
        done: impl Fn(&csm_api::PostgresStorageStatus) -> bool,
    ) -> Result<csm_api::PostgresStorageStatus> {
        within(SOON, what, async || {
            let status = self.storage(&cluster.name).await?.and_then(|storage| storage.status);
            Ok(status.filter(|status| done(status)))
        })
        .await
    }

    /// Waits until the status of a volume satisfies `done`.
    pub async fn sizing(
        &self,
        cluster: &Cluster,
        volume: Volume,
        what: &str,
        done: impl Fn(&VolumeSizing) -> bool,
    ) -> Result<VolumeSizing> {
        within(SOON, &format!("{}: {volume}: {what}", cluster.name), async || {
            let status = self.storage(&cluster.name).await?.and_then(|storage| storage.status);
            let sizing = status.and_then(|status| status.storage_sizing);
            let sizing = sizing
                .as_ref()
                .and_then(|sizing| volume.sizing(sizing))
                .context("not in the status")?;
            ensure!(done(sizing), "{sizing:?}");
            Ok(Some(sizing.clone()))
        })
        .await
    }

    /// Waits until the status tells of a decision, made after the breach, to hold the volume for this reason; then through
    /// two more samples, in which no PVC may be patched.
    pub async fn held(&self, cluster: &Cluster, reason: &str, breach: &Breach) -> Result<()> {
        // Times in a status have whole seconds; the samples that are waited for below are newer to the millisecond.
        let what = format!("held by {reason}, decided after {}", breach.at);
        let sizing = self
            .sizing(cluster, breach.volume, &what, |sizing| {
                let decision = &sizing.last_decision;
                decision.verdict == Verdict::Hold
                    && decision.reason.as_str() == reason
                    && decision.at.0.as_second() >= breach.at.as_second()
            })
            .await?;
        ensure!(
            sizing.last_decision.wanted.is_some(),
            "nothing is wanted: {:?}",
            sizing.last_decision
        );
        self.no_patch(cluster, "Hold", reason, breach).await
    }

    /// Through two samples newer than the breach the decision stays the same, and no PVC of the volume is patched.
    pub async fn no_patch(&self, cluster: &Cluster, verdict: &str, reason: &str, breach: &Breach) -> Result<()> {
        let decision = (verdict, reason);
        let decided = self.decision_of(cluster, breach.volume, decision, breach.at).await?;
        let longer = decided.checked_add(jiff::SignedDuration::from_secs(10))?;
        self.decision_of(cluster, breach.volume, decision, longer).await?;
        let claims = cluster.claims_of(breach.volume);
        let patches = self.patches()?.into_iter().filter(|p| claims.contains(&p.pvc) && p.at > breach.at);
        let patches: Vec<_> = patches.collect();
        ensure!(
            patches.is_empty(),
            "{reason} should hold {}, but a PVC was patched: {patches:?}",
            cluster.name
        );
        if verdict == "Hold" {
            self.keep(breach.held(&cluster.name, reason));
        }
        Ok(())
    }

    /// Waits until a scrape tells of this decision about the data volume, and of figures of each instance that were taken
    /// after a moment. Returns when the oldest of those were taken.
    pub async fn decision_after(&self, cluster: &Cluster, verdict: &str, reason: &str, after: Timestamp) -> Result<Timestamp> {
        self.decision_of(cluster, Volume::Data, (verdict, reason), after).await
    }

    /// The same for any volume; the decision is a verdict and a reason.
    pub async fn decision_of(
        &self,
        cluster: &Cluster,
        volume: Volume,
        (verdict, reason): (&str, &str),
        after: Timestamp,
    ) -> Result<Timestamp> {
        let what = format!(
            "{volume} of {} is decided to be {verdict} for {reason} on figures after {after}",
            cluster.name
        );
        let name = volume.to_string();
        within(SOON, &what, async || {
            let metrics = self.manager.metrics().await?;
            let labels = [
                ("namespace", self.namespace.as_str()),
                ("cluster", cluster.name.as_str()),
                ("volume", &name),
            ];
            let decided = metrics
                .all("cnpg_storage_manager_decision", &labels)
                .any(|s| s.labels["verdict"] == verdict && s.labels["reason"] == reason);
            let taken = self.taken(&metrics, cluster, volume)?;
            Ok(taken.filter(|taken| decided && *taken > after))
        })
        .await
    }

    /// Waits until the manager has figures of each instance that were taken after a moment.
    pub async fn observed(&self, cluster: &Cluster, volume: Volume, after: Timestamp) -> Result<Timestamp> {
        within(
            SOON,
            &format!("figures of {volume} of {} after {after}", cluster.name),
            async || {
                let metrics = self.manager.metrics().await?;
                Ok(self.taken(&metrics, cluster, volume)?.filter(|taken| *taken > after))
            },
        )
        .await
    }

    /// When the oldest of the instances' newest figures were taken; none where an instance has none.
    fn taken(&self, metrics: &Metrics, cluster: &Cluster, volume: Volume) -> Result<Option<Timestamp>> {
        let now = Timestamp::now();
        let ages = cluster.claims_of(volume).into_iter().map(|pvc| {
            let labels = [
                ("namespace", self.namespace.as_str()),
                ("cluster", cluster.name.as_str()),
                ("pvc", pvc.as_str()),
            ];
            metrics.value("cnpg_storage_manager_observation_age_seconds", &labels)
        });
        let ages: Option<Vec<f64>> = ages.collect();
        let oldest = ages.unwrap_or_default().into_iter().reduce(f64::max);
        let taken = oldest.map(|age| now.checked_sub(jiff::SignedDuration::from_millis(millis(age))));
        Ok(taken.transpose()?)
    }

    /// Keeps a timeline for the report.
    pub fn keep(&self, timeline: Timeline) {
        for line in timeline.text().lines() {
            println!("    {line}");
        }
        self.timelines.lock().unwrap_or_else(PoisonError::into_inner).push(timeline);
    }

    /// A growth is expected: a breach that ought to be remediated.
    pub fn expect_growth(&self) {
        self.expected.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were expected.
    pub fn expected(&self) -> usize {
        self.expected.load(Ordering::Relaxed)
    }

    /// All that were kept.
    pub fn timelines(&self) -> Vec<Timeline> {
        self.timelines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Warnings and errors with these words in the manager's log are this test's own doing.
    pub fn excuse(&self, words: &'static str) {
        self.excused.lock().unwrap_or_else(PoisonError::into_inner).push(words);
    }

    /// All that were excused.
    pub fn excused(&self) -> Vec<&'static str> {
        self.excused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "ages of figures are hours at most")]
fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}
