//! Certificates of the webhooks: from an own authority that is rotated without a gap, and from files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use csm_testkit::pki::{Ca, Subject, Usage};
use csm_testkit::scenario::Sim;
use csm_tests::manager::{self, NAMESPACE};
use csm_tests::verdicts::object;
use csm_tests::webhook::{self, CONFIGURATION, SECRET, apply, called, calling, fail, kept, port, ready, spawn, try_pvc};
use csm_tests::{Stage, until};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

/// How many certificates each configuration tells to trust.
async fn trusted(sim: &Sim) -> anyhow::Result<Vec<usize>> {
    let validating = Api::<ValidatingWebhookConfiguration>::all(sim.client()).get(CONFIGURATION).await?;
    let mutating = Api::<MutatingWebhookConfiguration>::all(sim.client()).get(CONFIGURATION).await?;
    let validating = validating.webhooks.into_iter().flatten().map(|w| w.client_config.ca_bundle);
    let mutating = mutating.webhooks.into_iter().flatten().map(|w| w.client_config.ca_bundle);
    let count = |bundle: Option<ByteString>| {
        let text = bundle.map(|ByteString(bytes)| String::from_utf8_lossy(&bytes).into_owned());
        text.unwrap_or_default().matches("BEGIN CERTIFICATE").count()
    };
    Ok(validating.chain(mutating).map(count).collect())
}

/// Admissions of both webhooks, without end; the first that fails ends it.
async fn admissions(sim: Sim, namespace: String, number: usize, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) -> anyhow::Result<()> {
    let pvc = json!({
        "metadata": {"name": format!("orders-{number}"), "labels": {"cnpg.io/cluster": "orders", "cnpg.io/instanceName": format!("orders-{number}"), "cnpg.io/pvcRole": "PG_DATA"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("cnpg.supporttools.io", "v1alpha1", "StoragePolicy"));
    let policies: Api<DynamicObject> = Api::namespaced_with(sim.client(), &namespace, &kind);
    let policy = object(
        "StoragePolicy",
        &namespace,
        &format!("policy-{number}"),
        &json!({"expansion": {"maxSize": "10Gi"}}),
    );
    let policy: DynamicObject = serde_json::from_value(policy)?;
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    while !stop.load(Ordering::Relaxed) {
        try_pvc(&sim, &namespace, &pvc).await?;
        policies.create(&dry, &policy).await?;
        count.fetch_add(2, Ordering::Relaxed);
    }
    Ok(())
}

#[tokio::test]
async fn the_authority_is_rotated_under_a_stream_of_admissions() -> anyhow::Result<()> {
    const ROTATIONS: usize = 2;
    let stage = Stage::alone("rotation").await?;
    let sim = &stage.sim;
    let (first, second) = (port()?, port()?);
    let kubeconfig = manager::kubeconfig(sim).await?;
    // Both replicas are asked each time, and a call that fails is seen.
    apply(sim, calling(&[first, second], fail)?).await?;
    let short = [
        "--webhook-authority-lifetime",
        "24s",
        "--webhook-certificate-lifetime",
        "15s",
        "--webhook-settle-time",
        "2s",
    ];
    // Both start at once, with nothing to serve with.
    let managers = [spawn(sim, &kubeconfig, first, &short)?, spawn(sim, &kubeconfig, second, &short)?];
    for manager in &managers {
        ready(manager).await?;
    }
    called(sim).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let streams: Vec<_> = (0..3)
        .map(|number| {
            tokio::spawn(admissions(
                sim.clone(),
                stage.namespace.clone(),
                number,
                stop.clone(),
                count.clone(),
            ))
        })
        .collect();

    let mut authorities: Vec<String> = Vec::new();
    let mut most = 0;
    for _ in 0..=ROTATIONS {
        until("another authority issues", || async {
            let name = kept(sim).await?["current"]["name"].as_str().unwrap_or_default().to_owned();
            Ok((authorities.last() != Some(&name)).then_some(name))
        })
        .await
        .map(|name| authorities.push(name))?;
        most = most.max(trusted(sim).await?.into_iter().max().unwrap_or(0));
    }
    until("the last one before is dropped", || async {
        let kept = kept(sim).await?;
        let alone = kept["previous"].is_null() && kept["next"].is_null();
        Ok((alone && trusted(sim).await? == [1; 4]).then_some(()))
    })
    .await?;
    stop.store(true, Ordering::Relaxed);
    for stream in streams {
        stream.await??;
    }
    let count = count.load(Ordering::Relaxed);
    println!("{count} admissions at two replicas, {ROTATIONS} rotations, none failed; authorities: {authorities:?}");
    assert!(count > 100, "only {count} admissions");
    assert_eq!(most, 2, "both authorities are trusted during a rotation");
    for manager in &managers {
        let errors = manager
            .metric("cnpg_storage_manager_webhook_requests_total", &["result=\"error\""])
            .await?;
        assert_eq!(errors, None);
        assert!(!manager.log().contains("BEGIN"), "no certificate or key is logged");
    }
    Ok(())
}

/// Without a certificate the manager is not ready, says why, and leads all the same: disks fill without webhooks too.
#[tokio::test]
async fn without_its_secret_the_manager_leads_and_is_not_ready() -> anyhow::Result<()> {
    let stage = Stage::alone("nosecret").await?;
    let sim = &stage.sim;
    let port = port()?;
    let kubeconfig = manager::kubeconfig(sim).await?;
    apply(sim, calling(&[port], fail)?).await?;
    Api::<Secret>::namespaced(sim.client(), NAMESPACE)
        .delete(SECRET, &DeleteParams::default())
        .await?;
    let manager = spawn(sim, &kubeconfig, port, &[])?;
    manager.leads().await?;
    until("it says what is missing", || async {
        let (status, text) = manager.page("/readyz").await?;
        let says =
            text.contains("webhook certificate: there is no Secret cnpg-storage-manager/cnpg-storage-manager-webhook; make an empty one");
        Ok((status == 503 && says).then_some(()))
    })
    .await?;
    apply(
        sim,
        webhook::shipped()?
            .into_iter()
            .filter(|object| object["kind"] == "Secret")
            .collect(),
    )
    .await?;
    ready(&manager).await?;
    called(sim).await?;
    // Whatever somebody writes there, it comes right again.
    let spoilt = json!({"data": {"certificates.json": ByteString(b"{}".to_vec())}});
    Api::<Secret>::namespaced(sim.client(), NAMESPACE)
        .patch(SECRET, &PatchParams::default(), &Patch::Merge(spoilt))
        .await?;
    until("there is an authority again", || async {
        Ok(kept(sim).await?["current"]["name"].is_string().then_some(()))
    })
    .await?;
    called(sim).await
}

/// Puts a certificate of an authority where the manager reads it.
fn issue(ca: &Ca, folder: &std::path::Path) -> anyhow::Result<()> {
    let issued = ca.issue(Subject::user("webhook"), Usage::Server, &["127.0.0.1".to_owned()])?;
    std::fs::write(folder.join("tls.crt"), issued.cert_pem)?;
    std::fs::write(folder.join("tls.key"), issued.key_pem)?;
    Ok(())
}

#[tokio::test]
async fn certificate_files_are_reloaded() -> anyhow::Result<()> {
    let stage = Stage::alone("files").await?;
    let sim = &stage.sim;
    let (port, folder) = (port()?, tempfile::tempdir()?);
    let kubeconfig = manager::kubeconfig(sim).await?;
    let (old, new) = (Ca::new("old")?, Ca::new("new")?);
    let trusting = |ca: &Ca| {
        let bundle = json!(ByteString(ca.cert_pem().as_bytes().to_vec()));
        calling(&[port], move |webhook: &mut Value| {
            fail(webhook);
            webhook["clientConfig"]["caBundle"] = bundle.clone();
        })
    };
    apply(sim, trusting(&old)?).await?;
    let path = folder.path().display().to_string();
    let manager = spawn(
        sim,
        &kubeconfig,
        port,
        &["--webhook-certificates", "files", "--webhook-cert-dir", &path],
    )?;
    manager.leads().await?;
    let (status, text) = manager.page("/readyz").await?;
    assert!(status == 503 && text.contains("tls.crt"), "{status}: {text}");
    issue(&old, folder.path())?;
    ready(&manager).await?;
    called(sim).await?;
    issue(&new, folder.path())?;
    apply(sim, trusting(&new)?).await?;
    called(sim).await?;
    // What somebody else told the API server is left as it is.
    assert_eq!(kept(sim).await?, Value::Null);
    Ok(())
}
