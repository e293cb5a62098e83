//! Every gate: what it holds, when it answers, its edges, and the order of them all.

use std::sync::Arc;

use csm_api::{Reason, State, Urgency, Verdict};
use csm_core::explain::gates;
use csm_core::plan::{Cause, Wanted};
use csm_core::resolve::{Conflict, Origin, Rank, Resolution};
use csm_core::world::{Fencing, ResizeStage, VolumeKey, World};
use rstest::rstest;

use crate::support::*;

type Change = fn(World) -> World;

fn resolution(world: World, resolution: Resolution) -> World {
    world.change(|w| w.resolution = Arc::new(resolution))
}

fn conflict() -> Resolution {
    Resolution::Conflict(vec![Conflict {
        rank: Rank::StoragePolicy,
        policies: vec![Origin::defaults(), Origin::built_in()],
    }])
}

/// What makes each gate hold, in the order of the gates; and whether it answers when nothing fired.
const HOLDS: &[(Reason, bool, Change)] = &[
    (Reason::NoPolicy, true, |w| resolution(w, Resolution::NoPolicy)),
    (Reason::PolicyConflict, true, |w| resolution(w, conflict())),
    (Reason::PolicyInvalid, true, |w| w.policy("expansion: {percentage: 0}")),
    (Reason::ClusterDeleting, true, |w| w.change(|w| w.cluster.deleting = true)),
    (Reason::Disabled, false, |w| w.policy("expansion: {enabled: false, maxSize: 200Gi}")),
    (Reason::Paused, false, |w| w.pause("true", None)),
    (Reason::Hibernated, true, |w| w.change(|w| w.cluster.hibernated = true)),
    (Reason::Fenced, false, |w| w.change(|w| w.cluster.fencing = Fencing::All)),
    (Reason::InUseResizeDisabled, false, |w| {
        w.change(|w| w.cluster.resize_in_use_volumes = false)
    }),
    (Reason::NotBound, false, |w| every(w, |m| m.bound = false)),
    (Reason::BlockVolume, false, |w| every(w, |m| m.block = true)),
    (Reason::StorageClassNotExpandable, false, |w| {
        every(w, |m| m.class.expandable = false)
    }),
    (Reason::SharedFilesystem, true, |w| every(w, |m| m.twin = true)),
    (Reason::ResizeInProgress, false, |w| {
        w.operation(unfinished(growth(at("11:59:00"), "20Gi", "25Gi")))
    }),
    (Reason::RetryLater, false, |w| w.data(|v| v.retry_after = Some(at("12:00:01")))),
    (Reason::DryRun, false, |w| w.policy("{dryRun: true, expansion: {maxSize: 200Gi}}")),
];

fn every(world: World, change: impl Fn(&mut csm_core::world::Member)) -> World {
    world.data(|v| v.members.iter_mut().for_each(change))
}

#[test]
fn each_holds_planned_growth_and_keeps_what_was_wanted() {
    for (reason, _, change) in HOLDS {
        let decision = decide(&change(wants()));
        assert_eq!((decision.verdict, decision.reason), (Verdict::Hold, *reason));
        assert_eq!(decision.to, None);
        if matches!(reason, Reason::NoPolicy | Reason::PolicyConflict | Reason::PolicyInvalid) {
            assert_eq!((decision.model, decision.urgency, decision.wanted), (None, None, None), "{reason}");
            assert!(!decision.at_limit && decision.ceiling.is_none());
            // Figures are shown all the same.
            assert_eq!(decision.worst.as_deref(), Some("orders-1"));
        } else {
            let wanted = Wanted {
                reason: Reason::UsageThreshold,
                urgency: Urgency::Planned,
                to: Some(size("30Gi")),
                held_by: *reason,
            };
            assert_eq!((decision.urgency, decision.wanted), (Some(Urgency::Planned), Some(wanted)));
        }
    }
}

#[test]
fn each_holds_a_catch_up() {
    for (reason, _, change) in HOLDS {
        let decision = decide(&change(lags()));
        assert_eq!((decision.verdict, decision.reason), (Verdict::Hold, *reason));
        if let Some(wanted) = decision.wanted {
            assert_eq!((wanted.reason, wanted.to), (Reason::MemberBelowEffectiveSize, Some(size("30Gi"))));
            assert_eq!(decision.urgency, Some(Urgency::CatchUp));
        }
    }
}

#[test]
fn only_those_marked_answer_when_nothing_fired() {
    for (reason, always, change) in HOLDS {
        let decision = decide(&change(calm()));
        if *always {
            assert_eq!((decision.verdict, decision.reason), (Verdict::Hold, *reason));
        } else {
            assert_eq!(
                (decision.verdict, decision.reason),
                (Verdict::Balanced, Reason::BelowThresholds),
                "{reason}"
            );
        }
        assert_eq!((decision.urgency, decision.wanted, decision.next_action_at), (None, None, None));
    }
}

/// All gates hold at once; then the first is opened, then the next.
#[test]
fn the_first_that_holds_answers() {
    let expected = [
        Reason::NoPolicy,
        Reason::PolicyConflict,
        Reason::PolicyInvalid,
        Reason::ClusterDeleting,
        Reason::Disabled,
        Reason::Paused,
        Reason::Hibernated,
        Reason::Fenced,
        Reason::InUseResizeDisabled,
        Reason::NotBound,
        Reason::BlockVolume,
        Reason::StorageClassNotExpandable,
        Reason::SharedFilesystem,
        Reason::ResizeInProgress,
        Reason::RetryLater,
        Reason::AtLimit,
        Reason::Cooldown,
        Reason::DryRun,
    ];
    for (open, first) in expected.iter().enumerate() {
        let holds = |reason: Reason| expected.iter().skip(open).any(|r| *r == reason);
        let mut world = wants().operation(growth(at("11:45:00"), "13Gi", "20Gi"));
        for (_, _, change) in HOLDS.iter().filter(|(reason, _, _)| holds(*reason)) {
            world = change(world);
        }
        let enabled = !holds(Reason::Disabled);
        let max_size = if holds(Reason::AtLimit) { "20Gi" } else { "200Gi" };
        let cooldown = if holds(Reason::Cooldown) { 30 } else { 0 };
        let settings = format!("{{dryRun: true, expansion: {{enabled: {enabled}, maxSize: {max_size}, cooldownMinutes: {cooldown}}}}}");
        world.resolution = match first {
            Reason::NoPolicy => Arc::new(Resolution::NoPolicy),
            Reason::PolicyConflict => Arc::new(conflict()),
            Reason::PolicyInvalid => policy("expansion: {percentage: 0}"),
            _ => policy(&settings),
        };
        let decision = decide(&world);
        assert_eq!((decision.verdict, decision.reason), (Verdict::Hold, *first));
        // explain lists every gate, and the first that holds is the decision's.
        let reports = gates(&world, noon(), &VolumeKey::DATA).unwrap();
        assert_eq!(reports.iter().find_map(|r| r.holds), Some(*first));
        assert!(reports.iter().all(|r| !r.inputs.is_empty()));
        if open >= 3 {
            let holding: Vec<Reason> = reports.iter().filter_map(|r| r.holds).collect();
            assert_eq!(holding, expected[open..]);
        }
    }
}

#[rstest]
#[case::absent(None, None, false, false)]
#[case::empty(Some(""), None, false, false)]
#[case::no(Some("false"), None, false, false)]
#[case::yes(Some("true"), None, true, false)]
#[case::yes_in_other_words(Some("yes"), None, true, true)]
#[case::no_in_other_words(Some("False"), None, true, true)]
#[case::until_later(Some("true"), Some("2026-03-01T12:00:01Z"), true, false)]
#[case::until_now(Some("true"), Some("2026-03-01T12:00:00Z"), false, false)]
#[case::until_before(Some("true"), Some("2026-03-01T11:59:59Z"), false, false)]
#[case::over_and_unreadable(Some("on"), Some("2026-03-01T11:59:59Z"), false, false)]
#[case::other_offset(Some("true"), Some("2026-03-01T13:30:00+01:00"), true, false)]
#[case::until_unparsable(Some("true"), Some("tomorrow"), true, false)]
#[case::until_without_a_zone(Some("true"), Some("2026-02-01T00:00:00"), true, false)]
#[case::until_alone(None, Some("2026-03-02T00:00:00Z"), false, false)]
fn pause(#[case] paused: Option<&str>, #[case] until: Option<&str>, #[case] holds: bool, #[case] warns: bool) {
    let world = wants().change(|w| w.cluster.pause = csm_core::world::Pause::read(paused, until));
    let decision = decide(&world);
    assert_eq!(decision.reason == Reason::Paused, holds);
    assert_eq!(decision.state == State::Paused, holds);
    let warnings: Vec<Reason> = decision.warnings.iter().map(|w| w.reason).collect();
    assert_eq!(warnings == [Reason::PauseUnreadable], warns, "{warnings:?}");
}

#[rstest]
#[case::absent(None, false)]
#[case::empty_list(Some("[]"), false)]
#[case::another(Some(r#"["orders-9"]"#), false)]
#[case::this_one(Some(r#"["orders-9", "orders-1"]"#), true)]
#[case::escaped(Some(r#"["orders\u002d1"]"#), true)]
#[case::all(Some(r#"["*"]"#), true)]
#[case::among_others(Some(r#"["orders-9", "*"]"#), true)]
#[case::empty_text(Some(""), true)]
#[case::bare_star(Some("*"), true)]
#[case::bare_name(Some("orders-9"), true)]
#[case::null(Some("null"), true)]
#[case::object(Some("{}"), true)]
#[case::numbers(Some("[1]"), true)]
fn fencing(#[case] annotation: Option<&str>, #[case] holds: bool) {
    let world = wants().change(|w| w.cluster.fencing = Fencing::read(annotation));
    assert_eq!(decide(&world).reason == Reason::Fenced, holds);
}

#[test]
fn one_member_is_enough_to_hold_planned_growth() {
    let two = || world(vec![member("orders-1", "20Gi", "18Gi"), member("orders-2", "20Gi", "17Gi")]);
    let fenced = two().change(|w| w.cluster.fencing = Fencing::read(Some(r#"["orders-2"]"#)));
    assert_eq!(decide(&fenced).reason, Reason::Fenced);
    assert_eq!(decide(&two().member(1, |m| m.bound = false)).reason, Reason::NotBound);
    assert_eq!(decide(&two().member(1, |m| m.block = true)).reason, Reason::BlockVolume);
    assert_eq!(
        decide(&two().member(1, |m| m.class.expandable = false)).reason,
        Reason::StorageClassNotExpandable
    );
    assert_eq!(decide(&two().member(1, |m| m.twin = true)).reason, Reason::SharedFilesystem);
    assert_eq!(decide(&two()).reason, Reason::UsageThreshold);
}

#[rstest]
#[case::exactly_110_percent("11Gi", false)]
#[case::a_little_more("11265Mi", true)]
fn a_filesystem_larger_than_its_pvc(#[case] filesystem: &str, #[case] holds: bool) {
    // of any age, and also where nothing fires
    let mut one = member("orders-1", "10Gi", "1Gi").seen_at(at("03:00:00"));
    let figures = one.observation.as_mut().unwrap();
    figures.available = size(filesystem).saturating_sub(figures.used);
    let decision = decide(&world(vec![one.clone(), member("orders-2", "10Gi", "1Gi")]));
    assert_eq!(decision.reason == Reason::SharedFilesystem, holds);
    // The request counts where it is larger than what the PVC has.
    let asked = one.asks_for("12Gi");
    assert_ne!(decide(&world(vec![asked])).reason, Reason::SharedFilesystem);
}

#[test]
fn a_class_that_is_known_for_it() {
    let decision = decide(&calm().member(0, |m| m.class.shared_filesystem = true));
    assert_eq!((decision.verdict, decision.reason), (Verdict::Hold, Reason::SharedFilesystem));
}

#[test]
fn twins() {
    let one = member("orders-1", "10Gi", "1Gi").change(|m| m.node = Some("node-a".into()));
    let two = member("orders-2", "20Gi", "1Gi").change(|m| {
        m.node = Some("node-a".into());
        m.observation = one.observation;
    });
    assert!(one.twin_of(&two) && two.twin_of(&one));
    assert!(!one.twin_of(&one.clone()));
    let not = |change: fn(&mut csm_core::world::Member)| assert!(!one.twin_of(&two.clone().change(change)));
    not(|m| m.node = Some("node-b".into()));
    not(|m| m.node = None);
    not(|m| m.size = size("10Gi"));
    not(|m| m.request = size("10Gi"));
    not(|m| m.observation.as_mut().unwrap().available = size("8Gi"));
    not(|m| m.observation.as_mut().unwrap().capacity = size("11Gi"));
    not(|m| m.observation = None);
    let unknown = |m: &csm_core::world::Member| m.clone().change(|m| m.node = None);
    assert!(!unknown(&one).twin_of(&unknown(&two)));
    // Figures of any age; what is used may differ.
    assert!(one.twin_of(&two.clone().seen_at(at("01:00:00"))));
    // A filesystem of no size is no figure.
    let empty = |m: &csm_core::world::Member| {
        m.clone().change(|m| {
            let figures = m.observation.as_mut().unwrap();
            (figures.used, figures.available, figures.capacity) = (size("0"), size("0"), size("0"));
        })
    };
    assert!(!empty(&one).twin_of(&empty(&two)));
}

/// What shows that a resize is under way, and what does not.
#[rstest]
#[case::asks_for_more(wants().member(0, |m| m.request = size("25Gi")), true)]
#[case::shows_a_condition(wants().data(|v| v.members[0] = v.members[0].clone().resizing_since(None)), true)]
#[case::recorded(wants().operation(unfinished(growth(at("11:59:50"), "20Gi", "30Gi"))), true)]
#[case::recorded_not_accepted(wants().change(|w| {
    let mut operation = unfinished(growth(at("11:59:50"), "20Gi", "30Gi"));
    operation.accepted = false;
    w.operations.push(operation);
}), true)]
#[case::unfinished_catch_up(wants().operation(catch_up(unfinished(growth(at("11:59:50"), "20Gi", "30Gi")), &["orders-1-uid"])), true)]
#[case::of_pvcs_that_are_gone(wants().operation(catch_up(unfinished(growth(at("11:59:50"), "20Gi", "30Gi")), &["gone"])), true)]
#[case::refused(wants().change(|w| {
    let mut operation = growth(at("11:59:50"), "20Gi", "30Gi");
    operation.accepted = false;
    w.operations.push(operation);
}), false)]
#[case::has_more_than_it_asks_for(wants().member(0, |m| m.request = size("19Gi")), false)]
#[case::of_another_volume(wants().operation(csm_core::world::Operation {
    volume: VolumeKey::WAL,
    ..unfinished(growth(at("11:59:50"), "20Gi", "30Gi"))
}), false)]
fn resize_under_way(#[case] world: World, #[case] holds: bool) {
    let decision = decide(&world);
    assert_eq!(decision.reason == Reason::ResizeInProgress, holds, "{}", decision.reason);
    assert_eq!(decision.state == State::Resizing, holds);
}

/// A PVC without any capacity is being provisioned.
#[test]
fn a_pvc_without_capacity_is_not_being_resized() {
    let decision = decide(&wants().member(0, |m| {
        m.size = size("0");
        m.bound = false;
    }));
    assert_eq!((decision.reason, decision.state), (Reason::NotBound, State::Blocked));
}

#[rstest]
#[case::nine_minutes_59("11:50:01", Reason::ResizeInProgress, State::Resizing)]
#[case::ten_minutes("11:50:00", Reason::ResizeStuck, State::Blocked)]
fn stuck_after_ten_minutes(#[case] since: &str, #[case] reason: Reason, #[case] state: State) {
    let shown = wants().data(|v| v.members[0] = v.members[0].clone().resizing_since(Some(at(since))));
    let recorded = wants().operation(unfinished(growth(at(since), "20Gi", "30Gi")));
    // The PVC says nothing of the beginning: the operation that asked for this size does.
    let asked = wants()
        .member(0, |m| m.request = size("24Gi"))
        .operation(growth(at(since), "20Gi", "24Gi"));
    let asked = asked.operation(growth(at("01:00:00"), "10Gi", "20Gi"));
    for world in [shown, recorded, asked] {
        let decision = decide(&world);
        assert_eq!((decision.verdict, decision.reason, decision.state), (Verdict::Hold, reason, state));
        assert!(matches!(decision.facts.cause, Cause::Resize { since: Some(s), .. } if s == at(since)));
    }
}

#[test]
fn the_newest_beginning_counts() {
    let world = wants()
        .data(|v| v.members[0] = v.members[0].clone().resizing_since(Some(at("11:20:00"))))
        .operation(unfinished(growth(at("11:55:00"), "20Gi", "30Gi")));
    assert_eq!(decide(&world).reason, Reason::ResizeInProgress);
}

#[test]
fn a_resize_of_unknown_age_is_not_stuck() {
    let decision = decide(&wants().member(0, |m| m.request = size("25Gi")));
    assert_eq!(decision.reason, Reason::ResizeInProgress);
    let cause = Cause::Resize {
        since: None,
        operation: None,
        instance: Some("orders-1".into()),
        stage: None,
        error: None,
    };
    assert_eq!(decision.facts.cause, cause);
}

#[test]
fn the_storage_says_what_is_wrong() {
    let world = wants().data(|v| {
        v.members[0] = v.members[0].clone().resizing_since(Some(at("11:30:00")));
        let resize = v.members[0].resize.as_mut().unwrap();
        (resize.stage, resize.error) = (ResizeStage::ControllerInfeasible, Some("pool is full".into()));
    });
    let decision = decide(&world.operation(unfinished(growth(at("11:29:00"), "20Gi", "30Gi"))));
    let Cause::Resize {
        stage, error, operation, ..
    } = decision.facts.cause
    else {
        panic!("{:?}", decision.facts);
    };
    assert_eq!(
        (stage, error.as_deref()),
        (Some(ResizeStage::ControllerInfeasible), Some("pool is full"))
    );
    assert_eq!(operation.unwrap(), growth(at("11:29:00"), "20Gi", "30Gi").id);
}

#[rstest]
#[case::later("12:00:01", Reason::RetryLater)]
#[case::now("12:00:00", Reason::UsageThreshold)]
fn retry(#[case] retry_after: &str, #[case] reason: Reason) {
    let world = wants().data(|v| v.retry_after = Some(at(retry_after)));
    assert_eq!(decide(&world).reason, reason);
}

#[rstest]
#[case::a_second_left("11:30:01", true, Reason::Cooldown)]
#[case::at_its_end("11:30:00", true, Reason::UsageThreshold)]
#[case::not_accepted("11:59:00", false, Reason::UsageThreshold)]
fn cooldown(#[case] started: &str, #[case] accepted: bool, #[case] reason: Reason) {
    let mut operation = growth(at(started), "13Gi", "20Gi");
    operation.accepted = accepted;
    assert_eq!(decide(&wants().operation(operation)).reason, reason);
}

#[test]
fn cooldown_counts_growths_of_this_volume_only() {
    let caught_up = catch_up(growth(at("11:59:00"), "13Gi", "20Gi"), &["orders-1-uid"]);
    assert_eq!(decide(&wants().operation(caught_up)).reason, Reason::UsageThreshold);
    let mut other = growth(at("11:59:00"), "13Gi", "20Gi");
    other.volume = VolumeKey::WAL;
    assert_eq!(decide(&wants().operation(other)).reason, Reason::UsageThreshold);
    // The newest counts, in whatever order they are listed.
    let world = wants()
        .operation(growth(at("11:45:00"), "13Gi", "20Gi"))
        .operation(growth(at("02:45:00"), "10Gi", "13Gi"));
    assert_eq!(decide(&world).reason, Reason::Cooldown);
}

#[test]
fn no_cooldown_where_it_is_zero() {
    let world = wants()
        .policy("expansion: {maxSize: 200Gi, cooldownMinutes: 0}")
        .operation(growth(noon(), "13Gi", "20Gi"));
    assert_eq!(decide(&world).reason, Reason::UsageThreshold);
}

#[test]
fn cooldown_and_limit_let_a_catch_up_pass() {
    let world = lags().operation(growth(at("11:59:00"), "20Gi", "30Gi"));
    assert_eq!(decide(&world).verdict, Verdict::CatchUp);
    assert_eq!(decide(&world.policy("expansion: {maxSize: 30Gi}")).verdict, Verdict::CatchUp);
}

#[test]
fn there_is_no_report_of_a_volume_that_does_not_exist() {
    assert_eq!(gates(&calm(), noon(), &VolumeKey::WAL), None);
}
