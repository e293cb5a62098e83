//! Reads: kubelets into the index, the index into the planner's world. Decides nothing.

pub mod kubelet;
pub mod sampler;
pub mod summary;
pub mod world;
