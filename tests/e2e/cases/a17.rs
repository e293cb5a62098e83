//! A17 and B01: what the schema and the webhook refuse, and what the webhook warns about, in the words that kubectl shows.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use csm_tests::kubectl::Apply;
use csm_tests::{admissions, refusals, verdicts};
use serde_json::{Value, json};

use crate::stage::Stage;

/// Every refusal of the table, of each kind that it concerns: one `kubectl apply` a kind.
pub async fn refused_by_kubectl(stage: Arc<Stage>) -> Result<()> {
    let mut shown = 0;
    for kind in refusals::KINDS {
        let mut table = refusals::refused();
        if kind == "ClusterStoragePolicy" {
            table.extend(refusals::refused_cluster_wide());
        }
        let name = |number: usize| format!("{}-refused-{number}", stage.namespace);
        let objects = table.iter().enumerate();
        let objects: Vec<Value> = objects
            .map(|(number, (spec, _))| verdicts::object(kind, &stage.namespace, &name(number), spec))
            .collect();
        let output = applied(&stage, &objects).await?;
        for (number, (spec, words)) in table.iter().enumerate() {
            let said = about(&output, kind, &name(number));
            ensure!(
                said.contains(words),
                "{kind} {spec}: kubectl says {said:?}, and should say {words:?}"
            );
            if shown < 3 {
                println!("    {}", said.trim().replace('\n', "\n    "));
                shown += 1;
            }
        }
        println!("    {kind}: {} refused, each with its reason", table.len());
    }
    let valid = json!({"storage": {"request": "1Gi", "limit": "2Gi"}});
    let object = verdicts::object("StoragePolicy", &stage.namespace, "valid", &valid);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [object]});
    let output = dry_run(&stage, &list).await?;
    ensure!(output.contains("storagepolicy.cnpg.supporttools.io/valid created"), "{output}");
    Ok(())
}

/// What only the webhook can see, of Clusters that there are: one with one volume, one with a WAL volume, one of a storage class
/// without expansion, one of a class that the settings say to put many volumes on one filesystem.
pub async fn judged_by_the_webhook(stage: Arc<Stage>) -> Result<()> {
    stage.manager.set("storageClasses: {hostdir: {sharedFilesystem: true}}").await?;
    let cluster = |name: &str| stage.cluster(name).size("20Gi");
    tokio::try_join!(
        cluster("single").single_volume().create(),
        cluster("split").create(),
        cluster("fixed").class("loop-fixed").create(),
        cluster("heap").class("hostdir").create()
    )?;
    let (mut refused, mut warned) = (0, 0);
    for (kind, name, spec, said) in admissions::cases().into_iter().chain(admissions::shared_cases()) {
        let object = verdicts::object(kind, &stage.namespace, name, &spec);
        let (taken, text) = stage.kubectl(&object, Apply::DryRun).await?;
        ensure!(
            said.is(taken, &text, "policies.storage.cnpg.supporttools.io"),
            "{kind} {name} {spec}: kubectl says {text:?}, and should say {said:?}"
        );
        let (count, what) = if taken { (&mut warned, "taken") } else { (&mut refused, "refused") };
        *count += 1;
        if *count <= 2 {
            println!("    {what}: {}", text.trim().replace('\n', "\n    "));
        }
    }
    println!("    {refused} refused, {warned} taken, each with its warnings");
    Ok(())
}

/// What kubectl says of objects of which none may be taken.
async fn applied(stage: &Stage, objects: &[Value]) -> Result<String> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    match dry_run(stage, &list).await {
        Ok(output) => bail!("something was taken: {output}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

async fn dry_run(stage: &Stage, list: &Value) -> Result<String> {
    let file = tempfile::NamedTempFile::with_suffix(".json")?;
    std::fs::write(file.path(), serde_json::to_vec(list)?)?;
    let path = file.path().to_string_lossy();
    stage.lab.kubectl(["apply", "--dry-run=server", "--filename", &path]).await
}

/// The lines about one object: from the one that names it to the next error.
fn about(output: &str, kind: &str, name: &str) -> String {
    let named = format!("{kind}.cnpg.supporttools.io \"{name}\" is invalid");
    let mut lines = output.lines().skip_while(|line| !line.contains(&named));
    let first = lines.next().unwrap_or_default();
    let rest = lines.take_while(|line| !line.starts_with("Error from server"));
    std::iter::once(first).chain(rest).collect::<Vec<_>>().join("\n")
}
