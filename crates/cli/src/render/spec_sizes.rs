//! Sizes in the Cluster's spec that lag behind its volumes.

use csm_api::ApplyTo;
use serde_json::Value;

use super::lines::Lines;
use super::table::{Table, plain};
use super::{Page, Tone};
use crate::explanation::SpecSizes;

/// Which fields lag behind, who raises them, and what keeps a GitOps tool from setting them back.
pub(super) fn spec_sizes(lines: &mut Lines, sizes: &SpecSizes, page: &Page) {
    let SpecSizes {
        apply_to,
        fields,
        patch: _,
        command,
        argo_cd,
        flux,
        whole_list,
    } = sizes;
    lines.line(0, &Tone::Title.paint("Sizes in the Cluster's spec that lag behind:"));
    let mut table = Table::new(&["FIELD", "SAYS>", "VOLUME HAS>"]).indented(2);
    for field in fields {
        table.row(&[plain(&field.field), plain(field.says.to_string()), plain(field.has.to_string())]);
    }
    lines.block(&table.text());
    let mut say = |text: &str| lines.paragraph(page, 2, text, Tone::Plain);
    if *apply_to == Some(ApplyTo::ClusterSpec) {
        say("expansion.applyTo is ClusterSpec: the manager raises them; where it does not, an Event of the Cluster says why.");
    } else {
        say("New instances begin with what the spec says, and are caught up. Raise it where the Cluster is kept, such as in Git; or here:");
        lines.line(4, command);
        lines.paragraph(
            page,
            2,
            "expansion.applyTo: ClusterSpec has the manager do that. A GitOps tool would then try to set the size back, which CloudNativePG refuses; it is to leave the field alone:",
            Tone::Plain,
        );
    }
    block(lines, "Argo CD, in the Application:", argo_cd);
    block(
        lines,
        "Flux, in the Kustomization (one without spec.ignore, from before August 2026, can only leave the size to Git):",
        flux,
    );
    if *whole_list {
        lines.paragraph(
            page,
            2,
            "Argo CD cannot leave alone a single element of a list: for a tablespace it is the whole list, and raising the size in Git is the better way.",
            Tone::Watch,
        );
    }
}

fn block(lines: &mut Lines, title: &str, value: &Value) {
    lines.line(2, title);
    // It is made of maps, lists and texts: there is no YAML that it could not be.
    for line in serde_saphyr::to_string(value).unwrap_or_default().lines() {
        lines.line(4, line);
    }
}
