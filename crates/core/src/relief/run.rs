//! The run: rung by rung.

use csm_api::{Rung, RungResult, StorageEventStatus, WalCleanupOutcome, WalCleanupStatus};
use csm_units::Bytes;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::advice::advice;
use super::journal::{self, begin, end, measure};
use super::verdict::{Recorded, as_if_checkpointed, still_stands};
use super::{Answer, LIMIT, Next, Order, Reading, Removal, Removed, TRIES, Trouble, TroubleKind};
use crate::wal::{Archiving, Proof, Refusal, prove};

/// A relief under way. See the module.
#[derive(Clone, Debug)]
pub struct Run {
    order: Order,
    status: WalCleanupStatus,
    stage: Stage,
    /// What was read last.
    latest: Option<Reading>,
    /// Writes of the journal that failed in a row.
    failed_writes: u8,
}

/// What is waited for.
#[derive(Clone, Debug)]
enum Stage {
    /// What is there before anything is changed.
    Look,
    /// That the checkpoint is written down as begun.
    NoteCheckpoint,
    Checkpoint,
    DryRun(Box<Proved>),
    /// What is there once more, beside what the dry run listed.
    Recheck(Box<Proved>, String),
    /// That the removal is written down as begun.
    NoteRemoval(Removal),
    Remove(Removal),
    /// What is there after a removal.
    After(Sent),
    /// That the end is written down.
    NoteEnd(WalCleanupOutcome),
    Over(WalCleanupOutcome),
}

/// A proof, and what it rests on. It is made in this incarnation: a journal has none.
#[derive(Clone, Debug)]
struct Proved {
    reading: Reading,
    proof: Proof,
}

/// What is known of a removal that was sent.
#[derive(Clone, Debug)]
enum Sent {
    Said(Removed),
    /// Nothing: why.
    Unknown(String),
}

impl Run {
    /// A new run, or one that is taken up from its journal.
    #[must_use]
    pub fn begin(order: Order, journal: Option<WalCleanupStatus>) -> Self {
        let status = journal.unwrap_or_default();
        let stage = match status.outcome {
            Some(outcome) => Stage::Over(outcome),
            None if journal::was_begun(&status, Rung::Removal) => Stage::After(Sent::Unknown("the manager was restarted".to_owned())),
            None => Stage::Look,
        };
        Self {
            order,
            status,
            stage,
            latest: None,
            failed_writes: 0,
        }
    }

    /// What is found and done so far.
    #[must_use]
    pub const fn status(&self) -> &WalCleanupStatus {
        &self.status
    }

    /// What is to be done next. The same until [`Run::take`] is told what came of it. Where that was trouble and the same is asked for
    /// again, wait a little before it is done.
    pub fn step(&mut self, now: Timestamp) -> Next {
        if now.duration_since(self.order.started) > LIMIT {
            let rung = match self.stage {
                Stage::Look => Some(Rung::Holders),
                Stage::NoteCheckpoint | Stage::Checkpoint => Some(Rung::Checkpoint),
                Stage::DryRun(_) | Stage::Recheck(..) => Some(Rung::DryRun),
                Stage::NoteRemoval(_) => Some(Rung::Removal),
                // A removal has been proved just now, and what it left is looked at once at least.
                Stage::Remove(_) | Stage::After(_) | Stage::NoteEnd(_) | Stage::Over(_) => None,
            };
            if let Some(rung) = rung {
                let message = format!(
                    "the relief was begun more than {} min ago; the next one begins anew",
                    LIMIT.as_mins()
                );
                end(&mut self.status, rung, RungResult::Skipped, Some(&message), now);
                self.finish(WalCleanupOutcome::Abandoned, now);
            }
        }
        match &self.stage {
            Stage::Look | Stage::Recheck(..) | Stage::After(_) => Next::Read,
            Stage::NoteCheckpoint | Stage::NoteRemoval(_) | Stage::NoteEnd(_) => Next::Record(Box::new(self.record(now))),
            Stage::Checkpoint => Next::Checkpoint,
            Stage::DryRun(proved) => Next::DryRun {
                cutoff: proved.proof.cutoff(),
            },
            Stage::Remove(removal) => Next::Remove(*removal),
            Stage::Over(outcome) => Next::Finished(*outcome),
        }
    }

    /// What came of it.
    pub fn take(&mut self, came: Result<Answer, Trouble>, now: Timestamp) {
        let stage = std::mem::replace(&mut self.stage, Stage::Look);
        match (stage, came) {
            (Stage::Over(outcome), _) => self.stage = Stage::Over(outcome),
            (stage, Err(trouble)) => self.trouble(stage, &trouble, now),
            (Stage::Look, Ok(Answer::Read(reading))) => self.looked(*reading, now),
            (Stage::NoteCheckpoint, Ok(Answer::Recorded)) => self.written(Stage::Checkpoint),
            (Stage::Checkpoint, Ok(Answer::Read(reading))) => self.checkpointed(*reading, now),
            (Stage::DryRun(proved), Ok(Answer::Listed(output))) => self.stage = Stage::Recheck(proved, output),
            (Stage::Recheck(proved, output), Ok(Answer::Read(reading))) => self.rechecked(&proved, &output, *reading, now),
            (Stage::NoteRemoval(removal), Ok(Answer::Recorded)) => self.written(Stage::Remove(removal)),
            (Stage::Remove(_), Ok(Answer::Removed(said))) => self.stage = Stage::After(Sent::Said(said)),
            (Stage::After(sent), Ok(Answer::Read(reading))) => self.compare(&sent, *reading, now),
            (Stage::NoteEnd(outcome), Ok(Answer::Recorded)) => self.written(Stage::Over(outcome)),
            (stage, Ok(_)) => {
                let message = "this is a bug of ours, please report it: an answer to something that was not asked".to_owned();
                let kind = TroubleKind::Unreadable;
                self.trouble(stage, &Trouble { kind, message }, now);
            }
        }
    }

    fn written(&mut self, stage: Stage) {
        self.failed_writes = 0;
        self.stage = stage;
    }

    fn looked(&mut self, reading: Reading, now: Timestamp) {
        let found = as_if_checkpointed(&reading.evidence, self.order.rules);
        let said = match &found {
            Ok(proof) => proof.decided_by().holder.to_string(),
            Err(refusal) => refusal.to_string(),
        };
        // After a restart: who held it before anything was changed stays.
        if let (Ok(proof), true) = (&found, self.status.holders.is_empty()) {
            self.status.holders = journal::bounds(proof.kept_by());
        }
        end(&mut self.status, Rung::Holders, RungResult::Done, Some(&said), now);
        let taken = reading.evidence.directory.as_ref().map(journal::taken);
        if self.order.dry_run {
            let message = "a dry run changes nothing; the list is as after a checkpoint";
            end(&mut self.status, Rung::Checkpoint, RungResult::Skipped, Some(message), now);
            self.consider(found, reading, now);
        } else {
            begin(&mut self.status, Rung::Checkpoint, now);
            measure(&mut self.status, Rung::Checkpoint, taken, None);
            self.latest = Some(reading);
            self.stage = Stage::NoteCheckpoint;
        }
    }

    fn checkpointed(&mut self, reading: Reading, now: Timestamp) {
        let of = |reading: &Reading| reading.evidence.directory.as_ref().map(journal::taken);
        let (before, after) = (self.latest.as_ref().and_then(of), of(&reading));
        measure(&mut self.status, Rung::Checkpoint, before, after);
        end(&mut self.status, Rung::Checkpoint, RungResult::Done, None, now);
        let freed = before
            .zip(after)
            .map_or(Bytes::new(0), |(before, after)| before.saturating_sub(after));
        self.freed(freed);
        if self.order.goal.is_some_and(|goal| freed >= goal) {
            let message = "the checkpoint has freed what was wanted";
            end(&mut self.status, Rung::DryRun, RungResult::Skipped, Some(message), now);
            self.latest = Some(reading);
            self.finish(WalCleanupOutcome::Relieved, now);
        } else {
            let found = prove(&reading.evidence, self.order.rules);
            self.consider(found, reading, now);
        }
    }

    fn consider(&mut self, found: Result<Proof, Refusal>, reading: Reading, now: Timestamp) {
        self.latest = Some(reading.clone());
        match found {
            Ok(proof) => {
                self.status.proof = Some(journal::proof(&proof, now));
                begin(&mut self.status, Rung::DryRun, now);
                if proof.removable().is_empty() {
                    let needed = proof.decided_by().holder.to_string();
                    end(&mut self.status, Rung::DryRun, RungResult::Skipped, Some(&needed), now);
                    self.finish(self.relieved(), now);
                } else {
                    self.stage = Stage::DryRun(Box::new(Proved { reading, proof }));
                }
            }
            Err(refusal) => {
                let message = format!("{refusal}; {}", refusal.remedy());
                self.not_proved(&message, now);
            }
        }
    }

    fn not_proved(&mut self, message: &str, now: Timestamp) {
        end(&mut self.status, Rung::DryRun, RungResult::Refused, Some(message), now);
        self.finish(WalCleanupOutcome::NotProved, now);
    }

    fn rechecked(&mut self, proved: &Proved, output: &str, reading: Reading, now: Timestamp) {
        let Some((directory, archiving)) = reading.evidence.directory.as_ref().zip(reading.evidence.archiving) else {
            return self.not_proved("what lies in pg_wal, or who archives it, is not known any more", now);
        };
        let listed = match proved.proof.agrees(output, directory) {
            Ok(listed) => listed,
            Err(wrong) => return self.not_proved(&wrong.to_string(), now),
        };
        self.latest = Some(reading.clone());
        if !self.order.dry_run
            && let Err(fallen) = still_stands(&proved.proof, &proved.reading, &reading, self.order.rules)
        {
            return self.not_proved(&fallen.to_string(), now);
        }
        self.status.dry_run = Some(journal::files(&listed));
        end(&mut self.status, Rung::DryRun, RungResult::Done, None, now);
        match listed.iter().min().copied() {
            None => self.finish(self.relieved(), now),
            Some(_) if self.order.dry_run => self.finish(WalCleanupOutcome::Listed, now),
            Some(first) => {
                begin(&mut self.status, Rung::Removal, now);
                measure(&mut self.status, Rung::Removal, Some(journal::taken(directory)), None);
                self.stage = Stage::NoteRemoval(Removal {
                    cutoff: proved.proof.cutoff(),
                    first,
                    count: listed.len(),
                    archived: archiving != Archiving::Off,
                });
            }
        }
    }

    /// Compares what is there with what was listed: the only word that counts of what a removal removed.
    fn compare(&mut self, sent: &Sent, reading: Reading, now: Timestamp) {
        let Some(directory) = reading.evidence.directory.as_ref() else {
            let message = "what lies in pg_wal is not known".to_owned();
            let kind = TroubleKind::Unreadable;
            return self.trouble(Stage::After(sent.clone()), &Trouble { kind, message }, now);
        };
        let Some(recorded) = Recorded::of(&self.status, directory) else {
            let message = "what was to be removed cannot be read from the journal";
            end(&mut self.status, Rung::Removal, RungResult::Unknown, Some(message), now);
            self.latest = Some(reading);
            return self.finish(WalCleanupOutcome::Abandoned, now);
        };
        let gone = recorded.gone(directory);
        measure(&mut self.status, Rung::Removal, None, Some(journal::taken(directory)));
        self.status.files_removed = Some(journal::count(gone));
        self.freed(journal::size_of(gone, directory.segment_size()));
        let gap = recorded.gap(&reading).filter(|_| gone > 0);
        let (result, message, outcome) = match sent {
            Sent::Said(Removed::Held(why)) => (RungResult::Refused, Some(why.clone()), WalCleanupOutcome::NotProved),
            Sent::Said(Removed::Failed(why)) => (RungResult::Failed, Some(why.clone()), WalCleanupOutcome::CommandFailed),
            Sent::Said(Removed::Done) => (RungResult::Done, None, self.relieved()),
            Sent::Unknown(why) if recorded.is_whole(gone) => {
                let message = format!("{why}; all that was listed is gone");
                (RungResult::Done, Some(message), WalCleanupOutcome::Relieved)
            }
            Sent::Unknown(why) => {
                let message = format!("{why}; {gone} of the segments that were listed are gone");
                (RungResult::Unknown, Some(message), WalCleanupOutcome::Abandoned)
            }
        };
        let gap = gap.map(|gap| format!("after the removal: {gap}; make a base backup, since the archive may have a gap"));
        let outcome = if gap.is_some() { WalCleanupOutcome::ArchiveGap } else { outcome };
        end(&mut self.status, Rung::Removal, result, gap.or(message).as_deref(), now);
        self.latest = Some(reading);
        self.finish(outcome, now);
    }

    fn trouble(&mut self, stage: Stage, trouble: &Trouble, now: Timestamp) {
        let outcome = match trouble.kind {
            TroubleKind::Gone | TroubleKind::Unsent | TroubleKind::Unanswered | TroubleKind::Overtaken => WalCleanupOutcome::Abandoned,
            TroubleKind::Denied | TroubleKind::Failed | TroubleKind::Unreadable => WalCleanupOutcome::CommandFailed,
        };
        let lost = matches!(trouble.kind, TroubleKind::Unanswered | TroubleKind::Unreadable);
        let result = if lost { RungResult::Unknown } else { RungResult::Failed };
        let rung = match stage {
            Stage::NoteCheckpoint | Stage::NoteRemoval(_) | Stage::NoteEnd(_) => return self.not_written(stage, trouble, outcome, now),
            Stage::After(_) if now.duration_since(self.order.started) <= LIMIT => {
                self.stage = stage;
                return;
            }
            Stage::Remove(_) if trouble.kind.may_have_run() => {
                self.stage = Stage::After(Sent::Unknown(trouble.message.clone()));
                return;
            }
            Stage::After(_) => {
                let message = format!("what it removed is not known: {}", trouble.message);
                end(&mut self.status, Rung::Removal, RungResult::Unknown, Some(&message), now);
                return self.finish(WalCleanupOutcome::Abandoned, now);
            }
            Stage::Look | Stage::Over(_) => Rung::Holders,
            Stage::Checkpoint => Rung::Checkpoint,
            Stage::DryRun(_) | Stage::Recheck(..) => Rung::DryRun,
            Stage::Remove(_) => Rung::Removal,
        };
        end(&mut self.status, rung, result, Some(&trouble.message), now);
        self.finish(outcome, now);
    }

    /// The journal could not be written: what was to be written down first is not done.
    fn not_written(&mut self, stage: Stage, trouble: &Trouble, outcome: WalCleanupOutcome, now: Timestamp) {
        self.failed_writes = self.failed_writes.saturating_add(1);
        let ended = match stage {
            Stage::NoteEnd(outcome) => Some(outcome),
            _ => None,
        };
        if trouble.kind == TroubleKind::Overtaken {
            self.stage = Stage::Over(ended.unwrap_or(outcome));
        } else if self.failed_writes < TRIES {
            self.stage = stage;
        } else if let Some(outcome) = ended {
            self.stage = Stage::Over(outcome);
        } else {
            let rung = match stage {
                Stage::NoteRemoval(_) => Rung::Removal,
                _ => Rung::Checkpoint,
            };
            let message = format!("not begun, since the journal could not be written: {}", trouble.message);
            end(&mut self.status, rung, RungResult::Skipped, Some(&message), now);
            self.failed_writes = 0;
            self.finish(outcome, now);
        }
    }

    /// How a run ends that nothing went wrong in.
    fn relieved(&self) -> WalCleanupOutcome {
        if self.status.space_freed_bytes.unwrap_or(0) > 0 {
            WalCleanupOutcome::Relieved
        } else {
            WalCleanupOutcome::NothingToFree
        }
    }

    fn freed(&mut self, more: Bytes) {
        let before = self.status.space_freed_bytes.unwrap_or(0);
        self.status.space_freed_bytes = Some(before.saturating_add(journal::bytes(more)));
    }

    /// The report, and the end.
    fn finish(&mut self, outcome: WalCleanupOutcome, now: Timestamp) {
        if let Some(reading) = self.latest.take() {
            let found = as_if_checkpointed(&reading.evidence, self.order.rules);
            self.status.still_held_by = found.as_ref().map_or_else(|_| Vec::new(), |proof| journal::bounds(proof.kept_by()));
            let removed = self
                .status
                .dry_run
                .as_ref()
                .filter(|_| self.status.files_removed.is_some_and(|n| n > 0));
            self.status.advice = advice(&self.order, &reading, &found, removed);
            let oldest = reading.evidence.directory.as_ref().and_then(|d| d.segments().next());
            self.status.oldest_retained = oldest.map(|segment| segment.to_string());
            end(&mut self.status, Rung::Report, RungResult::Done, None, now);
        }
        self.status.outcome = Some(outcome);
        self.stage = Stage::NoteEnd(outcome);
    }

    fn record(&self, now: Timestamp) -> StorageEventStatus {
        StorageEventStatus::of_relief(self.status.clone(), self.sentence(), Time(self.order.started), Time(now))
    }

    /// How it ended, for the condition.
    fn sentence(&self) -> String {
        let Some(outcome) = self.status.outcome else {
            return String::new();
        };
        let freed = self
            .status
            .space_freed_bytes
            .and_then(|bytes| u64::try_from(bytes).ok())
            .filter(|b| *b > 0);
        // Who holds WAL stands in the report; that it could not be found out is the end of it.
        let is_name = |rung: &&csm_api::RungStatus| rung.rung == Rung::Holders && rung.result == RungResult::Done;
        let mut messages = self.status.rungs.iter().rev().filter(|rung| !is_name(rung));
        let why = messages.find_map(|r| r.message.as_ref());
        let parts = [
            Some(outcome.meaning().trim_end_matches('.').to_owned()),
            freed.map(|freed| format!("; {} freed", Bytes::new(freed))),
            self.status.files_removed.map(|removed| match removed {
                1 => ", 1 segment removed".to_owned(),
                removed => format!(", {removed} segments removed"),
            }),
            why.map(|why| format!(": {why}")),
        ];
        let sentence: String = parts.into_iter().flatten().collect();
        journal::text(&sentence)
    }
}
