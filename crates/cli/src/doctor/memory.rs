//! PostgreSQL's settings that are sizes of WAL.

use std::collections::BTreeMap;

use csm_units::Bytes;

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
