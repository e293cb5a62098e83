//! The manager as a real process, against a real API server, with simulated kubelets. One file a behaviour.

mod contract;
mod growth;
mod held;
mod killed;
mod kubelets;
mod levers;
mod lifecycle;
mod models;
mod quantities;
mod smuggled;
mod spec_sizes;
mod validation;
