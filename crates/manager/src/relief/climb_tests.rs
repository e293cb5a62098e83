//! A whole relief, at an instance whose answers are made up and an API server that remembers what was written, and when.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // tests

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::Router;
use axum::body::Bytes as Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use csm_api::{Rung, RungResult};
use csm_gather::views::{ClusterView, PodObject, PodView};
use csm_runtime::exec::Output;
use csm_runtime::lease::Leadership;
use kube::Client;
use serde_json::{Value, json};

use super::*;
use crate::settings::{RunArgs, Settings};

/// The record, and the Events, as the API server has them.
#[derive(Default)]
struct Stored {
    event: Value,
    notes: Vec<String>,
    /// So often it is too busy to say which backups there are.
    busy: usize,
}

type Store = Arc<Mutex<Stored>>;

fn cluster() -> Value {
    json!({
        "metadata": {"name": "orders", "namespace": "shop", "uid": "c1", "resourceVersion": "1"},
        "spec": {"instances": 1, "storage": {"size": "10Gi"}, "backup": {"barmanObjectStore": {}}},
        "status": {"currentPrimary": "orders-1", "targetPrimary": "orders-1", "instanceNames": ["orders-1"]},
    })
}

async fn answer(State(store): State<Store>, request: Request) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let body: Body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    match (method.as_str(), path.rsplit('/').next().unwrap()) {
        ("GET", "orders") => Json(cluster()).into_response(),
        ("GET", "backups") if store.busy > 0 => {
            store.busy -= 1;
            let busy = json!({"kind": "Status", "status": "Failure", "reason": "TooManyRequests", "code": 429, "message": "try later"});
            (StatusCode::TOO_MANY_REQUESTS, Json(busy)).into_response()
        }
        ("GET", "backups") => Json(json!({"metadata": {}, "items": []})).into_response(),
        ("PATCH", "status") => {
            let patch: Value = serde_json::from_slice(&body).unwrap();
            let version = store.event["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
            if patch["metadata"]["resourceVersion"] != json!(version) {
                let conflict =
                    json!({"kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409, "message": "it has changed"});
                return (StatusCode::CONFLICT, Json(conflict)).into_response();
            }
            let next = version.parse::<u64>().unwrap() + 1;
            store.event["metadata"]["resourceVersion"] = json!(next.to_string());
            store.event["status"] = patch["status"].clone();
            Json(store.event.clone()).into_response()
        }
        ("POST", "events") => {
            let note: Value = serde_json::from_slice(&body).unwrap();
            store.notes.push(note["reason"].as_str().unwrap().to_owned());
            Json(note).into_response()
        }
        ("GET", _) => Json(store.event.clone()).into_response(),
        other => panic!("nobody asks for {other:?}"),
    }
}

/// An instance with twenty segments, of which the last is written: all others are archived.
struct Instance {
    store: Store,
    files: Mutex<BTreeSet<u32>>,
    /// What was run, and what the record said then.
    ran: Mutex<Vec<(&'static str, Value)>>,
    /// The API server allows nothing.
    denied: bool,
}

fn name(number: u32) -> String {
    format!("0000000100000000{number:08X}")
}

impl Instance {
    fn new(store: &Store) -> Arc<Self> {
        Arc::new(Self {
            store: store.clone(),
            files: Mutex::new((1..=0x14).collect()),
            ran: Mutex::default(),
            denied: false,
        })
    }

    fn left(&self) -> usize {
        self.files.lock().unwrap().len()
    }

    fn ran(&self) -> Vec<&'static str> {
        self.ran.lock().unwrap().iter().map(|(what, _)| *what).collect()
    }

    fn reading(&self, with_slots_before: bool) -> String {
        let files = self.files.lock().unwrap();
        let marks: Vec<String> = files.iter().filter(|n| **n < 0x14).map(|n| format!("{}.done", name(*n))).collect();
        let files: Vec<String> = files.iter().map(|n| name(*n)).collect();
        let earlier = json!({"part": "earlier", "slots": [], "end": "0/14000028"});
        let moving = json!({
            "part": "moving", "checkpoint": {"redo": "0/14000060", "timeline": 1, "file": name(0x14)}, "slots": [], "senders": [],
            "receiver": null, "recovered": null, "backups": [], "label": false, "summaries": null,
            "settings": {"version": 170_005, "walKeepSize": 0, "maxWalSize": 1 << 30, "maxSlotWalKeepSize": -1, "segmentSize": 16 << 20,
                "archiveMode": "on", "summarizes": "off", "bin": "/usr/lib/postgresql/17/bin", "data": "/var/lib/postgresql/data/pgdata"},
        });
        let position = json!({"part": "position", "recovery": false, "written": "0/14000200", "file": name(0x14)});
        let directory = json!({"part": "directory", "marks": marks, "files": files});
        let parts = with_slots_before
            .then_some(earlier)
            .into_iter()
            .chain([moving, position, directory]);
        parts.map(|part| part.to_string()).collect::<Vec<_>>().join("\n")
    }

    fn below(&self, cutoff: &str) -> Vec<u32> {
        let files = self.files.lock().unwrap();
        files.iter().copied().filter(|n| name(*n).as_str() < cutoff).collect()
    }
}

/// What runs its commands.
struct Runs(Arc<Instance>);

impl Exec for Runs {
    async fn exec(&self, command: &Command<'_>) -> Result<Output, ExecError> {
        assert_eq!(
            (command.namespace, command.pod, command.container),
            ("shop", "orders-1", "postgres")
        );
        let has = |text: &str| command.arguments.iter().any(|argument| argument == text);
        let what = match command.arguments.first().unwrap().as_str() {
            "psql" if has("CHECKPOINT") => "checkpoint",
            "psql" => "read",
            "sh" => "remove",
            _ => "list",
        };
        let recorded = self.0.store.lock().unwrap().event["status"].clone();
        self.0.ran.lock().unwrap().push((what, recorded));
        if self.0.denied {
            return Err(ExecError::Denied);
        }
        let stdout = match what {
            "checkpoint" => self.0.reading(true),
            "read" => self.0.reading(false),
            "list" => {
                let names = self.0.below(command.arguments.last().unwrap());
                names
                    .into_iter()
                    .flat_map(|n| ["/pg_wal/".to_owned(), name(n), "\n".to_owned()])
                    .collect()
            }
            _ => {
                // sh -c TEXT remove.sh PROGRAM WAL CUTOFF FIRST COUNT MARKS
                let gone = self.0.below(&command.arguments[6]);
                assert_eq!(command.arguments[8], gone.len().to_string());
                self.0.files.lock().unwrap().retain(|n| !gone.contains(n));
                format!("removing {0}\ndone {0}\n", gone.len())
            }
        };
        Ok(Output {
            exit: 0,
            stdout: stdout.into_bytes(),
            stderr: Vec::new(),
        })
    }
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn pod(uid: &str) -> PodView {
    let pod: PodObject = read(json!({
        "metadata": {"name": "orders-1", "namespace": "shop", "uid": uid, "resourceVersion": "1",
            "labels": {"cnpg.io/cluster": "orders", "cnpg.io/instanceName": "orders-1"}},
        "status": {"containerStatuses": [{"name": "postgres", "ready": true, "state": {"running": {}}}]},
    }));
    PodView::of(&pod).unwrap()
}

struct Scene {
    shared: Arc<Shared>,
    writer: Writer,
    store: Store,
}

/// A Cluster of one instance with a record of its relief.
fn scene(status: Option<Value>) -> Scene {
    let created = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut event = json!({
        "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "StorageEvent",
        "metadata": {"name": "orders-wal-cleanup-1", "namespace": "shop", "uid": "e1", "resourceVersion": "7", "creationTimestamp": created},
        "spec": {"clusterRef": {"name": "orders", "uid": "c1"}, "eventType": "wal-cleanup", "trigger": "emergency", "volume": {"role": "data"},
            "reason": "UsageThreshold", "message": "WAL relief is due", "walCleanup": {"instance": "orders-1", "retainCount": 10}},
    });
    if let Some(status) = status {
        event["status"] = status;
        event["status"]["startTime"] = json!(created);
    }
    let store = Store::default();
    store.lock().unwrap().event = event;
    let shared = Arc::new(Shared::new(Settings::load(&RunArgs::default()).unwrap()));
    let api_server = Router::new().fallback(answer).with_state(store.clone());
    let guard = Leadership::without_election().guard;
    let writer = Writer::new(Client::new(api_server, "default"), guard, "test".to_owned());
    let key = ClusterKey::new("shop", "orders");
    let pvc = json!({
        "metadata": {"name": "orders-1", "namespace": "shop", "uid": "v1", "resourceVersion": "1",
            "labels": {"cnpg.io/cluster": "orders", "cnpg.io/instanceName": "orders-1", "cnpg.io/pvcRole": "PG_DATA"}},
        "spec": {"resources": {"requests": {"storage": "10Gi"}}},
        "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}},
    });
    let mut index = shared.index();
    index.put_cluster(&key, Some(ClusterView::of(&read(cluster()))));
    index.put_pvc(&read(pvc), Timestamp::now());
    index.put_pod("shop", "orders-1", pod("p1"));
    drop(index);
    Scene { shared, writer, store }
}

impl Scene {
    fn climb(&self, instance: &Arc<Instance>) -> Climb<Runs> {
        let event: StorageEvent = read(self.store.lock().unwrap().event.clone());
        self.shared.index().put_event(event.clone());
        let place = (Arc::from("c1"), Arc::from("orders-1"));
        let key = ClusterKey::new("shop", "orders");
        Climb::new(self.shared.clone(), self.writer.clone(), Runs(instance.clone()), key, place, event)
    }

    fn status(&self) -> StorageEventStatus {
        read(self.store.lock().unwrap().event["status"].clone())
    }

    fn notes(&self) -> Vec<String> {
        self.store.lock().unwrap().notes.clone()
    }
}

fn begun(status: &Value, rung: &str) -> bool {
    let rungs = status["rungs"].as_array().or_else(|| status["walCleanup"]["rungs"].as_array());
    rungs.is_some_and(|rungs| rungs.iter().any(|r| r["rung"] == rung && r["result"] == "Begun"))
}

#[tokio::test]
async fn a_ladder_is_climbed_and_each_change_is_recorded_before_it_is_made() {
    let scene = scene(None);
    let instance = Instance::new(&scene.store);
    assert_eq!(scene.climb(&instance).climb().await, Ok(true));
    assert_eq!(instance.ran(), ["read", "checkpoint", "list", "read", "remove", "read"]);
    for (what, recorded) in instance.ran.lock().unwrap().iter() {
        let rung = match *what {
            "checkpoint" => "Checkpoint",
            "remove" => "Removal",
            _ => continue,
        };
        assert!(begun(recorded, rung), "{what} was run while the record said {recorded}");
    }
    // Of nineteen that are complete, ten stay, and the one that is written.
    assert_eq!(instance.left(), 11);
    let found = scene.status().wal_cleanup.unwrap();
    assert_eq!((found.outcome, found.files_removed), (Some(WalCleanupOutcome::Relieved), Some(9)));
    assert_eq!(scene.notes(), ["WALCleanup"]);
    let last = scene.shared.index().snapshot(&ClusterKey::new("shop", "orders")).unwrap();
    let last = last.reliefs().filter_map(|event| csm_gather::relief::removed_at(event)).max();
    assert!(last.is_some());
}

#[tokio::test]
async fn what_is_not_permitted_ends_and_is_told() {
    let scene = scene(None);
    let mut instance = Instance::new(&scene.store);
    Arc::get_mut(&mut instance).unwrap().denied = true;
    assert_eq!(scene.climb(&instance).climb().await, Ok(true));
    let status = scene.status();
    assert_eq!(status.wal_cleanup.unwrap().outcome, Some(WalCleanupOutcome::CommandFailed));
    let condition = &status.conditions[0];
    assert_eq!(condition.reason, "CommandFailed");
    assert!(
        condition.message.contains("kubectl apply -f deploy/wal-cleanup.yaml"),
        "{}",
        condition.message
    );
    assert_eq!(
        (instance.ran(), scene.notes()),
        (vec!["read"], vec!["WALCleanupRefused".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_busy_for_a_moment_ends_nothing() {
    for (busy, outcome) in [(TRIES - 1, WalCleanupOutcome::Relieved), (TRIES, WalCleanupOutcome::CommandFailed)] {
        let scene = scene(None);
        scene.store.lock().unwrap().busy = busy;
        let instance = Instance::new(&scene.store);
        assert_eq!(scene.climb(&instance).climb().await, Ok(true));
        assert_eq!(scene.status().wal_cleanup.unwrap().outcome, Some(outcome), "busy {busy} times");
    }
}

/// The manager was killed after a removal was begun: it is not made again.
#[tokio::test]
async fn a_removal_that_was_begun_before_a_restart_is_compared_and_not_repeated() {
    let at = "2026-03-01T10:00:00Z";
    let status = json!({"phase": "InProgress", "walCleanup": {
        "rungs": [{"rung": "Holders", "result": "Done", "startedAt": at}, {"rung": "Checkpoint", "result": "Done", "startedAt": at},
            {"rung": "DryRun", "result": "Done", "startedAt": at}, {"rung": "Removal", "result": "Begun", "startedAt": at}],
        "proof": {"cutoff": name(10), "at": at, "removable": 9, "bounds": []},
        "dryRun": {"count": 9, "first": name(1), "last": name(9)}}});
    let scene = scene(Some(status));
    let instance = Instance::new(&scene.store);
    instance.files.lock().unwrap().retain(|n| *n > 4);
    assert_eq!(scene.climb(&instance).climb().await, Ok(true));
    assert_eq!(instance.ran(), ["read"]);
    let found = scene.status().wal_cleanup.unwrap();
    assert_eq!((found.outcome, found.files_removed), (Some(WalCleanupOutcome::Abandoned), Some(4)));
    assert_eq!(instance.left(), 16);
    let removal = found.rungs.iter().find(|rung| rung.rung == Rung::Removal).unwrap();
    assert_eq!(removal.result, RungResult::Unknown);
}

#[tokio::test]
async fn another_pod_of_the_name_is_another_instance() {
    let scene = scene(None);
    let instance = Instance::new(&scene.store);
    let climb = scene.climb(&instance);
    scene.shared.index().put_pod("shop", "orders-1", pod("p2"));
    assert_eq!(climb.climb().await, Ok(true));
    assert_eq!(instance.ran(), [""; 0]);
    assert_eq!(scene.status().wal_cleanup.unwrap().outcome, Some(WalCleanupOutcome::Abandoned));
}

/// A pause that comes while it looks holds all that changes anything.
#[tokio::test]
async fn a_pause_holds_what_has_not_been_changed_yet() {
    let scene = scene(None);
    let instance = Instance::new(&scene.store);
    let climb = scene.climb(&instance);
    let mut paused = cluster();
    paused["metadata"]["resourceVersion"] = json!("2");
    paused["metadata"]["annotations"] = json!({"storage.cnpg.supporttools.io/paused": "true"});
    scene
        .shared
        .index()
        .put_cluster(&ClusterKey::new("shop", "orders"), Some(ClusterView::of(&read(paused))));
    assert_eq!(climb.climb().await, Ok(true));
    assert_eq!((instance.ran(), instance.left()), (vec!["read"], 20));
    let message = &scene.status().conditions[0].message;
    assert!(message.contains("the Cluster is paused"), "{message}");
}
