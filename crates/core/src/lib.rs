//! The planner: pure functions from what was observed to what is to be done, and why.
//!
//! Data walks through it in one direction: [`resolve`] turns policies into settings, a gatherer fills a
//! [`world::World`], [`plan::plan`] decides, [`check::check`] goes over the decisions once more, and
//! [`explain`] puts them into words. Nothing here does I/O, reads a clock or the environment, or uses
//! floating point; the same input always gives the same output.
#![warn(missing_docs)]
#![warn(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

// The worlds of `tests/` name this crate as others do; its own tests use them too.
#[cfg(test)]
extern crate self as csm_core;

pub mod admit;
pub mod alerts;
pub mod between;
pub mod birth;
pub mod breaker;
pub mod check;
pub mod crossing;
pub mod disk_full;
pub mod explain;
pub mod forecast;
pub mod last_seen;
pub mod nudge;
pub mod operation;
pub mod plan;
pub mod relief;
pub mod rescue;
pub mod resolve;
pub mod root_cause;
pub mod schedule;
pub mod simulate;
pub mod spec_size;
pub mod validate;
pub mod wal;
pub mod wal_tracking;
pub mod world;

mod decision;
mod facts;
mod fencing;
mod freshness;
mod gates;
mod ledger;
mod pause;
mod policy;
mod relief_due;
mod selector;
mod size;
mod triggers;
mod view;
