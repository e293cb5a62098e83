//! What a simulation came to, as `simulate -o json` prints it: plain data, sizes in bytes, times in seconds.

use std::collections::BTreeMap;
use std::fmt;

use csm_api::{Model, Reason, Urgency};
use csm_core::simulate::{Outcome, Span};
use csm_units::{Bytes, Percent};
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use super::ClusterOutcome;
use crate::decisions::{InvalidBlock, bytes, maybe_bytes};

/// One set of policies over a trace, or two.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Simulated {
    /// The files that the policies are from.
    pub files: Vec<String>,
    /// The files that the other set of policies is from.
    pub against_files: Vec<String>,
    /// The first sample.
    pub from: Timestamp,
    /// The last one.
    pub to: Timestamp,
    /// How many samples there are.
    pub samples: u64,
    /// The usual time between two samples of a volume.
    pub step_seconds: Option<i64>,
    /// How long a growth takes.
    pub time_to_grow_seconds: i64,
    /// By namespace and cluster; data, wal, tablespaces by name.
    pub volumes: Vec<VolumeReport>,
    /// The same with the other set of policies; none where there is none. In the order of `volumes`.
    pub against: Option<Vec<VolumeReport>>,
    /// Settings that do not validate, and hold volumes.
    pub problems: Vec<InvalidBlock>,
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeReport {
    /// Namespace of the cluster.
    pub namespace: String,
    /// Name of the cluster.
    pub cluster: String,
    /// `data`, `wal` or `tablespace/NAME`.
    pub volume: String,
    /// How it is sized.
    pub model: Option<Model>,
    /// How many instances it has.
    pub instances: usize,
    /// The largest PVC in the beginning.
    #[serde(serialize_with = "bytes")]
    pub size_before: Bytes,
    /// The largest PVC in the end.
    #[serde(serialize_with = "bytes")]
    pub size_after: Bytes,
    /// How many growths and catch-ups there were.
    pub actions: u64,
    /// The same by urgency.
    pub actions_by_urgency: BTreeMap<Urgency, u64>,
    /// How often an instance went down because the volume was full.
    pub outages: u64,
    /// How long one was.
    #[serde(rename = "outageSeconds", serialize_with = "seconds")]
    pub outage: SignedDuration,
    /// When that first was so.
    pub first_outage_at: Option<Timestamp>,
    /// How long each reason held.
    #[serde(rename = "heldSeconds", serialize_with = "seconds_of_each")]
    pub held: BTreeMap<Reason, SignedDuration>,
    /// The most that one instance used.
    #[serde(serialize_with = "bytes")]
    pub peak_used: Bytes,
    /// The highest percentage, rounded down.
    pub peak_percent: Option<u16>,
    /// Used bytes over the size of filesystems, in percent.
    #[serde(rename = "averagePercent")]
    pub average_use: Option<Tenths>,
    /// The sizes of all PVCs over time.
    pub gib_hours: Tenths,
    /// The first growths and catch-ups.
    pub log: Vec<Action>,
    /// Its course, in equal parts of the time.
    pub course: Vec<Part>,
    /// When its course begins.
    pub from: Timestamp,
    /// When its course ends.
    pub to: Timestamp,
}

/// A number with one digit after the point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tenths(pub u64);

impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 10, self.0 % 10)
    }
}

impl Serialize for Tenths {
    #[expect(clippy::cast_precision_loss, reason = "exact below 2^53, and nobody pays for more")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 10.0)
    }
}

/// A growth or a catch-up.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// When it was decided.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// How pressing it was.
    pub urgency: Urgency,
    /// Effective size before.
    #[serde(serialize_with = "bytes")]
    pub from: Bytes,
    /// To which size.
    #[serde(serialize_with = "bytes")]
    pub to: Bytes,
    /// Percent used of the fullest instance, where figures were fresh.
    pub percent_used: Option<u16>,
    /// The gates that it passed although they held what was wanted.
    pub passed: Vec<Reason>,
    /// The instances, in the order in which their PVCs were patched.
    pub instances: Vec<String>,
}

/// A part of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// When it begins.
    pub at: Timestamp,
    /// The least that the fullest instance used; none before the first sample.
    #[serde(serialize_with = "maybe_bytes")]
    pub least: Option<Bytes>,
    /// The most.
    #[serde(serialize_with = "maybe_bytes")]
    pub most: Option<Bytes>,
    /// The largest PVC, in the end.
    #[serde(serialize_with = "maybe_bytes")]
    pub size: Option<Bytes>,
    /// An instance was down because the volume was full.
    pub down: bool,
}

impl VolumeReport {
    /// All volumes of what was run.
    #[must_use]
    pub fn of(clusters: &[ClusterOutcome]) -> Vec<Self> {
        let volumes = clusters.iter().flat_map(|c| c.outcomes.iter().map(move |o| (c, o)));
        volumes.map(|(cluster, outcome)| Self::new(cluster, outcome)).collect()
    }

    fn new(cluster: &ClusterOutcome, outcome: &Outcome) -> Self {
        let Outcome {
            volume,
            model,
            seen: _,
            members,
            size_before,
            size_after,
            actions,
            log,
            outages,
            outage,
            first_outage,
            held,
            peak,
            peak_use,
            average_use,
            gib_hours_tenths,
            course,
        } = outcome;
        let count = u32::try_from(course.parts.len()).unwrap_or(u32::MAX);
        let lasts = course.to.duration_since(course.from);
        let part = |(index, span): (usize, &Option<Span>)| {
            // Milliseconds of a trace times a few hundred.
            let index = i128::try_from(index).unwrap_or(0);
            let passed = lasts.as_millis() * index / i128::from(count.max(1));
            let passed = SignedDuration::from_millis(i64::try_from(passed).unwrap_or(0));
            Part {
                at: course.from.saturating_add(passed).unwrap_or(course.to),
                least: span.map(|s| s.least),
                most: span.map(|s| s.most),
                size: span.map(|s| s.size),
                down: span.is_some_and(|s| s.down),
            }
        };
        Self {
            namespace: cluster.cluster.namespace.to_string(),
            cluster: cluster.cluster.name.to_string(),
            volume: volume.to_string(),
            model: *model,
            instances: *members,
            size_before: *size_before,
            size_after: *size_after,
            actions: outcome.count(),
            actions_by_urgency: actions.clone(),
            outages: *outages,
            outage: *outage,
            first_outage_at: *first_outage,
            held: held.clone(),
            peak_used: *peak,
            peak_percent: peak_use.map(Percent::get),
            average_use: average_use.map(|per_mille| Tenths(u64::from(per_mille.0))),
            gib_hours: Tenths(*gib_hours_tenths),
            log: log.iter().map(Action::of).collect(),
            course: course.parts.iter().enumerate().map(part).collect(),
            from: course.from,
            to: course.to,
        }
    }

    /// What it is called: "shop/orders data".
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}/{} {}", self.namespace, self.cluster, self.volume)
    }
}

impl Action {
    fn of(action: &csm_core::simulate::Action) -> Self {
        Self {
            at: action.at,
            reason: action.reason,
            urgency: action.urgency,
            from: action.from,
            to: action.to,
            percent_used: action.percent_used.map(Percent::get),
            passed: action.passed.clone(),
            instances: action.instances.iter().map(ToString::to_string).collect(),
        }
    }
}

fn seconds<S: Serializer>(duration: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(duration.as_secs())
}

fn seconds_of_each<S: Serializer>(durations: &BTreeMap<Reason, SignedDuration>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(durations.iter().map(|(reason, time)| (reason, time.as_secs())))
}
