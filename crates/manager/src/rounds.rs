//! Who is to be asked next: each once a period, a little early at random so that they do not fall into step, and never again
//! before it has answered.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use csm_runtime::tasks::{Panicked, caught};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How much earlier than a period after the last time one may be asked, in 2560ths of the period and up to 255: a tenth.
const EARLY: f64 = 2560.0;
/// One in so many places more is for those that failed when they were asked last.
const FAILED_SHARE: usize = 4;

/// Asks many of one kind.
pub trait Asker: Send + Sync + 'static {
    /// Names one.
    type Key: Clone + Eq + Hash + Ord + Send + Sync + 'static;
    /// What is known of it beforehand.
    type Asked: Send + Sync + 'static;
    /// Why it says nothing of use.
    type Error: Trouble;

    /// How often we look who is due: someone new waits no longer.
    const LOOK: Duration;

    /// Those that are to be asked, and how often each.
    fn wanted(&self, rounds: &Rounds<Self::Key>) -> BTreeMap<Self::Key, (Self::Asked, Duration)>;

    /// How many are asked at a time.
    fn places(&self) -> &Places;

    /// Asks one, and puts what it says into the index.
    fn ask(&self, key: &Self::Key, asked: &Self::Asked) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Tells what came of it; that it says nothing of use, and that it does again, is `news` once.
    fn tell(&self, key: &Self::Key, asked: &Self::Asked, result: Result<(), Self::Error>, news: bool);
}

/// Why one says nothing of use.
pub trait Trouble: From<Panicked> + Send + 'static {
    /// A short name of the kind of error: the same one is logged once, not each time.
    fn kind(&self) -> &'static str;
}

/// How many are asked at a time.
#[derive(Debug)]
pub struct Places {
    usual: Arc<Semaphore>,
    failed: Arc<Semaphore>,
}

impl Places {
    /// So many, whoever they are.
    pub fn for_all(count: usize) -> Self {
        let usual = Arc::new(Semaphore::new(count.max(1)));
        Self {
            failed: usual.clone(),
            usual,
        }
    }

    /// So many, and some more for those that failed when they were asked last: any number that hang delays none that answers.
    pub fn with_some_for_failed(count: usize) -> Self {
        let count = count.max(1);
        Self {
            usual: Arc::new(Semaphore::new(count)),
            failed: Arc::new(Semaphore::new(count.div_ceil(FAILED_SHARE))),
        }
    }

    fn of(&self, has_failed: bool) -> &Arc<Semaphore> {
        if has_failed { &self.failed } else { &self.usual }
    }
}

/// Asks everyone who is due, until told to stop.
pub async fn ask_around<A: Asker>(asker: A, stop: CancellationToken) {
    let asker = Arc::new(asker);
    let mut rounds = Rounds::default();
    let mut running = JoinSet::new();
    let mut look = tokio::time::interval(A::LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(ended) = running.join_next() => {
                // It catches its panics, and is not aborted: whoever was asked does not stay busy.
                if let Ok((key, asked, result)) = ended {
                    let result: Result<(), A::Error> = result;
                    let news = rounds.ended(&key, result.as_ref().err().map(Trouble::kind));
                    asker.tell(&key, &asked, result, news);
                }
            }
            _ = look.tick() => {
                let mut wanted = asker.wanted(&rounds);
                for key in rounds.due(&wanted, |(_, every)| *every, Instant::now()) {
                    let Some((asked, _)) = wanted.remove(&key) else { continue };
                    let (asker, places) = (asker.clone(), asker.places().of(rounds.has_failed(&key)).clone());
                    running.spawn(async move {
                        let result = whole(async {
                            // Nobody closes it.
                            let _place = places.acquire().await;
                            asker.ask(&key, &asked).await
                        });
                        let result = result.await;
                        (key, asked, result)
                    });
                }
            }
        }
    }
}

/// What came of asking one, a panic included: one costs nobody else.
async fn whole<E: From<Panicked>>(asked: impl Future<Output = Result<(), E>>) -> Result<(), E> {
    caught(asked).await.unwrap_or_else(|panic| Err(panic.into()))
}

/// When each was asked, which have not answered yet, and what was wrong with each last.
#[derive(Debug)]
pub struct Rounds<K> {
    asked: HashMap<K, (Instant, f64)>,
    busy: HashSet<K>,
    errors: HashMap<K, &'static str>,
}

impl<K> Default for Rounds<K> {
    fn default() -> Self {
        Self {
            asked: HashMap::new(),
            busy: HashSet::new(),
            errors: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> Rounds<K> {
    /// Those of `wanted` that are due, `every` so often each; they count as asked now. Who is not wanted is forgotten.
    pub fn due<V>(&mut self, wanted: &BTreeMap<K, V>, every: impl Fn(&V) -> Duration, now: Instant) -> Vec<K> {
        self.asked.retain(|key, _| wanted.contains_key(key));
        self.errors.retain(|key, _| wanted.contains_key(key));
        let is_due = |key: &K, value: &V| {
            let asked = self.asked.get(key);
            let waits = |(at, share): &(Instant, f64)| now.duration_since(*at) < every(value).mul_f64(*share);
            !self.busy.contains(key) && !asked.is_some_and(waits)
        };
        let due = wanted.iter().filter(|(key, value)| is_due(key, value));
        let due: Vec<K> = due.map(|(key, _)| key.clone()).collect();
        for key in &due {
            let share = 1.0 - f64::from(rand::random::<u8>()) / EARLY;
            self.asked.insert(key.clone(), (now, share));
            self.busy.insert(key.clone());
        }
        due
    }

    /// One has answered, or failed with this kind of error. Whether that is news.
    pub fn ended(&mut self, key: &K, error: Option<&'static str>) -> bool {
        self.busy.remove(key);
        match error {
            Some(kind) => self.errors.insert(key.clone(), kind) != Some(kind),
            None => self.errors.remove(key).is_some(),
        }
    }

    /// Whether it failed when it was asked last.
    pub fn has_failed(&self, key: &K) -> bool {
        self.errors.contains_key(key)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::mpsc;

    use super::*;
    use crate::fetch::FetchError;
    use crate::kubelet::KubeletError;

    const PERIOD: Duration = Duration::from_secs(30);

    fn wanted(names: &[&'static str]) -> BTreeMap<&'static str, Duration> {
        names.iter().map(|name| (*name, PERIOD)).collect()
    }

    #[test]
    fn each_is_asked_once_a_period_and_never_twice_at_a_time() {
        let (mut rounds, start) = (Rounds::default(), Instant::now());
        let due = |rounds: &mut Rounds<_>, names: &[&'static str], seconds| {
            rounds.due(&wanted(names), |every| *every, start + Duration::from_secs(seconds))
        };
        assert_eq!(due(&mut rounds, &["a", "b"], 0), ["a", "b"]);
        assert!(!rounds.ended(&"a", None));
        assert!(due(&mut rounds, &["a", "b"], 26).is_empty(), "a has answered a moment ago");
        assert_eq!(due(&mut rounds, &["a", "b"], 30), ["a"], "b has not answered yet");
        rounds.ended(&"b", None);
        assert_eq!(due(&mut rounds, &["a", "b"], 31), ["b"]);
        rounds.ended(&"a", None);
        rounds.ended(&"b", None);
        // One that was away is new.
        assert!(due(&mut rounds, &["b"], 32).is_empty());
        assert_eq!(due(&mut rounds, &["a", "b"], 33), ["a"]);
    }

    #[test]
    fn what_is_wrong_is_news_once() {
        let mut rounds = Rounds::default();
        let told: Vec<bool> = [Some("timeout"), Some("timeout"), Some("garbage"), None, None]
            .into_iter()
            .map(|error| rounds.ended(&"a", error))
            .collect();
        assert_eq!(told, [true, false, true, true, false]);
        rounds.ended(&"a", Some("timeout"));
        assert!(rounds.has_failed(&"a"));
        rounds.due(&wanted(&[]), |every| *every, Instant::now());
        assert!(!rounds.has_failed(&"a"), "one that is gone is forgotten");
    }

    #[tokio::test]
    async fn a_panic_over_the_answer_of_one_is_that_ones_error() {
        let result = whole::<KubeletError>(async { panic!("no such volume") }).await;
        let error = result.map_err(|error| (error.kind(), error.to_string()));
        assert_eq!(
            error,
            Err(("panic", "BUG: looking at the figures panicked: no such volume".to_owned()))
        );
    }

    /// What was told: of whom, the kind of error, and whether it was news.
    type Told = (&'static str, Option<&'static str>, bool);

    /// Asks those who do as they are called.
    struct Fake {
        names: &'static [&'static str],
        places: Places,
        stuck: AtomicBool,
        told: mpsc::UnboundedSender<Told>,
    }

    impl Asker for Fake {
        type Key = &'static str;
        type Asked = ();
        type Error = KubeletError;

        const LOOK: Duration = Duration::from_secs(1);

        fn wanted(&self, _: &Rounds<&'static str>) -> BTreeMap<&'static str, ((), Duration)> {
            self.names.iter().map(|name| (*name, ((), PERIOD))).collect()
        }

        fn places(&self) -> &Places {
            &self.places
        }

        async fn ask(&self, name: &&'static str, (): &()) -> Result<(), KubeletError> {
            match *name {
                "answers" => Ok(()),
                "panics" => panic!("no such volume"),
                _ => {
                    if self.stuck.swap(true, Ordering::Relaxed) {
                        std::future::pending::<()>().await;
                    }
                    Err(KubeletError::Fetch {
                        url: "https://node".to_owned(),
                        error: FetchError::Timeout(PERIOD),
                    })
                }
            }
        }

        fn tell(&self, name: &&'static str, (): &(), result: Result<(), KubeletError>, news: bool) {
            self.told.send((name, result.err().map(|error| error.kind()), news)).ok();
        }
    }

    /// What is told until one that answers has done so three times.
    async fn told(names: &'static [&'static str], places: Places) -> Vec<Told> {
        let (told, mut heard) = mpsc::unbounded_channel();
        let (stop, stuck) = (CancellationToken::new(), AtomicBool::default());
        let asker = Fake {
            names,
            places,
            stuck,
            told,
        };
        let asking = tokio::spawn(ask_around(asker, stop.clone()));
        let mut all = Vec::new();
        let answers = |all: &[Told]| all.iter().filter(|(name, ..)| *name == "answers").count();
        while answers(&all) < 3 {
            let next = tokio::time::timeout(PERIOD * 3, heard.recv()).await;
            all.push(next.ok().flatten().unwrap_or_else(|| panic!("nobody is asked any more: {all:?}")));
        }
        stop.cancel();
        assert!(asking.await.is_ok(), "it stops when told to");
        all
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_panics_is_asked_again_and_is_news_once() {
        let told = told(&["answers", "panics"], Places::for_all(1)).await;
        let of = |name: &str| told.iter().filter(|told| told.0 == name).copied().collect::<Vec<_>>();
        assert!(of("panics").starts_with(&[("panics", Some("panic"), true), ("panics", Some("panic"), false)]));
        assert_eq!(of("answers"), [("answers", None, false); 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_failed_and_hangs_has_no_place_of_those_that_answer() {
        let told = told(&["answers", "hangs"], Places::with_some_for_failed(1)).await;
        assert_eq!(
            told.iter().filter(|told| told.0 == "hangs").collect::<Vec<_>>(),
            [&("hangs", Some("timeout"), true)]
        );
    }
}
