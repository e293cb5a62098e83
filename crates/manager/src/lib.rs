//! CNPG Storage Manager: keeps PostgreSQL clusters run by CloudNativePG from running out of disk.
//!
//! Data walks in one direction: [`watches`], the [`sampler`], [`instances`] and [`exporters`] fill the index of `csm-gather`, the planner of `csm-core` decides,
//! [`apply`] carries out, [`report`] tells.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

pub mod apply;
mod breaker;
pub mod controller;
pub mod exporters;
mod fetch;
pub mod instances;
pub mod kubelet;
pub mod relief;
pub mod report;
pub mod rescue;
mod rounds;
pub mod run;
pub mod sampler;
pub mod settings;
pub mod shared;
pub mod watches;
pub mod webhook;
