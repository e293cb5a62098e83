//! Asks the exporters of instances what their volumes hold between two samples of a kubelet, on the leader only: the sooner
//! a volume could be full, the more often, and where a kubelet's figures suffice, never.
//!
//! Whatever an exporter does with a question, it costs one time-out a minute, and a place among those that failed last.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use csm_core::between;
use csm_gather::exporter::{self, ExporterError};
use csm_gather::index::{ExporterFigures, Followed};
use csm_runtime::tasks::Panicked;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::fetch::{self, Bounds, FetchError};
use crate::instances::{InstanceSettings, Pod};
use crate::rounds::{self, Asker, Places, Rounds, Trouble};
use crate::shared::Shared;

/// How often we look who is due: half of what is the shortest time between two questions to one instance.
const LOOK: Duration = Duration::from_secs(2);

/// Why an exporter says nothing of use.
#[derive(Debug, Error)]
pub enum ExporterTrouble {
    /// It gave no answer.
    #[error("{}{}", .0, .0.hint_of_instances())]
    Fetch(#[from] FetchError),
    /// Its answer is none of an exporter.
    #[error(transparent)]
    Garbage(#[from] ExporterError),
    /// We panicked over it.
    #[error("BUG: looking at the answer {0}")]
    Panic(#[from] Panicked),
}

impl Trouble for ExporterTrouble {
    fn kind(&self) -> &'static str {
        match self {
            Self::Fetch(error) => error.kind(),
            Self::Garbage(_) => "garbage",
            Self::Panic(_) => "panic",
        }
    }
}

/// Asks exporters.
pub struct Exporters {
    shared: Arc<Shared>,
    settings: InstanceSettings,
    stale_after: SignedDuration,
    http: reqwest::Client,
    places: Places,
}

impl Exporters {
    /// As the settings say.
    ///
    /// # Errors
    /// Where there can be no HTTP client.
    pub fn new(shared: Arc<Shared>) -> anyhow::Result<Self> {
        let settings = shared.settings.instances.clone();
        Ok(Self {
            stale_after: shared.settings.volumes.limits.stale_after(),
            http: fetch::client_of_instances(settings.timeout, false)?,
            places: Places::with_some_for_failed(settings.concurrency),
            settings,
            shared,
        })
    }

    /// Asks until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        if self.settings.enabled && self.settings.exporter {
            rounds::ask_around(self, stop).await;
        } else {
            stop.cancelled().await;
        }
    }
}

impl Asker for Exporters {
    type Key = Pod;
    type Asked = Followed;
    type Error = ExporterTrouble;

    const LOOK: Duration = LOOK;

    /// One that failed last is asked no more often than any.
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

    fn places(&self) -> &Places {
        &self.places
    }

    async fn ask(&self, (cluster, pod): &Pod, followed: &Followed) -> Result<(), ExporterTrouble> {
        let scheme = if followed.tls { "https" } else { "http" };
        let address = SocketAddr::new(followed.ip, self.settings.exporter_port);
        let request = self.http.get(format!("{scheme}://{address}{}", csm_cnpg::EXPORTER_PATH));
        let bounds = Bounds {
            timeout: self.settings.timeout,
            largest: exporter::LONGEST,
        };
        let at = Timestamp::now();
        let mut body = Vec::new();
        fetch::get(request, bounds, &mut body).await?;
        let figures = ExporterFigures {
            at,
            instance: followed.instance.clone(),
            pod: pod.clone(),
            scrape: exporter::parse(&body)?,
        };
        let wake = self.shared.index().put_scrape(cluster, &figures);
        self.shared.wake(wake);
        Ok(())
    }

    fn tell(&self, (cluster, _): &Pod, followed: &Followed, result: Result<(), ExporterTrouble>, news: bool) {
        let (namespace, name, instance) = (&cluster.namespace, &cluster.name, &followed.instance);
        match result {
            Ok(()) if news => {
                tracing::info!(%namespace, cluster = %name, %instance, "the exporter says what its volumes hold again");
            }
            Ok(()) => {}
            Err(error) => {
                self.shared.metrics.exporter_error(error.kind());
                if news {
                    tracing::warn!(%namespace, cluster = %name, %instance, kind = error.kind(), %error, "the exporter does not say what its volumes hold; what is written between two samples of the kubelet is not seen");
                }
            }
        }
    }
}
