//! Any order of answers, troubles and restarts: never two removals of one run, never one without a proof, a dry run and a
//! record of this incarnation; the record only ever says more; and it ends.

use proptest::prelude::*;

use super::dice::{Dice, numbers};
use super::*;

/// What has been done since the manager was started.
#[derive(Default)]
struct Incarnation {
    checkpointed: bool,
    listed: Option<Segment>,
    read_after_list: bool,
    recorded: bool,
}

/// How far a rung has come, in numbers that only rise.
const fn rank(result: RungResult) -> u8 {
    match result {
        RungResult::Begun => 0,
        RungResult::Done | RungResult::Refused | RungResult::Failed | RungResult::Unknown | RungResult::Skipped => 1,
    }
}

fn only_says_more(before: &WalCleanupStatus, after: &WalCleanupStatus) {
    for rung in &before.rungs {
        let later = after.rungs.iter().find(|r| r.rung == rung.rung).expect("a rung does not go");
        assert!(rank(later.result) >= rank(rung.result), "{rung:?} {later:?}");
        assert_eq!(later.started_at, rung.started_at);
        if rank(rung.result) == 1 {
            assert_eq!(later, rung, "what has ended stays");
        }
    }
    assert!(after.files_removed >= before.files_removed);
    assert!(after.outcome == before.outcome || before.outcome.is_none());
    assert!(before.holders.is_empty() || before.holders == after.holders);
}

struct History<'a> {
    dice: Dice<'a>,
    instance: Instance,
    now: Timestamp,
    run: Run,
    journal: Option<WalCleanupStatus>,
    since: Incarnation,
    removals: u32,
}

impl History<'_> {
    fn restart(&mut self) {
        self.run = Run::begin(order(), self.journal.clone());
        self.since = Incarnation::default();
    }

    fn meanwhile(&mut self) {
        self.now += SignedDuration::from_secs(i64::try_from(self.dice.below(40)).unwrap());
        match self.dice.below(24) {
            23 => self.instance.backup = !self.instance.backup,
            22 => self.instance.waits = Some(10 + self.dice.below(30)),
            21 => self.instance.slot = Some(15 + self.dice.below(25)),
            20 => self.instance.waits = None,
            19 => self.instance.slot = None,
            18 => self.instance.archived = 10 + self.dice.below(31),
            _ => {}
        }
    }

    /// Does what is asked, or not, or says that it did not.
    fn carry_out(&mut self, next: Next) -> Result<Answer, Trouble> {
        let kind = self.dice.rarely(8).then(|| self.dice.pick(&TroubleKind::ALL));
        let runs = kind.is_none_or(|kind| kind.may_have_run() && self.dice.rarely(2));
        let answer = match next {
            Next::Finished(_) => unreachable!(),
            Next::Read => Answer::Read(Box::new(self.instance.read())),
            Next::Record(status) => {
                let status = status.wal_cleanup.expect("what was found");
                if let Some(before) = &self.journal {
                    only_says_more(before, &status);
                }
                if runs {
                    self.journal = Some(status);
                }
                Answer::Recorded
            }
            Next::Checkpoint => {
                let begun = |s: &WalCleanupStatus| s.rungs.iter().any(|r| r.rung == Rung::Checkpoint);
                assert!(self.journal.as_ref().is_some_and(begun), "it is written down first");
                let mut there = self.instance.clone();
                let reading = there.checkpoint();
                if runs {
                    self.instance = there;
                }
                Answer::Read(Box::new(reading))
            }
            Next::DryRun { cutoff } => {
                assert!(self.since.checkpointed, "a proof is made on a checkpoint of this incarnation");
                Answer::Listed(self.instance.list(cutoff))
            }
            Next::Remove(removal) => {
                self.removals += 1;
                assert_eq!(self.removals, 1, "one run removes once");
                assert_eq!(self.since.listed, Some(removal.cutoff), "nothing is removed that was not listed");
                assert!(self.since.read_after_list && self.since.recorded);
                let journal = self.journal.as_ref().expect("it is written down first");
                let begun = journal.rungs.iter().find(|r| r.rung == Rung::Removal).expect("as begun");
                assert_eq!(begun.result, RungResult::Begun);
                assert_eq!(journal.proof.as_ref().unwrap().cutoff, removal.cutoff.to_string());
                if runs {
                    let cut = kind.is_some() && self.dice.rarely(2);
                    Answer::Removed(self.instance.remove(&removal, cut))
                } else {
                    Answer::Removed(Removed::Done)
                }
            }
        };
        match kind {
            Some(kind) => Err(trouble(kind)),
            None => Ok(answer),
        }
    }

    fn go(&mut self) -> WalCleanupOutcome {
        for _ in 0..400 {
            if self.dice.rarely(12) {
                self.restart();
            }
            self.meanwhile();
            let next = self.run.step(self.now);
            assert_eq!(next, self.run.step(self.now), "asking changes nothing");
            if let Next::Finished(outcome) = next {
                return outcome;
            }
            let came = self.carry_out(next.clone());
            if came.is_ok() {
                match next {
                    Next::Checkpoint => self.since.checkpointed = true,
                    Next::DryRun { cutoff } => self.since.listed = Some(cutoff),
                    Next::Read => self.since.read_after_list = self.since.listed.is_some(),
                    Next::Record(_) => self.since.recorded = self.since.read_after_list,
                    Next::Remove(_) | Next::Finished(_) => {}
                }
            }
            self.run.take(came, self.now);
        }
        panic!("it does not end: {:?}", self.run);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]
    #[test]
    fn in_any_order(numbers in numbers(300)) {
        let mut dice = Dice::new(&numbers);
        let mut instance = Instance::new();
        instance.keep = dice.below(30);
        instance.slot = dice.maybe(4, |dice| 10 + dice.below(30));
        let mut history = History {
            dice,
            instance,
            now: start(),
            run: Run::begin(order(), None),
            journal: None,
            since: Incarnation::default(),
            removals: 0,
        };
        history.go();
    }
}
