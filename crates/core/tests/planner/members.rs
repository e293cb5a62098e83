//! Members: fresh figures, the worst, those that lag, those that are set aside, and their order.

use csm_api::{Reason, State, Urgency, Verdict};
use csm_core::world::{Fencing, Operation, VolumeKey, World};
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use crate::support::*;

#[rstest]
#[case::just_fresh(at("11:55:00"), 30, true)]
#[case::just_stale(at("11:55:00") - INSTANT, 30, false)]
#[case::long_interval(at("11:54:00"), 120, true)]
#[case::long_interval_stale(at("11:54:00") - INSTANT, 120, false)]
#[case::from_the_future(at("15:00:00"), 30, true)]
fn age(#[case] seen: Timestamp, #[case] interval: i64, #[case] fresh: bool) {
    let world = world(vec![member("orders-1", "20Gi", "18Gi").seen_at(seen)]);
    let world = world.change(|w| w.limits.interval = SignedDuration::from_secs(interval));
    let decision = decide(&world);
    let expected = if fresh { Reason::UsageThreshold } else { Reason::StaleObservation };
    assert_eq!(decision.reason, expected);
    assert_eq!(decision.worst.is_some(), fresh);
}

#[rstest]
#[case::after_the_resize(at("11:59:30") - INSTANT, true)]
#[case::at_its_end(at("11:59:30"), false)]
#[case::before_its_end(at("11:59:31"), false)]
#[case::it_ends_in_the_future(at("12:30:00"), false)]
fn a_growth_needs_figures_from_after_the_one_before(#[case] end: Timestamp, #[case] fresh: bool) {
    let world = world(vec![member("orders-1", "20Gi", "18Gi").resized_at(end)]);
    assert_eq!(decide(&world).verdict == Verdict::Grow, fresh);
}

#[test]
fn figures_from_the_future_count_as_taken_now() {
    // now is not after a resize that ended now
    let world = world(vec![member("orders-1", "20Gi", "18Gi").seen_at(at("12:05:00")).resized_at(noon())]);
    assert_eq!(decide(&world).reason, Reason::StaleObservation);
    assert_eq!(decide_at(&world, noon() + INSTANT).reason, Reason::UsageThreshold);
}

#[test]
fn a_filesystem_of_no_size_is_no_observation() {
    let empty = member("orders-1", "20Gi", "0").change(|m| m.observation.as_mut().unwrap().available = size("0"));
    assert_eq!(decide(&world(vec![empty.clone()])).reason, Reason::NoObservation);
    // Beside another it is merely not observed.
    let decision = decide(&world(vec![empty, member("orders-2", "20Gi", "1Gi")]));
    assert_eq!((decision.verdict, decision.state), (Verdict::Balanced, State::WaitingForDiskStatus));
    assert_eq!(decision.warnings[0].reason, Reason::MemberNotObserved);
}

#[test]
fn no_figures_are_not_zero() {
    let decision = decide(&world(vec![member("orders-1", "20Gi", "18Gi").unseen()]));
    assert_eq!((decision.verdict, decision.reason), (Verdict::Hold, Reason::NoObservation));
    assert_eq!(
        (decision.state, decision.worst, decision.percent_used),
        (State::WaitingForDiskStatus, None, None)
    );
    assert!(decision.warnings.is_empty());
    let none = decide(&world(Vec::new()));
    assert_eq!((none.reason, none.from, none.members.len()), (Reason::NoObservation, size("0"), 0));
}

/// A volume without any PVC has nothing to grow, however small it is.
#[test]
fn nobody_wants_a_floor() {
    let none = decide(&world(Vec::new()).policy("storage: {request: 10Gi, limit: 100Gi}"));
    assert_eq!(
        (none.verdict, none.reason, none.wanted),
        (Verdict::Hold, Reason::NoObservation, None)
    );
}

#[test]
fn the_worst() {
    let of = |members| decide(&world(members)).worst.unwrap().to_string();
    let m = member;
    assert_eq!(of(vec![m("a", "20Gi", "3Gi"), m("b", "20Gi", "4Gi")]), "b");
    // exactly, not by whole percents
    assert_eq!(of(vec![m("a", "20Gi", "4Gi"), m("b", "20Gi", "4097Mi")]), "b");
    // ties by least available: a filesystem of half the size, as full
    let half = m("b", "20Gi", "2Gi").change(|m| m.observation.as_mut().unwrap().available = size("8Gi"));
    assert_eq!(of(vec![m("a", "20Gi", "4Gi"), half]), "b");
    // then by name, by bytes
    assert_eq!(of(vec![m("orders-2", "20Gi", "4Gi"), m("orders-10", "20Gi", "4Gi")]), "orders-10");
    // stale, unseen and lagging ones do not count
    let decision = decide(&world(vec![
        m("a", "20Gi", "4Gi"),
        m("b", "20Gi", "19Gi").seen_at(at("11:00:00")),
        m("c", "20Gi", "19Gi").unseen(),
        m("d", "10Gi", "9Gi"),
    ]));
    assert_eq!((decision.worst.as_deref(), decision.percent_used.unwrap().get()), (Some("a"), 20));
}

#[test]
fn those_that_are_not_observed_are_named_while_others_are() {
    let decision = decide(&world(vec![
        member("orders-1", "20Gi", "4Gi"),
        member("orders-3", "20Gi", "4Gi").unseen(),
        member("orders-2", "20Gi", "4Gi").seen_at(at("10:00:00")),
        member("orders-4", "10Gi", "4Gi").unseen(),
    ]));
    let warning = &decision.warnings[0];
    assert_eq!((warning.reason, decision.warnings.len()), (Reason::MemberNotObserved, 1));
    // orders-4 lags: it is caught up whatever its figures.
    assert_eq!(warning.members.iter().map(|m| &**m).collect::<Vec<_>>(), ["orders-2", "orders-3"]);
}

#[test]
fn a_lagging_member_is_caught_up_and_fires_nothing_else() {
    let decision = decide(&world(vec![
        member("orders-1", "30Gi", "4Gi"),
        member("orders-2", "20Gi", "20Gi"),
        member("orders-3", "30Gi", "4Gi"),
    ]));
    assert_eq!(
        (decision.verdict, decision.reason),
        (Verdict::CatchUp, Reason::MemberBelowEffectiveSize)
    );
    assert_eq!((decision.urgency, decision.state), (Some(Urgency::CatchUp), State::NeedsGrow));
    assert_eq!((decision.from, decision.to), (size("30Gi"), Some(size("30Gi"))));
    let to = Some("30Gi".to_owned());
    assert_eq!(sizes(&decision), [("orders-2", to), ("orders-3", None), ("orders-1", None)]);
}

#[test]
fn it_needs_no_figures() {
    let world = lags().data(|v| v.members.iter_mut().for_each(|m| m.observation = None));
    assert_eq!(decide(&world).verdict, Verdict::CatchUp);
}

/// What a PVC asks for counts as much as what it has.
#[test]
fn asking_is_having() {
    let asked = world(vec![
        member("orders-1", "20Gi", "4Gi").asks_for("30Gi"),
        member("orders-2", "30Gi", "4Gi").asks_for("10Gi"),
    ]);
    let decision = decide(&asked);
    assert_eq!(
        (decision.verdict, decision.from, decision.state),
        (Verdict::Balanced, size("30Gi"), State::Resizing)
    );
}

#[test]
fn a_growth_goes_to_the_lagging_ones_as_well() {
    let decision = decide(&world(vec![member("orders-1", "30Gi", "28Gi"), member("orders-2", "20Gi", "4Gi")]));
    let to = Some("45Gi".to_owned());
    assert_eq!(
        (decision.verdict, sizes(&decision)),
        (Verdict::Grow, vec![("orders-2", to.clone()), ("orders-1", to)])
    );
}

fn three(fenced: &str) -> World {
    world(vec![
        member("a-1", "30Gi", "4Gi"),
        member("a-2", "20Gi", "4Gi"),
        member("a-3", "24Gi", "4Gi"),
    ])
    .change(|w| w.cluster.fencing = Fencing::read(Some(fenced)))
}

#[test]
fn a_catch_up_leaves_out_those_that_cannot() {
    let to = || Some("30Gi".to_owned());
    let decision = decide(&three(r#"["a-2"]"#));
    assert_eq!((decision.verdict, decision.wanted), (Verdict::CatchUp, None));
    assert_eq!(sizes(&decision), [("a-2", None), ("a-3", to()), ("a-1", None)]);
    // One that does not lag has no say.
    assert_eq!(sizes(&decide(&three(r#"["a-1"]"#))), [("a-2", to()), ("a-3", to()), ("a-1", None)]);
    let both = decide(&three(r#"["a-2", "a-3"]"#));
    assert_eq!(
        (both.verdict, both.reason, both.state),
        (Verdict::Hold, Reason::Fenced, State::Blocked)
    );
    // Each by its own gate: held by the first gate that is true of one.
    let world = three(r#"["a-3"]"#).member(1, |m| m.bound = false);
    assert_eq!(decide(&world).reason, Reason::Fenced);
    let world = three("[]").member(1, |m| m.class.expandable = false).member(2, |m| m.bound = false);
    assert_eq!(decide(&world).reason, Reason::NotBound);
    let world = three("[]").member(1, |m| m.block = true);
    assert_eq!(sizes(&decide(&world)), [("a-2", None), ("a-3", to()), ("a-1", None)]);
}

#[test]
fn an_operation_in_flight_concerns_the_members_that_it_lists() {
    let to = || Some("30Gi".to_owned());
    let in_flight = |uids: &[&str]| catch_up(unfinished(growth(at("11:59:00"), "20Gi", "30Gi")), uids);
    let decision = decide(&three("[]").operation(in_flight(&["a-2-uid"])));
    assert_eq!(sizes(&decision), [("a-2", None), ("a-3", to()), ("a-1", None)]);
    assert_eq!((decision.verdict, decision.state), (Verdict::CatchUp, State::Resizing));
    let decision = decide(&three("[]").operation(in_flight(&["a-1-uid"])));
    assert_eq!(sizes(&decision), [("a-2", to()), ("a-3", to()), ("a-1", None)]);
    let decision = decide(&three("[]").operation(in_flight(&["a-2-uid", "a-3-uid"])));
    assert_eq!((decision.verdict, decision.reason), (Verdict::Hold, Reason::ResizeInProgress));
    // Each by its own gate again: a-2 is in flight, a-3 fenced.
    let decision = decide(&three(r#"["a-3"]"#).operation(in_flight(&["a-2-uid"])));
    assert_eq!((decision.verdict, decision.reason), (Verdict::Hold, Reason::Fenced));
    // One that lists none, or none that there is, concerns all.
    let mut all = in_flight(&[]);
    all.members = None;
    assert_eq!(decide(&three("[]").operation(all)).reason, Reason::ResizeInProgress);
    assert_eq!(
        decide(&three("[]").operation(in_flight(&["gone"]))).reason,
        Reason::ResizeInProgress
    );
    // A lagging member that shows a resize itself.
    let world = three("[]").member(1, |m| m.size = size("18Gi"));
    assert_eq!(sizes(&decide(&world)), [("a-2", None), ("a-3", to()), ("a-1", None)]);
}

/// The age of what keeps the lagging members counts, not that of the others.
#[test]
fn a_catch_up_is_stuck_by_its_own_members() {
    let old = catch_up(unfinished(growth(at("11:40:00"), "20Gi", "30Gi")), &["a-2-uid", "a-3-uid"]);
    let new = Operation {
        id: "new".into(),
        ..catch_up(unfinished(growth(at("11:59:00"), "20Gi", "30Gi")), &["a-1-uid"])
    };
    let decision = decide(&three("[]").operation(old).operation(new));
    assert_eq!((decision.reason, decision.state), (Reason::ResizeStuck, State::Resizing));
}

#[test]
fn a_catch_up_goes_beside_a_growth_that_waits() {
    let members = || vec![member("a-1", "30Gi", "28Gi"), member("a-2", "20Gi", "4Gi")];
    let cooling = world(members()).operation(growth(at("11:45:00"), "20Gi", "30Gi"));
    let decision = decide(&cooling);
    assert_eq!(
        (decision.verdict, decision.reason),
        (Verdict::CatchUp, Reason::MemberBelowEffectiveSize)
    );
    assert_eq!((decision.urgency, decision.state), (Some(Urgency::CatchUp), State::NeedsGrow));
    let wanted = decision.wanted.unwrap();
    assert_eq!((wanted.reason, wanted.urgency), (Reason::UsageThreshold, Urgency::Planned));
    assert_eq!((wanted.to, wanted.held_by), (Some(size("45Gi")), Reason::Cooldown));
    assert_eq!(decision.next_action_at, Some(at("12:15:00")));
    assert_eq!(sizes(&decision), [("a-2", Some("30Gi".to_owned())), ("a-1", None)]);

    let limited = world(members()).policy("expansion: {maxSize: 30Gi}");
    let decision = decide(&limited);
    assert_eq!(
        (decision.verdict, decision.state, decision.at_limit),
        (Verdict::CatchUp, State::AtLimit, true)
    );
    assert_eq!(decision.wanted.unwrap().held_by, Reason::AtLimit);
    assert_eq!(decision.next_action_at, None);

    // A dry run shows the catch-up that would happen.
    let dry = world(members()).policy("{dryRun: true, expansion: {maxSize: 30Gi}}");
    let decision = decide(&dry);
    assert_eq!(
        (decision.verdict, decision.reason, decision.state),
        (Verdict::Hold, Reason::DryRun, State::DryRun)
    );
    let wanted = decision.wanted.unwrap();
    assert_eq!(
        (wanted.urgency, wanted.to, wanted.held_by),
        (Urgency::CatchUp, Some(size("30Gi")), Reason::DryRun)
    );
    assert!(decision.at_limit);

    // Gates before 14 hold both.
    let paused = cooling.pause("true", None);
    let decision = decide(&paused);
    assert_eq!(
        (decision.verdict, decision.wanted.unwrap().reason),
        (Verdict::Hold, Reason::UsageThreshold)
    );
}

#[rstest]
#[case::by_hand(None, true)]
#[case::asked_for_by_us(Some(("150Gi", true)), false)]
#[case::rounded_up_by_the_driver(Some(("152577Mi", true)), false)] // 149 GiB and 1 MiB: less than a unit below
#[case::a_unit_below(Some(("149Gi", true)), true)]
#[case::more_than_it_has(Some(("151Gi", true)), true)]
#[case::refused(Some(("150Gi", false)), true)]
fn above_the_ceiling(#[case] operation: Option<(&str, bool)>, #[case] outsize: bool) {
    let mut world = world(vec![member("a-1", "80Gi", "10Gi"), member("a-2", "150Gi", "140Gi")]);
    world.resolution = policy("expansion: {maxSize: 100Gi}");
    if let Some((to, accepted)) = operation {
        // of whatever age
        let mut operation = growth("2025-01-01T00:00:00Z".parse().unwrap(), "80Gi", to);
        operation.accepted = accepted;
        world.operations.push(operation);
    }
    let decision = decide(&world);
    if outsize {
        assert_eq!(
            (decision.verdict, decision.from, decision.at_limit),
            (Verdict::Balanced, size("80Gi"), false)
        );
        let warning = &decision.warnings[0];
        assert_eq!((warning.reason, &*warning.members[0]), (Reason::MemberAboveLimit, "a-2"));
        assert_eq!((decision.worst.as_deref(), decision.members.len()), (Some("a-1"), 2));
    } else {
        // 93 % of 150Gi, and no room: the smaller one is caught up, as far as the ceiling allows.
        assert_eq!(
            (decision.from, decision.at_limit, decision.warnings.len()),
            (size("150Gi"), true, 0)
        );
        assert_eq!((decision.verdict, decision.to), (Verdict::CatchUp, Some(size("100Gi"))));
        assert_eq!(decision.wanted.unwrap().held_by, Reason::AtLimit);
    }
}

#[rstest]
#[case::at_the_ceiling("100Gi", 0)]
#[case::a_mebibyte_above("102401Mi", 1)]
fn outsize_at_its_edge(#[case] second: &str, #[case] warnings: usize) {
    let world = world(vec![member("a-1", "80Gi", "10Gi"), member("a-2", second, "10Gi")]).policy("expansion: {maxSize: 100Gi}");
    assert_eq!(decide(&world).warnings.len(), warnings);
}

/// One that a person made larger than the ceiling stays set aside beside one that we made larger still.
#[test]
fn an_outsize_member_does_not_lag() {
    let members = ["150Gi", "120Gi", "80Gi"];
    let members = members.iter().enumerate().map(|(i, size)| member(&format!("a-{i}"), size, "10Gi"));
    let world = world(members.collect()).policy("expansion: {maxSize: 100Gi}");
    let world = world
        .operation(growth(at("02:00:00"), "80Gi", "150Gi"))
        .member(1, |m| m.disk_full = true);
    let decision = decide(&world);
    assert_eq!((decision.from, decision.verdict), (size("150Gi"), Verdict::CatchUp));
    assert_eq!(sizes(&decision), [("a-1", None), ("a-2", Some("100Gi".to_owned())), ("a-0", None)]);
    let warning = &decision.warnings[0];
    assert_eq!((warning.reason, &*warning.members[0]), (Reason::MemberAboveLimit, "a-1"));
    // What it wants is wanted, and held.
    let wanted = decision.wanted.unwrap();
    assert_eq!(
        (wanted.reason, wanted.to, wanted.held_by),
        (Reason::DiskFull, None, Reason::AtLimit)
    );
}

#[test]
fn all_above_the_ceiling_is_not_outsize() {
    let world = world(vec![member("a-1", "120Gi", "10Gi"), member("a-2", "120Gi", "115Gi")]).policy("expansion: {maxSize: 100Gi}");
    let decision = decide(&world);
    assert_eq!(
        (decision.verdict, decision.reason, decision.from),
        (Verdict::Hold, Reason::AtLimit, size("120Gi"))
    );
    assert!(decision.warnings.is_empty() && decision.at_limit);
}

/// Lagging, but already at the ceiling: there is nothing that may be done, and that is said.
#[test]
fn a_catch_up_never_passes_the_ceiling() {
    let members = vec![
        member("a-1", "120Gi", "10Gi"),
        member("a-2", "110Gi", "10Gi"),
        member("a-3", "90Gi", "10Gi"),
    ];
    let all_asked = ["120Gi", "110Gi"].map(|to| growth(at("02:00:00"), "80Gi", to));
    let mut world = world(members).policy("expansion: {maxSize: 100Gi}");
    world.operations.extend(all_asked);
    let decision = decide(&world);
    assert_eq!((decision.verdict, decision.to), (Verdict::CatchUp, Some(size("100Gi"))));
    assert_eq!(sizes(&decision), [("a-2", None), ("a-3", Some("100Gi".to_owned())), ("a-1", None)]);
    world.volumes[0].members.pop();
    let decision = decide(&world);
    assert_eq!(
        (decision.verdict, decision.reason, decision.state),
        (Verdict::Hold, Reason::AtLimit, State::AtLimit)
    );
    let wanted = decision.wanted.unwrap();
    assert_eq!((wanted.reason, wanted.to), (Reason::MemberBelowEffectiveSize, Some(size("120Gi"))));
}

#[test]
fn outsize_members_are_out_of_everything() {
    let mut world = world(vec![
        member("a-1", "40Gi", "36Gi"),
        member("a-2", "500Gi", "490Gi").asks_for("600Gi").change(|m| {
            m.bound = false;
            m.twin = true;
            m.class.expandable = false;
        }),
    ]);
    world.cluster.fencing = Fencing::read(Some(r#"["a-2"]"#));
    let decision = decide(&world);
    assert_eq!((decision.verdict, decision.state), (Verdict::Grow, State::NeedsGrow));
    assert_eq!(sizes(&decision), [("a-2", None), ("a-1", Some("60Gi".to_owned()))]);
}

#[rstest]
#[case::second(Some("b"), &["a", "c", "b"])]
#[case::unknown(None, &["a", "b", "c"])]
#[case::not_a_member(Some("z"), &["a", "b", "c"])]
fn replicas_by_name_then_the_primary(#[case] primary: Option<&str>, #[case] order: &[&str]) {
    let mut world = world(vec![
        member("c", "20Gi", "18Gi"),
        member("a", "20Gi", "1Gi"),
        member("b", "20Gi", "1Gi"),
    ]);
    world.cluster.primary = primary.map(Into::into);
    let decision = decide(&world);
    assert_eq!(decision.members.iter().map(|m| &*m.instance).collect::<Vec<_>>(), order);
    let first = &decision.members[0];
    assert_eq!(
        (&*first.pvc, &*first.uid, first.request),
        (
            &*format!("{}-pvc", first.instance),
            &*format!("{}-uid", first.instance),
            size("20Gi")
        )
    );
}

#[test]
fn decisions_in_the_order_of_volumes() {
    let mut world = calm();
    let other = |key: VolumeKey| volume(key, vec![member("orders-1", "20Gi", "4Gi")]);
    world.volumes.extend([
        other(VolumeKey::tablespace("b")),
        other(VolumeKey::tablespace("B")),
        other(VolumeKey::WAL),
        other(VolumeKey::tablespace("a")),
    ]);
    let plan = plan_at(&world, noon());
    let order: Vec<String> = plan.decisions.iter().map(|d| d.volume.to_string()).collect();
    assert_eq!(order, ["data", "wal", "tablespace/B", "tablespace/a", "tablespace/b"]);
}

#[rstest]
#[case("data", true)]
#[case("wal", true)]
#[case("tablespace/a/b", true)]
#[case("tablespace/", false)]
#[case("tablespace", false)]
#[case("Data", false)]
#[case("", false)]
fn volume_names(#[case] text: &str, #[case] valid: bool) {
    match text.parse::<VolumeKey>() {
        Ok(key) => assert!(valid && key.to_string() == text),
        Err(error) => assert!(!valid && error.to_string().contains("tablespace/NAME")),
    }
}
