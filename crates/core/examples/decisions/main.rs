//! Decisions a second on one core: `cargo run --release -p csm-core --example decisions`.
//!
//! A world is a Cluster of three instances with two volumes and ten operations in the ledger; its plan is made into the
//! same memory each time. The last line is what reading the same figures as JSON costs, for comparison.
#![allow(clippy::disallowed_methods)] // measures time

#[allow(dead_code)] // the tests need more of it
#[path = "../../tests/planner/support.rs"]
mod support;
#[allow(dead_code)]
mod worlds;

use std::hint::black_box;
use std::time::{Duration, Instant};

use csm_api::Verdict;
use csm_core::check::check;
use csm_core::plan::{Plan, plan, plan_into};
use csm_core::world::{Member, Operation, World};
use serde_json::{Value, json};

use support::noon;
use worlds::{TARGET, THRESHOLDS, cluster, resize, with_samples};

/// How long each kind of world is measured.
const MEASURED: Duration = Duration::from_secs(2);
/// How many plans a slice has: 20 µs to 3 ms.
const CALLS: usize = 20;

fn main() {
    let now = noon();
    let standard = resize("Standard", false);
    let lines = [
        ("nothing to do", cluster(40, THRESHOLDS), Verdict::Balanced),
        ("nothing to do, target", cluster(40, TARGET), Verdict::Balanced),
        ("nothing to do, resize", cluster(40, &standard), Verdict::Balanced),
        ("grows", cluster(90, THRESHOLDS), Verdict::Grow),
        ("grows, resize, every gate asked", cluster(90, &standard), Verdict::Grow),
        (
            "held by the last gate, resize",
            cluster(90, &resize("Standard", true)),
            Verdict::Hold,
        ),
        (
            "nothing to do, by a forecast of 120 samples",
            with_samples(cluster(40, &resize("Predictive", false))),
            Verdict::Balanced,
        ),
    ];
    for (name, world, verdict) in &lines {
        let decided = plan(world, now);
        assert!(decided.decisions.iter().all(|d| d.verdict == *verdict), "{name}: {decided:#?}");
        let mut plan = Plan::default();
        let rate = measure(|| {
            plan_into(black_box(world), now, &mut plan);
            black_box(&plan).decisions.len()
        });
        println!("{name:<52} {rate:>10} decisions/s");
        let rate = measure(|| {
            plan_into(black_box(world), now, &mut plan);
            assert_eq!(check(world, &plan, now), Ok(()));
            plan.decisions.len()
        });
        println!("{:<52} {rate:>10} decisions/s", format!("{name}, and checked"));
    }
    let (_, world, _) = &lines[0];
    let text = as_json(world).to_string();
    let rate = measure(|| {
        let value: Value = serde_json::from_str(black_box(&text)).unwrap();
        black_box(value);
        world.volumes.len()
    });
    let name = format!("to compare: the same figures as JSON, {} bytes", text.len());
    println!("{name:<52} {rate:>10} decisions' inputs/s");
}

/// How often a second it is done, where each call does as many as it returns: the median of slices that are shorter than
/// a turn of the scheduler, so that other programs on a busy machine hardly show.
fn measure(mut run: impl FnMut() -> usize) -> u128 {
    let start = Instant::now();
    let mut rates = Vec::new();
    while start.elapsed() < MEASURED {
        let slice = Instant::now();
        let decisions = (0..CALLS).map(|_| run() as u128).sum::<u128>();
        rates.push(decisions * 1_000_000_000 / slice.elapsed().as_nanos().max(1));
    }
    rates.sort_unstable();
    rates[rates.len() / 2]
}

/// The figures that the decisions of a Cluster rest on, as an API might give them.
fn as_json(world: &World) -> Value {
    let member = |m: &Member| {
        let figures = m.observation.unwrap();
        json!({
            "pvc": m.pvc, "uid": m.uid, "instance": m.instance, "node": m.node, "storageClass": m.class.name,
            "request": m.request.to_string(), "size": m.size.to_string(), "lastResizeAt": m.last_resize_at.map(|t| t.to_string()),
            "usedBytes": figures.used.get(), "availableBytes": figures.available.get(), "capacityBytes": figures.capacity.get(),
            "time": figures.at.to_string(),
        })
    };
    let operation = |o: &Operation| {
        json!({
            "id": o.id, "volume": o.volume.to_string(), "urgency": o.urgency.as_str(), "startedAt": o.started_at.to_string(),
            "from": o.from.to_string(), "to": o.to.to_string(), "accepted": o.accepted, "done": o.done,
        })
    };
    json!({
        "namespace": world.cluster.key.namespace, "name": world.cluster.key.name, "uid": world.cluster.uid,
        "primary": world.cluster.primary,
        "volumes": world.volumes.iter().map(|v| json!({"key": v.key.to_string(), "members": v.members.iter().map(member).collect::<Vec<_>>()})).collect::<Vec<_>>(),
        "operations": world.operations.iter().map(operation).collect::<Vec<_>>(),
    })
}
