//! Positions, segments and their names.

use csm_core::wal::{Directory, Lsn, Mark, Segment, SegmentSize, WalFile};
use proptest::prelude::*;
use rstest::rstest;

use super::*;

#[rstest]
#[case("16/B374D848", Some(0x16_B374_D848))]
#[case("0/0", Some(0))]
#[case("0/1a", Some(0x1a))]
#[case("FFFFFFFF/FFFFFFFF", Some(u64::MAX))]
#[case("00000001/00000002", Some(0x1_0000_0002))]
#[case("", None)]
#[case("16", None)]
#[case("/1", None)]
#[case("1/", None)]
#[case("1/2/3", None)]
#[case("1/+2", None)]
#[case("-1/2", None)]
#[case(" 1/2", None)]
#[case("1/G", None)]
#[case("000000001/0", None)]
#[case("0/1FFFFFFFF", None)]
#[case("१/0", None)]
fn positions(#[case] text: &str, #[case] expected: Option<u64>) {
    assert_eq!(text.parse().ok(), expected.map(Lsn::new), "{text:?}");
}

#[test]
fn a_text_that_is_no_position_is_shown_shortened() {
    let error = "é".repeat(100_000).parse::<Lsn>().unwrap_err().to_string();
    assert!(error.len() < 250 && error.contains("16/B374D848"), "{error}");
}

#[rstest]
#[case(1 << 20, true)]
#[case(16 << 20, true)]
#[case(1 << 30, true)]
#[case(0, false)]
#[case(1, false)]
#[case(1 << 19, false)]
#[case(1 << 31, false)]
#[case(3 << 20, false)]
#[case(u64::MAX, false)]
fn sizes(#[case] bytes: u64, #[case] valid: bool) {
    assert_eq!(SegmentSize::new(bytes).map(|s| s.bytes().get()).ok(), valid.then_some(bytes));
}

/// As `pg_walfile_name` has them.
#[rstest]
#[case(16, "0/1000000", 1, "000000010000000000000001")]
#[case(16, "0/1FFFFFF", 1, "000000010000000000000001")]
#[case(16, "0/FF000000", 1, "0000000100000000000000FF")]
#[case(16, "1/0", 1, "000000010000000100000000")]
#[case(16, "16/B374D848", 10, "0000000A00000016000000B3")]
#[case(1, "16/B374D848", 1, "000000010000001600000B37")]
#[case(1024, "16/B374D848", 1, "000000010000001600000002")]
#[case(16, "FFFFFFFF/FFFFFFFF", u32::MAX, "FFFFFFFFFFFFFFFF000000FF")]
#[case(1, "FFFFFFFF/FFFFFFFF", u32::MAX, "FFFFFFFFFFFFFFFF00000FFF")]
fn the_segment_of_a_position(#[case] mib: u64, #[case] lsn: &str, #[case] id: u32, #[case] name: &str) {
    let size = SegmentSize::new(mib << 20).unwrap();
    let segment = Segment::at(lsn.parse().unwrap(), timeline(id), size);
    assert_eq!(segment.to_string(), name);
    assert_eq!(Segment::parse(name, size), Ok(segment));
    assert_eq!(Segment::new(timeline(id), segment.number(), size), Some(segment));
}

#[rstest]
#[case("", "no WAL segment")]
#[case("00000001000000000000001", "no WAL segment")]
#[case("0000000100000000000000001", "no WAL segment")]
#[case("00000001000000000000000a", "no WAL segment")]
#[case("+00000010000000000000001", "no WAL segment")]
#[case("00000001000000000000000G", "no WAL segment")]
#[case("éééééééééééé", "no WAL segment")]
#[case("000000000000000000000001", "timeline 0")]
#[case("000000010000000000000100", "its last eight digits are FF at most")]
fn names_that_are_no_segment(#[case] name: &str, #[case] why: &str) {
    let error = Segment::parse(name, SIZE).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn there_is_no_segment_beyond_the_last_position() {
    for mib in [1, 16, 1024] {
        let size = SegmentSize::new(mib << 20).unwrap();
        let last = Segment::at(Lsn::new(u64::MAX), timeline(1), size);
        assert!(Segment::new(timeline(1), last.number(), size).is_some());
        assert_eq!(Segment::new(timeline(1), last.number() + 1, size), None);
        assert_eq!(last.first_lsn().get(), u64::MAX - (size.bytes().get() - 1));
    }
}

#[rstest]
#[case("000000020000000000000010", WalFile::Segment(segment(16)))]
#[case("000000020000000000000010.partial", WalFile::Partial(segment(16)))]
#[case("000000020000000000000010.00000028.backup", WalFile::Backup(segment(16)))]
#[case("00000002.history", WalFile::History(timeline(2)))]
#[case("000000020000000000000100", WalFile::Malformed)]
#[case("000000020000000000000100.partial", WalFile::Malformed)]
#[case("000000000000000000000010", WalFile::Malformed)]
#[case("00000000.history", WalFile::Other)]
#[case("2.history", WalFile::Other)]
#[case("0000000a.history", WalFile::Other)]
#[case("000000020000000000000100.00000028.backup", WalFile::Other)]
#[case("000000020000000000000010.28.backup", WalFile::Other)]
#[case("000000020000000000000010.done", WalFile::Other)]
#[case("000000020000000000000010.partial.done", WalFile::Other)]
#[case("00000002000000000000001.partial", WalFile::Other)]
#[case("000000020000000000000010.", WalFile::Other)]
#[case("archive_status", WalFile::Other)]
#[case("summaries", WalFile::Other)]
#[case("xlogtemp.123", WalFile::Other)]
#[case("RECOVERYXLOG", WalFile::Other)]
#[case("", WalFile::Other)]
#[case(".", WalFile::Other)]
fn kinds_of_files(#[case] name: &str, #[case] kind: WalFile) {
    assert_eq!(WalFile::parse(name, SIZE), kind);
}

#[test]
fn what_is_marked_both_ways_waits() {
    let (done, ready) = (format!("{}.done", segment(16)), format!("{}.ready", segment(16)));
    let both = Directory::new(SIZE, [""; 0]).with_status([&ready, &done]);
    assert_eq!(both.mark(&segment(16)), Mark::Ready);
    assert_eq!(both.mark(&segment(17)), Mark::None);
    assert_eq!(Directory::new(SIZE, [""; 0]).with_status([&done]).mark(&segment(16)), Mark::Done);
    assert_eq!(Directory::new(SIZE, [segment(16).to_string()]).mark(&segment(16)), Mark::None);
    assert_eq!([Mark::Done, Mark::Ready, Mark::None].map(Mark::as_str), ["done", "ready", "none"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The text forms are read as what they stand for, and segments of one size sort as their names do without the timeline:
    /// `pg_archivecleanup` compares those.
    #[test]
    fn names_are_what_they_stand_for(a in any::<u64>(), b in any::<u64>(), near in any::<bool>(), id in 1..=u32::MAX, shift in 20..=30_u32) {
        let b = if near { a.wrapping_add(b >> 30) } else { b };
        let size = SegmentSize::new(1 << shift).unwrap();
        let (first, second) = (Segment::at(Lsn::new(a), timeline(id), size), Segment::at(Lsn::new(b), timeline(1), size));
        prop_assert_eq!(Lsn::new(a).to_string().parse(), Ok(Lsn::new(a)));
        prop_assert_eq!(Segment::parse(&first.to_string(), size), Ok(first));
        let offset = a - first.first_lsn().get();
        prop_assert!(offset < size.bytes().get() && size.begins_at(Lsn::new(a)) == (offset == 0));
        prop_assert_eq!(first.to_string()[8..].cmp(&second.to_string()[8..]), first.number().cmp(&second.number()));
    }

    /// No text makes it panic.
    #[test]
    fn any_text_is_something(text in "[0-9A-F./a-z\\PC]{0,60}", shift in 20..=30_u32) {
        let size = SegmentSize::new(1 << shift).unwrap();
        let _ = (text.parse::<Lsn>(), Segment::parse(&text, size), WalFile::parse(&text, size));
        let _ = Directory::new(size, [&text]).with_status([&text]);
    }
}
