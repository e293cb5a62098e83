//! Logs, as JSON or text, on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text for people.
    Text,
}

/// Starts logging at `level` (debug, info, warn or error). `RUST_LOG` overrides it.
pub fn start(level: &str, format: LogFormat) {
    // kube's client logs every answer that is no success as an error; we classify and log failures ourselves.
    let directives = format!("{level},kube_client=off,kube_runtime=warn,hyper=warn,rustls=warn,h2=warn,tower=warn,reqwest=warn");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(directives));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false);
    let started = match format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .finish()
            .try_init(),
        LogFormat::Text => builder.finish().try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}
