//! `doctor` on a cluster that is sound, and on the same with one thing wrong after the other.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_testkit::lab::shipped::NAME;
use csm_testkit::manifest;
use csm_testkit::s3::Fault;
use csm_testkit::wait::within;
use csm_tests::cli::Cli;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::archive::Archive;
use crate::cluster::Cluster;
use crate::invariants::{self, Expect};
use crate::stage::Stage;
use crate::volume::Volume;
use csm_units::Bytes;

/// Live figures are written into a status at most once a minute, and the archiver tries again once a minute.
const SEEN: Duration = Duration::from_mins(4);

struct Ward {
    stage: Arc<Stage>,
    orders: Arc<Cluster>,
    doctor: Cli,
}

/// Each of these is found while it is so, by its name and with its words; before and after, nothing is.
pub async fn finds_what_is_wrong(stage: Arc<Stage>) -> Result<()> {
    let policy = json!({"expansion": {"maxSize": "8Gi"}});
    stage.policy("default", policy.clone()).await?;
    let archive = Archive::new(&stage).await?;
    let orders = Arc::new(stage.cluster("orders").instances(2).archives(&archive).create().await?);
    orders.insert(200).await?;
    orders.sets(&[("max_slot_wal_keep_size", "512MB")]).await?;
    orders.switch_wal().await?;
    archive.has_all(&orders).await?;
    stage.archive_is(&orders, true).await?;
    let ward = Ward {
        doctor: Cli::new(&stage.lab.kubeconfig(), &stage.namespace),
        stage,
        orders,
    };
    ward.is_sound().await?;
    ward.settings().await?;
    ward.wal(&archive).await?;
    ward.policies(&policy).await?;
    ward.surroundings().await?;
    ward.another_class().await?;
    ward.installation().await?;
    let at_rest = Expect {
        counted: false,
        ..Expect::at_rest(Bytes::gib(1))
    };
    invariants::hold_all(&ward.orders, &[at_rest.clone().of(Volume::Wal), at_rest]).await
}

impl Ward {
    fn found_of(&self, cluster: &str) -> Result<Vec<String>> {
        let answer = self.doctor.json(&["doctor", cluster, "-o", "json"])?;
        // Who is away cannot be asked.
        let away = answer.to_string().contains("the manager does not run");
        ensure!(away || answer["notChecked"] == json!([]), "{answer}");
        let findings = answer["findings"].as_array().context("no findings")?;
        let text = |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
        Ok(findings
            .iter()
            .map(|f| {
                format!(
                    "{} {}: {} Fix: {}",
                    text(f, "level"),
                    text(f, "check"),
                    text(f, "what"),
                    text(f, "fix")
                )
            })
            .collect())
    }

    /// Nothing is found.
    async fn is_sound(&self) -> Result<()> {
        within(SEEN, "doctor finds nothing", async || {
            let found = self.found_of("orders")?;
            ensure!(found.is_empty(), "{found:#?}");
            Ok(Some(()))
        })
        .await
    }

    /// This is found, with these words, and nothing else.
    async fn has(&self, check: &str, words: &[&str]) -> Result<()> {
        within(SEEN, &format!("doctor finds {check} {words:?}"), async || {
            let found = self.found_of("orders")?;
            let is_it = |text: &&String| {
                let of_check = text
                    .split_once(": ")
                    .is_some_and(|(begin, _)| begin.ends_with(&format!(" {check}")));
                of_check && words.iter().all(|word| text.contains(word))
            };
            let meant: Vec<&String> = found.iter().filter(is_it).collect();
            // Where the manager is away nobody answers the webhooks either.
            let follows = |text: &&String| check == "Manager" && text.contains(" Webhook: no pod behind ");
            let follow = found.iter().filter(follows).count();
            ensure!(!meant.is_empty() && meant.len() + follow == found.len(), "{found:#?}");
            println!("    {}", meant.iter().map(|text| text.as_str()).collect::<Vec<_>>().join("\n    "));
            Ok(Some(()))
        })
        .await
    }

    async fn settings(&self) -> Result<()> {
        let orders = &self.orders;
        orders.sets(&[("max_wal_size", "768MB")]).await?;
        self.has("WalSettings", &["max_wal_size"]).await?;
        orders.sets(&[("max_wal_size", "128MB"), ("wal_keep_size", "800MB")]).await?;
        self.has("WalSettings", &["wal_keep_size"]).await?;
        orders.sets(&[("wal_keep_size", "64MB"), ("max_slot_wal_keep_size", "2GB")]).await?;
        self.has("Slots", &["max_slot_wal_keep_size"]).await?;
        orders.sets(&[("max_slot_wal_keep_size", "512MB")]).await?;
        self.is_sound().await
    }

    async fn wal(&self, archive: &Archive) -> Result<()> {
        let orders = &self.orders;
        orders.sql("SELECT pg_create_physical_replication_slot('abandoned', true)").await?;
        orders.write_wal(&orders.primary().await?, 160).await?;
        self.has("Slots", &["abandoned", "pg_drop_replication_slot('abandoned')"]).await?;
        orders.sql("SELECT pg_drop_replication_slot('abandoned')").await?;
        self.is_sound().await?;
        archive.set(Fault::AccessDenied)?;
        orders.switch_wal().await?;
        orders.fails_to_archive().await?;
        self.has("Archiving", &["archiving fails"]).await?;
        archive.repair()?;
        archive.has_all(orders).await?;
        self.is_sound().await
    }

    async fn policies(&self, policy: &Value) -> Result<()> {
        let stage = &self.stage;
        // Two that contradict each other are refused by the webhook.
        stage
            .policy("default", json!({"dryRun": true, "expansion": {"maxSize": "8Gi"}}))
            .await?;
        self.has("Policy", &["dryRun"]).await?;
        stage.policy("default", json!({"expansion": {"maxSize": "1Gi"}})).await?;
        self.has("Ceiling", &["maxSize"]).await?;
        stage.policy("default", policy.clone()).await?;
        self.is_sound().await?;
        let cli = ["pause", "orders"];
        self.doctor.ends(0, &cli)?;
        self.has("Policy", &["paused", "resume orders"]).await?;
        self.doctor.ends(0, &["resume", "orders"])?;
        self.is_sound().await
    }

    async fn surroundings(&self) -> Result<()> {
        let in_use = |may: bool| json!({"spec": {"storage": {"resizeInUseVolumes": may}, "walStorage": {"resizeInUseVolumes": may}}});
        self.orders.merge(in_use(false)).await?;
        self.has("ResizeInUseVolumes", &["patch cluster orders"]).await?;
        self.orders.merge(in_use(true)).await?;
        self.is_sound().await?;
        let quotas = self.stage.api::<ResourceQuota>();
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tight"},
            "spec": {"hard": {"requests.storage": "4200Mi"}},
        });
        quotas.patch("tight", &PatchParams::apply("e2e"), &Patch::Apply(&quota)).await?;
        self.has("Quota", &["tight"]).await?;
        quotas.delete("tight", &DeleteParams::default()).await?;
        self.is_sound().await
    }

    /// A cluster of another kind has three things wrong: it cannot grow, has one volume, and no archive.
    async fn another_class(&self) -> Result<()> {
        let other = self.stage.cluster("other").class("loop-fixed").single_volume().create().await?;
        within(SEEN, "doctor finds what is wrong with another cluster", async || {
            let found = self.found_of(&other.name)?;
            for check in ["problem StorageClass", "SingleVolume", "advice Archiving", "advice Slots"] {
                ensure!(
                    found
                        .iter()
                        .any(|text| text.split(':').next().is_some_and(|begin| begin.ends_with(check))),
                    "no {check}: {found:#?}"
                );
            }
            println!("    {}", found.join("\n    "));
            Ok(Some(()))
        })
        .await?;
        other.api().delete("other", &DeleteParams::default()).await?;
        self.is_sound().await
    }

    async fn installation(&self) -> Result<()> {
        let (stage, client) = (&self.stage, &self.stage.client);
        let hooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
        let ours = hooks
            .list(&ListParams::default())
            .await?
            .items
            .into_iter()
            .map(|hook| hook.name_any());
        let ours = ours.filter(|name| name.contains("cnpg-storage-manager")).collect::<Vec<_>>();
        let [name] = &ours[..] else {
            anyhow::bail!("not one webhook configuration of ours: {ours:?}")
        };
        hooks.delete(name, &DeleteParams::default()).await?;
        self.has("Webhook", &["deploy/webhook.yaml"]).await?;
        let shipped = std::fs::read_to_string(csm_tests::root().join("deploy/webhook.yaml"))?;
        manifest::apply(client, manifest::documents(&shipped)?, NAME).await?;
        self.is_sound().await?;

        stage.manager.may_not_patch("persistentvolumeclaims", &stage.namespace).await?;
        self.has("Permissions", &["may not patch persistentvolumeclaims", "deploy/rbac.yaml"])
            .await?;
        stage.manager.restore().await?;
        self.is_sound().await?;

        stage.manager.scale(0).await?;
        self.has("Manager", &["does not run"]).await?;
        stage.manager.scale(1).await?;
        stage.manager.leads().await?;
        self.is_sound().await
    }
}
