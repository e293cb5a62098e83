//! Rescues, around the growth itself: the logs that may tell why an instance is down, and what is measured afterwards.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csm_api::{EventReason, Growth, Reason, StorageEventStatus};
use csm_core::disk_full::Log;
use csm_core::plan::{Decision, Evidence};
use csm_core::rescue::{Times, aftermath};
use csm_core::world::World;
use csm_gather::down::{LogWanted, logs_wanted};
use csm_gather::index::Snapshot;
use csm_gather::postgres_log;
use csm_gather::views::volume_of;
use csm_runtime::tasks::caught;
use futures::{AsyncRead, AsyncReadExt as _};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client, ResourceExt};
use tokio::sync::Semaphore;

use crate::apply::{Note, Severity};
use crate::shared::Shared;

/// The last lines of a log: a crash takes fewer (lab.md).
const LINES: i64 = 200;
/// No more of their end than this, in bytes: CloudNativePG's lines have 600 to 900, and a crash is told in the last of them.
const BYTES: usize = 64 * 1024;
/// Logs that are read at a time: when a zone fails, thousands of instances are down at once.
const AT_A_TIME: usize = 16;
/// The API server asks the kubelet, and that reads a file.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads logs, each once.
pub struct Rescues {
    shared: Arc<Shared>,
    client: Client,
    reading: Arc<Mutex<HashSet<LogWanted>>>,
    turns: Arc<Semaphore>,
}

impl Rescues {
    /// Reads with `client`.
    #[must_use]
    pub fn new(shared: Arc<Shared>, client: Client) -> Self {
        Self {
            shared,
            client,
            reading: Arc::default(),
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    /// Has the logs read that may tell why instances of a Cluster are down; it is looked at again with what they say.
    pub fn ask(&self, snapshot: &Snapshot, world: &World) {
        for wanted in logs_wanted(snapshot, &world.volumes, &self.shared.settings.volumes) {
            if !self.reading.lock().unwrap_or_else(PoisonError::into_inner).insert(wanted.clone()) {
                continue;
            }
            let (shared, client, reading, turns) = (self.shared.clone(), self.client.clone(), self.reading.clone(), self.turns.clone());
            tokio::spawn(async move {
                // It is never closed.
                let turn = turns.acquire().await;
                // What could not be read counts as read: it stays wanted by nobody else.
                let log = caught(read(client, &wanted))
                    .await
                    .unwrap_or_else(|panic| Log::Failed(panic.to_string().into()));
                drop(turn);
                tracing::info!(namespace = %wanted.namespace, pod = %wanted.pod, container = %wanted.container, log = ?log, "an instance is down: looked for a reason in its log");
                let LogWanted {
                    namespace,
                    pod,
                    uid,
                    container,
                    previous: _,
                } = &wanted;
                let wake = shared.index().put_log(namespace, pod, uid, container, log);
                reading.lock().unwrap_or_else(PoisonError::into_inner).remove(&wanted);
                shared.wake(wake);
            });
        }
    }
}

/// What the end of a container's log says.
async fn read(client: Client, wanted: &LogWanted) -> Log {
    let parameters = LogParams {
        container: Some(csm_cnpg::POSTGRES_CONTAINER.to_owned()),
        previous: wanted.previous,
        tail_lines: Some(LINES),
        // No limit_bytes: of the last lines the kubelet would then give the first.
        ..LogParams::default()
    };
    let api: Api<Pod> = Api::namespaced(client, &wanted.namespace);
    let text = async { Ok(end(api.log_stream(&wanted.pod, &parameters).await?).await) };
    match tokio::time::timeout(LOG_TIMEOUT, text).await {
        Ok(Ok(Ok(text))) => postgres_log::read(&text),
        Ok(Ok(Err(error))) => Log::Failed(Arc::from(error.to_string())),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Log::Denied,
        Ok(Err(kube::Error::Api(status))) => Log::Failed(Arc::from(status.message.as_str())),
        Ok(Err(error)) => Log::Failed(Arc::from(error.to_string())),
        Err(_) => Log::Failed(Arc::from(format!("no answer within {} s", LOG_TIMEOUT.as_secs()))),
    }
}

/// The last whole lines of a text, of [`BYTES`] at most; never more than twice that is held.
async fn end(text: impl AsyncRead) -> std::io::Result<String> {
    let mut text = pin!(text);
    let mut kept = Vec::new();
    let mut cut = false;
    let mut part = vec![0; 8 * 1024];
    loop {
        let read = text.read(&mut part).await?;
        kept.extend_from_slice(part.get(..read).unwrap_or_default());
        if kept.len() > 2 * BYTES || read == 0 {
            let over = kept.len().saturating_sub(BYTES);
            cut |= over > 0;
            kept.drain(..over);
        }
        if read == 0 {
            break;
        }
    }
    let text = String::from_utf8_lossy(&kept);
    let whole = if cut { text.split_once('\n').map(|(_, rest)| rest) } else { None };
    Ok(whole.unwrap_or(&text).to_owned())
}

/// When that happened on which a rescue rests: the first end of a container that is down for it.
#[must_use]
pub fn evidence_at(decision: &Decision) -> Option<Timestamp> {
    match &decision.facts.fired.as_ref()?.evidence {
        Evidence::Down { findings, .. } => findings.iter().filter_map(|found| found.findings.ended.finished_at).min(),
        _ => None,
    }
}

/// The same, as it was recorded.
#[must_use]
pub fn recorded_evidence(event: &Growth) -> Option<Timestamp> {
    event.annotations().get(csm_api::EVIDENCE_AT)?.parse().ok()
}

/// An operation that had ended, and of which more is known now.
pub struct Settled {
    /// As it was.
    pub event: Arc<Growth>,
    /// What its status should say.
    pub status: StorageEventStatus,
    /// PVCs whose status said that they had grown, and whose filesystems have not.
    pub not_grown: Vec<String>,
    /// All instances of a rescue are ready: what it took.
    pub recovered: Option<Times>,
}

/// The operations of a Cluster of which more is known now than when they ended.
#[must_use]
pub fn settled(snapshot: &Snapshot, world: &World, now: Timestamp) -> Vec<Settled> {
    let ended = snapshot.growths().filter(|event| event.is_done());
    let is_ready = |instance: &str| snapshot.pods.get(instance).is_some_and(|pod| pod.ready);
    ended
        .filter_map(|event| {
            let volume = world.volumes.iter().find(|v| v.key == volume_of(event))?;
            let after = aftermath(event, volume, recorded_evidence(event), is_ready, now);
            Some(Settled {
                event: event.clone(),
                status: after.status?,
                not_grown: after.not_grown,
                recovered: after.recovered,
            })
        })
        .collect()
}

/// Tells of it: in the log, and with an Event where that is for people.
#[must_use]
pub fn tell(event: &Growth, settled: &Settled, snapshot: &Snapshot) -> Option<Note> {
    let (namespace, cluster) = (&snapshot.key.namespace, &snapshot.key.name);
    let (volume, operation) = (volume_of(event), event.name_any());
    if !settled.not_grown.is_empty() {
        let pvcs = settled.not_grown.join(", ");
        tracing::error!(%namespace, %cluster, %volume, operation, pvcs, "the status of PVCs says that they have grown, and their filesystems have not");
        return Some(Note {
            severity: Severity::Warning,
            reason: EventReason::AutoResizeFailed,
            message: format!(
                "The filesystems of {pvcs} have not grown to {}, though their status says so ({operation}): see the storage driver on their nodes",
                event.spec.expansion.requested_size
            ),
        });
    }
    let Times {
        patched,
        controller,
        filesystem,
        ready,
    } = settled.recovered?;
    let steps = [
        ("patched", patched),
        ("volume grown", controller),
        ("filesystem grown", filesystem),
        ("all instances ready", ready),
    ];
    let took: Vec<String> = steps
        .into_iter()
        .filter_map(|(step, took)| took.map(|took| format!("{step} after {}", seconds(took))))
        .collect();
    let took = took.join(", ");
    tracing::info!(%namespace, %cluster, %volume, operation, reason = %Reason::DiskFull, took, "rescued: all instances are ready again");
    Some(Note {
        severity: Severity::Normal,
        reason: EventReason::StorageRescue,
        message: format!("{volume} is rescued ({operation}), counted from the end of the container: {took}"),
    })
}

/// To a tenth of a second.
fn seconds(time: SignedDuration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // tests
mod tests {
    use csm_core::disk_full::Place;

    use super::*;

    #[tokio::test]
    async fn of_a_long_log_the_end_is_read() {
        let record = |message: &str| format!("{{\"msg\":\"record\",\"record\":{{\"message\":\"{message}\"}}}}\n");
        let noise = record(&"n".repeat(900)).repeat(200);
        let last = record("could not write to file \\\"pg_wal/xlogtemp.42\\\": No space left on device");
        let long = format!("{noise}{last}");
        let read = end(long.as_bytes()).await.unwrap();
        assert!(read.len() <= BYTES && read.len() > BYTES - 2000, "{}", read.len());
        assert!(read.starts_with("{\"msg\""), "whole lines");
        let Log::NoSpace(said) = postgres_log::read(&read) else {
            panic!("{read}");
        };
        assert_eq!(said.place, Place::Wal);
        assert_eq!(end(last.as_bytes()).await.unwrap(), last);
        assert_eq!(end(&b""[..]).await.unwrap(), "");
    }
}
