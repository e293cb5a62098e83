//! The command line as a real process, against a real API server, beside the real manager.

use anyhow::Context as _;
use csm_api::State;
use csm_testkit::scenario::{Sim, SimOptions};
use csm_tests::cli::Cli;
use csm_tests::{Stage, person, until, up_to};
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// What a person needs who may only read one namespace.
fn reading() -> Value {
    let ours = ["postgresstorages", "storageevents", "storagepolicies"];
    json!([
        {"apiGroups": [""], "resources": ["persistentvolumeclaims", "pods"], "verbs": ["get", "list"]},
        {"apiGroups": ["postgresql.cnpg.io"], "resources": ["clusters"], "verbs": ["get", "list"]},
        {"apiGroups": ["cnpg.supporttools.io"], "resources": ours, "verbs": ["get", "list"]},
    ])
}

#[tokio::test]
async fn a_reader_of_one_namespace_sees_what_the_manager_sees() -> anyhow::Result<()> {
    let (stage, orders) = Stage::with_orders("cli", |c| c.instances(2).data("10Gi").wal("4Gi"), up_to("40Gi")).await?;
    let (sim, namespace) = (&stage.sim, stage.namespace.as_str());
    let _manager = stage.manager().await?;
    stage
        .data_status("orders", "the volume is balanced", |d| d.state == State::Balanced)
        .await?;
    let reader = Cli::new(&person::kubeconfig(&stage, "reader", &reading(), &[]).await?, namespace);

    let (fleet, notes) = reader.ends(0, &["status", "--check"])?;
    assert!(fleet.contains("CLUSTER   STATE") && fleet.contains("orders    Balanced"), "{fleet}");
    assert_eq!(notes, "", "a reader who lacks nothing is told nothing");
    let (text, _) = reader.ends(0, &["status", "orders"])?;
    for line in ["Dynamic Sizing: Enabled", "  Limit:          40Gi", "  Effective Size: 10Gi"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours where there is no terminal: {text}");

    let (text, notes) = reader.ends(0, &["explain", "orders"])?;
    assert!(
        text.contains("data: Balanced (BelowThresholds)") && text.contains("wal: Balanced"),
        "{text}"
    );
    assert!(!text.contains("decided otherwise"), "{text}");
    for kind in ["StorageClasses", "ClusterStoragePolicies", "Namespaces"] {
        assert!(
            notes.contains(&format!("Note: {kind}: you are not allowed to read them; ")),
            "{kind}: {notes}"
        );
    }

    orders.fill("orders-1", 0.93)?;
    stage
        .event("orders", "the growth has ended", |e| {
            csm_tests::phase(e) == Some(csm_api::Phase::Completed)
        })
        .await?;
    // Not so full that a small step would pass the cooldown.
    orders.fill("orders-2", 0.9)?;
    stage
        .data_status("orders", "it is full again within the cooldown", |d| d.state == State::Blocked)
        .await?;
    let status = reader.json(&["status", "orders", "-o", "json"])?;
    let data = &status["volumes"][0];
    assert_eq!(
        (&data["volume"], &data["state"], &data["lastDecision"]["reason"], &data["danger"]),
        (&json!("data"), &json!("Blocked"), &json!("Cooldown"), &json!("acute"))
    );
    assert_eq!((&data["effectiveSize"], &data["targetSize"]), (&json!("15Gi"), &json!("23Gi")));
    let (text, _) = reader.ends(0, &["status", "orders"])?;
    assert!(text.contains("Last Action:    ScheduledGrow from 10Gi to 15Gi: Success"), "{text}");
    assert!(text.contains("Next Action:    "), "{text}");

    // Who may read all sees the manager's lease as well; the planner comes to the manager's decision.
    let kubeconfig = sim.plane().user_kubeconfig("admin", &["system:masters"])?;
    let admin = Cli::new(&kubeconfig, namespace);
    let lease = format!("test-{namespace}");
    let explained = admin.json(&["explain", "orders", "-o", "json", "--lease-name", &lease])?;
    assert_eq!(explained["manager"]["state"], "running", "{explained}");
    let data = &explained["volumes"][0];
    assert_eq!((&data["verdict"], &data["reason"]), (&json!("Hold"), &json!("Cooldown")));
    assert_eq!(data["differs"], false, "{data}");
    assert_eq!(data["operation"]["phase"], "Completed");
    let gates = data["gates"].as_array().context("gates")?;
    let holding: Vec<&Value> = gates.iter().filter(|g| g["answer"] == "holds").map(|g| &g["gate"]).collect();
    assert_eq!(holding, [&json!("Cooldown")]);
    let (text, _) = admin.ends(0, &["explain", "orders", "--lease-name", &lease])?;
    assert!(text.contains("StoragePolicy "), "{text}");

    // Nothing is wrong around it but that nobody has installed the webhooks here, and slots have no limit.
    let doctor = ["doctor", "orders", "--lease-name", &lease];
    let found = admin.json(&[&doctor[..], &["-o", "json"]].concat())?;
    let findings = found["findings"].as_array().context("findings")?;
    let findings: Vec<String> = findings
        .iter()
        .map(|f| format!("{} {}", f["level"], f["check"]).replace('"', ""))
        .collect();
    assert_eq!(
        findings,
        ["warning Webhook", "warning Webhook", "advice Slots", "advice Archiving"],
        "{found}"
    );
    assert_eq!(found["notChecked"], json!([]), "{found}");
    let (text, _) = admin.ends(3, &[&doctor[..], &["--check"]].concat())?;
    assert!(
        text.contains("there is no MutatingWebhookConfiguration of the manager") && text.contains("Fix: Apply deploy/webhook.yaml"),
        "{text}"
    );
    let stranger = [&doctor[..], &["--check", "--service-account", "elsewhere/somebody"]].concat();
    let (text, _) = admin.ends(3, &stranger)?;
    assert!(
        text.contains("the manager (elsewhere/somebody) may not patch persistentvolumeclaims in this namespace"),
        "{text}"
    );
    let found = reader.json(&["doctor", "orders", "-o", "json"])?;
    let skipped = found["notChecked"].as_array().context("notChecked")?;
    let skipped: Vec<&Value> = skipped.iter().map(|s| &s["check"]).collect();
    assert_eq!(
        skipped,
        ["Manager", "Permissions", "Webhook", "Webhook", "StorageClass", "Quota"],
        "{found}"
    );

    let (_, said) = admin.ends(3, &["status", "--check", "--lease-name", "nobody"])?;
    assert!(said.contains("no manager runs, since there is no lease nobody"), "{said}");
    let (_, said) = reader.ends(1, &["status", "oders"])?;
    assert!(
        said.contains(&format!(
            "there is no CNPG Cluster oders in namespace {namespace}; did you mean orders?"
        )),
        "{said}"
    );
    let (_, said) = reader.ends(1, &["status", "-A"])?;
    assert!(
        said.contains("you are not allowed to list clusters.postgresql.cnpg.io in all namespaces"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn what_is_not_installed_is_named() -> anyhow::Result<()> {
    let bare = SimOptions {
        nodes: 0,
        cnpg_crds: false,
        our_crds: false,
        ..SimOptions::default()
    };
    let sim = Sim::with(bare).await?;
    let kubeconfig = sim.plane().user_kubeconfig("admin", &["system:masters"])?;
    let cli = Cli::new(&kubeconfig, "default");
    for arguments in [
        &["status"][..],
        &["status", "orders"],
        &["explain", "orders"],
        &["doctor", "orders"],
    ] {
        let (_, said) = cli.ends(1, arguments)?;
        assert!(said.contains("CloudNativePG is not installed in this cluster"), "{said}");
    }

    let crds = tokio::task::spawn_blocking(csm_testkit::tools::cnpg_crds).await??;
    let cluster = crds.into_iter().filter(|crd| crd.name_any() == csm_cnpg::CRD_NAME);
    sim.plane().apply_crds(cluster).await?;
    let said = until("CloudNativePG's kind is served", || async {
        let (_, said) = cli.ends(1, &["status"])?;
        Ok((!said.contains("CloudNativePG is not installed")).then_some(said))
    })
    .await?;
    assert!(
        said.contains("CNPG Storage Manager is not installed") && said.contains("kubectl apply -f deploy/crds"),
        "{said}"
    );

    sim.plane().apply_crds(csm_api::all_crds()).await?;
    until("our kinds are served", || async {
        let output = cli.run(&["status"])?;
        Ok((output.status.code() == Some(0)).then_some(()))
    })
    .await?;
    let (out, said) = cli.ends(0, &["status"])?;
    assert_eq!(out, "");
    assert!(said.contains("there are no CNPG Clusters in namespace default"), "{said}");
    let (_, said) = cli.ends(1, &["explain", "orders"])?;
    assert!(said.contains("which has none at all"), "{said}");
    Ok(())
}
