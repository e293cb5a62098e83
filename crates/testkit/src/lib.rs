//! What the tests, the demo and the benches run against.
//!
//! - [`tools`] builds the Go programs (etcd, Kubernetes, CloudNativePG) from a pinned module into a cache.
//! - [`pki`] and [`process`] make certificates and keep child processes under control.
//! - [`controlplane`] is a real API server for one test run.
//! - [`nodesim`] plays the kubelets, [`instances`] CloudNativePG's processes in pods, [`resizer`] the expansion of volumes.
//! - [`scenario`] puts clusters into that world: start there.
//! - [`csi`] is a CSI driver whose volumes really fill and grow, with faults on demand.
//! - [`s3`] is an object store on a folder, to archive to.
//! - [`lab`] is a real cluster on this machine.

mod audit;
pub mod controlplane;
pub mod csi;
pub mod faketime;
pub mod instances;
pub mod lab;
pub mod manifest;
pub mod nodesim;
pub mod pki;
pub mod process;
pub mod resizer;
pub mod retry;
pub mod s3;
pub mod scenario;
pub mod tools;
pub mod wait;
pub mod webhooks;
