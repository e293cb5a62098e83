//! A kubelet that answers garbage, nothing, slowly, or 403 never makes the manager act or fall; it is said once, and costs
//! only its own volumes.

use std::time::Duration;

use csm_api::{Phase, Reason};
use csm_testkit::nodesim::{NodeFault, VolumeFault};
use csm_tests::{Stage, phase, until};
use serde_json::json;

/// How often a sample is missed before we believe that it is said only once.
const ROUNDS: u64 = 4;

#[tokio::test]
async fn a_bad_kubelet_is_told_once_and_costs_only_its_own_volumes() -> anyhow::Result<()> {
    let stage = Stage::alone("kubelets").await?;
    let bad = format!("bad-{}", stage.namespace);
    let good = format!("good-{}", stage.namespace);
    stage.sim.add_node(&bad).await?;
    stage.sim.add_node(&good).await?;
    let poor = stage
        .sim
        .cluster(&stage.namespace, "poor")
        .data("10Gi")
        .data_used(0.95)
        .nodes([bad.as_str()])
        .create()
        .await?;
    let orders = stage
        .sim
        .cluster(&stage.namespace, "orders")
        .data("10Gi")
        .nodes([good.as_str()])
        .create()
        .await?;
    stage.policy("default", json!({"expansion": {"maxSize": "100Gi"}})).await?;
    stage.sim.node_fault(&bad, NodeFault::Down)?;
    let mut manager = Some(stage.manager().await?);

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
        (NodeFault::Cut, "connect"),
        (NodeFault::Hang, "timeout"),
        (NodeFault::Slow(Duration::from_secs(20)), "timeout"),
        (NodeFault::Trickle(Duration::from_millis(200)), "timeout"),
    ];
    for (fault, kind) in faults {
        let running = match manager.take() {
            // A fault of another kind than the one before is told as such, to the same manager.
            Some(running) => running,
            None => stage.manager().await?,
        };
        stage.sim.node_fault(&bad, fault.clone())?;
        let told = format!("kind=\"{kind}\"");
        let lines = |log: &str| {
            log.lines()
                .filter(|l| l.contains("no figures from the kubelet") && l.contains(&told) && l.contains(&bad))
                .count()
        };
        let before = lines(&running.log());
        let asked = stage.sim.kubelets().requests(&good);
        until(&format!("{fault:?} is told as {kind}"), || async {
            Ok((lines(&running.log()) > 0).then_some(()))
        })
        .await?;
        until("some more rounds", || async {
            Ok((stage.sim.kubelets().requests(&good) >= asked + ROUNDS).then_some(()))
        })
        .await?;
        let after = lines(&running.log());
        assert!(
            after <= before + 1,
            "{fault:?} was told {} times:\n{}",
            after - before,
            running.tail()
        );
        manager = Some(running);
    }
    let mut manager = manager.take().expect("a manager");
    assert!(manager.is_alive());
    assert!(stage.events("poor").await?.is_empty(), "nothing is done without figures");
    assert_eq!(poor.data("poor-1").request().await?, csm_units::Bytes::gib(10));

    // Its neighbour goes on meanwhile.
    orders.fill("orders-1", 0.87)?;
    stage
        .event("orders", "the neighbour grows", |e| phase(e) == Some(Phase::Completed))
        .await?;

    // And it is acted on once the kubelet answers again.
    stage.sim.node_fault(&bad, NodeFault::None)?;
    stage.event("poor", "grown", |e| phase(e) == Some(Phase::Completed)).await?;
    assert!(manager.log().contains("the kubelet gives figures again"));
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
