//! What `relieve-wal` says.

use csm_api::{StorageEventStatus, WalCleanupOutcome, WalCleanupStatus};
use csm_core::world::Pause;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kubectl_cnpg_storage::cmds::whether_it_runs;
use kubectl_cnpg_storage::error::Error;
use kubectl_cnpg_storage::levers::{Relief, ask_relief};
use kubectl_cnpg_storage::read::Manager;
use kubectl_cnpg_storage::render::{self, Page};
use kubectl_cnpg_storage::thought::{Thought, think};
use serde_json::{Value, json};

use crate::cases;
use crate::fixture::{Fixture, ago, now, of};

const WIDTH: u16 = 140;

fn thought() -> Thought {
    let fixture = cases::balanced(Fixture::new());
    think(&fixture.facts, &fixture.details, now()).expect("a cluster")
}

/// Asked for on the primary, recorded, and not looked at since.
fn asked(acts: bool) -> Relief {
    Relief {
        asked: ask_relief(&thought(), None, acts, now()).expect("nothing stands against it"),
        event: Some("billing-wal-cleanup-20260301-120000-x7k2p".to_owned()),
        dry_run: None,
        phase: None,
        outcome: None,
        message: None,
        wal_cleanup: None,
        follow: None,
    }
}

/// As it ended.
fn ended(acts: bool, found: Value, message: &str) -> Relief {
    let found: WalCleanupStatus = of(found);
    let mut relief = asked(acts);
    relief.end(StorageEventStatus::of_relief(found, message.to_owned(), Time(now()), Time(now())));
    relief
}

fn shown(relief: &Relief) -> String {
    let page = Page {
        now: now(),
        width: Some(WIDTH),
        wide: false,
    };
    anstream::adapter::strip_str(&render::relief(relief, &page)).to_string()
}

fn segment(number: u32) -> String {
    format!("00000001{number:016X}")
}

fn step(rung: &str, result: &str, bytes: Option<(u64, u64)>, message: Option<&str>) -> Value {
    let mut step = json!({"rung": rung, "result": result, "startedAt": ago(9), "endedAt": ago(8)});
    if let Some((before, after)) = bytes {
        step["bytesBefore"] = json!(before << 20);
        step["bytesAfter"] = json!(after << 20);
    }
    if let Some(message) = message {
        step["message"] = json!(message);
    }
    step
}

fn kept_by_wal_keep_size() -> Value {
    json!([
        {"holder": "WalKeepSize", "segment": segment(0x2d), "message": "wal_keep_size promises 512Mi to standbys, and billing-2 does not say what it has"},
        {"holder": "RetainCount", "segment": segment(0x42), "message": "retainCount keeps the 10 newest completed segments"},
    ])
}

const LOWER: &str = "kubectl patch cluster.postgresql.cnpg.io billing -n shop --type merge -p '{\"spec\":{\"postgresql\":{\"parameters\":{\"wal_keep_size\":\"256MB\"}}}}'";

fn lower_wal_keep_size() -> Value {
    json!([{"lever": "LowerWalKeepSize", "message": "wal_keep_size keeps 512Mi for standbys that ask for it; with a slot for each of them it need not", "command": LOWER}])
}

#[test]
fn a_dry_run_with_a_list() {
    let says = "a dry run changes nothing; the list is as after a checkpoint";
    let found = json!({
        "rungs": [
            step("Holders", "Done", None, Some("wal_keep_size promises 512Mi to standbys, and billing-2 does not say what it has")),
            step("Checkpoint", "Skipped", None, Some(says)),
            step("DryRun", "Done", None, None),
            step("Report", "Done", None, None),
        ],
        "holders": kept_by_wal_keep_size(), "stillHeldBy": kept_by_wal_keep_size(),
        "proof": {"cutoff": segment(0x2d), "at": ago(-2), "removable": 12, "bounds": kept_by_wal_keep_size()},
        "dryRun": {"count": 12, "first": segment(0x21), "last": segment(0x2c)},
        "oldestRetained": segment(0x21), "advice": lower_wal_keep_size(), "outcome": "Listed",
    });
    let mut relief = ended(false, found, &format!("What may go was listed, as was asked: {says}"));
    relief.follow = Some("To free it: kubectl cnpg storage relieve-wal billing -n shop --instance billing-1 --yes".to_owned());
    insta::assert_snapshot!("relief_listed", shown(&relief));
    let json = serde_json::to_value(&relief).expect("JSON");
    assert_eq!(
        (&json["acts"], &json["outcome"], &json["walCleanup"]["dryRun"]["count"]),
        (&json!(false), &json!("Listed"), &json!(12))
    );
    // What the manager is asked for.
    let spec = &relief.asked.spec;
    let asked = spec.wal_cleanup.as_ref().expect("what is asked");
    assert_eq!(
        (asked.instance.as_str(), asked.dry_run, asked.retain_count),
        ("billing-1", Some(true), 10)
    );
    assert!(
        spec.message
            .starts_with("a person asked for a list of what could go of billing-1's WAL"),
        "{}",
        spec.message
    );
}

#[test]
fn what_was_freed() {
    let found = json!({
        "rungs": [
            step("Holders", "Done", None, Some("replication slot \"reports\" needs WAL from 0/2D000000 on")),
            step("Checkpoint", "Done", Some((1104, 976)), None),
            step("DryRun", "Done", None, None),
            step("Removal", "Done", Some((976, 784)), None),
            step("Report", "Done", None, None),
        ],
        "holders": [{"holder": "Slot", "segment": segment(0x2d), "message": "replication slot \"reports\" needs WAL from 0/2D000000 on"}],
        "proof": {"cutoff": segment(0x2d), "at": ago(-2), "removable": 12, "bounds": kept_by_wal_keep_size(), "moreBounds": 3},
        "dryRun": {"count": 12, "first": segment(0x21), "last": segment(0x2c)},
        "filesRemoved": 12, "spaceFreedBytes": 320 << 20, "oldestRetained": segment(0x2d), "stillHeldBy": kept_by_wal_keep_size(),
        "advice": lower_wal_keep_size(), "outcome": "Relieved",
    });
    let relief = ended(true, found, "WAL was freed; 320Mi freed, 12 segments removed");
    insta::assert_snapshot!("relief_relieved", shown(&relief));
    assert!(relief.asked.spec.wal_cleanup.is_some_and(|asked| asked.dry_run.is_none()));
}

#[test]
fn nothing_to_free_while_a_slot_holds_it() {
    let held =
        json!([{"holder": "Slot", "segment": segment(0x21), "message": "replication slot \"reports\" needs WAL from 0/21000000 on"}]);
    let drop = "kubectl exec -n shop billing-1 -c postgres -- psql -U postgres -c \"SELECT pg_drop_replication_slot('reports')\"";
    let found = json!({
        "rungs": [
            step("Holders", "Done", None, Some("replication slot \"reports\" needs WAL from 0/21000000 on")),
            step("Checkpoint", "Done", Some((1104, 1104)), None),
            step("DryRun", "Skipped", None, Some("replication slot \"reports\" needs WAL from 0/21000000 on")),
            step("Report", "Done", None, None),
        ],
        "holders": held, "stillHeldBy": held, "spaceFreedBytes": 0, "oldestRetained": segment(0x21),
        "proof": {"cutoff": segment(0x21), "at": ago(-2), "removable": 0, "bounds": held},
        "advice": [{"lever": "DropSlot", "command": drop, "message":
            "replication slot \"reports\" needs WAL from 0/21000000 on: nobody uses the slot now; drop it if nobody will, since its reader has to start anew then"}],
        "outcome": "NothingToFree",
    });
    let message = "Nothing could go: what is there is needed: replication slot \"reports\" needs WAL from 0/21000000 on";
    insta::assert_snapshot!("relief_nothing_to_free", shown(&ended(true, found, message)));
}

#[test]
fn without_a_proof_nothing_goes() {
    let why = "base backup pg_basebackup is running from 0/2D000000 on; it needs all WAL since its start; wait until it ends, or cancel it";
    let found = json!({
        "rungs": [
            step("Holders", "Done", None, Some("base backup pg_basebackup is running from 0/2D000000 on; it needs all WAL since its start")),
            step("Checkpoint", "Done", Some((1104, 1088)), None),
            step("DryRun", "Refused", None, Some(why)),
            step("Report", "Done", None, None),
        ],
        "spaceFreedBytes": 16 << 20, "oldestRetained": segment(0x22),
        "advice": [{"lever": "Evidence", "message": why}], "outcome": "NotProved",
    });
    assert_eq!(WalCleanupOutcome::NotProved.phase(), csm_api::Phase::Failed);
    let message = format!("There is no proof: nothing was removed; 16Mi freed: {why}");
    insta::assert_snapshot!("relief_not_proved", shown(&ended(true, found, &message)));
}

#[test]
fn commands_that_may_not_be_run() {
    let why = "billing-1: the API server does not allow it (403): it needs get and create on pods/exec; kubectl apply -f deploy/wal-cleanup.yaml grants them to the manager";
    let found = json!({"rungs": [step("Holders", "Failed", None, Some(why))], "outcome": "CommandFailed"});
    let message = format!("A command failed, or could not be sent: {why}");
    insta::assert_snapshot!("relief_denied", shown(&ended(false, found, &message)));
}

/// What stands against it is seen before anything is written, as far as it can be.
#[test]
fn what_stands_against_it() {
    let mut thought = thought();
    let refused = |thought: &Thought, instance: Option<&str>| ask_relief(thought, instance, true, now()).expect_err("it stands").message;
    let unknown = refused(&thought, Some("billing-9"));
    assert!(
        unknown.contains("no instance billing-9; those that it has: billing-1, billing-2, billing-3"),
        "{unknown}"
    );
    thought.world.cluster.pause = Pause::Paused {
        until: None,
        unreadable: None,
    };
    assert!(refused(&thought, None).contains("the Cluster is paused"));
    thought.world.cluster.primary = None;
    assert!(refused(&thought, None).contains("name one with --instance"));
    let standby = ask_relief(&self::thought(), Some("billing-2"), false, now()).expect("a standby has WAL of its own");
    assert!(!standby.primary && standby.instance == "billing-2");
}

/// Nobody takes the record up.
#[test]
fn a_manager_that_is_away() {
    let not_taken_up = |manager: &Manager| {
        let error = Error::NotTakenUp {
            event: "billing-wal-cleanup-20260301-120000-x7k2p".to_owned(),
            namespace: "shop".to_owned(),
            seconds: 600,
            manager: whether_it_runs(manager, now()),
        };
        format!("{}\n[exit status {}]\n", error.line(), error.status())
    };
    let stopped = Manager::Stopped {
        renewed: Some(ago(240).parse().expect("a time")),
    };
    let name = "cnpg-storage-manager".to_owned();
    let cases = [stopped, Manager::NoLease { name }, Manager::Unknown, Fixture::new().facts.manager];
    let texts: String = cases.iter().map(not_taken_up).collect();
    insta::assert_snapshot!("relief_not_taken_up", texts);

    let mut tried = asked(true);
    tried.event = None;
    tried.dry_run = Some("server");
    assert_eq!(
        shown(&tried),
        "Cluster shop/billing, WAL of billing-1, the primary: CHECKPOINT, and the removal of what nobody needs (server dry run: nothing was written)\n"
    );
}
