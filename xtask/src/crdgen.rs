//! The CustomResourceDefinitions, from the types of csm-api to `deploy/crds`.

use std::path::PathBuf;

use anyhow::Context as _;
use kube::ResourceExt as _;

use crate::generated::{GeneratedArgs, keep, root};

/// Each file with its text.
pub fn files() -> anyhow::Result<Vec<(PathBuf, String)>> {
    csm_api::all_crds()
        .iter()
        .map(|crd| {
            let text = serde_saphyr::to_string(crd).context("cannot write a definition as YAML")?;
            let header = "# Made by `cargo xtask crdgen` from crates/api; do not edit.\n";
            Ok((
                root().join("deploy/crds").join(format!("{}.yaml", crd.name_any())),
                format!("{header}{text}"),
            ))
        })
        .collect()
}

pub fn run(args: &GeneratedArgs) -> anyhow::Result<()> {
    keep(files()?, args, "crates/api", "crdgen")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_definitions_are_what_the_types_say() {
        super::run(&super::GeneratedArgs { check: true }).unwrap_or_else(|e| panic!("{e:#}"));
    }
}
