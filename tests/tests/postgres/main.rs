//! WAL relief against a real PostgreSQL: what is read, what is proved, what goes, and what the server says to it.
#![allow(clippy::unwrap_used)] // tests

mod climb;
mod held;
mod interrupted;
mod reading;
mod server;

use std::collections::BTreeSet;
use std::sync::Arc;

use csm_api::{Rung, RungResult, StorageEventStatus, WalCleanupOutcome, WalCleanupStatus, WalHolder};
use csm_core::relief::{Answer, Next, Order, Run, Trouble, TroubleKind};
use csm_core::wal::{Feed, Rules};
use csm_gather::relief::{Archived, Around, Instance, Reading, commands, removed};
use jiff::Timestamp;

use server::{Ran, Server};

fn order() -> Order {
    Order {
        namespace: Arc::from("db"),
        cluster: Arc::from("orders"),
        instance: Arc::from("orders-1"),
        rules: Rules {
            retain_count: 2,
            require_archived: true,
        },
        goal: None,
        dry_run: false,
        started: Timestamp::now(),
    }
}

/// A Cluster of one instance, which archives.
fn alone() -> Around {
    Around {
        instances: Vec::new(),
        archived: Some(Archived::Here),
        backups: Vec::new(),
        feed: Feed::Nothing,
    }
}

/// A Cluster with another instance, which has no slot.
fn beside(name: &str) -> Around {
    Around {
        instances: vec![Instance {
            name: Arc::from(name),
            slot: None,
            flushed: None,
        }],
        ..alone()
    }
}

/// Carries out what a run asks for.
struct Climb<'a> {
    server: &'a Server,
    around: Around,
    run: Run,
    journal: Option<StorageEventStatus>,
    done: Vec<&'static str>,
}

impl<'a> Climb<'a> {
    fn new(server: &'a Server, around: Around, order: Order) -> Self {
        Self {
            server,
            around,
            run: Run::begin(order, None),
            journal: None,
            done: Vec::new(),
        }
    }

    fn read(&self, arguments: &[String]) -> Result<Answer, Trouble> {
        let Ran { ok, stdout, stderr } = self.server.exec(arguments);
        let failed = |message| Trouble {
            kind: TroubleKind::Failed,
            message,
        };
        if !ok {
            return Err(failed(stderr));
        }
        let reading = Reading::parse(&stdout).map_err(|error| failed(error.to_string()))?;
        Ok(Answer::Read(Box::new(reading.evidence(&self.around))))
    }

    /// What is asked for is done.
    fn carry_out(&mut self, next: Next) -> Result<Answer, Trouble> {
        let place = self.server.place();
        match next {
            Next::Read => self.read(&commands::read()),
            Next::Checkpoint => self.read(&commands::checkpoint()),
            Next::Record(status) => {
                self.journal = Some(*status);
                Ok(Answer::Recorded)
            }
            Next::DryRun { cutoff } => {
                let ran = self.server.exec(&commands::dry_run(&place, cutoff));
                assert!(ran.ok, "{}", ran.stderr);
                Ok(Answer::Listed(ran.stdout))
            }
            Next::Remove(removal) => {
                let ran = self.server.exec(&commands::remove(&place, &removal));
                Ok(Answer::Removed(removed(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"))))
            }
            Next::Finished(_) => unreachable!("nothing is left to do"),
        }
    }

    /// Up to what `until` names; true where it has come to it, and not done it.
    fn climb_to(&mut self, until: &str) -> bool {
        loop {
            let next = self.run.step(Timestamp::now());
            let word = match next {
                Next::Read => "read",
                Next::Record(_) => "record",
                Next::Checkpoint => "checkpoint",
                Next::DryRun { .. } => "list",
                Next::Remove(_) => "remove",
                Next::Finished(_) => return false,
            };
            if word == until {
                return true;
            }
            self.done.push(word);
            let came = self.carry_out(next);
            self.run.take(came, Timestamp::now());
        }
    }

    fn climb(mut self) -> WalCleanupStatus {
        self.climb_to("");
        self.journal.unwrap().wal_cleanup.unwrap()
    }
}

fn rung(status: &WalCleanupStatus, rung: Rung) -> (RungResult, &str) {
    let found = status.rungs.iter().find(|r| r.rung == rung);
    let found = found.unwrap_or_else(|| panic!("{rung}: {status:?}"));
    (found.result, found.message.as_deref().unwrap_or_default())
}

/// What went, by name.
fn gone(before: &BTreeSet<String>, server: &Server) -> Vec<String> {
    before.difference(&server.segments()).cloned().collect()
}
