//! The object store of the lab: an S3 server on a folder.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use csm_testkit::s3::{Credentials, Store, server};
use tokio::net::TcpListener;

#[derive(Parser)]
struct Args {
    /// The folder of buckets and faults.
    #[arg(long)]
    dir: PathBuf,
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Who may use it.
    #[arg(long)]
    access_key: String,
    /// The key.
    #[arg(long)]
    secret_key: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_target(false)
        .with_max_level(tracing::Level::WARN)
        .init();
    let Args {
        dir,
        listen,
        access_key,
        secret_key,
    } = Args::parse();
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    let credentials = Credentials { access_key, secret_key };
    server::serve(Store::open(&dir)?, listener, Some(&credentials)).await
}
