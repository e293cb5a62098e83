//! Which figures are recent enough to decide on.

use jiff::{SignedDuration, Timestamp};

use crate::world::{Limits, Member, Observation};

/// Figures up to this old always count: a kubelet refreshes them about once a minute, and a missed sample or
/// two must not blind the planner.
const AT_LEAST: SignedDuration = SignedDuration::from_mins(5);

/// The day over which actions are counted.
pub(crate) const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The greatest age of figures that count.
pub(crate) fn limit(limits: &Limits) -> SignedDuration {
    limits.interval.checked_mul(3).unwrap_or(SignedDuration::MAX).max(AT_LEAST)
}

/// `moment + duration`, at most the end of time.
pub(crate) fn after(moment: Timestamp, duration: SignedDuration) -> Timestamp {
    moment.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// `moment − duration`, at least the beginning of time.
pub(crate) fn before(moment: Timestamp, duration: SignedDuration) -> Timestamp {
    moment.saturating_sub(duration).unwrap_or(Timestamp::MIN)
}

/// A moment and the greatest age of figures at it.
#[derive(Clone, Copy)]
pub(crate) struct Freshness {
    pub now: Timestamp,
    pub limit: SignedDuration,
    oldest: Timestamp,
}

impl Freshness {
    pub fn new(limits: &Limits, now: Timestamp) -> Self {
        let limit = limit(limits);
        Self {
            now,
            limit,
            oldest: before(now, limit),
        }
    }

    /// The member's figures, where they are at most `limit` old and were taken after (not at) the end of its
    /// last resize. Figures from the future count as taken now.
    pub fn fresh<'a>(&self, member: &'a Member) -> Option<&'a Observation> {
        let figures = member.figures()?;
        let at = figures.at.min(self.now);
        let after_resize = member.last_resize_at.is_none_or(|end| at > end);
        (at >= self.oldest && after_resize).then_some(figures)
    }

    /// The member's fresh figures, with what was written since by the estimate, where there is one. That rests on the sample:
    /// without a fresh one there is none.
    pub fn newest(&self, member: &Member) -> Option<Observation> {
        let sample = self.fresh(member)?;
        let estimated = member.estimate.as_ref().and_then(|estimate| estimate.on(sample));
        Some(estimated.unwrap_or(*sample))
    }

    /// Whether the member has figures that are at most `limit` old, whatever has been resized since.
    pub fn recent(&self, member: &Member) -> bool {
        member.figures().is_some_and(|figures| figures.at >= self.oldest)
    }

    /// The next moment at which [`fresh`](Self::fresh) gives another answer, if there is one.
    pub fn changes_at(&self, member: &Member) -> Option<Timestamp> {
        let figures = member.figures()?;
        match (self.fresh(member), member.last_resize_at) {
            // Fresh up to and including the limit, stale from the next instant on.
            (Some(_), _) => Some(instant_after(after(figures.at, self.limit))),
            // Figures from the future count as taken now, and now is not yet after the resize.
            (None, Some(end)) if figures.at > end && end >= self.now => Some(instant_after(end)),
            (None, _) => None,
        }
    }
}

fn instant_after(moment: Timestamp) -> Timestamp {
    after(moment, SignedDuration::from_nanos(1))
}
