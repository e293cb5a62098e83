//! Scenarios write what CloudNativePG writes.

use std::time::Instant;

use csm_cnpg::{label, read_volume_labels, role};
use csm_testkit::scenario::{EXPANDABLE, Sim, SimOptions};
use csm_units::Bytes;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::json;

#[tokio::test]
async fn a_cluster_has_the_objects_and_labels_of_a_real_one() {
    let sim = Sim::shared().await.unwrap();
    let ns = sim.namespace("objects").await.unwrap();
    let builder = sim
        .cluster(&ns, "orders")
        .instances(2)
        .data("3Gi")
        .wal("2Gi")
        .tablespace("Cold_Store", "5Gi");
    let cluster = builder
        .pvc_size("orders-2", "4Gi")
        .data_used(0.5)
        .label("tier", "gold")
        .spec(json!({ "storage": { "resizeInUseVolumes": false } }))
        .create()
        .await
        .unwrap();

    let object = cluster.object().await.unwrap();
    assert_eq!(object.labels()["tier"], "gold");
    assert_eq!(object.data["spec"]["storage"]["size"], "3Gi");
    assert_eq!(object.data["spec"]["storage"]["resizeInUseVolumes"], false);
    assert_eq!(object.data["spec"]["tablespaces"][0]["name"], "Cold_Store");
    let status = &object.data["status"];
    assert_eq!(status["phase"], "Cluster in healthy state");
    assert_eq!(
        (&status["currentPrimary"], &status["readyInstances"]),
        (&json!("orders-1"), &json!(2))
    );
    assert_eq!(status["healthyPVC"].as_array().unwrap().len(), 6);

    let claims: Api<PersistentVolumeClaim> = Api::namespaced(sim.client(), &ns);
    let parameters = ListParams::default().labels(&format!("{}=orders", label::CLUSTER));
    let claims = claims.list(&parameters).await.unwrap().items;
    let mut read: Vec<_> = claims
        .iter()
        .map(|pvc| {
            let labels = read_volume_labels(pvc.labels()).unwrap();
            assert_eq!(pvc.annotations()["cnpg.io/pvcStatus"], "ready");
            assert_eq!(pvc.status.as_ref().unwrap().phase.as_deref(), Some("Bound"));
            (
                pvc.name_any(),
                labels.instance.to_owned(),
                labels.role,
                pvc.labels()[label::INSTANCE_ROLE].clone(),
            )
        })
        .collect();
    read.sort();
    let row = |claim: &str, instance: &str, role, kind: &str| (claim.to_owned(), instance.to_owned(), role, kind.to_owned());
    assert_eq!(
        read,
        [
            row("orders-1", "orders-1", role::DATA, "primary"),
            row("orders-1-tbs-cold-store", "orders-1", role::TABLESPACE, "primary"),
            row("orders-1-wal", "orders-1", role::WAL, "primary"),
            row("orders-2", "orders-2", role::DATA, "replica"),
            row("orders-2-tbs-cold-store", "orders-2", role::TABLESPACE, "replica"),
            row("orders-2-wal", "orders-2", role::WAL, "replica"),
        ]
    );
    assert_eq!(
        cluster.data("orders-2").request().await.unwrap(),
        Bytes::gib(4),
        "this one differs from the spec"
    );
    assert_eq!(
        cluster.tablespace("orders-1", "Cold_Store").capacity().await.unwrap(),
        Bytes::gib(5)
    );

    let pod = Api::<Pod>::namespaced(sim.client(), &ns).get("orders-1").await.unwrap();
    assert_eq!(
        (pod.labels()[label::POD_ROLE].as_str(), pod.labels()["role"].as_str()),
        ("instance", "primary")
    );
    let node = Api::<Node>::all(sim.client())
        .get(pod.spec.as_ref().unwrap().node_name.as_ref().unwrap())
        .await
        .unwrap();
    let node = node.status.unwrap();
    let port = node.daemon_endpoints.unwrap().kubelet_endpoint.unwrap().port;
    let address = sim.kubelets().address(&cluster.node_of("orders-1").unwrap()).unwrap();
    assert_eq!(
        (node.addresses.unwrap()[0].address.clone(), port),
        (address.ip().to_string(), i32::from(address.port()))
    );

    // The kubelet has measured every volume already.
    assert!(cluster.volumes().iter().all(|volume| volume.measured().is_some()));
    let figures = cluster.data("orders-1").measured().unwrap();
    assert_eq!(figures.used, figures.capacity / 2);
}

#[tokio::test]
async fn clusters_change_and_go() {
    let sim = Sim::shared().await.unwrap();
    let ns = sim.namespace("changes").await.unwrap();
    let cluster = sim.cluster(&ns, "orders").instances(2).create().await.unwrap();
    assert_eq!(cluster.add_instance().await.unwrap(), "orders-3");
    cluster.set_primary("orders-3").await.unwrap();
    cluster.remove_instance("orders-1").await.unwrap();
    cluster.set_phase("Not enough disk space").await.unwrap();
    cluster.annotate("cnpg.io/hibernation", Some("on")).await.unwrap();
    let object = cluster.object().await.unwrap();
    assert_eq!(object.data["spec"]["instances"], 2);
    assert_eq!(object.data["status"]["phase"], "Not enough disk space");
    assert_eq!(object.data["status"]["currentPrimary"], "orders-3");
    assert_eq!(object.data["status"]["instanceNames"], json!(["orders-2", "orders-3"]));
    assert_eq!(object.annotations()["cnpg.io/hibernation"], "on");
    let claim = cluster.data("orders-3").pvc().await.unwrap();
    assert_eq!(claim.labels()[label::INSTANCE_ROLE], "primary");

    cluster.delete().await.unwrap();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(sim.client(), &ns);
    assert!(claims.list(&ListParams::default()).await.unwrap().items.is_empty());
    let volumes = Api::<PersistentVolume>::all(sim.client())
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    assert!(volumes.iter().all(|volume| !volume.name_any().contains(&ns)));
    // The same name can come again, as new.
    let again = sim.cluster(&ns, "orders").data("2Gi").create().await.unwrap();
    assert_eq!(again.data("orders-1").filesystem_size().unwrap(), Bytes::mib(1984));
}

#[tokio::test]
async fn quotas_refuse_growth() {
    let sim = Sim::shared().await.unwrap();
    let ns = sim.namespace("quota").await.unwrap();
    let cluster = sim.cluster(&ns, "orders").data("2Gi").wal("1Gi").create().await.unwrap();
    let of_class = format!("{EXPANDABLE}.storageclass.storage.k8s.io/requests.storage");
    sim.resource_quota(&ns, "storage", &[("requests.storage", "4Gi"), (&of_class, "10Gi")])
        .await
        .unwrap();
    let error = cluster.data("orders-1").patch_request(Bytes::gib(4)).await.unwrap_err();
    assert!(
        format!("{error:#}").contains("exceeded quota: storage, requested: requests.storage=2Gi"),
        "{error:#}"
    );
    cluster.data("orders-1").patch_request(Bytes::gib(3)).await.unwrap();
    cluster.data("orders-1").wait_capacity(Bytes::gib(3)).await.unwrap();
}

#[tokio::test]
async fn a_fleet_is_written_fast() {
    const CLUSTERS: usize = 50;
    let sim = Sim::with(SimOptions {
        nodes: 20,
        ..SimOptions::default()
    })
    .await
    .unwrap();
    let began = Instant::now();
    let builders = (0..CLUSTERS).map(|number| {
        let (namespace, name) = (format!("team-{}", number % 5), format!("db-{number}"));
        sim.cluster(&namespace, &name).instances(3).wal("1Gi")
    });
    let fleet = sim.fleet(builders).await.unwrap();
    let took = began.elapsed();
    println!(
        "{CLUSTERS} clusters of 3 instances with 2 volumes after {took:?}: {:?} each",
        took / 50
    );
    assert_eq!(fleet.iter().map(|cluster| cluster.volumes().len()).sum::<usize>(), CLUSTERS * 6);
    assert!(
        fleet
            .iter()
            .all(|cluster| cluster.volumes().iter().all(|volume| volume.measured().is_some()))
    );
    let mut nodes: Vec<_> = fleet
        .iter()
        .filter_map(|cluster| cluster.node_of(&cluster.instances()[0]))
        .collect();
    nodes.sort();
    nodes.dedup();
    assert!(nodes.len() > 5, "primaries are spread: {nodes:?}");
}
