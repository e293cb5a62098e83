//! What people do by hand, with the plugin as a real process: pause, resume, reset a breaker, expand.

use anyhow::Context as _;
use csm_api::{Growth, Phase, PvcPhase, State, StorageEvent, Trigger, annotation};
use csm_tests::cli::Cli;
use csm_tests::person::{self, EDITOR};
use csm_tests::{Stage, phase, root, until};
use csm_units::Bytes;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

/// The shipped roles and the shipped admission policy, and a person with the first.
pub(crate) async fn editor(stage: &Stage) -> anyhow::Result<(Cli, kube::Client)> {
    let plane = stage.sim.plane();
    for file in ["deploy/user-roles.yaml", "deploy/admission.yaml"] {
        plane.apply_yaml(&std::fs::read_to_string(root().join(file))?).await?;
    }
    let rbac = person::editor_rbac(&stage.namespace);
    let kubeconfig = stage.sim.kubeconfig_with_rbac(&stage.namespace, EDITOR, &rbac).await?;
    let cli = Cli::new(&kubeconfig, &stage.namespace);
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kube::config::Kubeconfig::read_from(&kubeconfig)?, &options).await?;
    Ok((cli, kube::Client::try_from(config)?))
}

async fn annotations(stage: &Stage) -> anyhow::Result<std::collections::BTreeMap<String, String>> {
    let clusters: Api<csm_cnpg::Cluster> = stage.api();
    Ok(clusters.get("orders").await?.metadata.annotations.unwrap_or_default())
}

#[tokio::test]
async fn expand_grows_past_the_cooldown_and_survives_a_kill() -> anyhow::Result<()> {
    let stage = Stage::new("expand").await?;
    let (editor, _) = editor(&stage).await?;
    let orders = stage.orders(|c| c.instances(2).data("10Gi").wal("4Gi")).await?;
    stage
        .policy("default", json!({"expansion": {"maxSize": "40Gi", "cooldownMinutes": 600}}))
        .await?;
    let mut manager = stage.manager().await?;
    stage.data_status("orders", "balanced", |d| d.state == State::Balanced).await?;

    // Looked at first, and refused where it cannot be.
    let expand = |to: &'static str, more: &[&'static str]| {
        let mut arguments = vec!["expand", "orders", "--volume", "data", "--to", to];
        arguments.extend(more);
        arguments
    };
    for dry_run in ["client", "server"] {
        let (out, _) = editor.ends(0, &expand("20481Mi", &["--dry-run", dry_run]))?;
        assert!(
            out.contains("data: grows from 10Gi to 21Gi") && out.contains("nothing was written"),
            "{out}"
        );
        assert!(out.contains("Ceiling: 40Gi (expansion.maxSize, StoragePolicy "), "{out}");
    }
    assert!(stage.events("orders").await?.is_empty());
    let (_, said) = editor.ends(1, &expand("41Gi", &[]))?;
    assert!(
        said.contains("to 41Gi is not begun: ") && said.contains("expansion.maxSize"),
        "{said}"
    );
    let (_, said) = editor.ends(1, &expand("10Gi", &[]))?;
    assert!(said.contains("volumes never shrink"), "{said}");
    let (_, said) = editor.ends(1, &["expand", "orders", "--volume", "tablespace/hot", "--to", "50Gi"])?;
    assert!(
        said.contains("has no volume tablespace/hot; those that it has: data, wal"),
        "{said}"
    );

    let (out, _) = editor.ends(0, &expand("20Gi", &["--wait"]))?;
    assert!(
        out.contains("data: grew from 10Gi to 20Gi") && out.contains("2/2 PVCs expanded successfully"),
        "{out}"
    );
    assert!(out.contains("orders-2") && out.contains("primary"), "{out}");
    let events = stage.events("orders").await?;
    let first = events.first().context("an event")?;
    assert_eq!(first.spec.trigger, Trigger::Manual);
    let status = first.status.clone().context("a status")?;
    let order: Vec<_> = status.pvc_statuses.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(order, ["orders-2", "orders-1"]);
    assert!(
        status
            .pvc_statuses
            .iter()
            .all(|p| p.phase == PvcPhase::Completed && p.filesystem_bytes.is_some())
    );

    // Again within the cooldown; the manager is killed in the midst of it.
    let (out, _) = editor.ends(0, &expand("30Gi", &[]))?;
    assert!(out.contains("Goes ahead although the last growth is too recent"), "{out}");
    stage
        .event("orders", "it has begun", |e| {
            e.spec.expansion.requested_size == Bytes::gib(30) && phase(e).is_some()
        })
        .await?;
    manager.kill()?;
    manager = stage.manager().await?;
    let again = stage
        .event("orders", "it has ended", |e| {
            e.spec.expansion.requested_size == Bytes::gib(30) && matches!(phase(e), Some(Phase::Completed | Phase::Failed))
        })
        .await
        .with_context(|| manager.tail())?;
    assert_eq!(phase(&again), Some(Phase::Completed), "{again:?}");
    assert_eq!(stage.events("orders").await?.len(), 2);
    for instance in ["orders-1", "orders-2"] {
        assert_eq!(orders.data(instance).request().await?, Bytes::gib(30));
        assert_eq!(orders.wal(instance).request().await?, Bytes::gib(4));
    }
    Ok(())
}

/// A record that a person wrote by hand is refused in words, or by the API server; no PVC is touched.
#[tokio::test]
async fn records_that_are_not_so_do_nothing() -> anyhow::Result<()> {
    let stage = Stage::new("forged").await?;
    let (editor, client) = editor(&stage).await?;
    let orders = stage.orders(|c| c.instances(1).data("10Gi")).await?;
    stage.policy("default", json!({"expansion": {"maxSize": "40Gi"}})).await?;
    let _manager = stage.manager().await?;
    stage.data_status("orders", "balanced", |d| d.state == State::Balanced).await?;
    let clusters: Api<csm_cnpg::Cluster> = stage.api();
    let uid = clusters.get("orders").await?.metadata.uid.context("a uid")?;
    let record = |name: &str, trigger: &str, to: &str, pvc: &Value| -> anyhow::Result<StorageEvent> {
        Ok(serde_json::from_value(json!({
            "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "StorageEvent",
            "metadata": {"name": name, "labels": {"cnpg.supporttools.io/cluster": "orders"}},
            "spec": {
                "clusterRef": {"name": "orders", "uid": uid}, "eventType": "expansion", "trigger": trigger,
                "volume": {"role": "data"}, "reason": "DiskFull", "message": "",
                "expansion": {"originalSize": "10Gi", "requestedSize": to, "parallelism": 100, "affectedPVCs": [pvc]},
            },
        }))?)
    };
    let events: Api<StorageEvent> = Api::namespaced(client, &stage.namespace);
    let own: Api<k8s_openapi::api::core::v1::PersistentVolumeClaim> = stage.api();
    let pvc_uid = own.get("orders-1").await?.metadata.uid.context("a uid")?;
    let pvc = |uid: &str| json!({"name": "orders-1", "uid": uid, "instance": "orders-1", "originalSize": "1Gi", "filesystemBytes": 1});

    // The shipped admission policy: a moment after it was applied.
    let refused = until("the admission policy is in force", || async {
        let forged = record("forged-emergency", "emergency", "39Gi", &pvc("someone-else"))?;
        let parameters = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        Ok(events.create(&parameters, &forged).await.err().map(|error| error.to_string()))
    })
    .await?;
    assert!(
        refused.contains("only the manager records StorageEvents of the type expansion with the trigger emergency"),
        "{refused}"
    );

    let cases = [
        (
            "another-pvc",
            "20Gi",
            pvc("someone-else"),
            "none of the PVCs that it lists is one of data",
        ),
        ("too-large", "41Gi", pvc(&pvc_uid), "expansion.maxSize"),
        ("smaller", "9Gi", pvc(&pvc_uid), "volumes never shrink"),
        ("odd", "20481Mi", pvc(&pvc_uid), "ask for 21Gi"),
    ];
    for (name, to, pvc, words) in cases {
        events.create(&PostParams::default(), &record(name, "manual", to, &pvc)?).await?;
        let is_it = |e: &Growth| e.metadata.name.as_deref() == Some(name) && phase(e) == Some(Phase::Failed);
        let event = stage.event("orders", name, is_it).await?;
        let condition = event.status.as_ref().and_then(|s| s.conditions.first()).context("a condition")?;
        assert_eq!(condition.reason, "Refused");
        assert!(condition.message.contains(words), "{name}: {}", condition.message);
        assert!(event.was_turned_down());
    }
    assert_eq!(orders.data("orders-1").request().await?, Bytes::gib(10));
    // None of it stands in the way of the next.
    let (out, _) = editor.ends(0, &["expand", "orders", "--volume", "data", "--to", "20Gi", "--wait", "-o", "json"])?;
    let done: Value = serde_json::from_str(&out)?;
    assert_eq!((&done["phase"], &done["to"]), (&json!("Completed"), &json!("20Gi")), "{out}");
    Ok(())
}

#[tokio::test]
async fn a_pause_holds_and_ends_by_itself() -> anyhow::Result<()> {
    let stage = Stage::new("pause").await?;
    let (editor, _) = editor(&stage).await?;
    let orders = stage.orders(|c| c.instances(1).data("10Gi")).await?;
    stage.policy("default", json!({"expansion": {"maxSize": "40Gi"}})).await?;
    let _manager = stage.manager().await?;
    stage.data_status("orders", "balanced", |d| d.state == State::Balanced).await?;

    let (_, said) = editor.ends(2, &["pause", "orders", "--until", "2020-01-01T00:00:00Z"])?;
    assert!(said.contains("is not in the future"), "{said}");
    let (out, _) = editor.ends(0, &["pause", "orders", "--dry-run", "server"])?;
    assert!(out.contains("server dry run: nothing was written"), "{out}");
    assert!(!annotations(&stage).await?.contains_key(annotation::PAUSED));

    let (out, _) = editor.ends(0, &["pause", "orders", "--reason", "the array moves"])?;
    assert!(
        out.contains("paused until it is resumed: the array moves") && out.contains("Before: not paused"),
        "{out}"
    );
    assert!(out.contains("kubectl cnpg storage resume orders"), "{out}");
    let (out, _) = editor.ends(0, &["pause", "orders", "--reason", "the array moves"])?;
    assert!(out.contains("already; nothing to write"), "{out}");
    let (_, said) = editor.ends(1, &["expand", "orders", "--volume", "data", "--to", "20Gi"])?;
    assert!(said.contains("the Cluster is paused"), "{said}");
    orders.fill("orders-1", 0.9)?;
    stage
        .data_status("orders", "held by the pause", |d| d.state == State::Paused)
        .await?;
    assert!(stage.events("orders").await?.is_empty());

    // From now on for three seconds: then it grows, without anybody doing anything.
    let (out, _) = editor.ends(0, &["pause", "orders", "--until", "3s"])?;
    assert!(out.contains("It resumes by itself then"), "{out}");
    stage
        .event("orders", "the growth after the pause", |e| phase(e) == Some(Phase::Completed))
        .await?;
    stage.told_once("orders", &["StoragePaused", "StorageResumed"]).await?;
    let (out, _) = editor.ends(0, &["resume", "orders"])?;
    assert!(out.contains("Before: not paused any more, since the pause ended at"), "{out}");
    let left = annotations(&stage).await?;
    for name in [annotation::PAUSED, annotation::PAUSE_UNTIL, annotation::PAUSE_REASON] {
        assert!(!left.contains_key(name), "{left:?}");
    }
    assert!(left.contains_key(annotation::MANAGED), "the manager's own annotations stay");

    let (_, said) = editor.ends(1, &["pause", "oders"])?;
    assert!(said.contains("did you mean orders?"), "{said}");
    let (_, said) = editor.ends(1, &["reset-breaker", "--global"])?;
    assert!(said.contains("you are not allowed to list clusterstoragepolicies"), "{said}");
    let (out, _) = editor.ends(0, &["reset-breaker", "orders"])?;
    assert!(out.contains("a reset is asked for"), "{out}");
    Ok(())
}
