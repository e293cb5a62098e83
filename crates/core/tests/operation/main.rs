//! An operation, from nothing but its record and the PVCs.

mod any_order;
mod step_back;
mod steps;
mod support;
#[allow(dead_code)] // other tests need more of it
#[path = "../planner/support.rs"]
mod worlds;
