//! Forms that take little memory, for what is kept of every object of a fleet.

mod packed;
mod series;
mod small_map;
mod strings;
mod uid;

pub use packed::Packed;
pub use series::Series;
pub use small_map::SmallMap;
pub use strings::Strings;
pub use uid::Uid;
