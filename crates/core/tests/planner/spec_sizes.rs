//! `applyTo: ClusterSpec`: how the size in the Cluster's spec stands to its volume.

use csm_core::plan::{Ceiling, CeilingSource};
use csm_core::spec_size::{Standing, standing};
use csm_core::world::World;
use rstest::rstest;

use crate::support::*;

/// A volume at rest of 30Gi, in a Cluster that asked for 10Gi.
fn grown(policy: &str) -> World {
    let world = world(vec![member("orders-1", "30Gi", "3Gi")]).policy(policy);
    world.data(|v| v.fallback_ceiling = Some(size("100Gi")))
}

const FOLLOWS: &str = "expansion: {maxSize: 200Gi, applyTo: ClusterSpec}";
const NO_CEILING: &str = "expansion: {applyTo: ClusterSpec}";

fn above(size_text: &str, ceiling: &str, source: CeilingSource) -> Standing {
    Standing::AboveCeiling {
        size: size(size_text),
        ceiling: Ceiling {
            size: size(ceiling),
            source,
        },
    }
}

#[rstest]
#[case::behind(grown(FOLLOWS), Standing::Behind(size("30Gi")))]
#[case::not_asked(grown("expansion: {maxSize: 200Gi}"), Standing::NotAsked)]
#[case::the_ceiling_of_last_resort(grown(NO_CEILING), Standing::NoCeiling)]
#[case::no_ceiling_at_all(grown(NO_CEILING).data(|v| v.fallback_ceiling = None), Standing::NoCeiling)]
#[case::no_ceiling_however_level(grown(NO_CEILING).member(0, |m| m.request = size("10Gi")), Standing::NoCeiling)]
#[case::no_ceiling_even_while_paused(grown(NO_CEILING).pause("true", None), Standing::NoCeiling)]
#[case::a_learned_ceiling_alone(grown(NO_CEILING).data(|v| v.learned_ceiling = Some(size("40Gi"))), Standing::NoCeiling)]
#[case::above_a_learned_ceiling(
    grown(FOLLOWS).data(|v| v.learned_ceiling = Some(size("20Gi"))),
    above("30Gi", "20Gi", CeilingSource::Learned)
)]
#[case::at_the_ceiling(grown("expansion: {maxSize: 30Gi, applyTo: ClusterSpec}"), Standing::Behind(size("30Gi")))]
#[case::above_the_ceiling(
    grown("expansion: {maxSize: 20Gi, applyTo: ClusterSpec}"),
    above("30Gi", "20Gi", CeilingSource::MaxSize)
)]
#[case::paused(grown(FOLLOWS).pause("true", None), Standing::Held)]
#[case::dry_run(grown("{dryRun: true, expansion: {maxSize: 200Gi, applyTo: ClusterSpec}}"), Standing::Held)]
#[case::deleting(grown(FOLLOWS).change(|w| w.cluster.deleting = true), Standing::Held)]
#[case::it_grows(grown(FOLLOWS).operation(unfinished(growth(noon(), "20Gi", "30Gi"))), Standing::NotSettled)]
#[case::it_has_less_than_it_asks_for(grown(FOLLOWS).member(0, |m| m.size = size("20Gi")), Standing::NotSettled)]
fn the_size_in_the_spec_says_why_it_does_not_follow(#[case] world: World, #[case] expected: Standing) {
    assert_eq!(standing(&world, &world.volumes[0], size("10Gi"), noon()), expected);
}

#[rstest]
#[case("30Gi")]
#[case("40Gi")]
fn a_size_is_never_lowered(#[case] spec: &str) {
    let world = grown("expansion: {maxSize: 20Gi, applyTo: ClusterSpec}");
    assert_eq!(standing(&world, &world.volumes[0], size(spec), noon()), Standing::Level);
}
