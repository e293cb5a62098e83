//! What is said of a cluster's WAL, and of a WAL volume that is held because of it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_testkit::wait::within;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::invariants::is;
use crate::stage::{SOON, Stage};
use crate::volume::Volume;

/// Figures that are no news are written into a status at most once a minute.
const WRITTEN: Duration = Duration::from_secs(150);

/// WAL volumes over 70 % grow; with these rules for what holds WAL back. No small step lets a volume escape that is held: that
/// is shown elsewhere.
pub fn policy(step: &str, limit: &str, wal_safety: Value) -> Value {
    json!({
        "emergencyRunway": false,
        "walStorage": {"resize": {
            "enabled": true,
            "triggers": {"usageThreshold": 70},
            "expansion": {"step": step, "limit": limit},
            "strategy": {"maxActionsPerDay": 50, "walSafetyPolicy": wal_safety},
        }},
    })
}

impl Stage {
    /// The status as it stands in the API server: `diskStatus.instances.<name>.walHealth`.
    pub async fn wal_health(&self, cluster: &str, instance: &str) -> Result<Option<Value>> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("cnpg.supporttools.io", "v1alpha1", "PostgresStorage"));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &kind);
        let storage = api.get_opt(cluster).await?;
        let health = storage.map(|storage| storage.data["status"]["diskStatus"]["instances"][instance]["walHealth"].clone());
        Ok(health.filter(|health| !health.is_null()))
    }

    /// Waits until the status tells of the WAL of a cluster's primary, and that satisfies `done`.
    pub async fn wal_health_is(&self, cluster: &Cluster, what: &str, done: impl Fn(&Value) -> bool) -> Result<Value> {
        let primary = cluster.primary().await?;
        within(WRITTEN, &format!("walHealth of {primary}: {what}"), async || {
            let health = self.wal_health(&cluster.name, &primary).await?.context("not in the status")?;
            ensure!(done(&health), "{health}");
            Ok(Some(health))
        })
        .await
    }

    /// A metric of the WAL of a cluster's primary.
    pub async fn wal_metric(&self, cluster: &Cluster, name: &str, more: &[(&str, &str)]) -> Result<Option<f64>> {
        let mut labels = vec![("namespace", self.namespace.as_str()), ("cluster", cluster.name.as_str())];
        labels.extend(more);
        Ok(self.manager.metrics().await?.value(name, &labels))
    }

    /// Waits until a metric of the WAL of a cluster's primary satisfies `done`; none where there is no such series.
    pub async fn wal_metric_is(
        &self,
        cluster: &Cluster,
        name: &str,
        more: &[(&str, &str)],
        done: impl Fn(Option<f64>) -> bool,
    ) -> Result<()> {
        within(SOON, &format!("{name}{more:?} of {}", cluster.name), async || {
            let value = self.wal_metric(cluster, name, more).await?;
            ensure!(done(value), "it is {value:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Waits until status and metrics say that archiving goes well, or that it fails.
    pub async fn archive_is(&self, cluster: &Cluster, healthy: bool) -> Result<()> {
        self.wal_health_is(cluster, &format!("archiveHealthy is {healthy}"), |health| {
            health["archiveHealthy"] == healthy
        })
        .await?;
        within(
            SOON,
            &format!("metrics and alerts say that archiving is healthy: {healthy}"),
            async || {
                let told = self.wal_metric(cluster, "cnpg_wal_archive_healthy", &[]).await?;
                ensure!(is(told, u64::from(healthy)), "cnpg_wal_archive_healthy is {told:?}");
                let alert = [("type", "wal-archive-failing")];
                let alert = self.wal_metric(cluster, "cnpg_storage_manager_alert_active", &alert).await?;
                ensure!(
                    is(alert.or(Some(0.0)), u64::from(!healthy)),
                    "the alert wal-archive-failing is {alert:?}"
                );
                Ok(Some(()))
            },
        )
        .await
    }

    /// That the WAL volume is held stands in the status, in an Event and in the metric, and says these words.
    pub async fn says_wal_is_held(&self, cluster: &Cluster, reason: &str, words: &[&str]) -> Result<()> {
        let what = format!("it says {words:?}");
        let says = |text: &str| words.iter().all(|word| text.contains(word));
        let sizing = self
            .sizing(cluster, Volume::Wal, &what, |sizing| {
                let decision = &sizing.last_decision;
                decision.reason.as_str() == reason && says(&decision.message)
            })
            .await?;
        println!("    {}", sizing.last_decision.message);
        let blocked = [("volume_type", "wal"), ("reason", reason)];
        within(SOON, &format!("event and metric say {reason}"), async || {
            let told = self.wal_metric(cluster, "cnpg_disk_resize_blocked", &blocked).await?;
            ensure!(is(told, 1), "cnpg_disk_resize_blocked is {told:?}");
            let notes = self.notes(&cluster.name).await?;
            let about = notes
                .iter()
                .any(|(name, text)| name == "AutoResizeBlocked" && text.starts_with("wal") && says(text));
            ensure!(about, "no event AutoResizeBlocked says {words:?}: {notes:?}");
            Ok(Some(()))
        })
        .await
    }
}
