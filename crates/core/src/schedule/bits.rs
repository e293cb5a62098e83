/// A set of small numbers, 0 to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Bits(u64);

impl Bits {
    pub const fn of(raw: u64) -> Self {
        Self(raw)
    }

    /// The numbers `first`, `first + step`, … up to and including `last`; a step of 0 counts as 1.
    pub fn range(first: u8, last: u8, step: u8) -> Self {
        (first..=last.min(63))
            .step_by(usize::from(step.max(1)))
            .fold(Self::default(), Self::with)
    }

    pub fn with(self, n: u8) -> Self {
        Self(self.0 | 1_u64.checked_shl(u32::from(n)).unwrap_or(0))
    }

    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn contains(self, n: u8) -> bool {
        !self.intersection(Self::default().with(n)).is_empty()
    }

    /// The smallest number in the set that is at least `n`.
    pub fn at_or_after(self, n: u8) -> Option<u8> {
        let mask = u64::MAX.checked_shl(u32::from(n)).unwrap_or(0);
        let rest = self.0 & mask;
        u8::try_from(rest.trailing_zeros()).ok().filter(|_| rest != 0)
    }

    /// The largest number in the set that is at most `n`.
    pub fn at_or_before(self, n: u8) -> Option<u8> {
        let mask = u64::MAX.checked_shr(63_u32.saturating_sub(u32::from(n))).unwrap_or(0);
        (self.0 & mask).checked_ilog2().and_then(|n| u8::try_from(n).ok())
    }

    /// The set of weekdays (0 is Sunday) as days of a month (1 to 31) whose first day is the weekday `first`.
    pub fn weekdays_in_month(self, first: u8) -> Self {
        let week = self.0 & 0x7f;
        let first = u32::from(first).checked_rem(7).unwrap_or(0);
        // Rotated, so that bit 0 is the weekday of day 1; then repeated; then moved, so that day 1 is bit 1.
        let left = 7_u32.saturating_sub(first);
        let rotated = (week.checked_shr(first).unwrap_or(0) | week.checked_shl(left).unwrap_or(0)) & 0x7f;
        Self(((rotated | rotated << 7 | rotated << 14 | rotated << 21 | rotated << 28) << 1) & 0xffff_ffff)
    }
}
