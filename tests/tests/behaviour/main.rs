//! The manager as a real process, against a real API server, with simulated kubelets. One file a behaviour.

mod contract;
mod growth;
mod held;
mod killed;
mod kubelets;
mod lifecycle;
mod models;
mod quantities;
mod smuggled;
mod validation;
mod webhook_certificates;
mod webhook_policies;
mod webhook_pvcs;
