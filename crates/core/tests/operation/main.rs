//! An operation, from nothing but its record and the PVCs.

mod any_order;
mod step_back;
mod steps;
mod support;
