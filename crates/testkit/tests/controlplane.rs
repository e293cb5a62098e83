//! The light control plane is a real API server, quickly there and wholly gone.

use std::path::Path;
use std::time::{Duration, Instant};

use csm_testkit::controlplane::{ControlPlane, Options, client_from};
use csm_testkit::process::ProcessId;
use csm_testkit::tools;
use csm_testkit::wait::retry;
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

#[tokio::test]
async fn starts_and_leaves_nothing() {
    let began = Instant::now();
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    // Said, not asserted: how long it takes depends on what else the machine does.
    println!("control plane ready after {:?}", began.elapsed());

    let client = plane.client().await.unwrap();
    let version = client.apiserver_version().await.unwrap();
    assert_eq!(version.git_version, "v1.36.3");
    let state = plane.state_dir().to_owned();
    plane.stop();
    assert!(!state.exists());
    assert!(client.apiserver_version().await.is_err());
}

/// Where the killed run below says what it started.
const KILL_ME: &str = "CSM_TESTKIT_KILL_ME";

#[tokio::test]
async fn a_killed_run_leaves_no_process_and_its_folder_goes_with_the_next() {
    if let Some(path) = std::env::var_os(KILL_ME) {
        // This is the run that gets killed.
        let plane = ControlPlane::start(Options::default()).await.unwrap();
        let started = json!({ "processes": plane.processes().unwrap(), "state": plane.state_dir() });
        std::fs::write(Path::new(&path).with_extension("new"), started.to_string()).unwrap();
        std::fs::rename(Path::new(&path).with_extension("new"), path).unwrap();
        return std::future::pending().await;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("started");
    let mut run = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_run_leaves_no_process_and_its_folder_goes_with_the_next"])
        .env(KILL_ME, &path)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("the run has started", || path.exists()).await;
    let started: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let processes: Vec<ProcessId> = serde_json::from_value(started["processes"].clone()).unwrap();
    let state = Path::new(started["state"].as_str().unwrap());
    assert!(processes.len() == 2 && processes.iter().all(|process| process.is_alive()));
    run.kill().await.unwrap();
    until("its processes are gone", || processes.iter().all(|process| !process.is_alive())).await;
    assert!(state.is_dir(), "nobody was there to remove it");
    ControlPlane::start(Options::default()).await.unwrap();
    assert!(!state.exists());
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let patience = Duration::from_secs(30);
    let happened = retry(Duration::from_millis(10), patience, async || done().then_some(()).ok_or(())).await;
    assert!(happened.is_ok(), "did not happen: {what}");
}

#[tokio::test]
async fn two_run_side_by_side() {
    let (one, two) = tokio::join!(ControlPlane::start(Options::default()), ControlPlane::start(Options::default()));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.server(), two.server());
    one.apply_yaml("{apiVersion: v1, kind: Namespace, metadata: {name: only-in-one}}")
        .await
        .unwrap();
    let namespaces: Api<Namespace> = Api::all(two.client().await.unwrap());
    assert!(namespaces.get_opt("only-in-one").await.unwrap().is_none());
}

#[tokio::test]
async fn service_accounts_users_and_the_audit_log() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let rbac = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: apps}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: apps}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: worker, namespace: apps}, {kind: User, name: jane, apiGroup: rbac.authorization.k8s.io}]
";
    let kubeconfig = plane.service_account_kubeconfig("apps", "worker").await.unwrap();
    plane.apply_yaml(rbac).await.unwrap();
    let worker = client_from(&kubeconfig).await.unwrap();
    let jane = client_from(&plane.user_kubeconfig("jane", &["people"]).unwrap()).await.unwrap();
    let who: SelfSubjectReview = Api::all(jane.clone())
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .unwrap();
    let who = who.status.unwrap().user_info.unwrap();
    assert_eq!(who.username.as_deref(), Some("jane"));
    assert!(who.groups.unwrap().contains(&"people".to_owned()));

    // A token of ours is one that a kubelet would accept.
    let token = plane.service_account_token("apps", "worker").await.unwrap();
    let review: TokenReview = serde_json::from_value(json!({"metadata": {}, "spec": {"token": token}})).unwrap();
    let reviews: Api<TokenReview> = Api::all(plane.client().await.unwrap());
    let status = reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap();
    assert_eq!(status.user.unwrap().username.as_deref(), Some("system:serviceaccount:apps:worker"));

    let mark = plane.audit_mark().await.unwrap();
    for client in [&worker, &jane] {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "apps");
        maps.list(&ListParams::default()).await.unwrap();
        assert!(maps.get("absent").await.is_err());
    }
    let seen: Vec<_> = plane.audit_since(mark).await.unwrap();
    let seen: Vec<_> = seen
        .iter()
        .map(|entry| {
            (
                entry.user.as_str(),
                entry.verb.as_str(),
                entry.resource.as_str(),
                entry.name.as_str(),
                entry.code,
            )
        })
        .collect();
    let worker = "system:serviceaccount:apps:worker";
    let expected = [
        (worker, "list", "configmaps", "", 200),
        (worker, "get", "configmaps", "absent", 403),
        ("jane", "list", "configmaps", "", 200),
        ("jane", "get", "configmaps", "absent", 403),
    ];
    assert_eq!(seen, expected);
    assert!(plane.audit().await.unwrap().len() > expected.len());
}

#[tokio::test]
async fn an_outage_loses_no_data() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    plane
        .apply_yaml("{apiVersion: v1, kind: ConfigMap, metadata: {name: kept}, data: {key: value}}")
        .await
        .unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(plane.client().await.unwrap(), "default");
    plane.stop_api_server().unwrap();
    assert!(maps.get("kept").await.is_err());
    plane.start_api_server().await.unwrap();
    let kept = maps.get("kept").await.unwrap();
    assert_eq!(kept.data.unwrap()["key"], "value");
}

#[tokio::test]
async fn cnpg_clusters_are_served() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    let began = Instant::now();
    plane.apply_crds(tools::cnpg_crds().unwrap()).await.unwrap();
    println!("all CRDs of CloudNativePG served after {:?}", began.elapsed());
    // Defaults of the real CRD show that it is the real one.
    let cluster = "
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: orders}
spec: {instances: 2, storage: {size: 1Gi}}
";
    let mark = plane.audit_mark().await.unwrap();
    plane.apply_yaml(cluster).await.unwrap();
    let entries = plane.audit_since(mark).await.unwrap();
    let patch = entries.iter().find(|entry| entry.resource == "clusters").unwrap();
    assert_eq!(
        (patch.verb.as_str(), patch.group.as_str(), patch.code),
        ("patch", "postgresql.cnpg.io", 201)
    );
    assert_eq!(patch.request.as_ref().unwrap()["spec"]["instances"], 2);
    let resource = kube::core::ApiResource {
        group: "postgresql.cnpg.io".into(),
        version: "v1".into(),
        api_version: "postgresql.cnpg.io/v1".into(),
        kind: "Cluster".into(),
        plural: "clusters".into(),
    };
    let clusters: Api<kube::api::DynamicObject> = Api::namespaced_with(plane.client().await.unwrap(), "default", &resource);
    let stored = clusters.get("orders").await.unwrap();
    assert_eq!(stored.data["spec"]["storage"]["resizeInUseVolumes"], true);
    let bad = Patch::Merge(json!({"spec": {"instances": 0}}));
    let error = clusters
        .patch("orders", &PatchParams::default(), &bad)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("spec.instances"), "{error}");
}

#[tokio::test]
async fn the_api_server_accepts_our_kinds() {
    let plane = ControlPlane::start(Options::default()).await.unwrap();
    plane.apply_crds(csm_api::all_crds()).await.unwrap();
}
