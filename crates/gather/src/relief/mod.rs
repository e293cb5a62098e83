//! What WAL relief runs in an instance's container, and what its output says.
//!
//! [`commands`] are argument vectors. Each is one exec with a time-out and a limit of output; between them and the API server
//! stands whatever holds the lease (`LeaderGuard`, asked before each) and limits their rate. [`Reading::parse`] takes the output of
//! [`commands::read`] and [`commands::checkpoint`], strictly: what is not as expected is an error, and an error is no evidence.
//! [`Reading::evidence`] joins it with what the Cluster says ([`Around`]).

pub mod commands;

mod around;
mod evidence;
mod reading;
mod records;
mod removed;

pub use commands::Place;
pub use evidence::{Archived, Around, Instance};
pub use reading::{Reading, ReadingError};
pub use records::{has_failed, instance_of, is_done, is_dry_run, needs_permission, removed_at, started_at, tried_at};
pub use removed::{UnreadableRemoval, removed};
