//! Simulated kubelets answer as real ones do, rightly and wrongly.

mod common;

use std::time::{Duration, Instant};

use common::{Answer, get};
use csm_testkit::nodesim::{NodeFault, NodeSim, VolumeFault};
use csm_testkit::scenario::{Container, Sim, SimCluster};
use csm_units::Bytes;
use serde_json::json;

const MIB: u64 = 1 << 20;

/// A service account of its own that may read statistics.
async fn stats_token(sim: &Sim, namespace: &str) -> String {
    let rbac = format!(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {namespace}-stats}}
rules: [{{apiGroups: [''], resources: [nodes/stats], verbs: [get]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {namespace}-stats}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {namespace}-stats}}
subjects: [{{kind: ServiceAccount, name: reader, namespace: {namespace}}}]
"
    );
    sim.kubeconfig_with_rbac(namespace, "reader", &rbac).await.unwrap();
    sim.plane().service_account_token(namespace, "reader").await.unwrap()
}

/// A node and a cluster of one instance for one test.
struct Ground {
    sim: Sim,
    node: String,
    namespace: String,
    token: String,
    cluster: SimCluster,
}

impl Ground {
    async fn new(name: &str) -> Self {
        let sim = Sim::shared().await.unwrap();
        let namespace = sim.namespace(name).await.unwrap();
        let node = format!("{namespace}-node");
        sim.add_node(&node).await.unwrap();
        let token = stats_token(&sim, &namespace).await;
        let cluster = sim
            .cluster(&namespace, "orders")
            .data("1Gi")
            .wal("2Gi")
            .nodes([&node])
            .create()
            .await
            .unwrap();
        Self {
            sim,
            node,
            namespace,
            token,
            cluster,
        }
    }

    async fn ask(&self) -> Result<Answer, reqwest::Error> {
        let address = self.sim.kubelets().address(&self.node).unwrap();
        get(&self.sim, address, "/stats/summary", Some(&self.token)).await
    }

    async fn volume(&self, claim: &str) -> Option<serde_json::Value> {
        self.ask().await.unwrap().volume(&self.namespace, claim)
    }

    async fn faulty(&self, fault: NodeFault) -> Result<Answer, reqwest::Error> {
        self.sim.node_fault(&self.node, fault).unwrap();
        self.ask().await
    }
}

#[tokio::test]
async fn permissions_are_those_of_a_kubelet() {
    let ground = Ground::new("auth").await;
    let address = ground.sim.kubelets().address(&ground.node).unwrap();
    let ask = |path, token: Option<String>| {
        let sim = ground.sim.clone();
        async move { get(&sim, address, path, token.as_deref()).await.unwrap() }
    };
    let none = ask("/stats/summary", None).await;
    assert_eq!((none.code, none.body.as_str()), (401, "Unauthorized"));
    assert_eq!(ask("/stats/summary", Some("nonsense".into())).await.code, 401);
    assert_eq!(ask("/stats/summary", Some(ground.token.clone())).await.code, 200);

    // nodes/stats opens nothing else.
    let user = format!("system:serviceaccount:{}:reader", ground.namespace);
    let pods = ask("/pods", Some(ground.token.clone())).await;
    let expected = format!("Forbidden (user={user}, verb=get, resource=nodes, subresource(s)=[pods proxy])\n");
    assert_eq!((pods.code, pods.body), (403, expected));
    assert_eq!(ask("/metrics", Some(ground.token.clone())).await.code, 403);

    // nodes/proxy does not open the statistics.
    let rbac = format!(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {0}-proxy}}
rules: [{{apiGroups: [''], resources: [nodes/proxy], verbs: ['*']}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {0}-proxy}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {0}-proxy}}
subjects: [{{kind: ServiceAccount, name: proxy, namespace: {0}}}]
",
        ground.namespace
    );
    ground.sim.kubeconfig_with_rbac(&ground.namespace, "proxy", &rbac).await.unwrap();
    let proxy = ground.sim.plane().service_account_token(&ground.namespace, "proxy").await.unwrap();
    assert_eq!(ask("/stats/summary", Some(proxy.clone())).await.code, 403);
    assert_eq!(ask("/healthz", Some(proxy)).await.code, 200);
}

#[tokio::test]
async fn certificates_are_for_the_nodes_own_address() {
    let ground = Ground::new("tls").await;
    let address = ground.sim.kubelets().address(&ground.node).unwrap();
    assert!(address.ip().is_loopback());
    ground.ask().await.unwrap();
    // Without the authority nothing is trusted.
    let stranger = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
    assert!(stranger.get(format!("https://{address}/stats/summary")).send().await.is_err());
}

#[tokio::test]
async fn figures_follow_the_volume_once_a_period() {
    let ground = Ground::new("figures").await;
    let data = ground.cluster.data("orders-1");
    let before = ground.volume("orders-1").await.unwrap();
    assert_eq!(before["capacityBytes"], 960 * MIB);
    assert_eq!(before["name"], "pgdata");
    assert_eq!(ground.volume("orders-1-wal").await.unwrap()["capacityBytes"], 1984 * MIB);

    data.fill(0.9).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let after = loop {
        let volume = ground.volume("orders-1").await.unwrap();
        if volume["usedBytes"] != before["usedBytes"] {
            break volume;
        }
        assert!(Instant::now() < deadline, "the figures do not follow");
    };
    assert_eq!(after["usedBytes"], 864 * MIB);
    assert_eq!(after["availableBytes"], 96 * MIB);
    assert_ne!(after["time"], before["time"], "new figures have a new time");
    // emptyDirs are there too, and belong to no claim.
    let answer = ground.ask().await.unwrap().json();
    let pod = answer["pods"]
        .as_array()
        .unwrap()
        .iter()
        .find(|pod| pod["podRef"]["name"] == "orders-1")
        .unwrap()
        .clone();
    let scratch = pod["volume"]
        .as_array()
        .unwrap()
        .iter()
        .find(|volume| volume["name"] == "scratch-data")
        .unwrap()
        .clone();
    assert!(scratch.get("pvcRef").is_none());
    assert_eq!(pod["containers"][0]["name"], "postgres");
}

#[tokio::test]
async fn a_pod_without_a_running_container_is_missing() {
    let ground = Ground::new("crash").await;
    assert!(ground.volume("orders-1").await.is_some());
    ground
        .cluster
        .set_container("orders-1", &Container::CrashLoop { exit_code: 4 })
        .await
        .unwrap();
    assert!(ground.volume("orders-1").await.is_none());
    assert_eq!(ground.cluster.object().await.unwrap().data["status"]["readyInstances"], 0);
    ground.cluster.set_container("orders-1", &Container::Running).await.unwrap();
    assert!(ground.volume("orders-1").await.is_some());
    let Ground {
        sim,
        node,
        namespace,
        token,
        cluster,
    } = ground;
    cluster.delete().await.unwrap();
    let gone = |sim: &NodeSim| !sim.is_running(&namespace, "orders-1");
    sim.kubelets().wait("the pod is gone", Duration::from_secs(10), gone).await.unwrap();
    let answer = get(&sim, sim.kubelets().address(&node).unwrap(), "/stats/summary", Some(&token))
        .await
        .unwrap();
    assert!(answer.volume(&namespace, "orders-1").is_none());
}

#[tokio::test]
async fn node_faults() {
    let ground = Ground::new("nodefault").await;
    let code = |answer: &Answer| answer.code;
    assert!(ground.faulty(NodeFault::Down).await.unwrap_err().is_connect());
    assert_eq!(ground.faulty(NodeFault::None).await.as_ref().map(code).unwrap(), 200);
    assert!(ground.faulty(NodeFault::Reset).await.is_err());
    assert!(ground.faulty(NodeFault::Hang).await.unwrap_err().is_timeout());
    assert!(
        ground
            .faulty(NodeFault::Trickle(Duration::from_millis(50)))
            .await
            .unwrap_err()
            .is_timeout()
    );
    let began = Instant::now();
    assert_eq!(
        ground
            .faulty(NodeFault::Slow(Duration::from_millis(300)))
            .await
            .as_ref()
            .map(code)
            .unwrap(),
        200
    );
    assert!(began.elapsed() >= Duration::from_millis(300));
    let forbidden = ground.faulty(NodeFault::Status(403)).await.unwrap();
    assert!(forbidden.code == 403 && forbidden.body.starts_with("Forbidden (user="));
    assert_eq!(ground.faulty(NodeFault::Status(500)).await.unwrap().code, 500);
    let parse = |answer: Answer| {
        assert_eq!(answer.code, 200);
        serde_json::from_str::<serde_json::Value>(&answer.body)
    };
    assert!(parse(ground.faulty(NodeFault::Garbage).await.unwrap()).is_err());
    assert!(parse(ground.faulty(NodeFault::Truncated).await.unwrap()).unwrap_err().is_eof());
    assert!(ground.faulty(NodeFault::Cut).await.is_err());
    assert_eq!(ground.faulty(NodeFault::Empty).await.unwrap().body, "");
    assert_eq!(ground.faulty(NodeFault::EmptyObject).await.unwrap().body, "{}");
    assert!(parse(ground.faulty(NodeFault::WrongTypes).await.unwrap()).unwrap()["pods"].is_object());
    assert_eq!(ground.faulty(NodeFault::NoPods).await.unwrap().json()["pods"], json!([]));
    assert!(ground.sim.kubelets().requests(&ground.node) > 10);

    // Stale: the same time again and again, while the volume fills.
    ground.sim.node_fault(&ground.node, NodeFault::Stale).unwrap();
    let before = ground.volume("orders-1").await.unwrap();
    ground.cluster.fill("orders-1", 0.95).unwrap();
    ground.sim.kubelets().measure_now();
    assert_eq!(ground.volume("orders-1").await.unwrap(), before);
    ground.sim.node_fault(&ground.node, NodeFault::None).unwrap();
    ground.sim.kubelets().measure_now();
    assert_ne!(ground.volume("orders-1").await.unwrap(), before);
}

#[tokio::test]
async fn volume_faults() {
    let ground = Ground::new("volumefault").await;
    let data = ground.cluster.data("orders-1");
    let with = |fault| {
        data.fault(fault).unwrap();
        ground.volume("orders-1")
    };
    assert!(with(VolumeFault::Missing).await.is_none());
    assert!(ground.volume("orders-1-wal").await.is_some(), "the other volume is not concerned");
    assert_eq!(
        with(VolumeFault::SharedFilesystem).await.unwrap()["capacityBytes"],
        Bytes::gib(100).get()
    );
    assert!(with(VolumeFault::WrongTypes).await.unwrap()["usedBytes"].is_string());
    assert!(with(VolumeFault::NoCapacity).await.unwrap().get("capacityBytes").is_none());
    let before = with(VolumeFault::Stale).await.unwrap();
    data.fill(0.99).unwrap();
    ground.sim.kubelets().measure_now();
    assert_eq!(ground.volume("orders-1").await.unwrap(), before);
    data.fault(VolumeFault::None).unwrap();
    data.set_inodes(Some((1_000, 990))).unwrap();
    ground.sim.kubelets().measure_now();
    let after = ground.volume("orders-1").await.unwrap();
    assert_eq!(
        (&after["inodes"], &after["inodesFree"], &after["inodesUsed"]),
        (&json!(1_000), &json!(10), &json!(990))
    );
}

#[tokio::test]
async fn a_ramp_fills_the_volume() {
    let ground = Ground::new("ramp").await;
    ground
        .cluster
        .data("orders-1")
        .grow_use_by(i64::try_from(200 * MIB).unwrap())
        .unwrap();
    let measured = ground.cluster.data("orders-1");
    let full = |_: &NodeSim| measured.measured().is_some_and(|figures| figures.available == 0);
    ground
        .sim
        .kubelets()
        .wait("the volume is full", Duration::from_secs(20), full)
        .await
        .unwrap();
    assert_eq!(ground.volume("orders-1").await.unwrap()["usedBytes"], 960 * MIB);
}
