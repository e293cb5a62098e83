//! One object as a watch has it, read as it would be from a file.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::decode::{Nulls, decode};
use super::strict::{self, Spec};
use super::tree::Node;

/// Reads an object. Keys that a kind does not know are let pass: the API server drops them, or they are of a newer version.
///
/// # Errors
/// What cannot be read, in the words that `lint` has for it: at least one thing.
pub(crate) fn read<T: DeserializeOwned>(object: &Value, spec: Option<&Spec>) -> Result<T, Vec<String>> {
    let node = Node::from(object);
    let wrong = spec.map(|spec| strict::mistakes(&node, spec)).unwrap_or_default();
    let wrong: Vec<String> = wrong.into_iter().filter(|w| !w.unknown).map(|w| w.message).collect();
    if !wrong.is_empty() {
        return Err(wrong);
    }
    decode(&node, Nulls::Missing).map_err(|failure| vec![failure.to_string()])
}
