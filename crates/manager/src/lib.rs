//! CNPG Storage Manager: keeps PostgreSQL clusters run by CloudNativePG from running out of disk.
//!
//! Data walks in one direction: [`watches`] and [`gather`] fill the [`index`], the planner of `csm-core` decides,
//! [`apply`] carries out, [`report`] tells.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

pub mod apply;
pub mod controller;
pub mod gather;
pub mod index;
pub mod report;
pub mod run;
pub mod settings;
pub mod shared;
pub mod watches;
