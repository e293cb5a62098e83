//! What a run does, and what its journal says of it.

use rstest::rstest;

use super::*;

/// Runs to the end, everything well; gives what was done, the journal as it was last written, and the instance.
fn run(order: Order, instance: &mut Instance) -> (Vec<&'static str>, StorageEventStatus) {
    follow(Run::begin(order, None), instance)
}

fn follow(mut run: Run, instance: &mut Instance) -> (Vec<&'static str>, StorageEventStatus) {
    let (mut done, mut journal) = (Vec::new(), StorageEventStatus::default());
    let now = start();
    loop {
        let (word, answer) = match run.step(now) {
            Next::Read => ("read", Answer::Read(Box::new(instance.read()))),
            Next::Record(status) => {
                journal = *status;
                ("record", Answer::Recorded)
            }
            Next::Checkpoint => ("checkpoint", Answer::Read(Box::new(instance.checkpoint()))),
            Next::DryRun { cutoff } => ("list", Answer::Listed(instance.list(cutoff))),
            Next::Remove(removal) => ("remove", Answer::Removed(instance.remove(&removal, false))),
            Next::Finished(outcome) => {
                assert_eq!(Some(outcome), run.status().outcome);
                return (done, journal);
            }
        };
        done.push(word);
        run.take(Ok(answer), now);
    }
}

fn cleanup(status: &StorageEventStatus) -> &WalCleanupStatus {
    status.wal_cleanup.as_ref().unwrap()
}

fn results(status: &StorageEventStatus) -> Vec<(Rung, RungResult)> {
    cleanup(status).rungs.iter().map(|r| (r.rung, r.result)).collect()
}

#[test]
fn all_rungs_are_climbed_and_written_down_before() {
    let mut instance = Instance::new();
    let (done, status) = run(order(), &mut instance);
    assert_eq!(
        done,
        ["read", "record", "checkpoint", "list", "read", "record", "remove", "read", "record"]
    );
    assert_eq!(
        results(&status),
        [Rung::Holders, Rung::Checkpoint, Rung::DryRun, Rung::Removal, Rung::Report].map(|rung| (rung, RungResult::Done))
    );
    let cleanup = cleanup(&status);
    assert_eq!(cleanup.outcome, Some(WalCleanupOutcome::Relieved));
    // The checkpoint freed 10 to 19, wal_keep_size kept 20 to 38 for nobody.
    assert_eq!(instance.files.first(), Some(&39));
    assert_eq!(cleanup.files_removed, Some(19));
    assert_eq!(cleanup.space_freed_bytes, Some(29 << 24));
    assert_eq!(cleanup.oldest_retained.as_deref(), Some("000000010000000000000027"));
    assert_eq!(cleanup.holders[0].holder, WalHolder::Checkpoint);
    let proof = cleanup.proof.as_ref().unwrap();
    assert_eq!((proof.cutoff.as_str(), proof.removable), ("000000010000000000000027", 19));
    let dry_run = cleanup.dry_run.as_ref().unwrap();
    assert_eq!(dry_run.first.as_deref(), Some("000000010000000000000014"));
    assert_eq!(dry_run.last.as_deref(), Some("000000010000000000000026"));
    assert_eq!(status.conditions[0].reason, "Relieved");
    assert_eq!(status.conditions[0].message, "WAL was freed; 464Mi freed, 19 segments removed");
    assert_eq!(status.completion_time.as_ref().map(|t| t.0), Some(start()));
}

#[test]
fn a_checkpoint_that_frees_enough_is_enough() {
    let mut instance = Instance::new();
    let goal = Some(Bytes::mib(160));
    let (done, status) = run(Order { goal, ..order() }, &mut instance);
    assert_eq!(done, ["read", "record", "checkpoint", "record"]);
    assert_eq!(cleanup(&status).outcome, Some(WalCleanupOutcome::Relieved));
    let mut instance = Instance::new();
    let goal = Some(Bytes::mib(161));
    let (done, _) = run(Order { goal, ..order() }, &mut instance);
    assert!(done.contains(&"remove"));
}

#[test]
fn a_dry_run_changes_nothing_and_lists_what_would_go() {
    let mut instance = Instance::new();
    instance.slot = Some(14);
    let before = instance.clone();
    let (done, status) = run(Order { dry_run: true, ..order() }, &mut instance);
    assert_eq!(done, ["read", "list", "read", "record"]);
    assert_eq!(instance.files, before.files);
    let cleanup = cleanup(&status);
    assert_eq!(cleanup.outcome, Some(WalCleanupOutcome::Listed));
    assert_eq!(cleanup.dry_run.as_ref().unwrap().count, 4);
    assert_eq!(cleanup.files_removed, None);
}

#[test]
fn who_holds_the_rest_is_named_with_the_lever() {
    let mut instance = Instance::new();
    instance.slot = Some(11);
    instance.keep = 0;
    let (_, status) = run(order(), &mut instance);
    let cleanup = cleanup(&status);
    assert_eq!(cleanup.still_held_by[0].holder, WalHolder::Slot);
    assert_eq!(
        cleanup.still_held_by[0].message,
        "replication slot \"reports\" needs WAL from 0/B001234 on"
    );
    let levers: Vec<WalLever> = cleanup.advice.iter().map(|a| a.lever).collect();
    assert_eq!(levers, [WalLever::DropSlot, WalLever::LimitSlots]);
    assert_eq!(
        cleanup.advice[0].command.as_deref(),
        Some("kubectl exec -n db orders-2 -c postgres -- psql -U postgres -c \"SELECT pg_drop_replication_slot('reports')\"")
    );
    assert_eq!(
        cleanup.advice[1].command.as_deref(),
        Some(
            "kubectl patch cluster.postgresql.cnpg.io orders -n db --type merge -p '{\"spec\":{\"postgresql\":{\"parameters\":{\"max_slot_wal_keep_size\":\"1024MB\"}}}}'"
        )
    );
}

/// The lever is the setting, where the setting is what holds.
#[test]
fn wal_that_is_kept_for_nobody_has_its_setting_named() {
    for dry_run in [true, false] {
        let mut instance = Instance {
            redo: 39,
            ..Instance::new()
        };
        let (done, status) = run(Order { dry_run, ..order() }, &mut instance);
        assert_eq!(done.contains(&"remove"), !dry_run);
        let advice = &cleanup(&status).advice;
        assert_eq!(advice[0].lever, WalLever::LowerWalKeepSize, "{advice:?}");
        assert!(
            advice[0].command.as_ref().unwrap().contains("\"wal_keep_size\":\"160MB\""),
            "{advice:?}"
        );
    }
}

#[rstest]
#[case::backup(|i: &mut Instance| i.backup = true, WalCleanupOutcome::NotProved, "base backup nightly is running")]
#[case::unarchived(|i: &mut Instance| i.archived = 20, WalCleanupOutcome::Relieved, "000000010000000000000014 is not marked as archived")]
fn what_forbids_a_removal_is_said(#[case] change: fn(&mut Instance), #[case] outcome: WalCleanupOutcome, #[case] why: &str) {
    let mut instance = Instance::new();
    change(&mut instance);
    let (done, status) = run(order(), &mut instance);
    assert!(!done.contains(&"remove") && !done.contains(&"list"));
    let cleanup = cleanup(&status);
    assert_eq!(cleanup.outcome, Some(outcome));
    let rung = cleanup.rungs.iter().find(|r| r.rung == Rung::DryRun).unwrap();
    assert!(rung.message.as_ref().unwrap().starts_with(why), "{rung:?}");
}

/// What happens between the dry run and the second reading.
#[rstest]
#[case::backup(|i: &mut Instance| i.backup = true, "base backup nightly is running")]
#[case::waits(|i: &mut Instance| i.waits = Some(25), "the dry run would remove 000000010000000000000019, which waits to be archived")]
#[case::slot(|i: &mut Instance| i.slot = Some(25), "replication slot \"reports\" needs WAL from")]
fn what_came_meanwhile_is_seen(#[case] change: fn(&mut Instance), #[case] why: &str) {
    let (mut run, mut instance, now) = (Run::begin(order(), None), Instance::new(), start());
    let mut listed = false;
    let outcome = loop {
        let answer = match run.step(now) {
            Next::Read => Answer::Read(Box::new(instance.read())),
            Next::Record(_) => Answer::Recorded,
            Next::Checkpoint => Answer::Read(Box::new(instance.checkpoint())),
            Next::DryRun { cutoff } => {
                let output = instance.list(cutoff);
                change(&mut instance);
                listed = true;
                Answer::Listed(output)
            }
            Next::Remove(removal) => panic!("{removal:?}"),
            Next::Finished(outcome) => break outcome,
        };
        run.take(Ok(answer), now);
    };
    assert!(listed);
    assert_eq!(outcome, WalCleanupOutcome::NotProved);
    let rung = run.status().rungs.iter().find(|r| r.rung == Rung::DryRun).unwrap();
    assert!(rung.message.as_ref().unwrap().starts_with(why), "{rung:?}");
}

/// A removal that was cut off: how far it got is told, and it is not made again.
#[rstest]
#[case::all(false, WalCleanupOutcome::Relieved, 19, "all that was listed is gone")]
#[case::half(true, WalCleanupOutcome::Abandoned, 9, "9 of the segments that were listed are gone")]
fn an_unknown_end_is_found_out(
    #[case] cut: bool,
    #[case] outcome: WalCleanupOutcome,
    #[case] removed: i32,
    #[case] said: &str,
    #[values(false, true)] restarted: bool,
) {
    let (mut run, mut instance, now) = (Run::begin(order(), None), Instance::new(), start());
    let mut journal = None;
    while run.status().outcome.is_none() {
        let came = match run.step(now) {
            Next::Read => Ok(Answer::Read(Box::new(instance.read()))),
            Next::Record(status) => {
                journal = status.wal_cleanup;
                Ok(Answer::Recorded)
            }
            Next::Checkpoint => Ok(Answer::Read(Box::new(instance.checkpoint()))),
            Next::DryRun { cutoff } => Ok(Answer::Listed(instance.list(cutoff))),
            Next::Remove(removal) => {
                instance.remove(&removal, cut);
                if restarted {
                    break;
                }
                Err(trouble(TroubleKind::Unanswered))
            }
            Next::Finished(_) => unreachable!("it is written down first"),
        };
        run.take(came, now);
    }
    let run = if restarted { Run::begin(order(), journal) } else { run };
    let (done, status) = follow(run, &mut instance);
    assert_eq!(done, if restarted { vec!["read", "record"] } else { vec!["record"] });
    let cleanup = cleanup(&status);
    assert_eq!((cleanup.outcome, cleanup.files_removed), (Some(outcome), Some(removed)));
    let rung = cleanup.rungs.iter().find(|r| r.rung == Rung::Removal).unwrap();
    assert!(rung.message.as_ref().unwrap().ends_with(said), "{rung:?}");
}

#[test]
fn a_gap_after_the_removal_is_told_as_one() {
    let (mut run, mut instance, now) = (Run::begin(order(), None), Instance::new(), start());
    let outcome = loop {
        let answer = match run.step(now) {
            Next::Read => Answer::Read(Box::new(instance.read())),
            Next::Record(_) => Answer::Recorded,
            Next::Checkpoint => Answer::Read(Box::new(instance.checkpoint())),
            Next::DryRun { cutoff } => Answer::Listed(instance.list(cutoff)),
            Next::Remove(removal) => {
                let said = instance.remove(&removal, false);
                instance.waits = Some(25);
                Answer::Removed(said)
            }
            Next::Finished(outcome) => break outcome,
        };
        run.take(Ok(answer), now);
    };
    assert_eq!(outcome, WalCleanupOutcome::ArchiveGap);
    let rung = run.status().rungs.iter().find(|r| r.rung == Rung::Removal).unwrap();
    assert!(
        rung.message
            .as_ref()
            .unwrap()
            .contains("000000010000000000000019 is below the cutoff and waits"),
        "{rung:?}"
    );
}

#[test]
fn a_run_that_takes_too_long_ends_without_a_removal() {
    let (mut run, instance) = (Run::begin(order(), None), Instance::new());
    run.take(Ok(Answer::Read(Box::new(instance.read()))), start());
    let late = start() + LIMIT + SignedDuration::from_secs(1);
    assert!(matches!(run.step(late), Next::Record(_)));
    run.take(Ok(Answer::Recorded), late);
    assert_eq!(run.step(late), Next::Finished(WalCleanupOutcome::Abandoned));
}

#[test]
fn a_journal_that_somebody_else_has_written_ends_it_at_once() {
    let (mut run, instance) = (Run::begin(order(), None), Instance::new());
    run.take(Ok(Answer::Read(Box::new(instance.read()))), start());
    assert!(matches!(run.step(start()), Next::Record(_)));
    run.take(Err(trouble(TroubleKind::Overtaken)), start());
    assert_eq!(run.step(start()), Next::Finished(WalCleanupOutcome::Abandoned));
}
