//! The CSI driver of the lab: `loopcsi controller …` once a cluster, `loopcsi node …` once a node.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use csm_testkit::csi::driver::{Driver, Faults};
use csm_testkit::csi::engine::Engine;
use csm_testkit::csi::store::Store;
use csm_testkit::csi::{Kind, control, server};

#[derive(Parser)]
struct Args {
    /// What stands behind a volume: loop or hostdir.
    #[arg(long)]
    kind: Kind,
    /// The folder of volumes; the same one for the controller and all nodes.
    #[arg(long)]
    volumes: PathBuf,
    /// Where the CSI socket is to be.
    #[arg(long)]
    socket: PathBuf,
    /// The controller's control socket.
    #[arg(long)]
    control: PathBuf,
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Makes, expands and deletes volumes; keeps the faults; listens on the control socket.
    Controller,
    /// Mounts volumes on one node; asks the control socket for faults.
    Node {
        /// The node's name in Kubernetes.
        #[arg(long)]
        name: String,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_ansi(false).with_target(false).init();
    let args = Args::parse();
    let store = Store::open(&args.volumes)?;
    match args.role {
        Role::Controller => {
            let engine = Arc::new(Engine::open(&args.volumes.join("faults"))?);
            let node = "controller".to_owned();
            let driver = Driver {
                kind: args.kind,
                node,
                store: store.clone(),
                faults: Faults::Here(engine.clone()),
            };
            tokio::try_join!(server::serve(driver, &args.socket), control::serve(&args.control, engine, store))?;
        }
        Role::Node { name } => {
            let faults = Faults::Controller(control::Client::new(args.control));
            let driver = Driver {
                kind: args.kind,
                node: name,
                store,
                faults,
            };
            server::serve(driver, &args.socket).await?;
        }
    }
    Ok(())
}
