//! Each cause at its edge.

use csm_api::CauseKind;
use csm_core::between::Content;
use csm_core::root_cause::{
    ArchivingFacts, Cause, Facts, Missing, SlotFacts, StandbyFacts, WalSetting, WalSettings, causes, significant, to_tell,
};
use csm_units::Bytes;
use jiff::SignedDuration;
use rstest::rstest;

use super::{at, calm, files, flow};

fn wal(change: impl FnOnce(&mut Facts)) -> Vec<Cause> {
    let mut facts = calm(Content::Wal);
    change(&mut facts);
    causes(&facts)
}

fn data(change: impl FnOnce(&mut Facts)) -> Vec<Cause> {
    let mut facts = calm(Content::Databases);
    change(&mut facts);
    causes(&facts)
}

const UNKNOWN: Cause = Cause::Unknown { missing: Vec::new() };

/// Of 10 GiB, 512 MiB count.
#[test]
fn what_counts() {
    assert_eq!(significant(Bytes::gib(10)), Bytes::mib(512));
    assert_eq!(significant(Bytes::gib(1)), Bytes::mib(64));
    assert_eq!(significant(Bytes::ZERO), Bytes::mib(64));
}

#[test]
fn nothing_stands_out() {
    for content in [Content::Wal, Content::Databases, Content::Both] {
        assert_eq!(causes(&calm(content)), [UNKNOWN]);
    }
}

fn archiving(waiting: u64, last_archived: Option<&str>, last_failed: Option<&str>) -> ArchivingFacts {
    ArchivingFacts {
        waiting,
        segment_size: Bytes::mib(16),
        last_archived: last_archived.map(at),
        last_failed: last_failed.map(at),
    }
}

#[rstest]
#[case::failing(1, Some("11:00:00"), Some("11:00:01"), true)]
#[case::never_archived(9, None, Some("11:00:01"), true)]
#[case::archived_since(40, Some("11:00:01"), Some("11:00:01"), false)]
#[case::never_failed(40, None, None, false)]
#[case::nothing_waits(0, Some("11:00:00"), Some("11:00:01"), false)]
fn an_archiver_that_fails(#[case] waiting: u64, #[case] archived: Option<&str>, #[case] failed: Option<&str>, #[case] expected: bool) {
    let found = wal(|f| f.archiving = Some(archiving(waiting, archived, failed)));
    let cause = Cause::ArchiverFailing {
        waiting,
        held: Bytes::mib(16 * waiting),
        last_archived: archived.map(at),
        last_failed: failed.map_or(at("00:00:00"), at),
    };
    assert_eq!(found, [if expected { cause } else { UNKNOWN }]);
    // Where no archive is configured, what was once tried counts for nothing.
    let off = wal(|f| {
        f.archiving = Some(archiving(waiting, archived, failed));
        f.given.archives = Some(false);
    });
    assert_eq!(off, [UNKNOWN]);
}

/// 32 segments of 16 MiB are 512 MiB; 60 segments in ten minutes are 1.6 MiB a second.
#[rstest]
#[case::slow(32, 1000, 60, true)]
#[case::few_wait(31, 1000, 60, false)]
#[case::as_fast_as_written(32, 960, 60, false)]
fn an_archiver_that_is_slow(#[case] waiting: u64, #[case] written: i128, #[case] archived: i128, #[case] expected: bool) {
    let found = wal(|f| {
        f.archiving = Some(archiving(waiting, Some("11:59:59"), None));
        f.generation = flow(written);
        f.archived = files(archived);
    });
    let cause = Cause::ArchiverSlow {
        waiting,
        held: Bytes::mib(512),
        written: Bytes::new((1000 << 20) / 600),
        archived: Bytes::new((960 << 20) / 600),
    };
    // Else it is the load: 960 MiB in ten minutes.
    let load = Cause::DataGrowth {
        grown: Bytes::new(u64::try_from(written).unwrap() << 20),
        over: SignedDuration::from_mins(10),
        as_wal: true,
    };
    assert_eq!(found, [if expected { cause } else { load }]);
}

fn slot(name: &str, active: bool, mebibytes: u64) -> SlotFacts {
    SlotFacts {
        name: name.into(),
        active,
        retained: Bytes::mib(mebibytes),
        since: (!active).then(|| at("09:00:00")),
    }
}

#[test]
fn slots_by_what_they_hold() {
    let found = wal(|f| f.given.slots = Some(vec![slot("a", false, 511), slot("b", true, 512), slot("c", false, 2000)]));
    let inactive = Cause::InactiveSlot {
        slot: "c".into(),
        held: Bytes::mib(2000),
        since: Some(at("09:00:00")),
    };
    let lagging = Cause::LaggingStandby {
        standby: "b".into(),
        held: Bytes::mib(512),
    };
    assert_eq!(found, [inactive, lagging]);
}

#[rstest]
#[case::behind(512, None, true)]
#[case::a_little(511, None, false)]
#[case::its_slot_says_it(512, Some(600), false)]
#[case::its_slot_holds_less(700, Some(100), true)]
fn a_standby_that_lags(#[case] behind: u64, #[case] held_by_slot: Option<u64>, #[case] expected: bool) {
    let found = wal(|f| {
        f.given.slots = Some(held_by_slot.map(|held| slot("_cnpg_orders_2", true, held)).into_iter().collect());
        let name = "orders-2".into();
        f.given.standbys = Some(vec![StandbyFacts {
            name,
            behind: Bytes::mib(behind),
        }]);
    });
    let cause = Cause::LaggingStandby {
        standby: "orders-2".into(),
        held: Bytes::mib(behind),
    };
    assert_eq!(found.contains(&cause), expected, "{found:?}");
}

/// Half of 10 GiB, and a pg_wal that it accounts for.
#[rstest]
#[case::keep(5120, 1024, 6000, Some((WalSetting::WalKeepSize, 5120, 5120)))]
#[case::a_mebibyte_less(5119, 1024, 6000, None)]
#[case::max(512, 8192, 6000, Some((WalSetting::MaxWalSize, 8192, 6000)))]
#[case::the_first_of_equals(6000, 6000, 6000, Some((WalSetting::WalKeepSize, 6000, 6000)))]
#[case::not_yet_there(5120, 1024, 511, None)]
fn settings(#[case] keep: u64, #[case] max: u64, #[case] wal_size: u64, #[case] expected: Option<(WalSetting, u64, u64)>) {
    let found = wal(|f| {
        f.wal = Some(Bytes::mib(wal_size));
        f.given.settings = Some(WalSettings {
            keep: Bytes::mib(keep),
            max: Bytes::mib(max),
            min: Bytes::mib(80),
        });
    });
    let expected = expected.map_or(UNKNOWN, |(setting, value, held)| Cause::WalSettingsTooBig {
        setting,
        value: Bytes::mib(value),
        held: Bytes::mib(held),
        volume: Bytes::gib(10),
    });
    assert_eq!(found, [expected]);
}

/// At 320 MiB in ten minutes, half an hour comes to 960 MiB; the load by itself is less than a twentieth in a quarter.
#[rstest]
#[case::for_half_an_hour("11:30:00", true)]
#[case::just_begun("11:50:00", false)]
fn base_backups(#[case] since: &str, #[case] expected: bool) {
    let found = wal(|f| {
        f.generation = flow(320);
        f.given.base_backups = Some(vec![at("11:58:00"), at(since)]);
    });
    let held = Bytes::mib(960);
    let since = at(since);
    let expected = if expected {
        Cause::BaseBackupRunning { since, held }
    } else {
        UNKNOWN
    };
    assert_eq!(found, [expected]);
}

#[rstest]
#[case::grows(64, true)]
#[case::a_little(63, false)]
#[case::shrinks(-500, false)]
fn databases_that_grow(#[case] mebibytes: i128, #[case] expected: bool) {
    let found = data(|f| (f.databases, f.used) = (flow(mebibytes), flow(mebibytes)));
    let cause = Cause::DataGrowth {
        grown: Bytes::mib(64),
        over: SignedDuration::from_mins(10),
        as_wal: false,
    };
    assert_eq!(found, [if expected { cause } else { UNKNOWN }]);
}

/// PostgreSQL counts temporary files when they are closed; until then they are what nothing else explains.
#[rstest]
#[case::closed(64, 0, Some((64, true)))]
#[case::open(0, 64, Some((64, false)))]
#[case::both(700, 300, Some((700, true)))]
#[case::few(63, 63, None)]
fn temporary_files(#[case] counted: i128, #[case] unexplained: i128, #[case] expected: Option<(u64, bool)>) {
    for content in [Content::Databases, Content::Both] {
        let mut facts = calm(content);
        (facts.temporary, facts.databases, facts.used) = (flow(counted), flow(10), flow(10 + unexplained));
        let expected = expected.map_or(UNKNOWN, |(grown, counted)| Cause::TempFiles {
            grown: Bytes::mib(grown),
            over: SignedDuration::from_mins(10),
            counted,
        });
        assert_eq!(causes(&facts), [expected]);
    }
}

/// WAL of a volume that holds both is no temporary file.
#[test]
fn wal_explains_growth() {
    let mut facts = calm(Content::Both);
    (facts.used, facts.wal_growth) = (flow(500), flow(480));
    assert_eq!(causes(&facts), [UNKNOWN]);
    facts.wal_growth = None;
    assert_eq!(causes(&facts), [UNKNOWN], "what is not known explains nothing");
}

#[test]
fn a_volume_of_data_is_not_filled_by_wal() {
    let found = data(|f| f.given.slots = Some(vec![slot("a", false, 5000)]));
    assert_eq!(found, [UNKNOWN]);
}

#[test]
fn a_shared_filesystem_says_nothing_else() {
    let filesystem = Bytes::gib(100);
    let found = wal(|f| {
        f.given.shared = Some(filesystem);
        f.given.slots = Some(vec![slot("a", false, 5000)]);
    });
    let volume = Bytes::gib(10);
    assert_eq!(found, [Cause::SharedFilesystem { filesystem, volume }]);
}

#[test]
fn what_is_missing_is_named() {
    let blind = |content| {
        let mut facts = calm(content);
        let given = &mut facts.given;
        (given.archives, given.slots, given.standbys, given.settings, given.base_backups) = (None, None, None, None, None);
        (facts.archiving, facts.wal, facts.databases, facts.used) = (None, None, None, None);
        causes(&facts)
    };
    let of_wal = [
        Missing::Archiving,
        Missing::Slots,
        Missing::Standbys,
        Missing::WalSettings,
        Missing::BaseBackups,
        Missing::WalSize,
    ];
    let unknown = |missing: &[&[Missing]]| [Cause::Unknown { missing: missing.concat() }];
    assert_eq!(blind(Content::Wal), unknown(&[&of_wal, &[Missing::Usage]]));
    assert_eq!(blind(Content::Databases), unknown(&[&[Missing::Databases, Missing::Usage]]));
    assert_eq!(blind(Content::Both), unknown(&[&of_wal, &[Missing::Databases, Missing::Usage]]));
    let without_archive = wal(|f| (f.given.archives, f.archiving) = (Some(false), None));
    assert_eq!(without_archive, [UNKNOWN]);
}

/// The archive is gone, on a volume that is small for its settings: that is why it fills.
#[test]
fn a_setting_keeps_what_nobody_else_holds() {
    let kinds = |change: &dyn Fn(&mut Facts)| -> Vec<(CauseKind, Bytes)> {
        let found = wal(|f| {
            f.given.settings = Some(WalSettings {
                keep: Bytes::mib(512),
                max: Bytes::gib(6),
                min: Bytes::mib(80),
            });
            f.wal = Some(Bytes::gib(9));
            change(f);
        });
        found.iter().map(|cause| (cause.kind(), cause.bytes())).collect()
    };
    let setting = |gib| (CauseKind::WalSettingsTooBig, Bytes::gib(gib));
    assert_eq!(kinds(&|_| {}), [setting(6)]);
    let failing = |f: &mut Facts| f.archiving = Some(archiving(1, Some("11:00:00"), Some("11:00:01")));
    assert_eq!(kinds(&failing), [(CauseKind::ArchiverFailing, Bytes::mib(16))]);
    let unread = |f: &mut Facts| f.given.slots = Some(vec![slot("c", false, 600)]);
    assert_eq!(kinds(&unread), [(CauseKind::InactiveSlot, Bytes::mib(600))]);
    let behind = |f: &mut Facts| f.given.slots = Some(vec![slot("c", true, 4096)]);
    assert_eq!(kinds(&behind), [setting(5), (CauseKind::LaggingStandby, Bytes::gib(4))]);
}

#[test]
fn growth_fills_a_volume_of_which_it_is_a_twentieth() {
    let growth = |counted| Cause::TempFiles {
        grown: Bytes::gib(1),
        over: SignedDuration::from_mins(9),
        counted,
    };
    assert!(growth(false).fills(Bytes::gib(20)) && !growth(false).fills(Bytes::gib(21)));
    assert!(!growth(true).fills(Bytes::gib(20)), "what was counted is gone again");
}

/// Two causes that account for about as much do not take turns.
#[test]
fn a_cause_that_was_told_stays_until_another_outweighs_it() {
    let standby = |name: &str, mebibytes| Cause::LaggingStandby {
        standby: name.into(),
        held: Bytes::mib(mebibytes),
    };
    let lagging = |name| Some((CauseKind::LaggingStandby, Some(name)));
    let both = [standby("a", 1000), standby("b", 801)];
    let [a, b] = &both;
    assert_eq!(to_tell(&both, None), Some(a), "the strongest");
    assert_eq!(to_tell(&both, lagging("a")), Some(a));
    assert_eq!(to_tell(&both, lagging("b")), Some(b), "it stays");
    assert_eq!(to_tell(&both, lagging("c")), Some(a), "that one is none any more");
    assert_eq!(to_tell(&both, Some((CauseKind::InactiveSlot, Some("b")))), Some(a), "another kind");
    let outweighed = [standby("a", 1000), standby("b", 800)];
    assert_eq!(to_tell(&outweighed, lagging("b")), outweighed.first());
    assert_eq!(to_tell(&[UNKNOWN], lagging("b")), Some(&UNKNOWN));
    assert_eq!(to_tell(&both, Some((CauseKind::Unknown, None))), Some(a));
    assert_eq!(to_tell(&[], None), None);
}

/// Of each cause, what a machine reads.
#[test]
fn kinds_subjects_and_bytes() {
    let setting = Cause::WalSettingsTooBig {
        setting: WalSetting::MaxWalSize,
        value: Bytes::gib(6),
        held: Bytes::gib(3),
        volume: Bytes::gib(10),
    };
    assert_eq!(
        (setting.kind(), setting.subject(), setting.bytes(), setting.fills(Bytes::gib(10))),
        (CauseKind::WalSettingsTooBig, Some("max_wal_size"), Bytes::gib(3), false)
    );
    let load = Cause::DataGrowth {
        grown: Bytes::gib(2),
        over: SignedDuration::from_mins(9),
        as_wal: true,
    };
    assert_eq!((load.subject(), load.bytes(), load.weight()), (None, Bytes::gib(2), Bytes::ZERO));
    let shared = Cause::SharedFilesystem {
        filesystem: Bytes::gib(99),
        volume: Bytes::gib(1),
    };
    assert_eq!(shared.bytes(), Bytes::gib(99));
    let slot = Cause::InactiveSlot {
        slot: "cdc".into(),
        held: Bytes::gib(4),
        since: None,
    };
    assert_eq!((slot.subject(), slot.fills(Bytes::gib(900))), (Some("cdc"), true));
}
