//! An object store for tests: an S3 server on a folder, with faults on demand.
//!
//! ```text
//! DIR/buckets/BUCKET/KEY    an object: a plain file, so that a test looks at what is really there
//! DIR/faults/BUCKET.json    what is wrong with a bucket; read at each call
//! ```
//!
//! [`server`] answers (`csm-s3` is its program), [`Store`] is what a test has of it: both know the folder and nothing else of
//! each other. That nobody listens at all is the business of whoever runs the program.

mod faults;
pub mod server;
mod store;

pub use faults::Fault;
pub use store::{Object, Store};

/// Who may use the store, as `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The key's id.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
}

impl Credentials {
    /// Those of the lab: everybody may know them.
    pub fn of_the_lab() -> Self {
        Self {
            access_key: "lab".to_owned(),
            secret_key: "not-a-secret".to_owned(),
        }
    }
}
