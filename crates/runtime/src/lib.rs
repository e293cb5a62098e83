//! The Kubernetes shell of the manager; nothing here knows about storage: client, leader election, watches,
//! the queue of keys, back-off, tasks, readiness, the admin server, TLS with certificates that change, shutdown and telemetry.
#![warn(missing_docs)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

pub mod admin;
pub mod backoff;
pub mod client;
pub mod error;
pub mod exec;
pub mod lease;
pub mod queue;
pub mod readiness;
pub mod serve;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod watch;

mod scrape;

pub use error::{Failure, FailureClass};
pub use lease::{Identity, LeaderGuard, LeaseLost, LeaseTimes};
