//! The manager as a real process, against a real API server, with simulated kubelets. One file a behaviour.

mod between;
mod breaker;
mod causes;
mod contract;
mod deleted;
mod fleet;
mod growth;
mod held;
mod killed;
mod kubelets;
mod levers;
mod lifecycle;
mod models;
mod quantities;
mod relief;
mod relieved;
mod rescue;
mod smuggled;
mod spec_sizes;
mod validation;
mod wal;
mod ways_back;
mod webhook_certificates;
mod webhook_policies;
mod webhook_pvcs;
