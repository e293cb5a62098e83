//! A kubelet that answers garbage, nothing, slowly, or 403 never makes the manager act or fall; it is said once, and costs
//! only its own volumes.

use std::time::Duration;

use anyhow::Context as _;
use csm_api::{Phase, Reason};
use csm_testkit::nodesim::{NodeFault, VolumeFault};
use csm_tests::manager::Manager;
use csm_tests::{Stage, phase, until};
use csm_units::Bytes;
use serde_json::json;

/// Rounds of samples after which we believe that a fault is said only once.
const ROUNDS: u64 = 4;

#[tokio::test]
async fn a_bad_kubelet_is_told_once_and_costs_only_its_own_volumes() -> anyhow::Result<()> {
    let stage = Stage::alone("kubelets").await?;
    stage.policy("default", json!({"expansion": {"maxSize": "100Gi"}})).await?;
    let faults = [
        (NodeFault::Garbage, "garbage"),
        (NodeFault::Truncated, "garbage"),
        (NodeFault::WrongTypes, "garbage"),
        (NodeFault::Empty, "garbage"),
        (NodeFault::EmptyObject, "garbage"),
        (NodeFault::Status(403), "refused"),
        (NodeFault::Status(401), "refused"),
        (NodeFault::Status(500), "status"),
        (NodeFault::Down, "connect"),
        (NodeFault::Reset, "connect"),
        (NodeFault::Cut, "connect"),
        (NodeFault::Hang, "timeout"),
        (NodeFault::Slow(Duration::from_secs(20)), "timeout"),
        (NodeFault::Trickle(Duration::from_millis(200)), "timeout"),
    ];
    // A node for each fault, with a volume that would grow at once.
    let mut poor = Vec::new();
    for (i, (fault, _)) in faults.iter().enumerate() {
        let node = format!("bad-{i}");
        stage.sim.add_node(&node).await?;
        let cluster = stage
            .sim
            .cluster(&stage.namespace, &format!("poor-{i}"))
            .data("10Gi")
            .data_used(0.95);
        poor.push(cluster.nodes([node.as_str()]).create().await?);
        stage.sim.node_fault(&node, fault.clone())?;
    }
    stage.sim.add_node("good").await?;
    let orders = stage.orders(|c| c.data("10Gi").nodes(["good"])).await?;
    // All of them grow within minutes at the end, which would be a fleet that runs away.
    let arguments = ["--fleet-runaway-minimum", "100"];
    let mut manager = Manager::start(&stage.sim, &[&stage.namespace], &arguments).await?;

    let told = |i: usize, kind: &str| {
        let (node, kind) = (format!("node=bad-{i} "), format!("kind=\"{kind}\""));
        manager
            .log()
            .lines()
            .filter(|l| l.contains("no figures from the kubelet") && l.contains(&node) && l.contains(&kind))
            .count()
    };
    for (i, (fault, kind)) in faults.iter().enumerate() {
        let what = format!("{fault:?} is told as {kind}");
        let told = until(&what, || async { Ok((told(i, kind) > 0).then_some(())) });
        told.await.with_context(|| manager.tail())?;
    }
    let asked = stage.sim.kubelets().requests("good");
    until("some more rounds", || async {
        Ok((stage.sim.kubelets().requests("good") >= asked + ROUNDS).then_some(()))
    })
    .await?;
    for (i, (fault, kind)) in faults.iter().enumerate() {
        assert_eq!(told(i, kind), 1, "{fault:?}:\n{}", manager.tail());
    }

    // Their neighbour goes on meanwhile.
    orders.fill("orders-1", 0.87)?;
    stage
        .event("orders", "the neighbour grows", |e| phase(e) == Some(Phase::Completed))
        .await?;
    for cluster in &poor {
        assert!(stage.events(cluster.name()).await?.is_empty(), "nothing is done without figures");
        assert_eq!(cluster.data(&format!("{}-1", cluster.name())).request().await?, Bytes::gib(10));
    }

    // And each is acted on once its kubelet answers again.
    for i in 0..faults.len() {
        stage.sim.node_fault(&format!("bad-{i}"), NodeFault::None)?;
    }
    for cluster in &poor {
        stage.event(cluster.name(), "grown", |e| phase(e) == Some(Phase::Completed)).await?;
    }
    assert!(manager.log().contains("the kubelet gives figures again"));
    assert!(manager.is_alive());
    Ok(())
}

#[tokio::test]
async fn figures_that_say_nothing_are_never_read_as_zero() -> anyhow::Result<()> {
    let stage = Stage::alone("figures").await?;
    let node = format!("node-{}", stage.namespace);
    stage.sim.add_node(&node).await?;
    stage.policy("default", json!({"expansion": {"maxSize": "100Gi"}})).await?;
    for (name, fault) in [
        ("missing", VolumeFault::Missing),
        ("zero", VolumeFault::Zero),
        ("notime", VolumeFault::NoTime),
    ] {
        let cluster = stage
            .sim
            .cluster(&stage.namespace, name)
            .data("10Gi")
            .data_used(0.95)
            .nodes([node.as_str()])
            .create()
            .await?;
        cluster.data(&format!("{name}-1")).fault(fault)?;
    }
    let shared = stage
        .sim
        .cluster(&stage.namespace, "shared")
        .data("10Gi")
        .nodes([node.as_str()])
        .create()
        .await?;
    shared.data("shared-1").fault(VolumeFault::SharedFilesystem)?;
    let _manager = stage.manager().await?;
    for name in ["missing", "zero", "notime"] {
        stage
            .data_status(name, "there are no figures", |d| d.last_decision.reason == Reason::NoObservation)
            .await?;
        assert!(stage.events(name).await?.is_empty());
    }
    stage
        .data_status("shared", "the node's disk is not the volume", |d| {
            d.last_decision.reason == Reason::SharedFilesystem
        })
        .await?;
    Ok(())
}
