//! What the manual levers say.

use csm_api::Phase;
use csm_core::world::VolumeKey;
use kubectl_cnpg_storage::levers::{Annotations, Change, Expansion, Lever, ask, pause};
use kubectl_cnpg_storage::render::{self, Page};
use kubectl_cnpg_storage::thought::think;

use crate::cases;
use crate::fixture::{Fixture, now};

const PAGE: fn() -> Page = || Page {
    now: now(),
    width: Some(110),
    wide: false,
};

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn a_growth_that_is_asked_for() {
    let fixture = cases::held(Fixture::new());
    let thought = think(&fixture.facts, &fixture.details, now()).expect("a cluster");
    let to = "49665Mi".parse().expect("a size");
    let asked = ask(&thought, &VolumeKey::DATA, to, now()).expect("nothing stands against it");
    let mut expansion = Expansion {
        asked,
        event: None,
        dry_run: Some("client"),
        phase: None,
        message: None,
        follow: None,
    };
    insta::assert_snapshot!("expand_dry_run", plain(&render::expansion(&expansion, &PAGE())));
    expansion.event = Some("orders-expansion-20260301-120000-x7k2p".to_owned());
    expansion.dry_run = None;
    expansion.phase = Some(Phase::Completed);
    expansion.message = Some("2/2 PVCs expanded successfully".to_owned());
    insta::assert_snapshot!("expand_completed", plain(&render::expansion(&expansion, &PAGE())));

    let refused = ask(&thought, &VolumeKey::DATA, "101Gi".parse().expect("a size"), now()).expect_err("the ceiling");
    assert!(refused.message.contains("expansion.maxSize"), "{refused}");
}

#[test]
fn a_pause() {
    let until = "2026-03-02T06:00:00Z".parse().expect("a time");
    let Change { before, after, writes } = pause(&Annotations::new(), Some(until), Some("the array moves"), now());
    let lever = Lever {
        object: "Cluster shop/orders".to_owned(),
        before,
        after,
        changed: !writes.is_empty(),
        dry_run: None,
        annotations: writes,
        follows: vec!["It resumes by itself then, or at once with: kubectl cnpg storage resume orders -n shop".to_owned()],
    };
    insta::assert_snapshot!("pause", plain(&render::lever(&lever, &PAGE())));
    assert_eq!(
        serde_json::to_value(&lever).expect("JSON")["annotations"]["storage.cnpg.supporttools.io/pause-until"],
        "2026-03-02T06:00:00Z"
    );
}
