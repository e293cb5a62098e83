//! The planner, rule by rule.

mod admit;
mod check;
#[allow(dead_code)] // other tests need more of it
mod dice;
mod estimates;
mod explain;
mod gates;
mod members;
mod models;
mod pace;
mod permission;
mod properties;
mod reasons;
mod relief;
mod resolve;
mod simulation;
mod sizes;
mod spec_sizes;
mod states;
#[allow(dead_code)] // other tests and the examples need more of it
mod support;
mod timing;
mod triggers;
mod validate;
mod volumes;
mod warnings;
mod worlds;
