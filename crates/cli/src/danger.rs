//! How endangered a volume is, and whether it needs a person.

use std::fmt;

use csm_api::{LastDecision, Reason, State};
use csm_units::Bytes;
use serde::Serialize;

/// How endangered a volume is, least first: the order of the table. Within one, the fullest comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Danger {
    /// Nothing is wrong.
    #[default]
    None,
    /// The manager says nothing of it.
    Unwatched,
    /// It is not full, and something would keep it from growing.
    Held,
    /// It is being helped.
    Helped,
    /// Nobody knows how full it is.
    Blind,
    /// It is filling up, and nothing helps it.
    Acute,
}

/// Why a volume needs a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// The ceiling leaves no room.
    AtLimit(Option<Bytes>),
    /// Something holds it that time alone does not open.
    Held(Reason),
    /// There are no fresh figures.
    NoFigures,
    /// The last growth failed.
    Failed,
    /// It is over its threshold, and this state keeps the manager from growing it.
    FillsUp(State),
    /// The manager has never reported on it.
    NoReport,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLimit(Some(limit)) => write!(f, "at its limit of {limit}"),
            Self::AtLimit(None) => f.write_str("at its limit"),
            Self::Held(reason) => write!(f, "held by {reason}"),
            Self::NoFigures => f.write_str("no fresh figures"),
            Self::Failed => f.write_str("the last growth failed"),
            Self::FillsUp(State::Paused) => f.write_str("fills up while paused"),
            Self::FillsUp(State::DryRun) => f.write_str("fills up in dry run"),
            Self::FillsUp(State::Unmanaged) => f.write_str("fills up, and no policy manages it"),
            Self::FillsUp(state) => write!(f, "fills up in state {state}"),
            Self::NoReport => f.write_str("the manager has never reported on it"),
        }
    }
}

impl Serialize for Need {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is known of a volume, as far as it tells how endangered it is.
#[derive(Clone, Copy, Debug)]
pub struct Signs<'a> {
    /// Its state; none where the manager says nothing.
    pub state: Option<State>,
    /// What the manager last decided.
    pub decision: Option<&'a LastDecision>,
    /// Percent used of its fullest filesystem.
    pub percent_used: Option<i32>,
    /// The size that it may not pass.
    pub limit: Option<Bytes>,
    /// The last operation failed.
    pub failed: bool,
}

/// Where no decision says what the threshold is: the built-in one (planner.md, 6).
const THRESHOLD: i32 = 85;

/// The percentage at which the volume's model lets it grow.
fn threshold(decision: &LastDecision) -> Option<i32> {
    decision.inputs.iter().find_map(|(name, value)| {
        let percent: i32 = value.parse().ok()?;
        match name.rsplit('.').next()? {
            "usageThreshold" => Some(percent),
            "expansion" if name == "thresholds.expansion" => Some(percent),
            "targetBuffer" => Some(100_i32.saturating_sub(percent)),
            _ => None,
        }
    })
}

/// How endangered the volume is, and why it needs a person.
#[must_use]
pub fn judge(signs: Signs<'_>) -> (Danger, Option<Need>) {
    let Some(state) = signs.state else {
        return (Danger::Unwatched, None);
    };
    let threshold = signs.decision.and_then(threshold);
    let over = signs.percent_used.is_some_and(|used| used >= threshold.unwrap_or(THRESHOLD));
    let need = need(state, &signs, over);
    let danger = match (state, &need) {
        (State::WaitingForDiskStatus, _) => Danger::Blind,
        (State::Resizing | State::NeedsGrow, _) => Danger::Helped,
        _ if over => Danger::Acute,
        (_, Some(_)) | (State::Blocked | State::AtLimit, _) => Danger::Held,
        _ => Danger::None,
    };
    (danger, need)
}

fn need(state: State, signs: &Signs<'_>, over: bool) -> Option<Need> {
    match state {
        State::AtLimit => Some(Need::AtLimit(signs.limit)),
        State::WaitingForDiskStatus => Some(Need::NoFigures),
        State::Blocked => {
            let reason = signs.decision.map(|d| d.reason)?;
            // A person wanted these, or time alone opens them; and where a resize is stuck, nothing else need hold.
            let by_itself = matches!(
                reason,
                Reason::Cooldown | Reason::Hibernated | Reason::ClusterDeleting | Reason::ResizeInProgress
            );
            match reason {
                Reason::BelowThresholds => Some(Need::Held(Reason::ResizeStuck)),
                _ if by_itself => None,
                reason => Some(Need::Held(reason)),
            }
        }
        State::Paused | State::DryRun | State::Unmanaged if over => Some(Need::FillsUp(state)),
        _ if signs.failed => Some(Need::Failed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use csm_api::Verdict;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn each_model_has_its_threshold() {
        let with = |name: &str, value: &str| {
            let mut decision = decision(Reason::BelowThresholds);
            decision.inputs = BTreeMap::from([("effectiveSize".to_owned(), "10Gi".to_owned()), (name.to_owned(), value.to_owned())]);
            threshold(&decision)
        };
        assert_eq!(with("thresholds.expansion", "75"), Some(75));
        assert_eq!(with("walStorage.resize.triggers.usageThreshold", "60"), Some(60));
        assert_eq!(with("tablespaces[a].storage.targetBuffer", "30"), Some(70));
        assert_eq!(with("percentUsed", "12"), None);
    }

    fn decision(reason: Reason) -> LastDecision {
        LastDecision {
            verdict: Verdict::Hold,
            reason,
            urgency: None,
            wanted: None,
            inputs: BTreeMap::from([("thresholds.expansion".to_owned(), "75".to_owned())]),
            message: String::new(),
            at: Time(Timestamp::UNIX_EPOCH),
        }
    }

    fn of(state: State, reason: Reason, percent_used: i32) -> (Danger, Option<Need>) {
        judge(Signs {
            state: Some(state),
            decision: Some(&decision(reason)),
            percent_used: Some(percent_used),
            limit: Some(Bytes::gib(40)),
            failed: false,
        })
    }

    #[test]
    fn what_nothing_helps_is_the_most_endangered() {
        assert_eq!(
            of(State::AtLimit, Reason::AtLimit, 97),
            (Danger::Acute, Some(Need::AtLimit(Some(Bytes::gib(40)))))
        );
        assert_eq!(of(State::Resizing, Reason::ResizeInProgress, 97), (Danger::Helped, None));
        assert_eq!(
            of(State::WaitingForDiskStatus, Reason::StaleObservation, 12),
            (Danger::Blind, Some(Need::NoFigures))
        );
        assert_eq!(of(State::Balanced, Reason::BelowThresholds, 12), (Danger::None, None));
        assert!(Danger::Acute > Danger::Blind && Danger::Blind > Danger::Helped && Danger::Helped > Danger::Held);
    }

    #[test]
    fn what_time_alone_opens_needs_nobody() {
        assert_eq!(of(State::Blocked, Reason::Cooldown, 76), (Danger::Acute, None));
        assert_eq!(of(State::Blocked, Reason::Hibernated, 12), (Danger::Held, None));
        assert_eq!(
            of(State::Blocked, Reason::PolicyConflict, 12),
            (Danger::Held, Some(Need::Held(Reason::PolicyConflict)))
        );
    }

    #[test]
    fn a_pause_needs_a_person_once_the_volume_is_over_its_threshold() {
        assert_eq!(of(State::Paused, Reason::Paused, 74), (Danger::None, None));
        assert_eq!(
            of(State::Paused, Reason::Paused, 75),
            (Danger::Acute, Some(Need::FillsUp(State::Paused)))
        );
    }

    #[test]
    fn without_a_word_from_the_manager_nothing_is_claimed() {
        let signs = Signs {
            state: None,
            decision: None,
            percent_used: None,
            limit: None,
            failed: false,
        };
        assert_eq!(judge(signs), (Danger::Unwatched, None));
    }

    #[test]
    fn a_failed_growth_needs_a_person_until_the_next_succeeds() {
        let signs = Signs {
            state: Some(State::Balanced),
            decision: None,
            percent_used: Some(84),
            limit: None,
            failed: true,
        };
        assert_eq!(judge(signs), (Danger::Held, Some(Need::Failed)));
    }
}
