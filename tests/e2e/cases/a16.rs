//! A16: that a WAL volume grew is a warning, since WAL seldom grows for a good reason.

use std::sync::Arc;

use anyhow::{Result, ensure};
use csm_testkit::wait::within;
use csm_units::Bytes;
use serde_json::json;

use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::{SOON, Stage};
use crate::volume::Volume;
use crate::wal::policy;

const STEP: Bytes = Bytes::mib(128);

/// Two growths, the first with `alertOnResize`, the second without.
pub async fn a_growth_that_warns(stage: Arc<Stage>) -> Result<()> {
    let rules = |alert: bool| policy(&STEP.to_string(), "4Gi", json!({"alertOnResize": alert}));
    stage.policy("default", rules(true)).await?;
    let orders = Arc::new(stage.cluster("orders").create().await?);
    orders.insert(1000).await?;
    orders.keep_wal("4GB").await?;
    let mut size = Bytes::gib(1);
    for alert in [true, false] {
        stage.policy("default", rules(alert)).await?;
        let (wanted, other) = if alert { ("Warning", "Normal") } else { ("Normal", "Warning") };
        size = size.saturating_add(STEP);
        let watch = GrowthWatch::of(&orders, Volume::Wal, size).await?;
        let breach = orders.fill_of(Volume::Wal, 70).await?;
        let (event, _) = watch.finish(&breach).await?;
        let name = event.metadata.name.unwrap_or_default();
        let told = |notes: Vec<(String, String)>| {
            let mut notes = notes.into_iter();
            notes.find(|(reason, words)| reason == "AutoResizeSuccess" && words.contains(&name))
        };
        let what = format!("the growth to {size} is told as {wanted}");
        let (_, words) = within(SOON, &what, async || Ok(told(stage.notes_of_type("orders", wanted).await?))).await?;
        println!("    {wanted}: {words}");
        ensure!(words.contains("holds WAL") == alert, "{words}");
        let twice = told(stage.notes_of_type("orders", other).await?);
        ensure!(twice.is_none(), "it is told as {other} too: {twice:?}");
    }
    let grown = Expect {
        ceiling: Bytes::gib(4),
        ..Expect::grown(size, 2)
    };
    invariants::hold_all(&orders, &[grown.of(Volume::Wal), Expect::at_rest(Bytes::gib(1))]).await
}
