//! The disks of one cluster, and of all, as `kubectl cnpg disk status` shows them.

use csm_api::{InstanceWal, ResizeOutcome};
use csm_core::world::VolumeKey;
use csm_units::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::explanation::manager_line;
use super::lines::Lines;
use super::size::{figure, size, written};
use super::table::{Field, Table, plain};
use super::time::{ago, moment_and_age};
use super::{Page, Tone};
use crate::disk::{DiskReport, Filesystem, VolumeCause, WalHealth};
use crate::figures::Trust;
use crate::read::Manager;

/// Where the values of WAL health begin.
const COLUMN: usize = 16;

/// So many resizes are shown, unless more columns are asked for.
const RESIZES: usize = 5;

/// One cluster: its filesystems, WAL health, and the newest resizes.
#[must_use]
pub fn disk(report: &DiskReport, manager: &Manager, page: &Page) -> String {
    let mut lines = Lines::default();
    lines.field(page, 0, 0, "Cluster", (&report.cluster, Tone::Title));
    lines.field(page, 0, 0, "Namespace", (&report.namespace, Tone::Plain));
    if manager.is_away() {
        let (text, tone) = manager_line(manager, page);
        lines.field(page, 0, 0, "Manager", (&text, tone));
    }
    if !report.reported {
        let text = "the manager has not reported on it yet; usage is not known";
        lines.field(page, 0, 0, "Figures", (text, Tone::Bad));
    }
    if !report.needs_person.is_empty() {
        lines.field(page, 0, 0, "Needs a Person", (&report.needs_person.join("; "), Tone::Bad));
    }
    lines.gap();
    if report.filesystems.is_empty() {
        lines.line(0, "It has no PVCs: there is nothing to show.");
    } else {
        lines.block(&filesystems(&report.filesystems, page));
    }
    lines.gap();
    if report.wal_health.is_empty() {
        let text = "not known; see whether the primary runs, and whether the manager can ask it";
        lines.field(page, 0, 0, "WAL Health", (text, Tone::Watch));
    }
    for (i, wal) in report.wal_health.iter().enumerate() {
        if i > 0 {
            lines.gap();
        }
        wal_health(&mut lines, wal, page);
    }
    if !report.root_causes.is_empty() {
        lines.gap();
        lines.line(0, &Tone::Title.paint("Root Causes:"));
        for VolumeCause { volume, root_cause } in &report.root_causes {
            let text = super::explanation::root_cause(root_cause, page);
            lines.field(page, 2, COLUMN, volume, (&text, Tone::Watch));
        }
    }
    lines.gap();
    if report.resizes.is_empty() {
        lines.field(page, 0, 0, "Resizes", ("none yet", Tone::Faint));
    } else {
        lines.line(0, &Tone::Title.paint("Resizes:"));
        lines.block(&resizes(&report.resizes, page));
    }
    lines.into_text()
}

fn filesystems(filesystems: &[Filesystem], page: &Page) -> String {
    let mut headers = vec![
        "INSTANCE",
        "VOLUME",
        "TOTAL>",
        "USED>",
        "AVAILABLE>",
        "USE%>",
        "INODES%>",
        "AT LIMIT",
        "AGE>",
    ];
    if page.wide {
        headers.extend(["ROLE", "HELD BY", "BUDGET LEFT>", "RESIZES>", "SOURCE"]);
    }
    let mut table = Table::new(&headers);
    for filesystem in filesystems {
        let disk = filesystem.disk.as_ref();
        let mut row = vec![
            plain(&filesystem.instance),
            plain(&filesystem.volume),
            plain(written(disk.map(|d| d.total_bytes))),
            plain(written(disk.map(|d| d.used_bytes))),
            plain(written(disk.map(|d| d.available_bytes))),
            use_percent(filesystem),
            or_dash(filesystem.inodes_percent_used, |p| format!("{p}%")),
            at_limit(filesystem),
            age(filesystem, page),
        ];
        if page.wide {
            row.extend([
                plain(if filesystem.primary { "primary" } else { "replica" }),
                or_dash(disk.and_then(|d| d.block_reason), |reason| reason.to_string()),
                or_dash(disk.and_then(|d| d.budget_remaining), |n| n.to_string()),
                or_dash(disk.and_then(|d| d.resize_count), |n| n.to_string()),
                or_dash(disk, |d| d.source.clone()),
            ]);
        }
        table.row(&row);
    }
    table.text()
}

fn or_dash<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> Field {
    plain(value.map_or_else(|| "-".to_owned(), text))
}

/// Percent used, with a question mark where that is what once was.
fn use_percent(filesystem: &Filesystem) -> Field {
    match (&filesystem.disk, filesystem.figures) {
        (Some(disk), Some(Trust::Old)) => (format!("{}%?", disk.percent_used), Tone::Bad),
        (Some(disk), _) => plain(format!("{}%", disk.percent_used)),
        (None, _) => ("unknown".to_owned(), Tone::Bad),
    }
}

fn at_limit(filesystem: &Filesystem) -> Field {
    match &filesystem.disk {
        Some(disk) if disk.at_limit => ("yes".to_owned(), Tone::Bad),
        Some(_) => plain("no"),
        None => plain("-"),
    }
}

/// How old the figures are.
fn age(filesystem: &Filesystem, page: &Page) -> Field {
    let Some(disk) = &filesystem.disk else {
        return ("never".to_owned(), Tone::Bad);
    };
    let age = super::age(page.now.duration_since(disk.observed_at.0));
    match filesystem.figures {
        Some(Trust::Old) => (format!("{age}, too old"), Tone::Bad),
        _ => plain(age),
    }
}

fn wal_health(lines: &mut Lines, wal: &WalHealth, page: &Page) {
    let WalHealth { instance, primary, health } = wal;
    let role = if *primary { "primary" } else { "replica" };
    lines.line(0, &Tone::Title.paint(&format!("WAL Health ({instance}, {role}):")));
    let mut put = |name: &str, (value, tone): Field| lines.field(page, 2, COLUMN, name, (&value, tone));
    put("Archive", archive(health));
    if let Some(pending) = health.pending_wal_files {
        put("Pending Files", plain(pending.to_string()));
    }
    put("Inactive Slots", slots(health));
    if health.archive_healthy.is_some() {
        let at = |time: Option<&Time>| plain(time.map_or_else(|| "never".to_owned(), |at| moment_and_age(at.0, page.now)));
        put("Last Archived", at(health.last_archived_time.as_ref()));
        put("Last Failed", at(health.last_failed_time.as_ref()));
    }
}

/// Whether WAL is archived; of what is not configured nothing is said but that.
fn archive(health: &InstanceWal) -> Field {
    match health.archive_healthy {
        None => plain("not configured"),
        Some(true) => ("works".to_owned(), Tone::Good),
        Some(false) => ("fails".to_owned(), Tone::Bad),
    }
}

/// "2, which hold back 6.3Gi: old (5.2Gi), reports (1.1Gi)": those that hold most first.
fn slots(health: &InstanceWal) -> Field {
    let count = health.inactive_slot_count;
    let each: Vec<String> = health
        .inactive_slots
        .iter()
        .map(|slot| format!("{} ({})", slot.slot_name, written(Some(slot.retention_bytes))))
        .collect();
    if each.is_empty() {
        return plain(if count == 0 { "none".to_owned() } else { count.to_string() });
    }
    let verb = if count == 1 { "holds" } else { "hold" };
    let text = format!("{count}, which {verb} back {}: {}", figure(held_back(health)), each.join(", "));
    (text, Tone::Watch)
}

/// What the inactive slots hold back together, as far as they are named.
fn held_back(health: &InstanceWal) -> Bytes {
    let each = health
        .inactive_slots
        .iter()
        .map(|slot| u64::try_from(slot.retention_bytes).unwrap_or(0));
    Bytes::new(each.fold(0, u64::saturating_add))
}

/// The newest resizes, newest first.
fn resizes(resizes: &[ResizeOutcome], page: &Page) -> String {
    let shown = if page.wide { resizes.len() } else { RESIZES };
    let mut table = Table::new(&["WHEN", "INSTANCE", "VOLUME", "FROM>", "TO>", "RESULT", "REASON"]).indented(2);
    for resize in resizes.iter().take(shown) {
        let ResizeOutcome {
            timestamp,
            instance,
            volume_type,
            tablespace,
            from,
            to,
            result,
            reason,
        } = resize;
        let volume = VolumeKey {
            role: *volume_type,
            tablespace: tablespace.as_deref().map(Into::into),
        };
        let failed = if result == "success" { Tone::Plain } else { Tone::Bad };
        table.row(&[
            plain(ago(timestamp.0, page.now)),
            plain(instance),
            plain(volume.to_string()),
            plain(size(*from)),
            plain(size(*to)),
            (result.clone(), failed),
            plain(reason),
        ]);
    }
    table.text()
}

/// One line a cluster, its fullest filesystem speaking for it.
#[must_use]
pub fn disks(clusters: &[DiskReport], namespaces: bool, page: &Page) -> String {
    let mut headers = Vec::new();
    if namespaces {
        headers.push("NAMESPACE");
    }
    headers.extend([
        "CLUSTER",
        "INSTANCE",
        "VOLUME",
        "TOTAL>",
        "AVAILABLE>",
        "USE%>",
        "INODES%>",
        "AT LIMIT",
        "AGE>",
        "ARCHIVE",
        "PENDING>",
        "SLOTS HOLD>",
        "WHY",
    ]);
    if page.wide {
        headers.extend(["INSTANCES>", "PRIMARY", "LAST RESIZE"]);
    }
    let mut table = Table::new(&headers);
    for cluster in clusters {
        let mut row = Vec::new();
        if namespaces {
            row.push(plain(&cluster.namespace));
        }
        row.push(plain(&cluster.cluster));
        row.extend(fullest(cluster.fullest(), page));
        row.extend(wal(cluster.wal_of_primary()));
        row.push(why(cluster));
        if page.wide {
            row.push(or_dash(cluster.instances, |n| n.to_string()));
            row.push(or_dash(cluster.primary.clone(), |name| name));
            row.push(or_dash(cluster.resizes.first(), |resize| {
                format!(
                    "{} to {} {}, {}",
                    size(resize.from),
                    size(resize.to),
                    resize.result,
                    ago(resize.timestamp.0, page.now)
                )
            }));
        }
        table.row(&row);
    }
    table.text()
}

fn fullest(filesystem: Option<&Filesystem>, page: &Page) -> Vec<Field> {
    let Some(filesystem) = filesystem else {
        return vec![plain("-"); 8];
    };
    let disk = filesystem.disk.as_ref();
    vec![
        plain(&filesystem.instance),
        plain(&filesystem.volume),
        plain(written(disk.map(|d| d.total_bytes))),
        plain(written(disk.map(|d| d.available_bytes))),
        use_percent(filesystem),
        or_dash(filesystem.inodes_percent_used, |p| format!("{p}%")),
        at_limit(filesystem),
        age(filesystem, page),
    ]
}

/// Archive, pending files, and what inactive slots hold back together.
fn wal(wal: Option<&WalHealth>) -> [Field; 3] {
    let Some(WalHealth { health, .. }) = wal else {
        return [plain("not known"), plain("-"), plain("-")];
    };
    let held = held_back(health);
    [
        archive(health),
        or_dash(health.pending_wal_files, |n| n.to_string()),
        or_dash((!held.is_zero()).then_some(held), figure),
    ]
}

/// What needs a person, marked.
fn why(cluster: &DiskReport) -> Field {
    match cluster.needs_person.as_slice() {
        [need] => (format!("! {need}"), Tone::Bad),
        [need, more @ ..] => (format!("! {need}, and {} more", more.len()), Tone::Bad),
        [] if !cluster.reported => ("no report of the manager".to_owned(), Tone::Faint),
        [] => plain("-"),
    }
}
