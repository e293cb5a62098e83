//! Which of several causes people are told.

use csm_api::CauseKind;

use super::Cause;

/// Another cause is told in the place of the one that was told last once it accounts for so many percent of what that one does: two
/// that account for about as much do not take turns.
const OUTWEIGHS_PERCENT: i128 = 125;

/// The cause to tell, of `causes`, the strongest first: the one that was told last, by its kind and its subject, while it is still
/// one of them and none outweighs it; else the strongest. That nothing shows why stays no longer than it is true.
#[must_use]
pub fn to_tell<'a>(causes: &'a [Cause], told: Option<(CauseKind, Option<&str>)>) -> Option<&'a Cause> {
    let strongest = causes.first()?;
    let (kind, subject) = told.unwrap_or((CauseKind::Unknown, None));
    let same = causes.iter().find(|cause| cause.kind() == kind && cause.subject() == subject);
    let stands = |cause: &&Cause| {
        let outweighing = cause.weight().wide().saturating_mul(OUTWEIGHS_PERCENT);
        cause.kind() != CauseKind::Unknown && outweighing > strongest.weight().wide().saturating_mul(100)
    };
    Some(same.filter(stands).unwrap_or(strongest))
}
