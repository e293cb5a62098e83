//! The simulated world behaves as a real cluster does, as far as anybody looks. The lab runs the same assertions.

use csm_testkit::scenario::{FIXED, Sim};
use csm_tests::contract::Ground;

#[tokio::test]
async fn the_simulated_world_is_like_a_real_cluster() -> anyhow::Result<()> {
    let sim = Sim::shared().await?;
    let namespace = sim.namespace("contract").await?;
    let orders = sim.cluster(&namespace, "orders").data("1Gi").create().await?;
    sim.cluster(&namespace, "fixed").data("1Gi").storage_class(FIXED).create().await?;
    let node = orders.node_of("orders-1").expect("a node");
    let ground = Ground {
        client: sim.client(),
        ca_pem: sim.plane().ca().cert_pem().to_owned(),
        kubelet: format!("https://{}", sim.kubelets().address(&node).expect("an address")),
        namespace,
        expandable: ("orders-1".to_owned(), "orders-1".to_owned()),
        fixed: "fixed-1".to_owned(),
    };
    ground.check().await
}
