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
use csm_runtime::tasks::Panicked;
use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::fetch::{self, Bounds, FetchError};
use crate::rounds::{self, Asker, Places, Rounds, Trouble};
use crate::shared::Shared;

/// How often we look who is due: a new primary waits no longer.
const LOOK: Duration = Duration::from_secs(1);
/// Where all is well, a primary is asked so many intervals apart: a question costs the instance 63 ms of CPU, and figures
/// count for ten intervals at the usual one.
const AT_REST: u32 = 2;
/// Answers beyond this are no status: 512 slots of 300 bytes are 150 KiB.
const LARGEST_ANSWER: usize = 1 << 20;

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
pub enum InstanceError {
    /// It gave no answer.
    #[error("{}{}", .0, .0.hint_of_instances())]
    Fetch(FetchError),
    /// It cannot say.
    #[error("it answered {0}: PostgreSQL is down, or cannot be asked")]
    Status(StatusCode),
    /// Its answer is no status.
    #[error(transparent)]
    Garbage(#[from] Unreadable),
    /// It is not who was meant to be asked.
    #[error("it says that it is not primary, and CloudNativePG says that it is: a switchover, or a replica cluster")]
    NotPrimary,
    /// We panicked over it.
    #[error("BUG: looking at the answer {0}")]
    Panic(#[from] Panicked),
}

impl From<FetchError> for InstanceError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Status(status) => Self::Status(status),
            error => Self::Fetch(error),
        }
    }
}

impl Trouble for InstanceError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Fetch(error) => error.kind(),
            Self::Status(_) => "status",
            Self::Garbage(_) => "garbage",
            Self::NotPrimary => "not-primary",
            Self::Panic(_) => "panic",
        }
    }
}

/// The pod of an instance: its Cluster, and its UID.
pub type Pod = (ClusterKey, Arc<str>);

/// Asks instances.
pub struct Instances {
    shared: Arc<Shared>,
    settings: InstanceSettings,
    stale_after: SignedDuration,
    http: reqwest::Client,
    places: Places,
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
        Ok(Self {
            stale_after: shared.settings.volumes.limits.stale_after(),
            http,
            places: Places::with_some_for_failed(settings.concurrency),
            settings,
            shared,
        })
    }

    /// Asks until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        if self.settings.enabled {
            rounds::ask_around(self, stop).await;
        } else {
            stop.cancelled().await;
        }
    }
}

impl Asker for Instances {
    type Key = Pod;
    type Asked = Primary;
    type Error = InstanceError;

    const LOOK: Duration = LOOK;

    fn wanted(&self, _: &Rounds<Pod>) -> BTreeMap<Pod, (Primary, Duration)> {
        let now = Timestamp::now();
        let (primaries, wake) = {
            let mut index = self.shared.index();
            let wake = index.forget_old_wal(now, self.stale_after);
            (index.primaries_to_ask(now), wake)
        };
        // Of these Clusters nothing is known any more.
        self.shared.wake(wake);
        let interval = self.shared.settings.metrics_interval;
        let wanted = primaries.into_iter().map(|primary| {
            let every = if primary.is_well {
                interval.saturating_mul(AT_REST)
            } else {
                interval
            };
            ((primary.cluster.clone(), primary.pod.clone()), (primary, every))
        });
        wanted.collect()
    }

    fn places(&self) -> &Places {
        &self.places
    }

    async fn ask(&self, _: &Pod, primary: &Primary) -> Result<(), InstanceError> {
        let address = SocketAddr::new(primary.ip, self.settings.port);
        let request = self.http.get(format!("https://{address}{}", csm_cnpg::STATUS_PATH));
        let bounds = Bounds {
            timeout: self.settings.timeout,
            largest: LARGEST_ANSWER,
        };
        let at = Timestamp::now();
        let mut body = Vec::new();
        fetch::get(request, bounds, &mut body).await?;
        let reading = instance::parse(&body)?;
        let is_primary = matches!(reading, Reading::Primary(_));
        let figures = WalFigures {
            at,
            instance: primary.instance.clone(),
            pod: primary.pod.clone(),
            reading,
        };
        let wake = self.shared.index().put_wal(&primary.cluster, figures, self.stale_after);
        self.shared.wake(wake);
        if is_primary { Ok(()) } else { Err(InstanceError::NotPrimary) }
    }

    fn tell(&self, (cluster, pod): &Pod, primary: &Primary, result: Result<(), InstanceError>, news: bool) {
        let (namespace, name, instance) = (&cluster.namespace, &cluster.name, &primary.instance);
        match result {
            Ok(()) if news => tracing::info!(%namespace, cluster = %name, %instance, "the primary says how its WAL is again"),
            Ok(()) => {}
            Err(error) => {
                let wake = self.shared.index().wal_failed(cluster, pod, Timestamp::now());
                self.shared.wake(wake);
                self.shared.metrics.instance_error(error.kind());
                // Each says so while it starts, and what comes of it where it lasts is told by the Cluster's decisions.
                if news && matches!(error, InstanceError::Status(_)) {
                    tracing::info!(%namespace, cluster = %name, %instance, kind = error.kind(), %error, "the primary does not say how its WAL is yet; asking again");
                } else if news {
                    tracing::warn!(%namespace, cluster = %name, %instance, kind = error.kind(), %error, "the primary does not say how its WAL is; when its last word is too old, volumes grow without that check, and say so");
                }
            }
        }
    }
}
