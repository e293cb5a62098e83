use proptest::prelude::*;

use super::super::authority::{Key, Life};
use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
}

fn authority(name: &str, from: i64, until: i64) -> Authority {
    Authority {
        name: name.to_owned(),
        certificate: format!("[{name}]"),
        key: Key(String::new()),
        life: Life {
            from: at(from),
            until: at(until),
        },
    }
}

/// What `of` issued: its certificate says so.
fn leaf(of: &str, from: i64, until: i64) -> Leaf {
    Leaf {
        names: vec!["hooks".to_owned()],
        certificate: format!("[{of}]"),
        key: Key(String::new()),
        life: Life {
            from: at(from),
            until: at(until),
        },
    }
}

fn names() -> Vec<String> {
    vec!["hooks".to_owned()]
}

fn step(kept: &Kept, trusted: bool, now: i64) -> Step {
    let wanted = Wanted {
        names: &names(),
        settle: Duration::from_secs(10),
    };
    kept.step(trusted, &wanted, at(now))
}

#[test]
fn each_state_has_its_step() {
    let nothing = Kept::default();
    assert_eq!(step(&nothing, true, 0), Step::Begin);
    let begun = Kept::begun(authority("a", 0, 900), leaf("a", 0, 300));
    assert_eq!(begun.bundle(), "[a]");
    assert_eq!(step(&begun, false, 0), Step::Trust);
    assert_eq!(step(&begun, true, 0), Step::Wait(at(200)));
    assert_eq!(step(&begun, true, 200), Step::Reissue);
    assert_eq!(step(&begun, true, 300), Step::Reissue, "it is over");
    assert_eq!(step(&begun, true, 900), Step::Begin, "all is over");
    let renamed = Kept {
        leaf: Some(Leaf {
            names: vec!["other".to_owned()],
            ..leaf("a", 0, 300)
        }),
        ..begun.clone()
    };
    assert_eq!(step(&renamed, true, 1), Step::Widen, "it is for another name");

    let old = begun.reissued(leaf("a", 500, 800));
    assert_eq!(step(&old, true, 599), Step::Wait(at(600)));
    assert_eq!(step(&old, true, 600), Step::Announce);
    let announced = old.announced(authority("b", 600, 1500));
    assert_eq!(announced.bundle(), "[a][b]");
    assert_eq!(step(&announced, false, 600), Step::Trust);
    assert_eq!(step(&announced, true, 601), Step::Confirm);
    let confirmed = announced.confirmed(at(601));
    assert_eq!(step(&confirmed, false, 650), Step::Trust, "somebody took it away");
    assert_eq!(step(&confirmed, true, 602), Step::Wait(at(611)));
    assert_eq!(step(&confirmed, true, 611), Step::Promote);
    let promoted = confirmed.promoted(leaf("b", 611, 911), at(611));
    assert_eq!(promoted.bundle(), "[b][a]");
    assert_eq!(step(&promoted, false, 612), Step::Trust);
    assert_eq!(step(&promoted, true, 620), Step::Wait(at(621)));
    assert_eq!(step(&promoted, true, 621), Step::Retire);
    let retired = promoted.retired();
    assert_eq!(retired.bundle(), "[b]");
    assert_eq!(step(&retired, false, 621), Step::Trust);
    assert_eq!(step(&retired, true, 622), Step::Wait(at(811)));
}

/// While a setting is changed, replicas want different names: each is content with the certificate of both.
#[test]
fn replicas_that_want_different_names_do_not_undo_each_other() {
    let (old, new) = (vec!["old".to_owned(), "both".to_owned()], vec!["new".to_owned(), "both".to_owned()]);
    let step = |kept: &Kept, names: &[String], now: i64| {
        let settle = Duration::from_secs(10);
        kept.step(true, &Wanted { names, settle }, at(now))
    };
    let named = |names: Vec<String>, from: i64| Leaf {
        names,
        ..leaf("a", from, from + 300)
    };
    let kept = Kept::begun(authority("a", 0, 900), named(old.clone(), 0));
    assert_eq!(step(&kept, &new, 1), Step::Widen);
    let names = kept.names(&new);
    assert_eq!(names, ["new", "both", "old"]);
    let kept = kept.reissued(named(names, 0));
    for names in [&old, &new] {
        assert_eq!(step(&kept, names, 2), Step::Wait(at(200)));
    }
    assert_eq!(step(&kept, &new, 200), Step::Reissue, "then for its own names alone");
}

#[test]
fn what_is_kept_comes_back_as_it_was() {
    let kept = Kept::begun(authority("a", 0, 900), leaf("a", 0, 300))
        .announced(authority("b", 600, 1500))
        .confirmed(at(601))
        .promoted(leaf("b", 611, 911), at(611))
        .announced(authority("c", 700, 1600));
    let text = serde_json::to_string(&kept).expect("JSON");
    assert_eq!(serde_json::from_str::<Kept>(&text).expect("the same"), kept);
}

/// How long a change takes at most to reach an API server or a replica, with what it takes to write it.
const REACHES: i64 = 8;
/// A replica of the manager or an API server: what it knows, and since when something newer waits for it.
#[derive(Clone, Debug)]
struct Lagging {
    knows: String,
    newer: Vec<(i64, String)>,
}

impl Lagging {
    fn hear(&mut self, now: i64, news: &str) {
        if self.newer.last().map_or(&self.knows, |(_, last)| last) != news {
            self.newer.push((now, news.to_owned()));
        }
    }

    /// Takes in what has waited for `lag`.
    fn tick(&mut self, now: i64, lag: i64) {
        while self.newer.first().is_some_and(|(since, _)| now - since >= lag) {
            self.knows = self.newer.remove(0).1;
        }
    }
}

proptest! {
    /// Two replicas take steps at any time, API servers and replicas hear of each change late, and by different times:
    /// no API server ever meets a certificate of an authority that it does not trust.
    #[test]
    fn no_call_ever_fails(
        ticks in prop::collection::vec((1i64..4, 0..3usize), 600),
        lags in prop::collection::vec(0..REACHES, 4),
    ) {
        let (life, leaf_life) = (180, 120);
        let make = |n: &mut i64, now: i64| { *n += 1; authority(&n.to_string(), now, now + life) };
        let mut count = 0;
        let first = make(&mut count, 0);
        let mut kept = Kept::begun(first, leaf("1", 0, leaf_life));
        let mut bundle = kept.bundle();
        let lagging = |knows: &str| Lagging { knows: knows.to_owned(), newer: Vec::new() };
        let mut servers = [lagging("[1]"), lagging("[1]")];
        let mut replicas = [lagging("[1]"), lagging("[1]")];
        let mut now = 0;
        let mut rotations = 0;
        for (pause, steps) in ticks {
            now += pause;
            // Several steps in a row, or none: the replicas may be slow.
            for _ in 0..steps {
                let issuer = |a: &Option<Authority>| a.as_ref().map(|a| a.name.clone()).unwrap_or_default();
                let fresh = |of: &str, until: i64| leaf(of, now, (now + leaf_life).min(until));
                let end = |a: &Option<Authority>| a.as_ref().map_or(0, |a| a.life.until.as_second() - 1_800_000_000);
                match step(&kept, bundle == kept.bundle(), now) {
                    Step::Begin => prop_assert!(false, "an authority ended at {now}: {kept:?}"),
                    Step::Trust => bundle = kept.bundle(),
                    Step::Announce => kept = kept.announced(make(&mut count, now)),
                    Step::Confirm => kept = kept.confirmed(at(now)),
                    Step::Promote => {
                        let next = kept.next.clone().map(|n| n.authority);
                        kept = kept.promoted(fresh(&issuer(&next), end(&next)), at(now));
                        rotations += 1;
                    }
                    Step::Retire => kept = kept.retired(),
                    Step::Reissue | Step::Widen => {
                        let current = kept.current.clone();
                        kept = kept.reissued(fresh(&issuer(&current), end(&current)));
                    }
                    Step::Wait(until) => { prop_assert!(until > at(now)); break; }
                }
            }
            let served = kept.leaf.as_ref().map(|l| l.certificate.clone()).unwrap_or_default();
            prop_assert!(kept.leaf.as_ref().is_some_and(|l| !l.life.is_over(at(now))), "a certificate that is over at {now}");
            for (i, server) in servers.iter_mut().enumerate() {
                server.hear(now, &bundle);
                server.tick(now, lags[i]);
            }
            for (i, replica) in replicas.iter_mut().enumerate() {
                replica.hear(now, &served);
                replica.tick(now, lags[i + 2]);
            }
            for (server, replica) in servers.iter().flat_map(|s| replicas.iter().map(move |r| (s, r))) {
                prop_assert!(server.knows.contains(&replica.knows), "{} is not trusted by {} at {now}", replica.knows, server.knows);
            }
        }
        prop_assert!(rotations >= 2, "{rotations} rotations in {now} s");
    }
}
