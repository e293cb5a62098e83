//! Relief of WAL: what is kept back is freed, and what anybody needs stays.

use std::time::Duration;

use super::{doctor, w01, w02, w03, w04, w05};
use crate::runner::{Case, Suite};

/// The tests, in the order in which they run.
pub fn all() -> Vec<Case> {
    let minutes = Duration::from_mins;
    vec![
        Case::of(
            Suite::Relief,
            "doctor",
            "doctor finds nothing wrong with a sound cluster, and each of seventeen faults while it is there",
            minutes(40),
            |stage| Box::pin(doctor::finds_what_is_wrong(stage)),
        ),
        Case::of(
            Suite::Relief,
            "W03",
            "a dry run lists and changes nothing; a Backup that runs, a standby that is away, a file that is no segment: nothing goes, and it is said why",
            minutes(20),
            |stage| Box::pin(w03::dry_runs_and_doubts(stage)),
        ),
        Case::of(
            Suite::Relief,
            "W02",
            "what a slot, a standby or a base backup needs, or what is not archived, stays: each alone, and all together",
            minutes(30),
            |stage| Box::pin(w02::needed(stage)),
        ),
        Case::of(
            Suite::Relief,
            "W04",
            "after a relief of primary and standby: standbys follow, a new one is cloned, the archive brings back a later moment, no gap in what is left",
            minutes(25),
            |stage| Box::pin(w04::all_works_after(stage)),
        ),
        Case::of(
            Suite::Relief,
            "W05",
            "the manager, the connection or PostgreSQL ends in the middle of a relief: nothing is lost, the record says how far it got, the next goes by what is there",
            minutes(30),
            |stage| Box::pin(w05::interrupted(stage)),
        ),
        Case {
            left_out: "the alerts' delivery",
            ..Case::of(
                Suite::Relief,
                "W01",
                "a volume at its limit, full of WAL: who holds it is named; a checkpoint frees what a dropped slot held, a removal what wal_keep_size keeps",
                minutes(35),
                |stage| Box::pin(w01::kept_back(stage)),
            )
        },
    ]
}
