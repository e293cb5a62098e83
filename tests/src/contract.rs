//! What the simulated world promises to be like: the same assertions run against it and against a real cluster.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use csm_testkit::manifest;
use csm_units::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::journal::{Journal, Seen};
use crate::until;

/// What the assertions are about: one node, and two PVCs of 1 GiB that pods on it have mounted.
pub struct Ground {
    /// May do everything.
    pub client: Client,
    /// Verifies the kubelet's certificate.
    pub ca_pem: String,
    /// The node's kubelet, such as `https://127.0.0.1:10250`.
    pub kubelet: String,
    /// A namespace for whatever is needed.
    pub namespace: String,
    /// A PVC whose class allows expansion, and the pod that has it.
    pub expandable: (String, String),
    /// A PVC whose class does not, in the same namespace.
    pub fixed: String,
}

/// The fields of a volume in the summary; all but the last two are figures.
const FIELDS: [&str; 9] = [
    "time",
    "availableBytes",
    "capacityBytes",
    "usedBytes",
    "inodes",
    "inodesFree",
    "inodesUsed",
    "name",
    "pvcRef",
];

/// What a PVC that grows online goes through: `allocatedResourceStatuses`, the conditions that are true, and whether the
/// new capacity is there.
const GROWTH: [(&str, &[&str], bool); 5] = [
    ("", &[], false),
    ("ControllerResizeInProgress", &["Resizing"], false),
    ("NodeResizePending", &["Resizing", "FileSystemResizePending"], false),
    ("NodeResizeInProgress", &["Resizing", "FileSystemResizePending"], false),
    ("", &[], true),
];

/// An answer of the kubelet.
struct Answer {
    code: u16,
    body: String,
}

impl Ground {
    /// All assertions, one after the other. An error says what differs.
    pub async fn check(&self) -> Result<()> {
        let reader = self.account("reader").await?;
        let stranger = self.account("stranger").await?;
        let role = format!("{}-reader", self.namespace);
        let rbac = format!(
            "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {role}}}
rules: [{{apiGroups: [''], resources: [nodes/stats], verbs: [get]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {role}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}
subjects: [{{kind: ServiceAccount, name: reader, namespace: {}}}]
",
            self.namespace
        );
        manifest::apply(&self.client, manifest::documents(&rbac)?, &self.namespace).await?;
        let result = async {
            self.permissions(&reader, &stranger).await.context("who may ask the kubelet")?;
            self.shape(&reader).await.context("the kubelet's /stats/summary")?;
            self.refusals().await.context("refused patches of PVCs")?;
            self.growth(&reader).await.context("a PVC that grows")
        }
        .await;
        // These two belong to no namespace.
        Api::<ClusterRoleBinding>::all(self.client.clone())
            .delete(&role, &DeleteParams::default())
            .await?;
        Api::<ClusterRole>::all(self.client.clone())
            .delete(&role, &DeleteParams::default())
            .await?;
        result
    }

    /// A service account and a token of it.
    async fn account(&self, name: &str) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        let account = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        accounts.create(&PostParams::default(), &account).await?;
        let request = TokenRequest {
            spec: TokenRequestSpec::default(),
            ..TokenRequest::default()
        };
        let answer = accounts.create_subresource("token", name, &PostParams::default(), &request).await;
        let answer: TokenRequest = answer.with_context(|| format!("a token of {name}"))?;
        Ok(answer.status.context("a token request without a status")?.token)
    }

    async fn ask(&self, path: &str, token: Option<&str>) -> Result<Answer> {
        csm_testkit::controlplane::install_crypto_provider();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([reqwest::Certificate::from_pem(self.ca_pem.as_bytes())?])
            .timeout(Duration::from_secs(5))
            .build()?;
        let mut request = client.get(format!("{}{path}", self.kubelet));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await?;
        Ok(Answer {
            code: answer.status().as_u16(),
            body: answer.text().await?,
        })
    }

    /// 401 without a token or with a wrong one, 403 without `nodes/stats`, which in turn opens nothing else.
    async fn permissions(&self, reader: &str, stranger: &str) -> Result<()> {
        for token in [None, Some("nonsense")] {
            let answer = self.ask("/stats/summary", token).await?;
            ensure!(
                (answer.code, answer.body.as_str()) == (401, "Unauthorized"),
                "token {token:?}: {} {:?}",
                answer.code,
                answer.body
            );
        }
        let user = |name: &str| format!("system:serviceaccount:{}:{name}", self.namespace);
        let refused = |name: &str, subresources: &str| {
            format!(
                "Forbidden (user={}, verb=get, resource=nodes, subresource(s)=[{subresources}])\n",
                user(name)
            )
        };
        for (path, name, token, expected) in [
            ("/stats/summary", "stranger", stranger, refused("stranger", "stats")),
            ("/pods", "reader", reader, refused("reader", "pods proxy")),
            ("/metrics", "reader", reader, refused("reader", "metrics")),
        ] {
            let answer = self.ask(path, Some(token)).await?;
            ensure!(
                (answer.code, &answer.body) == (403, &expected),
                "{path} for {name}: {} {:?}, expected {expected:?}",
                answer.code,
                answer.body
            );
        }
        Ok(())
    }

    /// The pod's entry and its volume's, once there are figures.
    async fn entry(&self, token: &str) -> Result<(Value, Value)> {
        let (claim, pod) = &self.expandable;
        until("the kubelet has figures of the PVC", || async {
            let answer = self.ask("/stats/summary", Some(token)).await?;
            ensure!(answer.code == 200, "{}: {}", answer.code, answer.body);
            let summary: Value = serde_json::from_str(&answer.body)?;
            let pods = summary["pods"].as_array().context("no list of pods")?;
            let pod = pods
                .iter()
                .find(|entry| entry["podRef"]["name"] == pod.as_str() && entry["podRef"]["namespace"] == self.namespace.as_str());
            let Some(pod) = pod else { return Ok(None) };
            let volumes = pod["volume"].as_array().cloned().unwrap_or_default();
            let volume = volumes.into_iter().find(|volume| volume["pvcRef"]["name"] == claim.as_str());
            Ok(volume.map(|volume| (pod.clone(), volume)))
        })
        .await
    }

    /// The shape of an answer, as far as anybody reads it.
    async fn shape(&self, token: &str) -> Result<()> {
        let (pod, volume) = self.entry(token).await?;
        let uid = pod["podRef"]["uid"].as_str().unwrap_or_default();
        ensure!(!uid.is_empty(), "podRef has no uid: {}", pod["podRef"]);
        ensure!(
            pod["containers"].as_array().is_some_and(|list| !list.is_empty()),
            "a pod without containers: {pod}"
        );
        let map = volume.as_object().context("a volume that is no object")?;
        let mut fields: Vec<&str> = map.keys().map(String::as_str).collect();
        let mut expected = FIELDS.to_vec();
        fields.sort_unstable();
        expected.sort_unstable();
        ensure!(fields == expected, "fields {fields:?}, expected {expected:?}");
        let reference = json!({"name": self.expandable.0, "namespace": self.namespace});
        ensure!(volume["pvcRef"] == reference, "pvcRef is {}", volume["pvcRef"]);
        let figure = |name: &str| {
            volume[name]
                .as_u64()
                .with_context(|| format!("{name} is no whole number: {}", volume[name]))
        };
        for name in &FIELDS[1..7] {
            figure(name)?;
        }
        let (capacity, used, available) = (figure("capacityBytes")?, figure("usedBytes")?, figure("availableBytes")?);
        let gib = Bytes::gib(1).get();
        // A filesystem is some percent smaller than its volume.
        ensure!(
            capacity < gib && capacity > gib / 10 * 9,
            "a volume of 1 GiB has a filesystem of {capacity}"
        );
        ensure!(
            used + available <= capacity && used > 0,
            "{used} used and {available} available of {capacity}"
        );
        ensure!(
            figure("inodesFree")? + figure("inodesUsed")? == figure("inodes")?,
            "inodes do not add up: {volume}"
        );
        let time = volume["time"].as_str().context("time is no text")?;
        let parsed: Timestamp = time.parse().with_context(|| format!("time is {time:?}"))?;
        ensure!(
            time.len() == "2026-01-02T03:04:05Z".len() && time.ends_with('Z'),
            "time is {time:?}"
        );
        let age = Timestamp::now().duration_since(parsed).as_secs();
        ensure!((-1..180).contains(&age), "figures of {time} are {age} s old");
        Ok(())
    }

    fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn request(&self, claim: &str, size: &str) -> kube::Result<PersistentVolumeClaim> {
        let patch = json!({"spec": {"resources": {"requests": {"storage": size}}}});
        self.claims().patch(claim, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// What the API server refuses, with which code and words.
    async fn refusals(&self) -> Result<()> {
        for (claim, size, code, words) in [
            (
                &self.fixed,
                "2Gi",
                403,
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
            ),
            (&self.expandable.0, "512Mi", 422, "field can not be less than status.capacity"),
        ] {
            match self.request(claim, size).await {
                Err(kube::Error::Api(status)) => {
                    let right = status.code == code && status.message.contains(words);
                    ensure!(
                        right,
                        "{claim} to {size}: {} {:?}, expected {code} {words:?}",
                        status.code,
                        status.message
                    );
                }
                Err(error) => return Err(error.into()),
                Ok(_) => bail!("{claim} to {size} was accepted"),
            }
        }
        Ok(())
    }

    /// What a PVC goes through while it grows online, in that order; then the kubelet shows the larger filesystem.
    async fn growth(&self, token: &str) -> Result<()> {
        let claim = &self.expandable.0;
        let journal = Journal::start(&self.client, &self.namespace);
        until("the journal has begun", || async {
            Ok(journal.all().iter().any(|seen| seen.name == *claim).then_some(()))
        })
        .await?;
        self.request(claim, "2Gi").await?;
        let to = Some(Bytes::gib(2));
        until("the PVC has grown", || async {
            let last = journal.all().into_iter().rfind(|seen| seen.name == *claim);
            Ok(last
                .filter(|seen| seen.capacity == to && seen.conditions.is_empty() && seen.expansion.is_none())
                .map(|_| ()))
        })
        .await?;
        let mut steps: Vec<(String, Vec<String>, bool)> = Vec::new();
        for Seen {
            request,
            capacity,
            expansion,
            conditions,
            ..
        } in journal.all().into_iter().filter(|seen| seen.name == *claim && seen.request == to)
        {
            ensure!(request >= capacity, "{capacity:?} of {request:?}");
            let step = (expansion.unwrap_or_default(), conditions, capacity == to);
            if steps.last() != Some(&step) {
                steps.push(step);
            }
        }
        let expected: Vec<(String, Vec<String>, bool)> = GROWTH
            .iter()
            .map(|(status, conditions, grown)| ((*status).to_owned(), conditions.iter().map(|c| (*c).to_owned()).collect(), *grown))
            .collect();
        ensure!(steps == expected, "it went through {steps:?}, expected {expected:?}");
        until("the kubelet shows the larger filesystem", || async {
            let (_, volume) = self.entry(token).await?;
            Ok(volume["capacityBytes"]
                .as_u64()
                .filter(|bytes| *bytes > Bytes::gib(2).get() / 10 * 9))
        })
        .await?;
        Ok(())
    }
}
