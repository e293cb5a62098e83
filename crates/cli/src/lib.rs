//! The command line `kubectl-cnpg-storage`, also called `kubectl-cnpg-disk`: what the manager sees and does, from the API server alone, so that a user
//! who may only read sees the same as everybody; and what it would do, from files alone.
//!
//! Data walks in one direction: [`read`] lists objects or reads files and [`trace`] usage over time, [`report`], [`thought`] and
//! [`simulated`] turn them into plain data, [`cmds`] choose, [`render`] makes text. The manual [`levers`] say what is to be
//! written, and [`mod@write`] writes it. The clock is an argument.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

pub mod args;
pub mod cmds;
pub mod connect;
pub mod danger;
pub mod decisions;
pub mod disk;
pub mod doctor;
pub mod error;
pub mod explanation;
pub mod figures;
pub mod levers;
pub mod read;
pub mod render;
pub mod report;
pub mod simulated;
pub mod thought;
pub mod trace;
pub mod wal;
pub mod write;
