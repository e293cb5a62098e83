//! Asks the primaries of managed Clusters for the health of their WAL, on the leader only.
//!
//! Whatever an instance does with a question, it costs one time-out and a place among those that failed last: they have
//! places of their own, so that any number of instances that hang delays none that answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use csm_core::world::ClusterKey;
use csm_gather::index::Primary;
use csm_gather::instance::{self, Reading, Unreadable, WalFigures};
use csm_runtime::tasks::{Panicked, caught};
use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fetch::{self, Bounds, FetchError};
use crate::rounds::Rounds;
use crate::shared::Shared;

/// How often we look who is due: a new primary waits no longer.
const LOOK: Duration = Duration::from_secs(1);
/// Where all is well, a primary is asked so many intervals apart: a question costs the instance 63 ms of CPU, and figures
/// count for ten intervals at the usual one.
const AT_REST: u32 = 2;
/// Answers beyond this are no status: 512 slots of 300 bytes are 150 KiB.
const LARGEST_ANSWER: usize = 1 << 20;
/// One in so many places more is for instances that failed when they were asked last.
pub(crate) const FAILED_SHARE: usize = 4;

/// How instances are asked.
#[derive(Clone, Debug)]
pub struct InstanceSettings {
    /// Whether they are.
    pub enabled: bool,
    /// Where their managers listen.
    pub port: u16,
    /// Whether their exporters are asked, between two samples of a kubelet.
    pub exporter: bool,
    /// Where their exporters listen.
    pub exporter_port: u16,
    /// For a whole answer.
    pub timeout: Duration,
    /// Instances asked at a time.
    pub concurrency: usize,
}

/// Why nothing is known of an instance.
#[derive(Debug, Error)]
enum InstanceError {
    #[error("cannot connect: {0}; is there a NetworkPolicy that keeps the manager from it?")]
    Connect(String),
    #[error("no whole answer within {0:?} (setting instances.timeout)")]
    Timeout(Duration),
    #[error("it answered {0}: PostgreSQL is down, or cannot be asked")]
    Status(StatusCode),
    #[error("its answer is larger than {} KiB", LARGEST_ANSWER >> 10)]
    TooLarge,
    #[error(transparent)]
    Garbage(#[from] Unreadable),
    #[error("it says that it is not primary, and CloudNativePG says that it is: a switchover, or a replica cluster")]
    NotPrimary,
    #[error("BUG: looking at the answer {0}")]
    Panic(Panicked),
}

impl InstanceError {
    /// A short name of the kind of error: the same one is logged once, not each time.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Timeout(_) => "timeout",
            Self::Status(_) => "status",
            Self::TooLarge | Self::Garbage(_) => "garbage",
            Self::NotPrimary => "not-primary",
            Self::Panic(_) => "panic",
        }
    }
}

/// The pod of an instance: its Cluster, and its UID.
type Pod = (ClusterKey, Arc<str>);

struct Outcome {
    pod: Pod,
    instance: Arc<str>,
    result: Result<(), InstanceError>,
}

/// Asks instances.
pub struct Instances {
    shared: Arc<Shared>,
    settings: InstanceSettings,
    stale_after: SignedDuration,
    http: reqwest::Client,
    places: Arc<Semaphore>,
    failed_places: Arc<Semaphore>,
}

impl Instances {
    /// As the settings say.
    ///
    /// # Errors
    /// Where there can be no HTTPS client.
    pub fn new(shared: Arc<Shared>) -> anyhow::Result<Self> {
        let settings = shared.settings.instances.clone();
        let http = fetch::client_of_instances(settings.timeout, true)?;
        if settings.enabled {
            shared.index().asks_primaries();
        }
        let places = settings.concurrency.max(1);
        Ok(Self {
            stale_after: shared.settings.volumes.limits.stale_after(),
            http,
            places: Arc::new(Semaphore::new(places)),
            failed_places: Arc::new(Semaphore::new(places.div_ceil(FAILED_SHARE))),
            settings,
            shared,
        })
    }

    /// Asks until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        if !self.settings.enabled {
            stop.cancelled().await;
            return;
        }
        let mut rounds: Rounds<Pod> = Rounds::default();
        let mut running: JoinSet<Outcome> = JoinSet::new();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(ended) = running.join_next() => {
                    // It catches its panics, and is not aborted: its instance does not stay busy.
                    if let Ok(outcome) = ended {
                        self.tell(&outcome, &mut rounds);
                    }
                }
                _ = look.tick() => {
                    let (wanted, wake) = self.wanted();
                    self.shared.wake(wake);
                    let interval = self.shared.settings.metrics_interval;
                    let every = |primary: &Primary| if primary.is_well { interval.saturating_mul(AT_REST) } else { interval };
                    for pod in rounds.due(&wanted, every, Instant::now()) {
                        let Some(primary) = wanted.get(&pod) else { continue };
                        let places = if rounds.has_failed(&pod) { &self.failed_places } else { &self.places };
                        running.spawn(self.ask(pod, primary.clone(), places.clone()));
                    }
                }
            }
        }
    }

    /// Who is to be asked; and the Clusters of which nothing is known any more.
    fn wanted(&self) -> (BTreeMap<Pod, Primary>, csm_gather::index::Wake) {
        let mut index = self.shared.index();
        let now = Timestamp::now();
        let wake = index.forget_old_wal(now, self.stale_after);
        let primaries = index.primaries_to_ask(now).into_iter();
        let wanted = primaries.map(|primary| ((primary.cluster.clone(), primary.pod.clone()), primary));
        (wanted.collect(), wake)
    }

    /// Asks one, and puts what it says into the index.
    fn ask(&self, pod: Pod, primary: Primary, places: Arc<Semaphore>) -> impl Future<Output = Outcome> + Send + 'static {
        let url = format!(
            "https://{}{}",
            SocketAddr::new(primary.ip, self.settings.port),
            csm_cnpg::STATUS_PATH
        );
        let (shared, request) = (self.shared.clone(), self.http.get(url));
        let (timeout, stale_after) = (self.settings.timeout, self.stale_after);
        let instance = primary.instance.clone();
        let asked = async move {
            let Ok(_place) = places.acquire_owned().await else {
                return Ok(());
            };
            let at = Timestamp::now();
            let reading = read(request, timeout).await?;
            let is_primary = matches!(reading, Reading::Primary(_));
            let figures = WalFigures {
                at,
                instance: primary.instance,
                pod: primary.pod,
                reading,
            };
            let wake = shared.index().put_wal(&primary.cluster, figures, stale_after);
            shared.wake(wake);
            if is_primary { Ok(()) } else { Err(InstanceError::NotPrimary) }
        };
        async move {
            let result = caught(asked).await.unwrap_or_else(|panic| Err(InstanceError::Panic(panic)));
            Outcome { pod, instance, result }
        }
    }

    /// Says once that an instance says nothing of use, and once that it does again.
    fn tell(&self, outcome: &Outcome, rounds: &mut Rounds<Pod>) {
        let Outcome {
            pod: pod @ (cluster, _),
            instance,
            result,
        } = outcome;
        let (namespace, cluster) = (&cluster.namespace, &cluster.name);
        let news = rounds.ended(pod, result.as_ref().err().map(InstanceError::kind));
        match result {
            Ok(()) if news => tracing::info!(%namespace, %cluster, %instance, "the primary says how its WAL is again"),
            Ok(()) => {}
            Err(error) => {
                let wake = self.shared.index().wal_failed(&pod.0, &pod.1, Timestamp::now());
                self.shared.wake(wake);
                self.shared.metrics.instance_error(error.kind());
                // Each says so while it starts, and what comes of it where it lasts is told by the Cluster's decisions.
                if news && matches!(error, InstanceError::Status(_)) {
                    tracing::info!(%namespace, %cluster, %instance, kind = error.kind(), %error, "the primary does not say how its WAL is yet; asking again");
                } else if news {
                    tracing::warn!(%namespace, %cluster, %instance, kind = error.kind(), %error, "the primary does not say how its WAL is; when its last word is too old, volumes grow without that check, and say so");
                }
            }
        }
    }
}

/// What the instance says that is asked.
async fn read(request: reqwest::RequestBuilder, timeout: Duration) -> Result<Reading, InstanceError> {
    let bounds = Bounds {
        timeout,
        largest: LARGEST_ANSWER,
    };
    let mut body = Vec::new();
    match fetch::get(request, bounds, &mut body).await {
        Ok(()) => Ok(instance::parse(&body)?),
        Err(FetchError::Connect(reason) | FetchError::Certificate(reason)) => Err(InstanceError::Connect(reason)),
        Err(FetchError::Timeout) => Err(InstanceError::Timeout(timeout)),
        Err(FetchError::Status(status)) => Err(InstanceError::Status(status)),
        Err(FetchError::TooLarge) => Err(InstanceError::TooLarge),
    }
}
