//! The table of all clusters.

use csm_api::{Reason, State};

use super::size::size;
use super::table::{Field, Table, plain};
use super::time::{ago, until};
use super::{Page, Tone};
use crate::figures::Trust;
use crate::report::{ClusterReport, VolumeReport};

/// One line a cluster, its most endangered volume speaking for it.
#[must_use]
pub fn fleet(clusters: &[ClusterReport], namespaces: bool, page: &Page) -> String {
    let mut headers = Vec::new();
    if namespaces {
        headers.push("NAMESPACE");
    }
    headers.extend(["CLUSTER", "STATE", "USED>", "VOLUME", "SIZE>", "WANTS>", "LIMIT>", "NEXT", "WHY"]);
    if page.wide {
        headers.extend(["INSTANCES>", "LAST ACTION", "FIGURES>", "POLICIES"]);
    }
    let mut table = Table::new(&headers);
    for cluster in clusters {
        let mut row = Vec::new();
        if namespaces {
            row.push(plain(&cluster.namespace));
        }
        row.push(plain(&cluster.cluster));
        row.extend(volume(cluster, cluster.volumes.first(), page));
        if page.wide {
            row.extend(more(cluster, cluster.volumes.first(), page));
        }
        table.row(&row);
    }
    table.text()
}

fn dash() -> Field {
    plain("-")
}

fn or_dash<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> Field {
    value.map_or_else(dash, |v| plain(text(v)))
}

fn volume(cluster: &ClusterReport, volume: Option<&VolumeReport>, page: &Page) -> Vec<Field> {
    let state = volume.and_then(|v| v.state);
    let grows = |v: &VolumeReport| v.target_size.filter(|to| *to > v.size_now());
    vec![
        state.map_or_else(dash, |s| (s.to_string(), Tone::of(s))),
        used(volume),
        or_dash(volume, |v| v.volume.to_string()),
        or_dash(volume, |v| size(v.size_now())),
        or_dash(volume.and_then(grows), size),
        or_dash(volume.and_then(|v| v.limit), size),
        or_dash(volume.and_then(|v| v.next_action_at), |at| until(at, page.now)),
        why(cluster, volume),
    ]
}

/// Percent used, with a question mark where that is what once was.
fn used(volume: Option<&VolumeReport>) -> Field {
    let fullest = volume.and_then(|v| v.instances.iter().max_by_key(|i| i.percent_used));
    match fullest.map(|i| (i.percent_used, i.figures)) {
        Some((Some(percent), Some(Trust::Old))) => (format!("{percent}%?"), Tone::Bad),
        Some((Some(percent), _)) => plain(format!("{percent}%")),
        _ => dash(),
    }
}

/// What needs a person, marked; else the reason where there is something to say.
fn why(cluster: &ClusterReport, volume: Option<&VolumeReport>) -> Field {
    if let Some(need) = volume.and_then(|v| v.need.as_ref()) {
        return (format!("! {need}"), Tone::Bad);
    }
    // Another volume of the cluster, or all of it.
    if let Some(need) = cluster.needs_person.first() {
        return (format!("! {need}"), Tone::Bad);
    }
    if !cluster.reported {
        return ("no report of the manager".to_owned(), Tone::Faint);
    }
    let reason = volume.and_then(|v| v.last_decision.as_ref()).map(|d| d.reason);
    // A state that says the same is not said twice.
    let said = |reason: &Reason| {
        *reason != Reason::BelowThresholds
            && !matches!(
                (reason, volume.and_then(|v| v.state)),
                (Reason::ResizeInProgress, Some(State::Resizing))
                    | (Reason::Paused, Some(State::Paused))
                    | (Reason::DryRun, Some(State::DryRun))
            )
    };
    or_dash(reason.filter(said), |r| r.to_string())
}

fn more(cluster: &ClusterReport, volume: Option<&VolumeReport>, page: &Page) -> Vec<Field> {
    let action = volume.and_then(|v| v.last_action.as_ref());
    vec![
        or_dash(cluster.instances, |n| n.to_string()),
        or_dash(action, |a| {
            format!(
                "{} to {} {}, {}",
                size(a.from),
                size(a.to),
                a.result.to_lowercase(),
                ago(a.timestamp.0, page.now)
            )
        }),
        or_dash(volume.and_then(|v| v.observed_at), |at| ago(at, page.now)),
        or_dash((!cluster.policies.is_empty()).then_some(&cluster.policies), |p| p.join(", ")),
    ]
}
