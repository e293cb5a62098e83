//! The control socket of the driver: one JSON request a line, one JSON answer a line.
//!
//! Tests set and clear faults through [`Client`]; node processes ask through it at the begin of each call.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::engine::Engine;
use super::faults::{Call, Fault, Refusal, Rpc, VolumeRef};
use super::store::{Record, Store};
use crate::wait::Patience;

/// How often a connection is tried.
const POLL: Duration = Duration::from_millis(100);
/// How long a node waits for the controller process when that is being restarted.
const RECONNECT: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
enum Request {
    Set { fault: Fault },
    Clear { name: Option<String> },
    List,
    Calls,
    Volumes,
    Enter { rpc: Rpc, volume: VolumeRef, node: String },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Ok(serde_json::Value),
    Error(String),
}

/// Serves the socket until the process ends.
pub async fn serve(path: &Path, engine: Arc<Engine>, store: Store) -> Result<()> {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
    loop {
        let (stream, _) = listener.accept().await.context("accept on the control socket")?;
        let (engine, store) = (engine.clone(), store.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(stream, &engine, &store).await {
                tracing::warn!("control connection: {error:#}");
            }
        });
    }
}

async fn connection(stream: UnixStream, engine: &Engine, store: &Store) -> Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = match serde_json::from_str::<Request>(&line) {
            Err(error) => Err(anyhow!("not a request: {error}")),
            Ok(request) => tokio::select! {
                answer = answer(request, engine, store) => answer,
                // A caller that gave up must not leave its call hanging here. Nothing is sent before the answer.
                _ = lines.next_line() => return Ok(()),
            },
        };
        let answer = answer.map_or_else(|error| Answer::Error(format!("{error:#}")), Answer::Ok);
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        write.write_all(&text).await?;
    }
    Ok(())
}

async fn answer(request: Request, engine: &Engine, store: &Store) -> Result<serde_json::Value> {
    Ok(match request {
        Request::Set { fault } => serde_json::to_value(engine.set(fault)?)?,
        Request::Clear { name } => serde_json::to_value(engine.clear(name.as_deref())?)?,
        Request::List => serde_json::to_value(engine.list())?,
        Request::Calls => serde_json::to_value(engine.calls())?,
        Request::Volumes => serde_json::to_value(store.all().map_err(|status| anyhow!("{status}"))?)?,
        Request::Enter { rpc, volume, node } => serde_json::to_value(engine.enter(rpc, &volume, &node).await.err())?,
    })
}

/// Speaks to a driver's control socket. Each call is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// For the driver that listens on `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Sets a fault, in place of one of the same name.
    pub async fn set(&self, fault: Fault) -> Result<()> {
        self.ask(&Request::Set { fault }).await
    }

    /// Clears one fault. It is no error when there is none of that name.
    pub async fn clear(&self, name: &str) -> Result<()> {
        self.ask(&Request::Clear {
            name: Some(name.to_owned()),
        })
        .await
    }

    /// Clears all faults.
    pub async fn clear_all(&self) -> Result<()> {
        self.ask(&Request::Clear { name: None }).await
    }

    /// The faults that are set.
    pub async fn list(&self) -> Result<Vec<Fault>> {
        self.ask(&Request::List).await
    }

    /// The last calls that reached the driver, oldest first. Of the calls for figures only those that a fault hit.
    pub async fn calls(&self) -> Result<Vec<Call>> {
        self.ask(&Request::Calls).await
    }

    /// All volumes.
    pub async fn volumes(&self) -> Result<Vec<Record>> {
        self.ask(&Request::Volumes).await
    }

    /// For node processes: waits, or refuses, as the faults want it.
    pub async fn enter(&self, rpc: Rpc, volume: &VolumeRef, node: &str) -> Result<Option<Refusal>> {
        self.ask(&Request::Enter {
            rpc,
            volume: volume.clone(),
            node: node.to_owned(),
        })
        .await
    }

    async fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T> {
        let at = || format!("the CSI driver's control socket {}", self.socket.display());
        let mut patience = Patience::new(POLL, RECONNECT);
        let stream = loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => break stream,
                Err(error) => patience.pause(error).await.with_context(at)?,
            }
        };
        let (read, mut write) = stream.into_split();
        let mut text = serde_json::to_vec(request)?;
        text.push(b'\n');
        write.write_all(&text).await.with_context(at)?;
        let line = BufReader::new(read).lines().next_line().await.with_context(at)?;
        let line = line.with_context(|| format!("{} closed without an answer", at()))?;
        match serde_json::from_str(&line).with_context(at)? {
            Answer::Ok(value) => serde_json::from_value(value).with_context(at),
            Answer::Error(error) => bail!("{}: {error}", at()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::{Action, Code, Scope};
    use super::*;

    #[tokio::test]
    async fn faults_travel_over_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        let (engine, store) = (Arc::new(Engine::in_memory()), Store::open(&dir.path().join("volumes")).unwrap());
        let (server_socket, server_engine) = (socket.clone(), engine.clone());
        tokio::spawn(async move { serve(&server_socket, server_engine, store).await });

        let client = Client::new(&socket);
        let fault = Fault {
            name: "x".into(),
            scope: Scope::claim("shop/orders"),
            action: Action::Fail {
                rpc: Rpc::CreateVolume,
                code: Code::Aborted,
                message: "busy".into(),
                times: None,
            },
        };
        client.set(fault.clone()).await.unwrap();
        assert_eq!(client.list().await.unwrap(), vec![fault]);
        let volume = VolumeRef {
            id: "pvc-1".into(),
            claim: "shop/orders-1".into(),
            storage_class: "loop".into(),
        };
        let refusal = client.enter(Rpc::CreateVolume, &volume, "lab-1").await.unwrap().unwrap();
        assert_eq!((refusal.code, refusal.message.as_str()), (Code::Aborted, "busy"));
        client.clear("x").await.unwrap();
        assert_eq!(client.enter(Rpc::CreateVolume, &volume, "lab-1").await.unwrap(), None);
        assert_eq!(client.calls().await.unwrap().len(), 2);
        assert!(client.volumes().await.unwrap().is_empty());
    }
}
