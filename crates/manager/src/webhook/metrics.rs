//! How many questions were answered, how, and in which time.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Finest below 10 ms, which 99 of 100 answers stay below; the API server waits for 2 s.
const SECONDS: [f64; 17] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 2.0,
];

type Labels = Vec<(&'static str, &'static str)>;

/// Metrics of the webhooks. Clones are the same.
#[derive(Clone)]
pub struct Metrics {
    requests: Family<Labels, Counter>,
    seconds: Family<Labels, Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
        }
    }
}

impl Metrics {
    /// Puts them into a registry.
    pub fn register(&self, registry: &mut Registry) {
        let own = registry.sub_registry_with_prefix("cnpg_storage_manager");
        own.register(
            "webhook_requests",
            "Questions of the API server, by webhook and result: allowed, changed, refused or error",
            self.requests.clone(),
        );
        own.register(
            "webhook_duration_seconds",
            "How long an answer to the API server took",
            self.seconds.clone(),
        );
    }

    /// One was answered.
    pub fn answered(&self, webhook: &'static str, result: &'static str, took: Duration) {
        self.requests.get_or_create(&vec![("webhook", webhook), ("result", result)]).inc();
        self.seconds.get_or_create(&vec![("webhook", webhook)]).observe(took.as_secs_f64());
    }
}
