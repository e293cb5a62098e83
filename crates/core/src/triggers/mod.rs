//! What fires: one rule a file, in the order of the list in `plan.rs`.

pub(crate) mod lagging;
pub(crate) mod usage;

use crate::view::{View, Want};

/// A rule: what it wants, if it fires.
pub(crate) type Trigger = fn(&View) -> Option<Want>;
