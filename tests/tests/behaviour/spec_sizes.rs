//! `expansion.applyTo: ClusterSpec`: the size in the Cluster's own spec follows a verified growth, in the field that it uses.

use csm_api::{ConditionStatus, Phase, State};
use csm_testkit::controlplane::AuditEntry;
use csm_tests::cli::Cli;
use csm_tests::manager::{Manager, kubeconfig};
use csm_tests::proxy::{At, Fault, Proxy, Rule};
use csm_tests::wait::PATIENCE;
use csm_tests::{Stage, phase, until};
use csm_units::Bytes;
use serde_json::{Value, json};

async fn spec(orders: &csm_testkit::scenario::SimCluster) -> anyhow::Result<Value> {
    Ok(orders.object().await?.data["spec"].clone())
}

#[tokio::test]
async fn the_field_in_use_follows_for_every_volume() -> anyhow::Result<()> {
    let stage = Stage::new("spec").await?;
    let template = json!({"storage": {"size": "", "pvcTemplate": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}},
    }}});
    let orders = stage
        .orders(|c| {
            c.instances(2)
                .data("10Gi")
                .wal("4Gi")
                .tablespace("cold", "3Gi")
                .tablespace("hot", "5Gi")
                .spec(template)
        })
        .await?;
    let expansion = |apply_to: &str| json!({"expansion": {"maxSize": "60Gi", "applyTo": apply_to}});
    stage.policy("default", expansion("PersistentVolumeClaims")).await?;
    let _manager = stage.manager().await?;
    stage.data_status("orders", "balanced", |d| d.state == State::Balanced).await?;
    let kubeconfig = stage.sim.plane().user_kubeconfig("admin", &["system:masters"])?;
    let cli = Cli::new(&kubeconfig, &stage.namespace);
    assert_eq!(cli.json(&["explain", "orders", "-o", "json"])?.get("specSizes"), None);

    // Off: the volumes grow, the spec stays, and `explain` says what to do.
    orders.fill("orders-1", 0.87)?;
    stage
        .event("orders", "data has grown", |e| phase(e) == Some(Phase::Completed))
        .await?;
    for (volume, to) in [("wal", "6Gi"), ("tablespace/hot", "9Gi")] {
        cli.ends(0, &["expand", "orders", "--volume", volume, "--to", to, "--wait"])?;
    }
    let read = spec(&orders).await?;
    assert_eq!(read["storage"]["pvcTemplate"]["resources"]["requests"]["storage"], "10Gi");
    let (text, _) = cli.ends(0, &["explain", "orders"])?;
    for words in [
        "spec.storage.pvcTemplate.resources.requests.storage",
        "spec.walStorage.size",
        "spec.tablespaces[1].storage.size",
        "RespectIgnoreDifferences=true",
        "jsonPointers:",
        "Flux, in the Kustomization",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let sizes = cli.json(&["explain", "orders", "-o", "json"])?["specSizes"].clone();
    assert_eq!(sizes["applyTo"], "PersistentVolumeClaims");
    assert_eq!(sizes["fields"][0]["has"], "15Gi", "{sizes}");

    // On: it follows, also what lagged behind before.
    stage.policy("default", expansion("ClusterSpec")).await?;
    let read = until("all fields follow", || async {
        let read = spec(&orders).await?;
        let template = &read["storage"]["pvcTemplate"]["resources"]["requests"]["storage"];
        let level = *template == "15Gi" && read["walStorage"]["size"] == "6Gi" && read["tablespaces"][1]["storage"]["size"] == "9Gi";
        Ok(level.then_some(read))
    })
    .await?;
    assert!(
        matches!(read["storage"]["size"].as_str(), None | Some("")),
        "the field that is not in use: {read}"
    );
    assert_eq!(read["tablespaces"][0]["storage"]["size"], "3Gi", "what did not grow");
    assert_eq!(read["tablespaces"][1]["name"], "hot");
    assert_eq!(cli.json(&["explain", "orders", "-o", "json"])?.get("specSizes"), None);
    for instance in ["orders-1", "orders-2"] {
        assert_eq!(orders.data(instance).request().await?, Bytes::gib(15));
    }
    Ok(())
}

/// CloudNativePG's webhook, or another, says no: it is told once, and the growth itself stays a success.
#[tokio::test]
async fn a_refusal_is_told_and_not_tried_again_at_once() -> anyhow::Result<()> {
    let stage = Stage::new("specno").await?;
    let orders = stage.orders(|c| c.instances(1).data("10Gi")).await?;
    let says_no = json!([
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": stage.namespace},
         "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": ["postgresql.cnpg.io"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["clusters"]}]},
            "validations": [{"expression": "object.spec.storage.size == oldObject.spec.storage.size", "message": "the size is as Git has it"}],
         }},
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": stage.namespace},
         "spec": {"policyName": stage.namespace, "validationActions": ["Deny"], "matchResources": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}}}}},
    ]);
    for object in says_no.as_array().into_iter().flatten() {
        stage.sim.plane().apply_yaml(&object.to_string()).await?;
    }
    let mut tries = 0_u32;
    until("the policy is in force", || {
        // Another size each time: what is there already changes nothing, and is not refused.
        tries += 1;
        let size = format!("{}Mi", 10_240 + tries);
        let orders = &orders;
        async move {
            Ok(orders
                .patch(json!({"spec": {"storage": {"size": size}}}))
                .await
                .is_err()
                .then_some(()))
        }
    })
    .await?;
    let written = spec(&orders).await?["storage"]["size"].clone();
    let mark = stage.sim.plane().audit_mark().await?;
    stage
        .policy("default", json!({"expansion": {"maxSize": "60Gi", "applyTo": "ClusterSpec"}}))
        .await?;
    let manager = stage.manager().await?;
    stage.data_status("orders", "balanced", |d| d.state == State::Balanced).await?;
    orders.fill("orders-1", 0.87)?;
    let event = stage
        .event("orders", "the growth has ended", |e| phase(e) == Some(Phase::Completed))
        .await?;
    stage.told_once("orders", &["AutoResizeBlocked", "AutoResizeSuccess"]).await?;
    assert!(event.status.is_some());
    let follows = until("the status says so", || async {
        let conditions = stage.storage("orders").await?.and_then(|s| s.status).unwrap_or_default().conditions;
        let follows = conditions.into_iter().find(|c| c.type_ == "SpecFollows");
        Ok(follows.filter(|c| c.status == ConditionStatus::False))
    })
    .await?;
    assert_eq!(follows.reason, "Refused");
    let says = "could not raise spec.storage.size from";
    assert!(
        follows.message.starts_with(says) && follows.message.contains("the size is as Git has it"),
        "{follows:?}"
    );
    let failure = ["result=\"failure\"", &stage.namespace];
    let refusals = manager.metric("cnpg_storage_manager_spec_size_total", &failure).await?;
    assert_eq!(refusals, Some(1.0));
    // It looks at the Cluster again and again; the refusal waits for its time.
    let looks = async || {
        manager
            .metric("cnpg_storage_manager_reconcile_total", &["controller=\"cluster\"", "success"])
            .await
    };
    let seen = looks().await?;
    let mut writes = 0;
    until("it looked at the Cluster again", || {
        writes += 1;
        let write = writes.to_string();
        let (orders, looks) = (&orders, &looks);
        async move {
            orders.annotate("example.com/write", Some(&write)).await?;
            Ok((looks().await? > seen.map(|n| n + 2.0)).then_some(()))
        }
    })
    .await?;
    let tries = stage.sim.plane().audit_since(mark).await?;
    let refused = tries
        .iter()
        .filter(|e| e.namespace == stage.namespace && e.resource == "clusters" && e.verb == "patch" && e.code == 422);
    assert_eq!(refused.count(), 1);
    assert_eq!(spec(&orders).await?["storage"]["size"], written);
    Ok(())
}

/// Somebody else changes the Cluster in the moment of the write: that is no refusal, and nobody is told of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_race_is_looked_at_again_and_not_told() -> anyhow::Result<()> {
    let stage = Stage::new("specrace").await?;
    let plane = stage.sim.plane();
    let mut proxy = Proxy::start(plane.kubeconfig()).await?;
    let through = proxy.kubeconfig(&kubeconfig(&stage.sim).await?)?;
    let orders = stage.orders(|c| c.instances(1).data("10Gi")).await?;
    stage
        .policy("default", json!({"expansion": {"maxSize": "60Gi", "applyTo": "ClusterSpec"}}))
        .await?;
    let manager = Manager::spawn_as(&stage.sim, through.path(), &[&stage.namespace], &[])?;
    manager.leads().await?;
    stage.data_status("orders", "balanced", |d| d.state == State::Balanced).await?;
    let mark = plane.audit_mark().await?;
    // Each write to the Cluster, of annotations or of the size, finds that the size is another than it was.
    proxy.arm((1..=12).map(|_| Rule {
        at: At::Kind("PATCH clusters".to_owned()),
        nth: 1,
        fault: Fault::Meanwhile,
    }));
    orders.fill("orders-1", 0.87)?;
    let lost = |e: &AuditEntry| e.namespace == stage.namespace && e.resource == "clusters" && e.verb == "patch" && e.code == 409;
    let mut size = 10_240_u32;
    loop {
        let turn = tokio::time::timeout(PATIENCE, proxy.meanwhile()).await?;
        size += 1;
        orders.patch(json!({"spec": {"storage": {"size": format!("{size}Mi")}}})).await?;
        drop(turn);
        if plane.audit_since(mark).await?.iter().any(lost) {
            break;
        }
    }
    proxy.calm();
    until("the size has followed", || async {
        Ok((spec(&orders).await?["storage"]["size"] == "15Gi").then_some(()))
    })
    .await?;
    let told = until("an Event tells that it has followed", || async {
        let told = stage.notes("orders").await?;
        let raised = told.iter().any(|(_, text)| text.starts_with("Raised spec.storage.size"));
        Ok(raised.then_some(told))
    })
    .await?;
    assert!(told.iter().all(|(reason, _)| reason != "AutoResizeBlocked"), "{told:?}");
    let log = manager.log();
    assert!(!log.contains("refused to raise"), "{log}");
    Ok(())
}
