//! Killed at every write of an operation, before and after the API server applied it, the next manager goes on where it
//! was: exactly one operation, complete.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use csm_api::{Phase, State};
use csm_testkit::process::ProcessId;
use csm_tests::manager::{Manager, kubeconfig};
use csm_tests::proxy::{Asked, At, Fault, Moment, Proxy, Rule};
use csm_tests::{Stage, phase, until, up_to};
use csm_units::Bytes;
use futures::StreamExt as _;

/// Runs at a time: most of one is waiting for figures.
const AT_A_TIME: usize = 8;
/// A write that depends on timing may not come in a run; it is tried so often.
const TRIES: usize = 2;

struct Outcome {
    seen: Vec<String>,
    killed: bool,
}

/// One cluster, one breach, one operation; the manager is killed at `target`, and started again.
async fn run(target: Option<(&str, Moment)>) -> anyhow::Result<Outcome> {
    let stage = Stage::new("killed").await?;
    let plane = stage.sim.plane();
    let proxy = Proxy::start(plane.kubeconfig()).await?;
    let through = proxy.kubeconfig(&kubeconfig(&stage.sim).await?)?;
    let mark = plane.audit_mark().await?;
    let orders = stage.orders(|c| c.instances(2).data("10Gi")).await?;
    stage.policy("default", up_to("100Gi")).await?;

    let mut manager = Manager::spawn_as(&stage.sim, through.path(), &[&stage.namespace], &[])?;
    manager.leads().await?;
    let balanced = stage.data_status("orders", "balanced", |d| d.state == State::Balanced).await;
    balanced.with_context(|| manager.tail())?;
    if let Some((signature, moment)) = target {
        proxy.serves(ProcessId::of(manager.pid())?, "first");
        proxy.arm([Rule {
            at: At::Signature(signature.to_owned()),
            nth: 1,
            fault: Fault::Kill(moment),
        }]);
    }
    orders.fill("orders-1", 0.87)?;

    // To the end of the operation, or to the death of the manager.
    let ended = |stage: &Stage| {
        let api = (stage.sim.clone(), stage.namespace.clone());
        async move {
            let stage = Stage {
                sim: api.0,
                namespace: api.1,
            };
            let complete = stage.events("orders").await?.iter().any(|e| phase(e) == Some(Phase::Completed));
            let storage = stage
                .storage("orders")
                .await?
                .and_then(|s| s.status)
                .and_then(|s| s.storage_sizing)
                .and_then(|s| s.data);
            let told = storage.is_some_and(|d| d.state == State::Balanced && d.effective_size == Bytes::gib(15));
            let cluster: kube::Api<csm_cnpg::Cluster> = stage.api();
            let annotations = cluster.get("orders").await?.metadata.annotations.unwrap_or_default();
            let at_rest = annotations.contains_key("storage.cnpg.supporttools.io/expansion-requested")
                && !annotations.contains_key("storage.cnpg.supporttools.io/target-size");
            Ok::<_, anyhow::Error>(complete && told && at_rest)
        }
    };
    let first = until("the operation has ended, or the manager is dead", || async {
        Ok((proxy.killed() || ended(&stage).await?).then_some(()))
    });
    first.await.with_context(|| manager.tail())?;
    let killed = proxy.killed();
    if killed {
        ensure!(manager.process_ended(), "the manager survived SIGKILL");
        manager = Manager::spawn_as(&stage.sim, through.path(), &[&stage.namespace], &[])?;
        let second = until("the operation has ended", || async { Ok(ended(&stage).await?.then_some(())) });
        second.await.with_context(|| manager.tail())?;
    }

    let events = stage.events("orders").await?;
    ensure!(events.len() == 1, "one operation, not {}", events.len());
    let event = events.first().context("an event")?;
    ensure!(phase(event) == Some(Phase::Completed), "complete: {event:?}");
    let mut patches: BTreeMap<String, u32> = BTreeMap::new();
    for entry in plane.audit_since(mark).await? {
        if entry.namespace == stage.namespace
            && entry.resource == "persistentvolumeclaims"
            && entry.subresource.is_empty()
            && entry.verb == "patch"
            && entry.user.contains(csm_tests::manager::ACCOUNT)
            && entry.code == 200
        {
            *patches.entry(entry.name.clone()).or_default() += 1;
        }
    }
    ensure!(
        patches == BTreeMap::from([("orders-1".to_owned(), 1), ("orders-2".to_owned(), 1)]),
        "each PVC patched once: {patches:?}"
    );
    for instance in ["orders-1", "orders-2"] {
        ensure!(orders.data(instance).capacity().await? == Bytes::gib(15));
    }
    Ok(Outcome {
        seen: proxy
            .seen()
            .iter()
            .map(|seen| &seen.asked)
            .filter(|asked| of_an_operation(asked))
            .map(Asked::signature)
            .collect(),
        killed,
    })
}

/// Whether it is a write that may belong to an operation: not one of the lease, or of a policy's status.
fn of_an_operation(asked: &Asked) -> bool {
    asked.is_write() && !["leases", "storagepolicies"].contains(&asked.resource.as_str())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_every_write_exactly_one_operation_completes() -> anyhow::Result<()> {
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut done: BTreeSet<(String, Moment)> = BTreeSet::new();
    let mut tries: BTreeMap<(String, Moment), usize> = BTreeMap::new();
    known.extend(run(None).await.context("without a kill")?.seen);
    ensure!(
        known.iter().any(|s| s.starts_with("PATCH persistentvolumeclaims orders-1")),
        "the proxy sees the writes: {known:?}"
    );
    loop {
        let open: Vec<(String, Moment)> = known
            .iter()
            .flat_map(|s| [(s.clone(), Moment::Before), (s.clone(), Moment::After)])
            // What is written before the breach belongs to no operation.
            .filter(|(signature, _)| belongs(signature))
            .filter(|target| !done.contains(target) && tries.get(target).copied().unwrap_or(0) < TRIES)
            .collect();
        if open.is_empty() {
            break;
        }
        let runs = futures::stream::iter(open).map(|target| async move {
            let outcome = run(Some((&target.0, target.1)))
                .await
                .with_context(|| format!("killed {:?} {}", target.1, target.0));
            (target, outcome)
        });
        let outcomes: Vec<_> = runs.buffer_unordered(AT_A_TIME).collect().await;
        for (target, outcome) in outcomes {
            let outcome = outcome?;
            known.extend(outcome.seen);
            *tries.entry(target.clone()).or_default() += 1;
            if outcome.killed {
                done.insert(target);
            }
        }
    }
    let missed: Vec<_> = known
        .iter()
        .flat_map(|s| [(s.clone(), Moment::Before), (s.clone(), Moment::After)])
        .filter(|(signature, _)| belongs(signature))
        .filter(|target| !done.contains(target))
        .collect();
    println!(
        "killed at {} writes of {} kinds:",
        done.len(),
        known.iter().filter(|s| belongs(s)).count()
    );
    for (signature, moment) in &done {
        println!("  {moment:?} {signature}");
    }
    // Which stages of a resize are seen depends on timing. One that did not come again is covered by a kill at the same
    // write of a neighbouring stage; any other is not.
    let covered: BTreeSet<(String, Moment)> = done.iter().map(|(signature, moment)| (coarse(signature), *moment)).collect();
    let (by_neighbour, missed): (Vec<_>, Vec<_>) = missed
        .into_iter()
        .partition(|(signature, moment)| covered.contains(&(coarse(signature), *moment)));
    for (signature, moment) in &by_neighbour {
        println!("  {moment:?} {signature}: did not come again; covered by {}", coarse(signature));
    }
    ensure!(missed.is_empty(), "an operation makes writes that no run was killed at: {missed:?}");
    Ok(())
}

/// A signature in which all stages of a PVC from its patch on are one, in any order of PVCs.
fn coarse(signature: &str) -> String {
    let Some((head, phases)) = signature.split_once('[') else {
        return signature.to_owned();
    };
    let stage = |phase: &str| match phase {
        "ControllerResizing" | "WaitingForNode" | "Verifying" | "Completed" => "growing".to_owned(),
        other => other.to_owned(),
    };
    let mut phases: Vec<String> = phases.trim_end_matches(']').split(", ").map(stage).collect();
    phases.sort();
    format!("{head}[{}]", phases.join(", "))
}

/// Whether a write belongs to the operation: the first status, the creation of the PostgresStorage and the first annotations do not.
fn belongs(signature: &str) -> bool {
    !signature.starts_with("POST postgresstorages") && !signature.starts_with("PATCH postgresstorages/status WaitingForDiskStatus")
}
