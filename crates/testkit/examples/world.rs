//! A simulated world in the foreground, to look at with kubectl or to run the manager against by hand:
//!
//! ```sh
//! cargo run --release -p csm-testkit --example world -- [CLUSTERS] [NODES]
//! ```
//!
//! Each cluster has 3 instances with 2 volumes. It prints how long everything took and how to reach it, and ends with
//! Ctrl-C.

use std::time::Instant;

use anyhow::{Context, Result};
use csm_testkit::scenario::{Sim, SimOptions};

const CLUSTERS_PER_NAMESPACE: usize = 10;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |what: &str, default: usize| match arguments.next() {
        Some(text) => text
            .parse::<usize>()
            .with_context(|| format!("{what} must be a number, not {text:?}")),
        None => Ok(default),
    };
    let (clusters, nodes) = (number("CLUSTERS", 3)?, number("NODES", 3)?);

    let began = Instant::now();
    let sim = Sim::with(SimOptions {
        nodes,
        ..SimOptions::default()
    })
    .await?;
    println!("world with {nodes} nodes after {:.1?}", began.elapsed());
    let began = Instant::now();
    let builders = (0..clusters).map(|number| {
        let namespace = format!("team-{}", number / CLUSTERS_PER_NAMESPACE);
        sim.cluster(&namespace, &format!("db-{number}"))
            .instances(3)
            .data("10Gi")
            .wal("5Gi")
    });
    let fleet = sim.fleet(builders).await?;
    println!("{clusters} clusters with {} volumes after {:.1?}", clusters * 6, began.elapsed());

    let began = Instant::now();
    let bytes: usize = sim.nodes().iter().map(|node| sim.kubelets().summary(node).to_string().len()).sum();
    println!("statistics of all nodes: {bytes} bytes, made in {:.1?}", began.elapsed());
    println!("\nexport KUBECONFIG={}", sim.plane().kubeconfig().display());
    println!(
        "{} get clusters.postgresql.cnpg.io -A",
        sim.plane().binaries().path("kubectl").display()
    );
    tokio::signal::ctrl_c().await.context("wait for Ctrl-C")?;
    drop(fleet);
    Ok(())
}
