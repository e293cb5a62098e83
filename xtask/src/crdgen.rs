//! The CustomResourceDefinitions, from the types of csm-api to `deploy/crds`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use kube::ResourceExt as _;

#[derive(Args)]
pub struct CrdgenArgs {
    /// Change nothing; fail where a file differs.
    #[arg(long)]
    check: bool,
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or_else(|| Path::new("."))
        .to_owned()
}

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

pub fn run(args: &CrdgenArgs) -> anyhow::Result<()> {
    for (path, text) in files()? {
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        if there == text {
            continue;
        }
        if args.check {
            bail!("{} is not what crates/api says; run `cargo xtask crdgen`", path.display());
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_definitions_are_what_the_types_say() {
        super::run(&super::CrdgenArgs { check: true }).unwrap_or_else(|e| panic!("{e:#}"));
    }
}
