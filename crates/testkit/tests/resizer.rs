//! A raised request walks through the states that the real resizer and kubelet write.

use std::time::Duration;

use csm_testkit::resizer::{Code, ResizeFault, Speed};
use csm_testkit::scenario::{FIXED, PATIENCE, Sim, SimCluster, SimOptions, SimVolume};
use csm_units::Bytes;
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use tokio::sync::watch;

async fn ground(name: &str) -> (Sim, SimCluster, SimVolume) {
    let sim = Sim::shared().await.unwrap();
    let namespace = sim.namespace(name).await.unwrap();
    let cluster = sim.cluster(&namespace, "orders").data("1Gi").create().await.unwrap();
    let data = cluster.data("orders-1");
    (sim, cluster, data)
}

fn status(pvc: &PersistentVolumeClaim) -> Option<String> {
    pvc.status.as_ref()?.allocated_resource_statuses.as_ref()?.get("storage").cloned()
}

fn conditions(pvc: &PersistentVolumeClaim) -> Vec<String> {
    let conditions = pvc.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    conditions.into_iter().map(|condition| condition.type_).collect()
}

fn message(pvc: &PersistentVolumeClaim, condition: &str) -> Option<String> {
    let conditions = pvc.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|each| each.type_ == condition)?.message.clone()
}

fn storage(map: Option<&std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>) -> String {
    map.and_then(|map| map.get("storage"))
        .map(|quantity| quantity.0.clone())
        .unwrap_or_default()
}

async fn events(sim: &Sim, volume: &SimVolume) -> Vec<(String, String)> {
    let events: Api<Event> = Api::namespaced(sim.client(), &volume.key().namespace);
    let parameters = ListParams::default().fields(&format!("involvedObject.name={}", volume.key().claim));
    let mut events = events.list(&parameters).await.unwrap().items;
    // Their times are whole seconds; the order of writing is that of the resource versions.
    events.sort_by_key(|event| {
        event
            .metadata
            .resource_version
            .as_ref()
            .and_then(|version| version.parse::<u64>().ok())
    });
    events
        .into_iter()
        .map(|event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default()))
        .collect()
}

/// What is seen of a PVC: status, conditions, capacity.
type States = Vec<(String, String, String)>;

/// Everything that is seen of a PVC while a test runs, as it comes.
fn record(sim: &Sim, volume: &SimVolume) -> watch::Receiver<States> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(sim.client(), &volume.key().namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={}", volume.key().claim));
    let (into, seen) = watch::channel(States::new());
    tokio::spawn(async move {
        let stream = watcher(claims, config).default_backoff().applied_objects();
        pin_mut!(stream);
        while let Some(event) = stream.next().await {
            // The watcher tries again by itself.
            let Ok(pvc) = event else { continue };
            let capacity = storage(pvc.status.as_ref().and_then(|status| status.capacity.as_ref()));
            let state = (status(&pvc).unwrap_or_default(), conditions(&pvc).join(" "), capacity);
            into.send_if_modified(|seen| {
                let new = seen.last() != Some(&state);
                if new {
                    seen.push(state);
                }
                new
            });
        }
    });
    seen
}

/// Waits until so many states were seen.
async fn states(seen: &mut watch::Receiver<States>, count: usize) -> States {
    let all = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| seen.len() >= count)).await;
    all.unwrap_or_else(|_| panic!("{count} states were not seen in time"))
        .unwrap()
        .clone()
}

#[tokio::test]
async fn all_states_in_order() {
    let (sim, _cluster, data) = ground("order").await;
    let mut seen = record(&sim, &data);
    states(&mut seen, 1).await;
    data.patch_request(Bytes::gib(2)).await.unwrap();
    let done = data.wait_capacity(Bytes::gib(2)).await.unwrap();
    assert_eq!(status(&done), None);
    assert_eq!(
        storage(done.status.as_ref().unwrap().allocated_resources.as_ref()),
        "2Gi",
        "this stays, as in the real one"
    );

    let state = |status: &str, conditions: &str, capacity: &str| (status.to_owned(), conditions.to_owned(), capacity.to_owned());
    let expected = [
        state("", "", "1Gi"),
        state("ControllerResizeInProgress", "Resizing", "1Gi"),
        state("NodeResizePending", "Resizing FileSystemResizePending", "1Gi"),
        state("NodeResizeInProgress", "Resizing FileSystemResizePending", "1Gi"),
        state("", "", "2Gi"),
    ];
    assert_eq!(states(&mut seen, expected.len()).await, expected);

    let name = done.spec.unwrap().volume_name.unwrap();
    let volume = Api::<PersistentVolume>::all(sim.client()).get(&name).await.unwrap();
    assert_eq!(storage(volume.spec.unwrap().capacity.as_ref()), "2Gi");
    assert_eq!(data.filesystem_size().unwrap(), Bytes::mib(1984));
    sim.kubelets().measure_now();
    assert_eq!(data.measured().unwrap().capacity, Bytes::mib(1984).get());
    let reasons: Vec<_> = events(&sim, &data).await.into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(reasons, ["Resizing", "FileSystemResizeRequired", "FileSystemResizeSuccessful"]);
}

#[tokio::test]
async fn a_class_that_cannot_grow_is_refused_by_the_api_server() {
    let sim = Sim::shared().await.unwrap();
    let namespace = sim.namespace("fixed").await.unwrap();
    let cluster = sim
        .cluster(&namespace, "orders")
        .data("1Gi")
        .storage_class(FIXED)
        .create()
        .await
        .unwrap();
    let error = cluster.data("orders-1").patch_request(Bytes::gib(2)).await.unwrap_err();
    assert!(
        format!("{error:#}").contains("only dynamically provisioned pvc can be resized"),
        "{error:#}"
    );
}

#[tokio::test]
async fn a_controller_that_hangs_says_so_and_goes_on_when_it_is_freed() {
    let (sim, _cluster, data) = ground("hang").await;
    data.resize_fault(ResizeFault::HangController);
    data.patch_request(Bytes::gib(2)).await.unwrap();
    data.wait("in progress", PATIENCE, |pvc| {
        status(pvc).as_deref() == Some("ControllerResizeInProgress")
    })
    .await
    .unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while !events(&sim, &data)
        .await
        .iter()
        .any(|(reason, text)| reason == "VolumeResizeFailed" && text.contains("DeadlineExceeded"))
    {
        assert!(std::time::Instant::now() < deadline, "no event tells of the timeout");
    }
    let still = data.pvc().await.unwrap();
    assert_eq!(
        (status(&still).as_deref(), conditions(&still)),
        (Some("ControllerResizeInProgress"), vec!["Resizing".to_owned()])
    );
    data.resize_fault(ResizeFault::None);
    data.wait_capacity(Bytes::gib(2)).await.unwrap();
}

#[tokio::test]
async fn an_infeasible_size_can_be_lowered() {
    let (_sim, _cluster, data) = ground("infeasible").await;
    data.resize_fault(ResizeFault::InfeasibleAbove(Bytes::gib(3).get()));
    data.patch_request(Bytes::gib(4)).await.unwrap();
    let infeasible = |pvc: &PersistentVolumeClaim| status(pvc).as_deref() == Some("ControllerResizeInfeasible");
    let pvc = data.wait("infeasible", PATIENCE, infeasible).await.unwrap();
    let text = message(&pvc, "ControllerResizeError").unwrap();
    assert!(
        text.starts_with("failed to expand pvc with rpc error: code = OutOfRange desc = "),
        "{text}"
    );
    data.patch_request(Bytes::gib(2)).await.unwrap();
    let done = data.wait_capacity(Bytes::gib(2)).await.unwrap();
    assert_eq!(conditions(&done), Vec::<String>::new());
}

#[tokio::test]
async fn failures_are_tried_again() {
    let (_sim, _cluster, data) = ground("fail").await;
    let fault = |code| ResizeFault::FailController {
        code,
        message: "no luck".into(),
        times: 2,
    };
    data.resize_fault(fault(Code::Internal));
    data.patch_request(Bytes::gib(2)).await.unwrap();
    let failed = |pvc: &PersistentVolumeClaim| message(pvc, "ControllerResizeError").is_some();
    let pvc = data.wait("the error", PATIENCE, failed).await.unwrap();
    assert_eq!(
        status(&pvc).as_deref(),
        Some("ControllerResizeInProgress"),
        "not final for Kubernetes"
    );
    data.wait_capacity(Bytes::gib(2)).await.unwrap();

    data.resize_fault(ResizeFault::FailNode {
        code: Code::Internal,
        message: "xfs_growfs".into(),
        times: 1,
    });
    data.patch_request(Bytes::gib(3)).await.unwrap();
    let failed = |pvc: &PersistentVolumeClaim| message(pvc, "NodeResizeError").is_some();
    data.wait("the error of the node", PATIENCE, failed).await.unwrap();
    data.wait_capacity(Bytes::gib(3)).await.unwrap();
}

#[tokio::test]
async fn a_node_that_hangs_leaves_it_in_progress() {
    let (_sim, _cluster, data) = ground("nodehang").await;
    data.resize_fault(ResizeFault::HangNode);
    data.patch_request(Bytes::gib(2)).await.unwrap();
    let pvc = data
        .wait("the node's turn", PATIENCE, |pvc| {
            status(pvc).as_deref() == Some("NodeResizeInProgress")
        })
        .await
        .unwrap();
    assert!(conditions(&pvc).contains(&"FileSystemResizePending".to_owned()));
    assert_eq!(data.filesystem_size().unwrap(), Bytes::mib(960));
    data.resize_fault(ResizeFault::None);
    data.wait_capacity(Bytes::gib(2)).await.unwrap();
}

#[tokio::test]
async fn a_success_can_be_a_lie() {
    let (sim, _cluster, data) = ground("lie").await;
    data.resize_fault(ResizeFault::PretendGrown);
    data.patch_request(Bytes::gib(2)).await.unwrap();
    data.wait_capacity(Bytes::gib(2)).await.unwrap();
    sim.kubelets().measure_now();
    assert_eq!(data.measured().unwrap().capacity, Bytes::mib(960).get());
}

#[tokio::test]
async fn nothing_grows_on_the_node_without_a_pod() {
    let (sim, cluster, data) = ground("offline").await;
    cluster.delete_pod("orders-1").await.unwrap();
    data.patch_request(Bytes::gib(2)).await.unwrap();
    data.wait("pending", PATIENCE, |pvc| status(pvc).as_deref() == Some("NodeResizePending"))
        .await
        .unwrap();
    assert!(sim.resizer().is_busy(data.key()));
    let moved = data
        .wait("growth without a pod", Duration::from_secs(1), |pvc| status(pvc).is_none())
        .await;
    assert!(moved.is_err(), "a volume that is not mounted cannot grow");
    cluster.create_pod("orders-1").await.unwrap();
    data.wait_capacity(Bytes::gib(2)).await.unwrap();
}

#[tokio::test]
async fn an_update_of_the_pod_hastens_growth_on_the_node() {
    let resize_speed = Speed {
        node_sync: Duration::from_hours(1),
        ..Speed::default()
    };
    let sim = Sim::with(SimOptions {
        resize_speed,
        ..SimOptions::default()
    })
    .await
    .unwrap();
    let cluster = sim.cluster("shop", "orders").data("1Gi").create().await.unwrap();
    let data = cluster.data("orders-1");
    data.patch_request(Bytes::gib(2)).await.unwrap();
    data.wait("pending", PATIENCE, |pvc| status(pvc).as_deref() == Some("NodeResizePending"))
        .await
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(sim.client(), "shop");
    let annotation = Patch::Merge(json!({ "metadata": { "annotations": { "any": "thing" } } }));
    pods.patch("orders-1", &PatchParams::default(), &annotation).await.unwrap();
    data.wait_capacity(Bytes::gib(2)).await.unwrap();
}
