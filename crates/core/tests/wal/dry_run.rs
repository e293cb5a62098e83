//! The dry run against the proof, and the archive's test once more.

use csm_core::wal::{Mark, NotArchived, Objection};
use rstest::rstest;

use super::*;

fn now() -> Directory {
    directory(16..36, 32, &[])
}

/// What `pg_archivecleanup -n` lists, in the order of the directory.
fn listed(numbers: impl IntoIterator<Item = u64>) -> String {
    let path = |n| format!("/var/lib/postgresql/data/pgdata/pg_wal/{}\n", segment(n));
    numbers.into_iter().map(path).collect()
}

#[test]
fn a_dry_run_that_lists_what_was_proved_is_right() {
    let proof = proved(&quiet());
    assert_eq!(proof.agrees(&listed(16..30), &now()).as_deref(), Ok(proof.removable()));
    // The server removed some of them, and a directory has no order.
    let agreed = proof.agrees(&listed([29, 17]), &now()).unwrap();
    assert_eq!(agreed, [segment(29), segment(17)]);
    assert_eq!(proof.agrees("", &now()), Ok(Vec::new()));
    assert_eq!(proof.agrees("\n  \r\n", &now()), Ok(Vec::new()));
}

#[rstest]
#[case("000000020000000000000010")]
#[case("./000000020000000000000010")]
#[case("pg_wal/000000020000000000000010\r")]
#[case("  /a b/c//000000020000000000000010 ")]
fn paths_do_not_matter(#[case] line: &str) {
    assert_eq!(proved(&quiet()).agrees(line, &now()), Ok(vec![segment(16)]));
}

#[rstest]
#[case("00000002000000000000001E", "NotBelowCutoff", "is not below the cutoff")]
#[case("000000020000000100000000", "NotBelowCutoff", "is not below the cutoff")]
#[case("000000010000000000000010", "AnotherTimeline", "is of another timeline")]
#[case("00000002000000000000000F", "NotArchived", "is not marked as archived")]
#[case("000000020000000000000010.partial", "NotASegment", "is no complete WAL segment")]
#[case("000000020000000000000010.00000028.backup", "NotASegment", "is no complete WAL segment")]
#[case("00000002.history", "NotASegment", "is no complete WAL segment")]
#[case("0000000200000000000001FF", "NotASegment", "is no complete WAL segment")]
#[case("pg_archivecleanup: error", "NotASegment", "is no complete WAL segment")]
fn anything_else_is_wrong(#[case] name: &str, #[case] objection: &str, #[case] why: &str) {
    let output = format!("{}pg_wal/{name}\n{}", listed([17]), listed([18]));
    let wrong = proved(&quiet()).agrees(&output, &now()).unwrap_err();
    assert_eq!(wrong.objection.as_str(), objection);
    assert_eq!(wrong.to_string(), format!("the dry run would remove {name}, which {why}"));
}

#[test]
fn a_long_line_is_shortened() {
    let wrong = proved(&quiet()).agrees(&"é".repeat(100_000), &now()).unwrap_err();
    assert_eq!((wrong.file.chars().count(), wrong.objection), (80, Objection::NotASegment));
}

#[test]
fn what_was_not_there_is_not_proved() {
    let before = directory(10..36, 32, &[]);
    let wrong = proved(&quiet()).agrees(&listed([16, 15]), &before).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "the dry run would remove 00000002000000000000000F, which was not there when the cutoff was proved"
    );
    assert_eq!(wrong.objection.as_str(), "NotProved");
}

#[test]
fn marks_are_looked_at_once_more() {
    let waits = directory(16..36, 32, &["000000020000000000000012.ready"]);
    let wrong = proved(&quiet()).agrees(&listed(16..30), &waits).unwrap_err();
    assert_eq!(wrong.objection, Objection::NotArchived(Mark::Ready));
    assert!(wrong.to_string().ends_with("000000000012, which waits to be archived"), "{wrong}");
    let unknown = Directory::new(SIZE, [""; 0]);
    let wrong = proved(&quiet()).agrees(&listed(16..30), &unknown).unwrap_err();
    assert_eq!(wrong.objection, Objection::NotArchived(Mark::None));
}

fn without_archive() -> Proof {
    let evidence = with(|e| e.archiving = Some(Archiving::Off));
    let rules = Rules {
        require_archived: false,
        ..RULES
    };
    prove(&evidence, rules).unwrap()
}

#[test]
fn where_nothing_archives_marks_do_not_matter() {
    let unknown = Directory::new(SIZE, [""; 0]);
    let proof = without_archive();
    assert_eq!(proof.agrees(&listed(16..30), &unknown).map(|files| files.len()), Ok(14));
    assert_eq!(proof.is_archived(&unknown, Archiving::Off), Ok(()));
    assert_eq!(proof.is_archived(&now(), Archiving::Own), Err(NotArchived::ArchivingChanged));
}

/// Just before the removal, and just after it.
#[rstest]
#[case::before(directory(16..36, 32, &[]), None)]
#[case::backlog_above_the_cutoff(directory(16..36, 30, &["00000002000000000000001E.ready"]), None)]
#[case::after(directory(30..36, 32, &["000000020000000000000010.done"]), None)]
#[case::waits(directory(16..36, 32, &["000000020000000000000012.ready"]), Some("000000020000000000000012 is below the cutoff and waits to be archived; 1 such segments"))]
#[case::unmarked(directory(16..36, 28, &[]), Some("00000002000000000000001C is below the cutoff and is not marked as archived; 2 such segments"))]
#[case::of_another_timeline(directory(16..36, 32, &["000000010000000000000012"]), Some("000000010000000000000012 is below the cutoff and is not marked as archived; 1 such segments"))]
#[case::gap(directory(30..36, 32, &["000000020000000000000012.ready"]), Some("000000020000000000000012 is below the cutoff and waits to be archived; 1 such segments"))]
fn the_archives_test(#[case] now: Directory, #[case] said: Option<&str>) {
    let answer = proved(&quiet()).is_archived(&now, Archiving::Own);
    assert_eq!(answer.as_ref().err().map(ToString::to_string).as_deref(), said);
    assert!(answer.err().is_none_or(|e| e.as_str() == "Here"));
}

#[rstest]
#[case(segment(32), Ok(()))]
#[case(segment(30), Ok(()))]
#[case(segment(29), Err("Elsewhere"))]
#[case(segment_of(3, 32), Err("ArchivingChanged"))]
#[case(Segment::at(within(32), timeline(2), SegmentSize::new(1 << 20).unwrap()), Err("ArchivingChanged"))]
fn what_another_instance_archives(#[case] unarchived: Segment, #[case] expected: Result<(), &str>) {
    let proof = proved(&with(|e| e.archiving = Some(Archiving::Elsewhere { unarchived: segment(31) })));
    let answer = proof.is_archived(&now(), Archiving::Elsewhere { unarchived });
    assert_eq!(answer.as_ref().map_err(NotArchived::as_str).copied(), expected);
    assert!(answer.err().is_none_or(|e| !e.to_string().is_empty()));
}

#[test]
fn what_is_not_known_or_has_changed_is_not_archived() {
    let proof = proved(&quiet());
    let unknown = Directory::new(SIZE, [""; 0]);
    assert_eq!(proof.is_archived(&unknown, Archiving::Own).unwrap_err().as_str(), "StatusUnknown");
    assert_eq!(proof.is_archived(&now(), Archiving::Off), Err(NotArchived::ArchivingChanged));
    let elsewhere = Archiving::Elsewhere { unarchived: segment(31) };
    assert_eq!(proof.is_archived(&now(), elsewhere), Err(NotArchived::ArchivingChanged));
}
