//! Exact units of the planner: byte sizes, Kubernetes quantities and percentages.
//!
//! Nothing here does I/O, reads a clock or uses floating point. Sizes are kept in whole bytes;
//! arithmetic that could overflow is done in 128 bits and saturates at [`Bytes::MAX`].
#![warn(missing_docs)]
#![warn(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod bytes;
mod percent;
mod quantity;

pub use bytes::Bytes;
pub use percent::{Percent, PercentError};
pub use quantity::{QuantityError, parse_quantity};
