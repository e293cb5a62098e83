//! What fires: one rule a file, in the order of the list in `plan.rs`.

pub(crate) mod critical;
pub(crate) mod disk_full;
pub(crate) mod forecast;
pub(crate) mod free_space;
pub(crate) mod inodes;
pub(crate) mod lagging;
pub(crate) mod target;
pub(crate) mod usage;

use crate::view::{View, Want};

/// A rule: what it wants, if it fires.
pub(crate) type Trigger = fn(&View) -> Option<Want>;
