//! C17: what people do by hand, with the plugin as a person who may edit the namespace; the size in the Cluster's own spec.
//! Breakers are reset by the plugin in C09 and C16.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Trigger, annotation};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::cluster::Cluster;
use crate::filling::Breach;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::{SOON, Stage};
use crate::volume::Volume;
use csm_testkit::wait::within;

/// How CloudNativePG's operator calls itself at the API server.
const CLOUDNATIVE_PG: &str = "system:serviceaccount:cnpg-system:cnpg-manager";

/// expand, pause with its end, resume; the Cluster's spec follows each growth.
pub async fn levers(stage: Arc<Stage>) -> Result<()> {
    let policy = |cooldown: u64| {
        json!({"expansion": {
            "percentage": 1, "minIncrementGi": 1, "maxSize": "4Gi", "cooldownMinutes": cooldown, "applyTo": "ClusterSpec",
        }})
    };
    stage.policy("default", policy(600)).await?;
    let orders = Arc::new(stage.cluster("orders").instances(2).create().await?);
    orders.insert(500).await?;
    let person = stage.editor().await?;
    stage.decision_after(&orders, "Balanced", "BelowThresholds", stage.began).await?;

    let (_, said) = person.ends(1, &["expand", "orders", "--volume", "data", "--to", "5Gi"])?;
    ensure!(said.contains("expansion.maxSize"), "{said}");
    let watch = GrowthWatch::start(&orders, Bytes::gib(2)).await?;
    let asked = Breach::now(Volume::Data);
    let (said, _) = person.ends(0, &["expand", "orders", "--volume", "data", "--to", "2Gi", "--wait"])?;
    ensure!(said.contains("data: grew from 1Gi to 2Gi"), "{said}");
    println!("    {}", said.trim().replace('\n', "\n    "));
    let (event, _) = watch.finish(&asked).await?;
    ensure!(event.spec.trigger == Trigger::Manual, "{:?}", event.spec);
    follows(&orders, "2Gi").await?;

    // Within the cooldown of 10 h nothing grows by itself; then there is none, but a pause.
    stage.policy("default", policy(0)).await?;
    let (said, _) = person.ends(0, &["pause", "orders", "--reason", "the array moves", "--until", "75s"])?;
    ensure!(said.contains("It resumes by itself then"), "{said}");
    let until = annotation_of(&orders, annotation::PAUSE_UNTIL)
        .await?
        .context("paused without an end")?;
    let until: Timestamp = until.parse()?;
    let watch = GrowthWatch::start(&orders, Bytes::gib(3)).await?;
    let breach = Breach::now(Volume::Data);
    orders.ballast(&orders.primary().await?, Some(87)).await?;
    stage.held(&orders, "Paused", &breach).await?;
    let (_, said) = person.ends(1, &["expand", "orders", "--volume", "data", "--to", "3Gi"])?;
    ensure!(said.contains("the Cluster is paused"), "{said}");
    let (_, timeline) = watch.finish_after(&breach, Some("Paused")).await?;
    let late = timeline.decided.context("no decision")?.duration_since(until);
    println!("    paused until {until}, grown {late:#} later");
    ensure!(
        late > SignedDuration::from_secs(-1) && late < SignedDuration::from_secs(15),
        "paused until {until}, and grown {late:?} later"
    );
    follows(&orders, "3Gi").await?;

    // Without an end, until somebody resumes it.
    person.ends(0, &["pause", "orders"])?;
    let watch = GrowthWatch::start(&orders, Bytes::gib(4)).await?;
    let breach = Breach::now(Volume::Data);
    orders.ballast(&orders.primary().await?, Some(87)).await?;
    stage.held(&orders, "Paused", &breach).await?;
    let (said, _) = person.ends(0, &["resume", "orders"])?;
    ensure!(said.contains("Before: paused"), "{said}");
    watch.finish_after(&breach, Some("Paused")).await?;
    for name in [annotation::PAUSED, annotation::PAUSE_UNTIL, annotation::PAUSE_REASON] {
        ensure!(annotation_of(&orders, name).await?.is_none(), "{name} is still there");
    }
    follows(&orders, "4Gi").await?;
    never_asked(&stage)?;
    let expect = Expect {
        conditions: &[("SpecFollows", true)],
        ..Expect::grown(Bytes::gib(4), 3)
    };
    invariants::hold(&orders, &expect).await
}

async fn annotation_of(orders: &Cluster, name: &str) -> Result<Option<String>> {
    let annotations = orders.annotations().await?.into_iter();
    Ok(annotations.into_iter().find(|(key, _)| key == name).map(|(_, value)| value))
}

/// The size in the Cluster's own spec.
async fn follows(orders: &Cluster, size: &str) -> Result<()> {
    within(SOON, &format!("the size in the Cluster's spec is {size}"), async || {
        let spec = orders.api().get(&orders.name).await?.data["spec"].clone();
        ensure!(spec["storage"]["size"] == size, "{}", spec["storage"]);
        ensure!(spec["walStorage"]["size"] == "1Gi", "{}", spec["walStorage"]);
        Ok(Some(()))
    })
    .await
}

/// CloudNativePG finds each PVC as large as its spec says: it never asks for a size.
fn never_asked(stage: &Stage) -> Result<()> {
    let sizes = stage.requests_of_all()?.into_iter().filter(|e| {
        let asks = e
            .request
            .as_ref()
            .is_some_and(|body| body["spec"]["resources"]["requests"]["storage"].is_string());
        e.user == CLOUDNATIVE_PG && e.resource == "persistentvolumeclaims" && e.verb != "create" && asks
    });
    let asked: Vec<_> = sizes.map(|e| (e.name, e.request)).collect();
    ensure!(asked.is_empty(), "CloudNativePG asked for a size: {asked:?}");
    Ok(())
}
