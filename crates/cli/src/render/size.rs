//! Sizes for people.

use csm_units::Bytes;

/// A size of a PVC: exact where that is short, such as "25Gi".
pub(crate) fn size(bytes: Bytes) -> String {
    let exact = bytes.to_string();
    if exact.len() <= 7 && exact.ends_with('i') {
        exact
    } else {
        figure(bytes)
    }
}

/// A figure of a filesystem, such as "17.6Gi": in the largest unit that it has one of, to a tenth, rounded down.
pub(super) fn figure(bytes: Bytes) -> String {
    const UNITS: [(u64, &str); 5] = [(1 << 50, "Pi"), (1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| bytes.get() >= *unit) else {
        return bytes.get().to_string();
    };
    let tenths = bytes.mul_div(10, unit).get();
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole}{name}"),
        (whole, rest) => format!("{whole}.{rest}{name}"),
    }
}

/// A figure of the status.
pub(super) fn written(bytes: Option<i64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |b| figure(Bytes::new(u64::try_from(b).unwrap_or(0))))
}

/// "25Gi", or "10Gi -> 15Gi" where more is asked for than there is.
pub(super) fn growing(size_now: Bytes, request: Option<Bytes>) -> String {
    match request {
        Some(request) if request > size_now => format!("{} -> {}", size(size_now), size(request)),
        _ => size(size_now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_exact_where_they_can_be() {
        assert_eq!(size(Bytes::gib(25)), "25Gi");
        assert_eq!(size(Bytes::mib(12_288)), "12Gi");
        assert_eq!(size(Bytes::mib(1536)), "1536Mi");
        assert_eq!(size(Bytes::new(10_000_000_000)), "9.3Gi", "a size in powers of ten");
        assert_eq!(figure(Bytes::mib(18_022)), "17.5Gi", "rounded down");
        assert_eq!(figure(Bytes::mib(812)), "812Mi");
        assert_eq!(figure(Bytes::ZERO), "0");
        assert_eq!(growing(Bytes::gib(10), Some(Bytes::gib(15))), "10Gi -> 15Gi");
        assert_eq!(growing(Bytes::gib(15), Some(Bytes::gib(15))), "15Gi");
    }
}
