//! PostgreSQL's settings that are sizes of WAL.

use std::collections::BTreeMap;

use csm_core::root_cause::WalSettings;
use csm_units::Bytes;

/// `max_wal_size` where the Cluster does not set it (PostgreSQL documentation, "Write Ahead Log").
pub const MAX_WAL_SIZE: Bytes = Bytes::GIB;
/// `min_wal_size` where the Cluster does not set it (the same).
const MIN_WAL_SIZE: Bytes = Bytes::mib(80);
/// `wal_keep_size` where the Cluster does not set it: CloudNativePG's default.
pub const WAL_KEEP_SIZE: Bytes = Bytes::mib(512);

/// What the settings of a Cluster keep of WAL.
#[must_use]
pub fn settings(cluster: &csm_cnpg::Cluster) -> WalSettings {
    let parameters = cluster.spec.postgresql.as_ref().map(|postgresql| &postgresql.parameters);
    let bytes = |name, default| WalSize::of(parameters, name, WalSize::Bytes(default)).bytes().unwrap_or(default);
    WalSettings {
        keep: bytes("wal_keep_size", WAL_KEEP_SIZE),
        max: bytes("max_wal_size", MAX_WAL_SIZE),
        min: bytes("min_wal_size", MIN_WAL_SIZE),
    }
}

/// A size of WAL, as a setting has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalSize {
    /// So many bytes.
    Bytes(Bytes),
    /// `-1`: no limit.
    Unlimited,
}

impl WalSize {
    /// Reads a setting whose unit is the megabyte where it names none, as that of all sizes of WAL is: a whole or decimal number, and
    /// `B`, `kB`, `MB`, `GB` or `TB`, which are powers of 1024 (PostgreSQL documentation, "Parameter Names and Values"). None where
    /// it is nothing of that kind.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_matches('\'').trim();
        if text == "-1" {
            return Some(Self::Unlimited);
        }
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let unit: u128 = match unit.trim() {
            "B" => 1,
            "kB" => 1 << 10,
            "" | "MB" => 1 << 20,
            "GB" => 1 << 30,
            "TB" => 1 << 40,
            _ => return None,
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if part.len() > 9 {
            return None;
        }
        let whole: u128 = if whole.is_empty() && !part.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        let divisor = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
        let part: u128 = if part.is_empty() { 0 } else { part.parse().ok()? };
        let exact = whole.checked_mul(divisor)?.checked_add(part)?.checked_mul(unit)?;
        Some(Self::Bytes(Bytes::new(u64::try_from(exact.checked_div(divisor)?).ok()?)))
    }

    /// A setting of a Cluster, or what CloudNativePG or PostgreSQL take where it does not say.
    #[must_use]
    pub fn of(parameters: Option<&BTreeMap<String, String>>, name: &str, default: Self) -> Self {
        let said = parameters.and_then(|p| p.get(name));
        said.and_then(|text| Self::parse(text)).unwrap_or(default)
    }

    /// Its bytes; none where it has no limit.
    #[must_use]
    pub const fn bytes(self) -> Option<Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Unlimited => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_postgresql_does() {
        let bytes = |text| WalSize::parse(text).and_then(WalSize::bytes).map(Bytes::get);
        assert_eq!(bytes("512MB"), Some(512 << 20));
        assert_eq!(bytes("80"), Some(80 << 20), "megabytes");
        assert_eq!(bytes(" 1.5 GB "), Some(3 << 29));
        assert_eq!(bytes("64kB"), Some(64 << 10));
        assert_eq!(bytes("'2TB'"), Some(2 << 40));
        assert_eq!(bytes(".5GB"), Some(1 << 29));
        assert_eq!(WalSize::parse("-1"), Some(WalSize::Unlimited));
        for wrong in [
            "",
            ".",
            "GB",
            "1gb",
            "1Gi",
            "one",
            "1.2.3GB",
            "-5MB",
            "99999999999999999999TB",
            "1.0123456789GB",
        ] {
            assert_eq!(WalSize::parse(wrong), None, "{wrong}");
        }
    }
}
