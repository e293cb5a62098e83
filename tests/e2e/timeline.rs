//! How long a growth took, from the breach on: printed, and kept as JSON.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

/// What happened to one PVC.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its name.
    pub pvc: String,
    /// When the API server received the manager's patch (audit log).
    pub patched: Timestamp,
    /// When it had answered (audit log).
    pub accepted: Timestamp,
    /// When the storage driver's controller was seen to be done.
    pub controller_done: Option<Timestamp>,
    /// When the API server received the kubelet's word that the filesystem has grown (audit log).
    pub filesystem_told: Option<Timestamp>,
    /// When `df` in the pod first showed the new size.
    pub filesystem_grown: Option<Timestamp>,
    /// When the manager had verified it.
    pub verified: Option<Timestamp>,
}

/// One breach, and what became of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// Which volume, in a few words.
    pub what: String,
    /// When `df` in a pod first showed the threshold reached.
    pub breach: Timestamp,
    /// How much earlier it may have been: since the look before.
    pub uncertainty_seconds: f64,
    /// When the API server received the record of the operation; none where the breach was held.
    pub decided: Option<Timestamp>,
    /// The PVCs, in the order of their patches.
    pub members: Vec<Member>,
    /// What held it, for a while or to the end.
    pub held_by: Option<String>,
}

/// Seconds from one moment to another, negative where it is earlier.
pub fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

impl Timeline {
    /// From the breach until the last member was verified; none where it was not.
    pub fn to_verified(&self) -> Option<f64> {
        if self.members.is_empty() {
            return None;
        }
        let verified: Option<Vec<Timestamp>> = self.members.iter().map(|member| member.verified).collect();
        let last = verified?.into_iter().max()?;
        Some(seconds(self.breach, last))
    }

    /// A few lines for people.
    pub fn text(&self) -> String {
        let clock = self.breach.strftime("%H:%M:%S%.3f");
        let since = |at: Option<Timestamp>| at.map_or_else(|| "–".to_owned(), |at| format!("{:+.1} s", seconds(self.breach, at)));
        let mut text = format!("{}: breach {clock} (at most {:.1} s earlier)", self.what, self.uncertainty_seconds);
        if let Some(reason) = &self.held_by {
            let _ = write!(text, ", held by {reason}");
        }
        if self.decided.is_some() {
            let _ = write!(text, ", decision {}", since(self.decided));
        }
        for member in &self.members {
            let _ = write!(
                text,
                "\n  {}: patch {}, controller done {}, filesystem grown {}, verified {}",
                member.pvc,
                since(Some(member.patched)),
                since(member.controller_done),
                since(member.filesystem_grown),
                since(member.verified)
            );
        }
        text
    }
}
