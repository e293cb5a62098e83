//! What is full already, and comes back.

use std::time::Duration;

use super::d01::{self, Full, Setup};
use super::{c18, d04, d05};
use crate::runner::{Body, Case, Suite};
use crate::volume::Volume;

const fn case(id: &'static str, title: &'static str, limit: Duration, body: Body) -> Case {
    Case::of(Suite::Rescue, id, title, limit, body)
}

/// One instance with data and WAL on one volume; the manager is there.
const ONE: Setup = Setup {
    instances: 1,
    volume: Volume::Data,
    full: Full::Primary,
    alone: false,
    in_time: false,
};

/// Three instances with a WAL volume each.
const THREE: Setup = Setup {
    instances: 3,
    volume: Volume::Wal,
    ..ONE
};

/// All of them, in the order in which they run.
pub fn all() -> Vec<Case> {
    let minutes = Duration::from_mins;
    vec![
        case(
            "D01",
            "data and WAL on one volume, filled until PostgreSQL stops (exit code 4): it comes back by itself, in the time promised, no pod deleted by us",
            minutes(14),
            |stage| {
                let setup = Setup { in_time: true, ..ONE };
                Box::pin(d01::comes_back(stage, setup))
            },
        ),
        case(
            "D02a",
            "a separate WAL volume, full: its one instance comes back by itself",
            minutes(14),
            |stage| {
                let setup = Setup {
                    volume: Volume::Wal,
                    ..ONE
                };
                Box::pin(d01::comes_back(stage, setup))
            },
        ),
        case(
            "D02b",
            "three instances: the primary's WAL volume is full; it comes back as the primary",
            minutes(14),
            |stage| Box::pin(d01::comes_back(stage, THREE)),
        ),
        case("D02c", "three instances: all WAL volumes are full", minutes(14), |stage| {
            let setup = Setup { full: Full::All, ..THREE };
            Box::pin(d01::comes_back(stage, setup))
        }),
        case(
            "D02d",
            "three instances with data and WAL on one volume: a replica alone is full, stops, and comes back; the primary writes all along",
            minutes(14),
            |stage| {
                let setup = Setup {
                    instances: 3,
                    full: Full::Replica,
                    ..ONE
                };
                Box::pin(d01::comes_back(stage, setup))
            },
        ),
        case(
            "D02e",
            "three instances with data and WAL on one volume: all are full and have stopped, and come back",
            minutes(16),
            |stage| {
                let setup = Setup {
                    instances: 3,
                    full: Full::All,
                    ..ONE
                };
                Box::pin(d01::comes_back(stage, setup))
            },
        ),
        case(
            "D02f",
            "three instances: a replica's WAL volume alone is full; it does not stop, falls behind, and catches up",
            minutes(10),
            |stage| Box::pin(d01::replica_waits(stage)),
        ),
        case(
            "D03",
            "three full instances, and no manager; one that starts then, and never saw them, brings them back",
            minutes(18),
            |stage| {
                let setup = Setup {
                    instances: 3,
                    full: Full::All,
                    alone: true,
                    ..ONE
                };
                Box::pin(d01::comes_back(stage, setup))
            },
        ),
        case(
            "D04",
            "full at maxSize: decision, condition, Event and critical alerts say what a person must do, nothing is patched; maxSize raised, it comes back",
            minutes(16),
            |stage| Box::pin(d04::at_the_limit(stage)),
        ),
        case(
            "D05a",
            "a data volume full beside WAL, with figures: grown before the next checkpoint stops PostgreSQL",
            minutes(8),
            |stage| Box::pin(d05::with_figures(stage)),
        ),
        case(
            "D05b",
            "a data volume full beside WAL, without figures: the log of the container that ended tells (podLogs)",
            minutes(14),
            |stage| Box::pin(d05::without_figures(stage, true)),
        ),
        case(
            "D05c",
            "a data volume full beside WAL, without figures and with pods/log denied: says what it cannot know; granted, it comes back",
            minutes(16),
            |stage| Box::pin(d05::without_figures(stage, false)),
        ),
        case(
            "D05d",
            "a data volume full beside WAL, without figures, as the manager ships: says what it does not know; patched by a person, it comes back",
            minutes(14),
            |stage| Box::pin(d05::by_hand(stage)),
        ),
        Case {
            left_out: "the manager's own word that it is pg_rewind: only logs of containers that ended are read, and this one runs",
            ..case(
                "C18",
                "a failover, and no room for pg_rewind in the old primary: it hangs, its full volume is named, and it comes back by growth",
                minutes(14),
                |stage| Box::pin(c18::rewind_without_room(stage)),
            )
        },
    ]
}
