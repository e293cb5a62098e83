//! An instance that says what WAL relief asks it: twenty segments lie in its `pg_wal`, of which the last is being written, and all others
//! are archived.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use csm_api::{EventType, StorageEvent};
use csm_testkit::nodesim::{Container, Ended};
use csm_testkit::scenario::Sim;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::until;

/// The segment that is written.
const WRITTEN: u32 = 0x14;

/// What it is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// `psql`, which reads.
    Read,
    /// `psql` with CHECKPOINT, which reads.
    Checkpoint,
    /// `pg_archivecleanup -n`.
    List,
    /// The removal.
    Remove,
}

/// What comes of a command, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comes {
    /// It does so much of its work, and waits until it is let go.
    Waits,
    /// It does its work, and the connection breaks.
    Cut,
}

/// Segments that a removal has removed when it waits.
pub const REMOVED_BEFORE: usize = 4;

/// The instance.
pub struct Instance {
    sim: Sim,
    namespace: String,
    state: Mutex<State>,
    goes: watch::Sender<bool>,
}

struct State {
    files: BTreeSet<u32>,
    next: BTreeMap<Told, Comes>,
    ran: Vec<(Told, Value)>,
    waits: bool,
}

/// The name of a segment.
pub fn segment(number: u32) -> String {
    format!("0000000100000000{number:08X}")
}

impl Instance {
    /// Runs in the pod of that name.
    pub fn start(sim: &Sim, namespace: &str, pod: &str) -> Arc<Self> {
        let instance = Arc::new(Self {
            sim: sim.clone(),
            namespace: namespace.to_owned(),
            state: Mutex::new(State {
                files: (1..=WRITTEN).collect(),
                next: BTreeMap::new(),
                ran: Vec::new(),
                waits: false,
            }),
            goes: watch::Sender::new(false),
        });
        sim.kubelets().put_container(namespace, pod, instance.clone());
        instance
    }

    /// What comes of the next command of a kind.
    pub fn next(&self, told: Told, comes: Comes) {
        self.state().next.insert(told, comes);
    }

    /// Waits until a command waits.
    pub async fn waits(&self) -> anyhow::Result<()> {
        until("a command waits", || async { Ok(self.state().waits.then_some(())) }).await
    }

    /// Lets the command that waits do the rest.
    pub async fn goes_on(&self) -> anyhow::Result<()> {
        self.goes.send_replace(true);
        until("the command has ended", || async { Ok((!self.state().waits).then_some(())) }).await
    }

    /// How many segments are left.
    pub fn left(&self) -> usize {
        self.state().files.len()
    }

    /// What it was told to do, in order.
    pub fn ran(&self) -> Vec<Told> {
        self.state().ran.iter().map(|(told, _)| *told).collect()
    }

    /// What the records of its namespace's reliefs said when it was told to do something.
    pub fn recorded(&self, told: Told) -> Vec<Value> {
        let state = self.state();
        let of = state.ran.iter().filter(|(ran, _)| *ran == told);
        of.map(|(_, recorded)| recorded.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By the API server's word, as of now. A client belongs to the runtime that made it, and this is the simulator's.
    async fn records(&self) -> anyhow::Result<Value> {
        let client = self.sim.plane().client().await?;
        let events = Api::<StorageEvent>::namespaced(client, &self.namespace)
            .list(&ListParams::default())
            .await?;
        let reliefs = events.items.iter().filter(|event| event.spec.event_type == EventType::WalCleanup);
        Ok(reliefs.map(|event| json!(event.status)).collect())
    }

    async fn does(&self, command: Vec<String>) -> anyhow::Result<Ended> {
        let has = |text: &str| command.iter().any(|argument| argument == text);
        let told = match command.first().map(String::as_str) {
            Some("psql") if has("CHECKPOINT") => Told::Checkpoint,
            Some("psql") => Told::Read,
            Some("sh") => Told::Remove,
            _ => Told::List,
        };
        let recorded = self.records().await?;
        let comes = {
            let mut state = self.state();
            state.ran.push((told, recorded));
            state.next.remove(&told)
        };
        if told == Told::Remove && comes == Some(Comes::Waits) {
            self.remove(&command, REMOVED_BEFORE)?;
        }
        if comes == Some(Comes::Waits) {
            self.state().waits = true;
            self.goes.subscribe().wait_for(|goes| *goes).await?;
        }
        let stdout = match told {
            Told::Checkpoint => self.reading(true),
            Told::Read => self.reading(false),
            Told::List => self
                .below(command.last().context("a cutoff")?)
                .iter()
                .map(|number| segment(*number) + "\n")
                .collect(),
            Told::Remove => {
                let removed = self.remove(&command, usize::MAX)?;
                format!("removing {removed}\ndone {removed}\n")
            }
        };
        self.state().waits = false;
        Ok(match comes {
            Some(Comes::Cut) => Ended::Cut,
            Some(Comes::Waits) | None => Ended::Exit {
                code: 0,
                stdout,
                stderr: String::new(),
            },
        })
    }

    /// Removes what lies below the cutoff, so much of it at most: `sh -c TEXT remove.sh PROGRAM WAL CUTOFF FIRST COUNT MARKS`.
    fn remove(&self, command: &[String], most: usize) -> anyhow::Result<usize> {
        let gone = self.below(command.get(6).context("a cutoff")?);
        let gone: BTreeSet<u32> = gone.into_iter().take(most).collect();
        self.state().files.retain(|number| !gone.contains(number));
        Ok(gone.len())
    }

    fn below(&self, cutoff: &str) -> Vec<u32> {
        let state = self.state();
        state
            .files
            .iter()
            .copied()
            .filter(|number| segment(*number).as_str() < cutoff)
            .collect()
    }

    /// What its SQL says, of a server of version 17.
    fn reading(&self, with_slots_before: bool) -> String {
        let state = self.state();
        let marks: Vec<String> = state
            .files
            .iter()
            .filter(|n| **n < WRITTEN)
            .map(|n| segment(*n) + ".done")
            .collect();
        let files: Vec<String> = state.files.iter().map(|n| segment(*n)).collect();
        let earlier = json!({"part": "earlier", "slots": [], "end": "0/14000028"});
        let moving = json!({
            "part": "moving", "checkpoint": {"redo": "0/14000060", "timeline": 1, "file": segment(WRITTEN)}, "slots": [], "senders": [],
            "receiver": null, "recovered": null, "backups": [], "label": false, "summaries": null,
            "settings": {"version": 170_005, "walKeepSize": 0, "maxWalSize": 1 << 30, "maxSlotWalKeepSize": -1, "segmentSize": 16 << 20,
                "archiveMode": "on", "summarizes": "off", "bin": "/usr/lib/postgresql/17/bin", "data": "/var/lib/postgresql/data/pgdata"},
        });
        let position = json!({"part": "position", "recovery": false, "written": "0/14000200", "file": segment(WRITTEN)});
        let directory = json!({"part": "directory", "marks": marks, "files": files});
        let parts = with_slots_before
            .then_some(earlier)
            .into_iter()
            .chain([moving, position, directory]);
        parts.map(|part| part.to_string()).collect::<Vec<_>>().join("\n")
    }
}

impl Container for Instance {
    fn run(self: Arc<Self>, command: Vec<String>) -> BoxFuture<'static, Ended> {
        async move {
            self.does(command).await.unwrap_or_else(|error| Ended::Exit {
                code: 1,
                stdout: String::new(),
                stderr: format!("the simulated instance: {error:#}"),
            })
        }
        .boxed()
    }
}
