//! Asks the exporters of instances what their volumes hold between two samples of a kubelet, on the leader only: the sooner
//! a volume could be full, the more often, and where a kubelet's figures suffice, never.
//!
//! Whatever an exporter does with a question, it costs one time-out a minute, and a place among those that failed last.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use csm_core::between;
use csm_core::world::ClusterKey;
use csm_gather::exporter::{self, ExporterError};
use csm_gather::index::{ExporterFigures, Followed};
use csm_runtime::tasks::{Panicked, caught};
use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fetch::{self, Bounds, FetchError};
use crate::instances::{FAILED_SHARE, InstanceSettings};
use crate::rounds::Rounds;
use crate::shared::Shared;

/// How often we look who is due: half of what is the shortest time between two questions to one instance.
const LOOK: Duration = Duration::from_secs(2);

/// Why an exporter says nothing of use.
#[derive(Debug, Error)]
enum Trouble {
    #[error("cannot connect: {0}; is there a NetworkPolicy that keeps the manager from it?")]
    Connect(String),
    #[error("no whole answer within {0:?} (setting instances.timeout)")]
    Timeout(Duration),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("its answer is larger than {} MiB", exporter::LONGEST >> 20)]
    TooLarge,
    #[error(transparent)]
    Garbage(#[from] ExporterError),
    #[error("BUG: looking at the answer {0}")]
    Panic(Panicked),
}

impl Trouble {
    /// A short name of the kind of error: the same one is logged once, not each time.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Timeout(_) => "timeout",
            Self::Status(_) => "status",
            Self::TooLarge | Self::Garbage(_) => "garbage",
            Self::Panic(_) => "panic",
        }
    }
}

/// The pod of an instance: its Cluster, and its UID.
type Pod = (ClusterKey, Arc<str>);

struct Outcome {
    pod: Pod,
    instance: Arc<str>,
    result: Result<(), Trouble>,
}

/// Asks exporters.
pub struct Exporters {
    shared: Arc<Shared>,
    settings: InstanceSettings,
    stale_after: SignedDuration,
    http: reqwest::Client,
    places: Arc<Semaphore>,
    failed_places: Arc<Semaphore>,
}

impl Exporters {
    /// As the settings say.
    ///
    /// # Errors
    /// Where there can be no HTTP client.
    pub fn new(shared: Arc<Shared>) -> anyhow::Result<Self> {
        let settings = shared.settings.instances.clone();
        let places = settings.concurrency.max(1);
        Ok(Self {
            stale_after: shared.settings.volumes.limits.stale_after(),
            http: fetch::client_of_instances(settings.timeout, false)?,
            places: Arc::new(Semaphore::new(places)),
            failed_places: Arc::new(Semaphore::new(places.div_ceil(FAILED_SHARE))),
            settings,
            shared,
        })
    }

    /// Asks until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        if !(self.settings.enabled && self.settings.exporter) {
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
                    let wanted = self.wanted(&rounds);
                    for pod in rounds.due(&wanted, |(_, every)| *every, Instant::now()) {
                        let Some((followed, _)) = wanted.get(&pod) else { continue };
                        let places = if rounds.has_failed(&pod) { &self.failed_places } else { &self.places };
                        running.spawn(self.ask(pod, followed, places.clone()));
                    }
                }
            }
        }
    }

    /// Who is to be asked, and how often: one that failed last no more often than any.
    fn wanted(&self, rounds: &Rounds<Pod>) -> BTreeMap<Pod, (Followed, Duration)> {
        let followed = self.shared.index().instances_to_follow(Timestamp::now(), self.stale_after);
        let wanted = followed.into_iter().map(|followed| {
            let pod = (followed.cluster.clone(), followed.pod.clone());
            let every = if rounds.has_failed(&pod) {
                between::CEILING
            } else {
                followed.every
            };
            (pod, (followed, every.unsigned_abs()))
        });
        wanted.collect()
    }

    /// Asks one, and puts what it says into the index.
    fn ask(&self, pod: Pod, followed: &Followed, places: Arc<Semaphore>) -> impl Future<Output = Outcome> + Send + use<> {
        let scheme = if followed.tls { "https" } else { "http" };
        let address = SocketAddr::new(followed.ip, self.settings.exporter_port);
        let request = self.http.get(format!("{scheme}://{address}{}", csm_cnpg::EXPORTER_PATH));
        let (shared, timeout) = (self.shared.clone(), self.settings.timeout);
        let (instance, of) = (followed.instance.clone(), pod.clone());
        let asked = {
            let instance = instance.clone();
            async move {
                let Ok(_place) = places.acquire_owned().await else {
                    return Ok(());
                };
                let at = Timestamp::now();
                let scrape = read(request, timeout).await?;
                let (cluster, pod) = of;
                let wake = shared.index().put_scrape(&cluster, &ExporterFigures { at, instance, pod, scrape });
                shared.wake(wake);
                Ok(())
            }
        };
        async move {
            let result = caught(asked).await.unwrap_or_else(|panic| Err(Trouble::Panic(panic)));
            Outcome { pod, instance, result }
        }
    }

    /// Says once that an exporter says nothing of use, and once that it does again.
    fn tell(&self, outcome: &Outcome, rounds: &mut Rounds<Pod>) {
        let Outcome {
            pod: pod @ (cluster, _),
            instance,
            result,
        } = outcome;
        let (namespace, cluster) = (&cluster.namespace, &cluster.name);
        let news = rounds.ended(pod, result.as_ref().err().map(Trouble::kind));
        match result {
            Ok(()) if news => tracing::info!(%namespace, %cluster, %instance, "the exporter says what its volumes hold again"),
            Ok(()) => {}
            Err(trouble) => {
                self.shared.metrics.exporter_error(trouble.kind());
                if news {
                    tracing::warn!(%namespace, %cluster, %instance, kind = trouble.kind(), error = %trouble, "the exporter does not say what its volumes hold; what is written between two samples of the kubelet is not seen");
                }
            }
        }
    }
}

/// What the exporter says that is asked.
async fn read(request: reqwest::RequestBuilder, timeout: Duration) -> Result<exporter::Scrape, Trouble> {
    let bounds = Bounds {
        timeout,
        largest: exporter::LONGEST,
    };
    let mut body = Vec::new();
    match fetch::get(request, bounds, &mut body).await {
        Ok(()) => Ok(exporter::parse(&body)?),
        Err(FetchError::Connect(reason) | FetchError::Certificate(reason)) => Err(Trouble::Connect(reason)),
        Err(FetchError::Timeout) => Err(Trouble::Timeout(timeout)),
        Err(FetchError::Status(status)) => Err(Trouble::Status(status)),
        Err(FetchError::TooLarge) => Err(Trouble::TooLarge),
    }
}
