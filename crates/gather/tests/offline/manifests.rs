use csm_api::Urgency;
use csm_core::plan::plan;
use csm_core::resolve::Resolution;
use csm_core::world::{Sample, VolumeKey};
use csm_gather::offline::{File, Offline, read};
use csm_units::Bytes;

use super::{CLOCK, at, file};

/// As `kubectl get … -o yaml` writes it.
const OBJECTS: &str = r#"
apiVersion: v1
kind: List
items:
  - apiVersion: postgresql.cnpg.io/v1
    kind: Cluster
    metadata: {name: orders, namespace: shop, uid: uid-orders, labels: {tier: prod}, resourceVersion: "77"}
    spec: {instances: 2, storage: {size: 8Gi}, walStorage: {size: 3Gi}, postgresql: {parameters: {max_wal_size: 1GB}}}
    status: {currentPrimary: orders-2, phase: Cluster in healthy state}
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata:
      {name: orders-1, namespace: shop, uid: uid-1, creationTimestamp: null, labels: {cnpg.io/cluster: orders, cnpg.io/instanceName: orders-1, cnpg.io/pvcRole: PG_DATA}}
    spec: {storageClassName: gp3, resources: {requests: {storage: 10Gi}}}
    status: {phase: Bound, capacity: {storage: 10Gi}}
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata:
      {name: orders-1-wal, namespace: shop, uid: uid-1w, labels: {cnpg.io/cluster: orders, cnpg.io/instanceName: orders-1, cnpg.io/pvcRole: PG_WAL}}
    spec: {storageClassName: local, resources: {requests: {storage: 3Gi}}}
    status: {phase: Bound, capacity: {storage: 3Gi}}
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata: {name: unrelated, namespace: shop}
    spec: {storageClassName: nobody, resources: {requests: {storage: 1Gi}}}
  - apiVersion: v1
    kind: Pod
    metadata: {name: orders-1, namespace: shop, uid: pod-1, labels: {cnpg.io/cluster: orders, cnpg.io/instanceName: orders-1}}
    spec: {nodeName: node-3}
    status: {containerStatuses: [{name: postgres, state: {running: {startedAt: "2026-03-01T00:00:00Z"}}}]}
  - {apiVersion: v1, kind: Node, metadata: {name: node-3}}
  - {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: blue}}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: gp3}
provisioner: ebs.csi.aws.com
allowVolumeExpansion: true
"#;

const POLICIES: &str = r#"
apiVersion: cnpg.supporttools.io/v1alpha1
kind: StoragePolicyList
items:
  - metadata: {name: prod, namespace: shop}
    spec: {selector: {matchLabels: {tier: prod}}, expansion: {maxSize: 64Gi}, excludeClusters: null}
    status: {managedClusters: 1, somethingNewer: true}
---
apiVersion: cnpg.supporttools.io/v1alpha1
kind: ClusterStoragePolicy
metadata: {name: blue}
spec: {namespaceSelector: {matchLabels: {team: blue}}, thresholds: {expansion: 83}}
---
apiVersion: cnpg.supporttools.io/v1alpha1
kind: PostgresStorage
metadata: {name: orders, namespace: shop}
spec: {expansion: {cooldownMinutes: 45}}
---
apiVersion: cnpg.supporttools.io/v1alpha1
kind: StorageEvent
metadata: {name: orders-expansion-1, namespace: shop, creationTimestamp: "2026-03-01T11:29:00Z"}
spec:
  clusterRef: {name: orders, uid: uid-orders}
  eventType: expansion
  trigger: threshold-breach
  volume: {role: data}
  reason: UsageThreshold
  message: ""
  expansion: {originalSize: 7Gi, requestedSize: 10Gi, parallelism: 1, affectedPVCs: [{name: orders-1, uid: uid-1, instance: orders-1, originalSize: 7Gi}]}
status:
  phase: Completed
  startTime: "2026-03-01T11:30:00Z"
  completionTime: "2026-03-01T11:31:00Z"
  pvcStatuses: [{name: orders-1, uid: uid-1, phase: Completed, originalSize: 7Gi, newSize: 10Gi, patchedAt: "2026-03-01T11:30:01Z", controllerDoneAt: "2026-03-01T11:31:00Z", verifiedBy: filesystem}]
"#;

/// A kubelet's answer about the data volume of orders-1, at a minute past eleven.
fn summary(minute: u32, used_mib: u64) -> File {
    let (used, available) = (used_mib << 20, (10_240 - used_mib) << 20);
    let text = format!(
        r#"{{"node": {{"nodeName": "node-3"}}, "pods": [{{"podRef": {{"name": "orders-1", "namespace": "shop"}}, "volume": [
        {{"time": "2026-03-01T11:{minute:02}:00Z", "name": "pgdata", "usedBytes": {used}, "availableBytes": {available}, "capacityBytes": 10737418240,
          "inodes": 655360, "inodesUsed": 1234, "pvcRef": {{"name": "orders-1", "namespace": "shop"}}}}]}}]}}"#
    );
    file(&format!("node-3-{minute}.json"), text)
}

fn offline(stats: &[File], now: Option<&str>) -> Offline {
    let files = [file("objects.yaml", OBJECTS), file("policies.yaml", POLICIES)];
    read(&files, stats, now.map(at), at(CLOCK)).unwrap_or_else(|m| panic!("{m:?}"))
}

#[test]
fn manifests_come_to_the_world_that_the_manager_sees() {
    let offline = offline(&[summary(52, 8600), summary(40, 8500)], None);
    assert_eq!(offline.now, at("2026-03-01T11:52:00Z"), "of the newest figures");
    let [subject] = offline.subjects.as_slice() else {
        panic!("{:?}", offline.subjects)
    };
    let world = &subject.world;
    assert_eq!(
        (world.cluster.key.to_string(), &*world.cluster.uid),
        ("shop/orders".to_owned(), "uid-orders")
    );
    assert_eq!(world.cluster.primary.as_deref(), Some("orders-2"));
    let Resolution::Settings(resolved) = &*world.resolution else {
        panic!("{:?}", world.resolution)
    };
    assert_eq!(resolved.thresholds.expansion.origin.to_string(), "ClusterStoragePolicy blue");
    assert_eq!(
        resolved.expansion.max_size.as_ref().map(|f| f.origin.to_string()).as_deref(),
        Some("StoragePolicy shop/prod")
    );
    assert_eq!(resolved.expansion.cooldown.origin.to_string(), "PostgresStorage shop/orders");

    assert_eq!(
        world.volumes.iter().map(|v| &v.key).collect::<Vec<_>>(),
        [&VolumeKey::DATA, &VolumeKey::WAL]
    );
    let data = world.volumes.first().expect("data");
    assert_eq!(
        data.fallback_ceiling,
        Some(Bytes::gib(80)),
        "as the manager ships: ten times what the Cluster asks for"
    );
    let member = data.members.first().expect("a member");
    assert_eq!((member.node.as_deref(), member.pod_running), (Some("node-3"), true));
    assert_eq!((&*member.class.name, member.class.expandable), ("gp3", true));
    assert_eq!(
        member.observation.map(|o| (o.used, o.at)),
        Some((Bytes::mib(8600), at("2026-03-01T11:52:00Z")))
    );
    assert_eq!(member.last_resize_at, Some(at("2026-03-01T11:31:00Z")));
    let sample = |time, used| Sample {
        at: at(time),
        used: Bytes::mib(used),
    };
    assert_eq!(
        *member.history,
        [sample("2026-03-01T11:40:00Z", 8500), sample("2026-03-01T11:52:00Z", 8600)]
    );
    let [operation] = world.operations.as_slice() else {
        panic!("{:?}", world.operations)
    };
    assert_eq!(
        (operation.urgency, operation.accepted, operation.done),
        (Urgency::Planned, true, true)
    );
    assert_eq!(operation.started_at, at("2026-03-01T11:30:00Z"));

    let decision = plan(world, offline.now).decisions.into_iter().next().expect("a decision");
    assert_eq!(
        (decision.verdict.to_string(), decision.reason.to_string()),
        ("Hold".to_owned(), "Cooldown".to_owned())
    );
    assert_eq!(
        offline.notes,
        [
            "objects.yaml: not looked at: 1 Deployment",
            "StorageClasses that are not in these files are taken to allow expansion, and to give each volume its own filesystem: local",
        ]
    );
}

#[test]
fn the_time_is_what_was_said_or_that_of_the_newest_figures() {
    let stats = [summary(40, 8500), summary(52, 8600)];
    let now = |offline: &Offline| offline.now;
    let figure = |offline: &Offline| {
        let member = offline.subjects.first()?.world.volumes.first()?.members.first()?;
        member.observation.map(|o| o.used)
    };
    let before = offline(&stats, Some("2026-03-01T11:45:00Z"));
    assert_eq!(
        (now(&before), figure(&before)),
        (at("2026-03-01T11:45:00Z"), Some(Bytes::mib(8500))),
        "later figures are not known yet"
    );
    let long_before = offline(&stats, Some("2026-03-01T11:00:00Z"));
    assert_eq!(figure(&long_before), Some(Bytes::mib(8500)), "the oldest, as if taken now");
    let without = offline(&[], None);
    assert_eq!((now(&without), figure(&without)), (at(CLOCK), None));
    assert!(without.notes.iter().any(|n| n.contains("--stats")), "{:?}", without.notes);
}

#[test]
fn the_last_of_a_name_counts_and_is_noted() {
    let other = "apiVersion: cnpg.supporttools.io/v1alpha1\nkind: StoragePolicy\nmetadata: {name: prod, namespace: shop, generation: 1}\nspec: {dryRun: true}\n";
    let files = [file("a.yaml", OBJECTS), file("b.yaml", POLICIES), file("c.yaml", other)];
    let offline = read(&files, &[], None, at(CLOCK)).unwrap_or_else(|m| panic!("{m:?}"));
    assert!(
        offline
            .notes
            .contains(&"StoragePolicy shop/prod is there twice: b.yaml:5 and c.yaml:1; the last one counts".to_owned()),
        "{:?}",
        offline.notes
    );
    let resolution = &offline.subjects.first().expect("a cluster").world.resolution;
    let Resolution::Settings(resolved) = &**resolution else {
        panic!("{resolution:?}")
    };
    assert!(resolved.dry_run.value);
}

#[test]
fn settings_that_do_not_validate_are_problems() {
    let wrong = "apiVersion: cnpg.supporttools.io/v1alpha1\nkind: PostgresStorage\nmetadata: {name: orders, namespace: shop}\nspec: {walStorage: {request: 5Gi, limit: 4Gi}}\n";
    let files = [file("a.yaml", OBJECTS), file("b.yaml", wrong)];
    let offline = read(&files, &[], None, at(CLOCK)).unwrap_or_else(|m| panic!("{m:?}"));
    let [problem] = offline.problems.as_slice() else {
        panic!("{:?}", offline.problems)
    };
    assert_eq!(
        (problem.cluster.to_string(), problem.volume.as_ref()),
        ("shop/orders".to_owned(), Some(&VolumeKey::WAL))
    );
    let shared = wrong.replace("walStorage: {request: 5Gi, limit: 4Gi}", "thresholds: {warning: 90, critical: 80}");
    let files = [file("a.yaml", OBJECTS), file("b.yaml", shared)];
    let offline = read(&files, &[], None, at(CLOCK)).unwrap_or_else(|m| panic!("{m:?}"));
    let volumes: Vec<_> = offline.problems.iter().map(|p| p.volume.clone()).collect();
    assert_eq!(volumes, [None], "one for what all volumes share");
}

#[test]
fn a_cluster_without_pvcs_is_said_to_have_none() {
    let cluster = "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: new}\nspec: {instances: 3}\n";
    let offline = super::good(cluster);
    assert_eq!(offline.subjects.len(), 1);
    assert!(
        offline
            .notes
            .contains(&"default/new has no PVCs in these files, so there is nothing to decide on".to_owned()),
        "{:?}",
        offline.notes
    );
    let without_pods = OBJECTS.replace("kind: Pod\n", "kind: Secret\n");
    assert!(
        super::good(&without_pods)
            .notes
            .iter()
            .any(|n| n.starts_with("shop/orders has no Pods in these files"))
    );
    assert!(!super::good(OBJECTS).notes.iter().any(|n| n.contains("no Pods")));
}

#[test]
fn volumes_of_one_filesystem_are_told() {
    let pvc = |cluster: &str, size: &str| {
        format!(
            "---\napiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {{name: {cluster}}}\n---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {cluster}-1, labels: {{cnpg.io/cluster: {cluster}, cnpg.io/instanceName: {cluster}-1, cnpg.io/pvcRole: PG_DATA}}}}\nspec: {{resources: {{requests: {{storage: {size}}}}}}}\nstatus: {{phase: Bound, capacity: {{storage: {size}}}}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {cluster}-1, labels: {{cnpg.io/cluster: {cluster}, cnpg.io/instanceName: {cluster}-1}}}}\nspec: {{nodeName: n1}}\n"
        )
    };
    let figure = |cluster: &str| {
        format!(
            r#"{{"volume": [{{"time": "2026-03-01T11:00:00Z", "usedBytes": 3000, "availableBytes": 7000, "capacityBytes": 10000, "pvcRef": {{"name": "{cluster}-1", "namespace": "default"}}}}]}}"#
        )
    };
    let stats = format!(r#"{{"pods": [{}, {}, {}]}}"#, figure("a"), figure("b"), figure("c"));
    let text = [pvc("a", "1Gi"), pvc("b", "2Gi"), pvc("c", "3Gi").replace("n1", "n2")].concat();
    let offline = read(&[file("f.yaml", text)], &[file("s.json", stats)], None, at(CLOCK)).unwrap_or_else(|m| panic!("{m:?}"));
    let twins: Vec<bool> = offline
        .subjects
        .iter()
        .flat_map(|s| &s.world.volumes)
        .flat_map(|v| &v.members)
        .map(|m| m.twin)
        .collect();
    assert_eq!(twins, [true, true, false]);
}
