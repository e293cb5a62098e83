//! From Kubernetes objects and kubelets' figures to the planner's world: pure and synchronous, without a client.
//!
//! The manager fills the [`index`] from watches, a command from lists or from files; both get the same [`world`], and so
//! the same decisions.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

pub mod causes;
pub mod compact;
pub mod down;
pub mod exporter;
pub mod index;
pub mod instance;
mod json;
pub mod offline;
pub mod postgres_log;
pub mod quota;
pub mod relief;
pub mod retry;
pub mod summary;
pub mod views;
pub mod wal_size;
pub mod watched;
pub mod world;
