//! How full a volume was when it was last seen. What is done rests on fresh figures alone; what people are told does not:
//! figures that stop coming are no sign that the volume is well (behaviour.md: absence is never read as zero).

use std::sync::Arc;

use jiff::Timestamp;

use crate::freshness::Freshness;
use crate::view::fuller;
use crate::world::{Member, Observation, Volume, World};

/// The last figures of a volume's members, of any age: of lagging and outsize members too.
#[derive(Clone, Debug, PartialEq)]
pub struct LastSeen<'a> {
    /// The fullest member; none where no member ever had figures.
    pub fullest: Option<Seen<'a>>,
    /// Instances of which nothing was seen of late, by name. Figures from just before a resize are no gap.
    pub unseen: Vec<Arc<str>>,
    /// No member has figures to decide on.
    pub blind: bool,
}

/// A member with its last figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen<'a> {
    /// The member.
    pub member: &'a Member,
    /// Its figures.
    pub figures: &'a Observation,
    /// They are recent enough to decide on.
    pub fresh: bool,
}

impl<'a> LastSeen<'a> {
    /// What was last seen of a volume of `world`.
    #[must_use]
    pub fn of(world: &World, volume: &'a Volume, now: Timestamp) -> Self {
        let freshness = Freshness::new(&world.limits, now);
        let is_fresh = |member: &Member| freshness.fresh(member).is_some();
        let seen = volume.members.iter().filter_map(|member| {
            Some(Seen {
                member,
                figures: member.figures()?,
                fresh: is_fresh(member),
            })
        });
        let unseen = volume.members.iter().filter(|m| !freshness.recent(m));
        let mut unseen: Vec<_> = unseen.map(|m| m.instance.clone()).collect();
        unseen.sort();
        Self {
            fullest: seen.reduce(|best, next| if next.precedes(&best) { next } else { best }),
            blind: !volume.members.iter().any(is_fresh),
            unseen,
        }
    }
}

impl Seen<'_> {
    /// Whether it is the fuller one; of equals the first by name, in whatever order they were gathered.
    fn precedes(&self, other: &Self) -> bool {
        let by_name = || self.member.instance < other.member.instance && !fuller(other.figures, self.figures);
        fuller(self.figures, other.figures) || by_name()
    }
}
