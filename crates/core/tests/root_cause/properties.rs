//! Whatever is known: there is an answer, always the same, and each cause rests on what shows it.

use csm_core::between::Content;
use csm_core::explain::{Place, root_cause};
use csm_core::root_cause::{ArchivingFacts, Cause, Facts, Given, SlotFacts, StandbyFacts, WalSettings, causes, significant};
use csm_core::wal_tracking::Flow;
use csm_core::world::VolumeKey;
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

#[allow(dead_code)] // other tests need more of it
#[path = "../planner/dice.rs"]
mod dice;

use dice::Dice;

fn moment(dice: &mut Dice) -> Timestamp {
    let seconds = i64::from(dice.roll()) % 7200;
    super::at("11:00:00") + SignedDuration::from_secs(seconds)
}

/// Often about what counts of a volume of 10 GiB.
fn size(dice: &mut Dice) -> Bytes {
    let mebibytes = dice.pick(&[0, 63, 64, 65, 511, 512, 513, 5119, 5120, 9000, 20_000, (i64::MAX as u64) >> 20]);
    Bytes::mib(mebibytes)
}

fn flow(dice: &mut Dice) -> Option<Flow> {
    let change = size(dice).wide() * dice.pick(&[1, -1]);
    Flow::new(change, SignedDuration::from_secs(dice.pick(&[600, 10, 61, 0, -5])))
}

fn several<T>(dice: &mut Dice, make: impl Fn(&mut Dice) -> T) -> Option<Vec<T>> {
    dice.mostly(4, |d| (0..d.below(4)).map(|_| make(d)).collect())
}

fn facts(dice: &mut Dice) -> Facts {
    let given = Given {
        now: moment(dice),
        content: dice.pick(&[Content::Wal, Content::Databases, Content::Both]),
        volume: dice.pick(&[Bytes::gib(10), Bytes::gib(1), Bytes::ZERO, Bytes::MAX]),
        shared: dice.maybe(16, |_| Bytes::gib(100)),
        archives: dice.mostly(4, |d| !d.rarely(4)),
        slots: several(dice, |d| SlotFacts {
            name: d.pick(&["a", "b", ""]).into(),
            active: d.rarely(2),
            retained: size(d),
            since: d.maybe(2, moment),
        }),
        standbys: several(dice, |d| StandbyFacts {
            name: d.pick(&["orders-2", "orders-3"]).into(),
            behind: size(d),
        }),
        settings: dice.mostly(4, |d| WalSettings {
            keep: size(d),
            max: size(d),
            min: size(d),
        }),
        base_backups: several(dice, moment),
    };
    Facts {
        given,
        archiving: dice.mostly(4, |d| ArchivingFacts {
            waiting: d.pick(&[0, 1, 3, 4, 31, 32, 1000, u64::MAX]),
            segment_size: d.pick(&[Bytes::mib(16), Bytes::mib(64), Bytes::ZERO]),
            last_archived: d.maybe(2, moment),
            last_failed: d.maybe(2, moment),
        }),
        wal: dice.mostly(4, size),
        generation: flow(dice),
        archived: flow(dice),
        wal_growth: flow(dice),
        databases: flow(dice),
        temporary: flow(dice),
        used: flow(dice),
    }
}

/// What shows a cause is among the facts, and is of weight.
fn is_shown(cause: &Cause, facts: &Facts) -> bool {
    let Facts { given, archiving, .. } = facts;
    let counts = |held: Bytes| held >= significant(given.volume);
    let wal = given.content != Content::Databases;
    let databases = given.content != Content::Wal;
    match cause {
        Cause::ArchiverFailing { waiting, last_failed, .. } => {
            let shown =
                |a: &ArchivingFacts| a.waiting == *waiting && a.last_failed == Some(*last_failed) && a.last_archived < a.last_failed;
            wal && *waiting > 0 && given.archives != Some(false) && archiving.as_ref().is_some_and(shown)
        }
        Cause::ArchiverSlow {
            waiting,
            held,
            written,
            archived,
        } => wal && written > archived && counts(*held) && archiving.is_some_and(|a| a.waiting == *waiting),
        Cause::InactiveSlot { slot, held, since } => {
            let shown = |s: &SlotFacts| s.name == *slot && s.retained == *held && !s.active && s.since == *since;
            wal && counts(*held) && given.slots.iter().flatten().any(shown)
        }
        Cause::LaggingStandby { standby, held } => {
            let by_slot = given
                .slots
                .iter()
                .flatten()
                .any(|s| s.name == *standby && s.active && s.retained == *held);
            let itself = given.standbys.iter().flatten().any(|s| s.name == *standby && s.behind == *held);
            wal && counts(*held) && (by_slot || itself)
        }
        Cause::WalSettingsTooBig { value, held, .. } => {
            let set = |s: WalSettings| [s.keep, s.max, s.min].contains(value);
            wal && counts(*held) && held <= value && facts.wal.is_some_and(|wal| *held <= wal) && given.settings.is_some_and(set)
        }
        Cause::BaseBackupRunning { since, held } => wal && counts(*held) && given.base_backups.iter().flatten().any(|at| at == since),
        Cause::DataGrowth { grown, as_wal: true, .. } => {
            wal && !databases && facts.generation.is_some_and(|flow| flow.change() == grown.wide())
        }
        Cause::DataGrowth { grown, .. } => databases && facts.databases.is_some_and(|flow| flow.change() == grown.wide()),
        Cause::TempFiles { grown, counted: true, .. } => databases && facts.temporary.is_some_and(|flow| flow.change() == grown.wide()),
        Cause::TempFiles { grown, .. } => databases && facts.used.is_some_and(|flow| flow.change() >= grown.wide()),
        Cause::SharedFilesystem { filesystem, .. } => given.shared == Some(*filesystem),
        Cause::Unknown { .. } => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50_000, ..ProptestConfig::default() })]

    #[test]
    fn every_cause_is_shown(numbers in dice::numbers(150)) {
        let facts = facts(&mut Dice::new(&numbers));
        let found = causes(&facts);
        prop_assert_eq!(&causes(&facts), &found);
        prop_assert!(!found.is_empty());
        prop_assert!(found.is_sorted_by(|a, b| a.weight() >= b.weight()), "{:?}", found);
        let unknown = found.iter().any(|cause| matches!(cause, Cause::Unknown { .. }));
        prop_assert!(!unknown || found.len() == 1, "{:?}", found);
        let place = Place { instance: "orders-1", volume: &VolumeKey::DATA };
        for cause in &found {
            prop_assert!(is_shown(cause, &facts), "{cause:?} {facts:#?}");
            prop_assert!(root_cause(cause, place).contains("orders-1"));
        }
    }
}
