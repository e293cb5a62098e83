//! The texts, as a person sees them. Run with `INSTA_UPDATE=always` to write them anew, then read the difference.

mod cases;
mod disk;
mod doctor;
mod fixture;
mod fleet;
mod levers;
mod relief;

use std::fmt::Write as _;

use csm_api::Reason;
use csm_core::plan::CeilingSource;
use csm_core::world::VolumeKey;
use fixture::{Fixture, now};
use jiff::SignedDuration;
use kubectl_cnpg_storage::args::Format;
use kubectl_cnpg_storage::cmds::{Answer, View, explain, one, table};
use kubectl_cnpg_storage::figures::Trust;
use kubectl_cnpg_storage::read::{Gap, Manager, Scope};
use kubectl_cnpg_storage::thought::think;
use serde_json::json;

type Case = fn(Fixture) -> Fixture;

/// Without colours, the notes below, as a terminal shows both.
fn shown(answer: &Answer) -> String {
    let mut text = anstream::adapter::strip_str(&answer.text).to_string();
    for note in &answer.notes {
        writeln!(text, "Note: {note}").expect("a String takes all");
    }
    writeln!(text, "[exit status {}]", answer.status).expect("a String takes all");
    text
}

fn view(format: Format, width: Option<u16>) -> View {
    View { format, now: now(), width }
}

fn status_of(fixture: &Fixture, format: Format) -> Answer {
    one(&fixture.facts, &fixture.details, true, &view(format, None)).expect("an answer")
}

fn explained(fixture: &Fixture, width: Option<u16>) -> Answer {
    explain(&fixture.facts, &fixture.details, &view(Format::Table, width)).expect("an answer")
}

fn everything() -> Fixture {
    let all = [
        cases::balanced,
        cases::held,
        cases::resizing,
        cases::unmanaged,
        cases::conflicting,
        cases::blind,
        cases::at_limit,
        cases::paused,
        cases::silent,
    ];
    all.into_iter().fold(Fixture::new(), |fixture, case| case(fixture))
}

#[test]
fn the_fleet_shows_the_most_endangered_first() {
    let fleet = everything();
    let namespace = Scope::Namespace(fixture::NAMESPACE.to_owned());
    for (name, scope, format) in [
        ("fleet", &namespace, Format::Table),
        ("fleet_of_all_namespaces", &Scope::All, Format::Table),
        ("fleet_wide", &namespace, Format::Wide),
    ] {
        let answer = table(&fleet.facts, scope, true, &view(format, None)).expect("an answer");
        insta::assert_snapshot!(name, shown(&answer));
    }
}

#[test]
fn the_fleet_for_programs() {
    let fixture = cases::held(Fixture::new());
    let answer = table(&fixture.facts, &Scope::All, false, &view(Format::Json, None)).expect("an answer");
    insta::assert_snapshot!("fleet_json", shown(&answer));
    let answer = table(&fixture.facts, &Scope::All, false, &view(Format::Yaml, None)).expect("an answer");
    assert!(answer.text.contains("- namespace: shop\n"), "{}", answer.text);
}

#[test]
fn a_fleet_without_clusters_says_so() {
    let scope = Scope::Namespace("empty".to_owned());
    let answer = table(&Fixture::new().facts, &scope, true, &view(Format::Table, None)).expect("an answer");
    insta::assert_snapshot!(shown(&answer), @r"
    Note: there are no CNPG Clusters in namespace empty
    [exit status 0]
    ");
}

#[test]
fn check_asks_for_a_person_only_where_one_is_needed() {
    let status = |fixture: Fixture| status_of(&fixture, Format::Table).status;
    assert_eq!(status(cases::balanced(Fixture::new())), 0);
    assert_eq!(status(cases::held(Fixture::new())), 0, "the cooldown ends by itself");
    assert_eq!(status(cases::resizing(Fixture::new())), 0);
    assert_eq!(status(cases::unmanaged(Fixture::new())), 0, "a choice, not a fault");
    for needy in [cases::conflicting, cases::blind, cases::at_limit, cases::paused, cases::silent] {
        assert_eq!(status(needy(Fixture::new())), 3);
    }
    let mut away = cases::balanced(Fixture::new());
    away.facts.manager = Manager::Stopped { renewed: None };
    assert_eq!(status(away), 3, "nothing is watched");
}

#[test]
fn one_cluster() {
    let cases: [(&str, Case); 7] = [
        ("status_sized", cases::sized),
        ("status_balanced", cases::balanced),
        ("status_held", cases::held),
        ("status_resizing", cases::resizing),
        ("status_unmanaged", cases::unmanaged),
        ("status_conflicting", cases::conflicting),
        ("status_blind", cases::blind),
    ];
    for (name, case) in cases {
        insta::assert_snapshot!(name, shown(&status_of(&case(Fixture::new()), Format::Table)));
    }
    let wide = status_of(&cases::balanced(Fixture::new()), Format::Wide);
    insta::assert_snapshot!("status_balanced_wide", shown(&wide));
    let json = status_of(&cases::resizing(Fixture::new()), Format::Json);
    insta::assert_snapshot!("status_resizing_json", shown(&json));
}

#[test]
fn every_decision_is_explained() {
    let cases: [(&str, Case); 8] = [
        ("explain_sized", cases::sized),
        ("explain_balanced", cases::balanced),
        ("explain_held", cases::held),
        ("explain_resizing", cases::resizing),
        ("explain_unmanaged", cases::unmanaged),
        ("explain_conflicting", cases::conflicting),
        ("explain_blind", cases::blind),
        ("explain_silent", cases::silent),
    ];
    for (name, case) in cases {
        insta::assert_snapshot!(name, shown(&explained(&case(Fixture::new()), None)));
    }
    let narrow = explained(&cases::held(Fixture::new()), Some(110));
    insta::assert_snapshot!("explain_held_on_110_columns", shown(&narrow));
}

#[test]
fn the_explanation_agrees_with_the_manager_on_the_same_facts() {
    let expected = [
        (cases::balanced as Case, Reason::BelowThresholds),
        (cases::held, Reason::Cooldown),
        (cases::sized, Reason::MaintenanceWindowClosed),
        (cases::resizing, Reason::ResizeInProgress),
        (cases::unmanaged, Reason::NoPolicy),
        (cases::conflicting, Reason::PolicyConflict),
        (cases::blind, Reason::StaleObservation),
    ];
    for (case, reason) in expected {
        let fixture = case(Fixture::new());
        let thought = think(&fixture.facts, &fixture.details, now()).expect("a cluster");
        let explanation = kubectl_cnpg_storage::explanation::explain(&fixture.facts, &thought, now());
        let data = &explanation.volumes[0];
        assert_eq!((data.reason, data.differs), (reason, false), "{}", data.message);
    }
}

#[test]
fn a_manager_that_is_away_makes_old_figures_old() {
    let mut fixture = cases::balanced(Fixture::new());
    fixture.facts.manager = Manager::Stopped {
        renewed: Some(now() - SignedDuration::from_secs(3600)),
    };
    insta::assert_snapshot!("status_manager_away", shown(&status_of(&fixture, Format::Table)));
    let fixture = {
        let mut fixture = cases::balanced(Fixture::new());
        fixture.facts.manager = Manager::NoLease {
            name: "cnpg-storage-manager".to_owned(),
        };
        fixture
    };
    let text = shown(&explained(&fixture, None));
    assert!(text.contains("data: Hold (StaleObservation)"), "{text}");
    assert!(text.contains("decided otherwise 3d2h ago: Balanced"), "{text}");
}

#[test]
fn what_may_not_be_read_is_said_and_the_rest_is_shown() {
    let mut fixture = cases::held(Fixture::new());
    fixture.facts.manager = Manager::Unknown;
    fixture.details.classes = None;
    fixture.details.policies.clear();
    fixture.facts.gaps = vec![
        Gap {
            what: "StorageClasses",
            why: "you are not allowed to read them".to_owned(),
            means: "they are taken to allow expansion, and to give each volume its own filesystem",
        },
        Gap {
            what: "StoragePolicies",
            why: "you are not allowed to read them".to_owned(),
            means: "settings that come from them are missing; the cluster may look unmanaged",
        },
    ];
    let text = shown(&explained(&fixture, None));
    assert!(
        text.contains("Enabled (by StoragePolicy shop/default, which cannot be read from here)"),
        "{text}"
    );
    assert!(text.contains("taken to run; its lease cannot be read from here"), "{text}");
    assert!(
        text.contains("Note: StorageClasses: you are not allowed to read them; they are taken to allow expansion"),
        "{text}"
    );
    assert!(text.contains("Manager:   decided otherwise 7m10s ago: Hold (Cooldown)"), "{text}");
}

#[test]
fn colours_are_there_and_can_be_taken_away() {
    let answer = status_of(&cases::at_limit(Fixture::new()), Format::Table);
    assert!(answer.text.contains('\u{1b}'), "{}", answer.text);
    assert!(!shown(&answer).contains('\u{1b}'));
}

#[test]
fn figures_are_relied_on_as_far_as_the_manager_lets() {
    let data = VolumeKey::DATA;
    let trust = |fixture: &Fixture, instance: &str| {
        let thought = think(&fixture.facts, &fixture.details, now()).expect("a cluster");
        thought.figures.get(instance, &data).map(|f| f.trust)
    };
    let at_rest = cases::balanced(Fixture::new());
    assert_eq!(
        trust(&at_rest, "billing-2"),
        Some(Trust::TakenAsCurrent),
        "an hour old, and nothing moved"
    );

    // The manager went on writing for the others: it has lost sight of this one.
    let mut lost = cases::balanced(Fixture::new());
    let status = lost.facts.storages[0].status.as_mut().expect("a status");
    let disks = &mut status.disk_status.as_mut().expect("figures").instances;
    let old = disks.get_mut("billing-2").and_then(|d| d.data_volume.as_mut()).expect("a disk");
    old.observed_at = fixture::of(json!(fixture::ago(3690 + 301)));
    assert_eq!(trust(&lost, "billing-2"), Some(Trust::Old));
    assert_eq!(trust(&lost, "billing-3"), Some(Trust::TakenAsCurrent));

    // CloudNativePG uses names again: these are the figures of the PVC before.
    let mut replaced = cases::balanced(Fixture::new());
    replaced.facts.pvcs[0].metadata.creation_timestamp = Some(fixture::of(json!(fixture::ago(3600))));
    assert_eq!(replaced.facts.pvcs[0].metadata.name.as_deref(), Some("billing-1"));
    assert_eq!(trust(&replaced, "billing-1"), None);
}

#[test]
fn figures_from_before_a_resize_decide_nothing() {
    let mut fixture = cases::held(Fixture::new());
    let status = fixture.facts.storages[0].status.as_mut().expect("a status");
    for disks in status.disk_status.as_mut().expect("figures").instances.values_mut() {
        let disk = disks.data_volume.as_mut().expect("a disk");
        disk.observed_at = fixture::of(json!(fixture::ago(1600)));
    }
    for pvc in &mut fixture.details.events[0].status.as_mut().expect("a status").pvc_statuses {
        pvc.controller_done_at = Some(fixture::of(json!(fixture::ago(1440))));
    }
    let thought = think(&fixture.facts, &fixture.details, now()).expect("a cluster");
    let decision = thought.decision(&VolumeKey::DATA).expect("a decision");
    assert_eq!(decision.reason, Reason::StaleObservation, "{decision:?}");
}

#[test]
fn the_managers_own_ceiling_is_read_from_its_status() {
    let mut fixture = cases::held(Fixture::new());
    fixture.details.policies.clear();
    let mut fixture = fixture.policy("default", &json!({"expansion": {"cooldownMinutes": 5}}));
    let status = fixture.facts.storages[0].status.as_mut().expect("a status");
    let data = status.storage_sizing.as_mut().and_then(|s| s.data.as_mut()).expect("data");
    data.limit = Some(csm_units::Bytes::gib(18));
    let from = CeilingSource::Fallback.as_str().to_owned();
    data.last_decision.inputs.insert("ceilingFrom".to_owned(), from);
    let thought = think(&fixture.facts, &fixture.details, now()).expect("a cluster");
    let decision = thought.decision(&VolumeKey::DATA).expect("a decision");
    assert_eq!(decision.to, Some(csm_units::Bytes::gib(18)), "{decision:?}");
}
