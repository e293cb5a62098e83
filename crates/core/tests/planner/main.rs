//! The planner, rule by rule.

mod check;
mod explain;
mod gates;
mod members;
mod properties;
mod reasons;
mod resolve;
mod sizes;
mod states;
mod support;
mod timing;
mod validate;
