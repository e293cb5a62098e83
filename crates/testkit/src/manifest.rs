//! Kubernetes manifests: files of several YAML documents.

use anyhow::{Context, Result};
use serde_json::Value;

/// The documents of a YAML text, in order. Empty ones (only comments) are left out.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("not valid YAML")?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}
