//! A simulated volume: a device, a filesystem on it, and how it fills.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::fault::VolumeFault;

const MIB: u64 = 1 << 20;
/// XFS gives this much of a device to its log (mkfs.xfs; measured: 1 GiB becomes 960 MiB).
const XFS_LOG: u64 = 64 * MIB;
/// mkfs.xfs makes the log this large on devices that are too small for the usual one.
const XFS_SMALL_LOG: u64 = 16 * MIB;
/// Below this mkfs.xfs refuses a device unless it is told otherwise.
const XFS_SMALL: u64 = 300 * MIB;
/// What a new XFS of 960 MiB says is used (measured).
const XFS_BASE: u64 = 33 * MIB;
/// One inode of XFS takes this many bytes, and at most a quarter of a filesystem holds inodes.
const XFS_INODE: u64 = 512;
/// mkfs.ext4 makes an inode for each 16 KiB; an inode takes 256 bytes, so one byte in 64 is lost to their tables.
const EXT4_BYTES_PER_INODE: u64 = 16 << 10;
const EXT4_TABLES: u64 = 64;
/// A new PostgreSQL data directory has about this many files.
const NEW_FILES: u64 = 1_000;

/// What a volume is formatted with: how much of the device it offers, and how used and available add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filesystem {
    /// The log is not part of the capacity: a device of 1 GiB offers 960 MiB. Used and available make the capacity.
    #[default]
    Xfs,
    /// Inode tables are not part of the capacity, and a share is kept for root: used and available make less than it.
    Ext4 {
        /// The share of blocks kept for root; mkfs.ext4's default is 5.
        reserved_percent: u8,
    },
    /// Offers the whole device and starts empty: for tests that want round figures.
    Plain,
}

impl Filesystem {
    fn capacity(self, device: u64) -> u64 {
        match self {
            Self::Xfs if device < XFS_SMALL => device.saturating_sub(XFS_SMALL_LOG),
            Self::Xfs => device.saturating_sub(XFS_LOG),
            Self::Ext4 { .. } => device - device / EXT4_TABLES,
            Self::Plain => device,
        }
    }

    fn reserved(self, device: u64) -> u64 {
        match self {
            Self::Ext4 { reserved_percent } => self.capacity(device) / 100 * u64::from(reserved_percent),
            Self::Xfs | Self::Plain => 0,
        }
    }

    fn base(self, device: u64) -> u64 {
        match self {
            Self::Xfs if device < XFS_SMALL => XFS_BASE / 8,
            Self::Xfs => XFS_BASE,
            Self::Ext4 { .. } => 24 << 10,
            Self::Plain => 0,
        }
    }

    fn inodes(self, device: u64) -> u64 {
        match self {
            Self::Xfs | Self::Plain => device / 4 / XFS_INODE,
            Self::Ext4 { .. } => device / EXT4_BYTES_PER_INODE,
        }
    }
}

/// How the used bytes go on by themselves.
#[derive(Clone, Default)]
pub enum Usage {
    /// They stay.
    #[default]
    Steady,
    /// They grow (or shrink) by this much each second, between empty and full.
    Rate(i64),
    /// A function of the time since it was set and of the filesystem's capacity, in bytes; cut off at full.
    Script(Arc<dyn Fn(Duration, u64) -> u64 + Send + Sync>),
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steady => f.write_str("Steady"),
            Self::Rate(rate) => write!(f, "Rate({rate})"),
            Self::Script(_) => f.write_str("Script"),
        }
    }
}

/// What the kubelet measured of a volume, all in bytes but the inodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// When it was measured.
    pub time: Timestamp,
    /// Size of the filesystem.
    pub capacity: u64,
    /// Free for an ordinary user.
    pub available: u64,
    /// Used.
    pub used: u64,
    /// Inodes in all.
    pub inodes: u64,
    /// Free inodes.
    pub inodes_free: u64,
    /// Used inodes.
    pub inodes_used: u64,
}

/// One simulated volume.
#[derive(Clone, Debug)]
pub struct Volume {
    device: u64,
    filesystem: Filesystem,
    used: u64,
    usage: Usage,
    usage_since: Instant,
    advanced: Instant,
    inodes: Option<(u64, u64)>,
    pub(super) fault: VolumeFault,
}

impl Volume {
    /// A freshly formatted one.
    pub fn new(device: u64, filesystem: Filesystem) -> Self {
        let now = Instant::now();
        Self {
            device,
            filesystem,
            used: filesystem.base(device),
            usage: Usage::Steady,
            usage_since: now,
            advanced: now,
            inodes: None,
            fault: VolumeFault::None,
        }
    }

    /// Size of the device.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// Size of the filesystem.
    pub fn capacity(&self) -> u64 {
        self.filesystem.capacity(self.device)
    }

    /// Bytes that an ordinary user can have in all: the capacity without the reserve.
    pub fn usable(&self) -> u64 {
        self.capacity() - self.filesystem.reserved(self.device)
    }

    /// Makes device and filesystem larger. Filesystems do not shrink, and neither does this.
    pub fn grow(&mut self, device: u64) {
        self.device = self.device.max(device);
    }

    /// Sets the used bytes, at most [`Self::usable`]; a rate goes on from there.
    pub fn set_used(&mut self, bytes: u64, now: Instant) {
        self.used = bytes.min(self.usable());
        self.advanced = now;
        if matches!(self.usage, Usage::Script(_)) {
            self.usage = Usage::Steady;
        }
    }

    /// Sets how the used bytes go on from now.
    pub fn set_usage(&mut self, usage: Usage, now: Instant) {
        self.advance(now);
        self.usage = usage;
        self.usage_since = now;
    }

    /// Overrides the inodes: in all, and used. `None` goes back to what the filesystem would have.
    pub fn set_inodes(&mut self, inodes: Option<(u64, u64)>) {
        self.inodes = inodes;
    }

    /// Lets the used bytes go on to `now` and returns them.
    pub fn advance(&mut self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.advanced);
        let wanted = match &self.usage {
            Usage::Steady => self.used,
            Usage::Rate(rate) => {
                let micros = i128::try_from(passed.as_micros()).unwrap_or(i128::MAX);
                let change = i128::from(*rate).saturating_mul(micros) / 1_000_000;
                u64::try_from(i128::from(self.used).saturating_add(change).max(0)).unwrap_or(u64::MAX)
            }
            Usage::Script(script) => script(now.saturating_duration_since(self.usage_since), self.capacity()),
        };
        self.used = wanted.min(self.usable());
        self.advanced = self.advanced.max(now);
        self.used
    }

    /// What statfs would say at `now`.
    pub fn measure(&mut self, now: Instant, time: Timestamp) -> Figures {
        let used = self.advance(now);
        let (inodes, inodes_used) = self.inodes.unwrap_or((self.filesystem.inodes(self.device), NEW_FILES));
        Figures {
            time,
            capacity: self.capacity(),
            available: self.usable().saturating_sub(used),
            used,
            inodes,
            inodes_free: inodes.saturating_sub(inodes_used),
            inodes_used,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn xfs_offers_what_was_measured() {
        let mut volume = Volume::new(GIB, Filesystem::Xfs);
        let figures = volume.measure(Instant::now(), Timestamp::UNIX_EPOCH);
        assert_eq!((figures.capacity, figures.used), (960 * MIB, 33 * MIB));
        assert_eq!(figures.used + figures.available, figures.capacity);
        volume.grow(2 * GIB);
        assert_eq!(volume.capacity(), 1984 * MIB);
        volume.grow(GIB);
        assert_eq!(volume.capacity(), 1984 * MIB, "a filesystem never shrinks");
    }

    #[test]
    fn ext4_keeps_a_reserve() {
        let mut volume = Volume::new(10 * GIB, Filesystem::Ext4 { reserved_percent: 5 });
        volume.set_used(u64::MAX, Instant::now());
        let figures = volume.measure(Instant::now(), Timestamp::UNIX_EPOCH);
        assert_eq!(figures.available, 0);
        assert!(figures.used < figures.capacity, "full for PostgreSQL, not for root");
    }

    #[test]
    fn a_rate_stops_at_full_and_goes_on_after_growth() {
        let mut volume = Volume::new(GIB, Filesystem::Plain);
        let start = Instant::now();
        volume.set_usage(Usage::Rate(i64::try_from(100 * MIB).unwrap()), start);
        assert_eq!(volume.advance(start + Duration::from_millis(2_500)), 250 * MIB);
        assert_eq!(volume.advance(start + Duration::from_mins(1)), GIB);
        volume.grow(2 * GIB);
        assert_eq!(volume.advance(start + Duration::from_secs(61)), GIB + 100 * MIB);
        volume.set_usage(Usage::Rate(-1_000_000_000_000), start + Duration::from_secs(61));
        assert_eq!(volume.advance(start + Duration::from_secs(62)), 0);
    }

    #[test]
    fn a_script_sees_time_and_capacity() {
        let mut volume = Volume::new(GIB, Filesystem::Plain);
        let start = Instant::now();
        volume.set_usage(Usage::Script(Arc::new(|time, capacity| capacity / 100 * time.as_secs())), start);
        assert_eq!(volume.advance(start + Duration::from_secs(10)), GIB / 100 * 10);
        assert_eq!(volume.advance(start + Duration::from_hours(10)), GIB);
    }
}
