//! What holds WAL back: it is seen, said, and holds growth that would hide it; and no database stops for it.

use std::time::Duration;

use super::{a07, a08, a09, a15, a16, between, c06, causes};
use crate::runner::{Case, Suite};

/// The tests, in the order in which they run.
pub fn all() -> Vec<Case> {
    let minutes = Duration::from_mins;
    vec![
        Case::of(
            Suite::Wal,
            "A09",
            "more WAL files wait for a bucket that refuses them than may: held, and said; let in, it grows by itself",
            minutes(14),
            |stage| Box::pin(a09::too_many_wait(stage)),
        ),
        Case::of(
            Suite::Wal,
            "causes",
            "why a volume fills is said right: bucket gone, credentials wrong, slot abandoned, standby still, wal_keep_size, a load, a large sort",
            minutes(40),
            |stage| Box::pin(causes::why_it_fills(stage)),
        ),
        Case::of(
            Suite::Wal,
            "between",
            "a WAL volume that fills in two minutes, with default periods of kubelet and manager: grown in time with the instance's own figures; measured without them",
            minutes(25),
            |stage| Box::pin(between::fills_in_two_minutes(stage)),
        ),
        Case {
            left_out: "the alert's delivery",
            ..Case::of(
                Suite::Wal,
                "A07",
                "archiving fails at an endpoint that nobody serves, then with 403, 404 and 500: held, and said; repaired, it grows by itself, and the bucket has all",
                minutes(20),
                |stage| Box::pin(a07::archive_failing(stage)),
            )
        },
        Case::of(
            Suite::Wal,
            "A16",
            "a WAL volume's growth is a warning where alertOnResize says so, and none where it does not",
            minutes(10),
            |stage| Box::pin(a16::a_growth_that_warns(stage)),
        ),
        Case::of(
            Suite::Wal,
            "A15",
            "the primary cannot be asked: growth goes on, with a warning; it can again: its WAL is known again",
            minutes(18),
            |stage| Box::pin(a15::unknown_health(stage)),
        ),
        Case::of(
            Suite::Wal,
            "A08",
            "an abandoned slot holds back more than it may: held, and named; dropped, it grows by itself; REPEATS=20 times in a row, 3 without",
            minutes(55),
            |stage| Box::pin(a08::abandoned_slots(stage)),
        ),
        Case {
            left_out: "the alerts' delivery",
            ..Case::of(
                Suite::Wal,
                "C06",
                "the archive is gone, and WAL fills the volume up to maxSize: said at each step, and relief removes nothing; it is back: all of it drains; no outage",
                minutes(25),
                |stage| Box::pin(c06::archive_gone(stage)),
            )
        },
    ]
}
