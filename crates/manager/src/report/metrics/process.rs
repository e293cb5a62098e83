//! How the process itself is: what it waits for, and what fails.

use std::collections::BTreeMap;
use std::fmt;

use csm_runtime::readiness::Readiness;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// Gauges about the process, made at the scrape.
pub struct Process(pub Readiness);

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, label: &'static str, named: BTreeMap<String, String>| {
            let name = format!("cnpg_storage_manager_{name}");
            let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for of in named.into_keys() {
                ConstGauge::new(1.0).encode(metric.encode_family(&vec![(label, of)])?)?;
            }
            Ok::<(), fmt::Error>(())
        };
        gauge(
            "waiting_for",
            "What the process waits for before it is ready: 1; /readyz says why",
            "what",
            self.0.missing(),
        )?;
        gauge(
            "watch_failing",
            "A watch that fails: 1; decisions rest on what was known before",
            "watch",
            self.0.failing(),
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn what_fails_is_a_series_until_it_works() {
        let readiness = Readiness::default();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process(readiness.clone())));
        let scraped = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        readiness.wait_for("nodes", "first list not complete");
        readiness.fails("nodes", "not allowed: nodes is forbidden");
        let told = [
            "cnpg_storage_manager_waiting_for{what=\"nodes\"} 1.0",
            "cnpg_storage_manager_watch_failing{watch=\"nodes\"} 1.0",
        ];
        assert_eq!(scraped(), told);
        readiness.done("nodes");
        readiness.works("nodes");
        assert_eq!(scraped(), [] as [&str; 0]);
    }
}
