//! Watches that feed an index: each object as it comes, each deletion, also those that were missed.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::client::{REQUEST_TIMEOUT, WATCH_ANSWER};
use crate::error::chain;
use crate::readiness::Readiness;

/// Objects a page of a list: bounds what is decoded at a time, about 10 KiB each for as long as it takes.
const PAGE: u32 = 200;
/// First pause after a failed watch.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause after failed watches in a row.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A watch that was begun anew and gave no error for so long works: of that alone the watcher says nothing, and of some kinds
/// no object changes for days. One that is not answered fails before.
const QUIET: Duration = WATCH_ANSWER.saturating_add(REQUEST_TIMEOUT);

/// What a watch reports.
#[derive(Debug)]
pub enum Change<K, T> {
    /// The object is like this now.
    Put(T),
    /// The object is gone.
    Gone(K),
}

/// How objects are named.
pub struct Keys<Of, Known> {
    /// The key of an object.
    pub of: Of,
    /// The keys of all objects that the sink knows, of this watch and of others. What this watch has told it and a new
    /// list lacks is gone.
    pub known: Known,
}

/// Watches `api` until `stop`, and tells `sink` of every change in order.
///
/// `name` is what readiness waits for: until the first list is complete, and with the reason while it fails. Later it is among
/// what fails, for as long as it does.
pub async fn run<K, T>(
    name: &str,
    api: Api<T>,
    labels: Option<&str>,
    readiness: Readiness,
    stop: CancellationToken,
    keys: Keys<impl Fn(&T) -> K, impl Fn() -> Vec<K>>,
    mut sink: impl FnMut(Change<K, T>),
) where
    K: Hash,
    T: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    readiness.wait_for(name, "first list not complete");
    let mut config = watcher::Config::default().page_size(PAGE);
    if let Some(labels) = labels {
        config = config.labels(labels);
    }
    let mut events = std::pin::pin!(watcher::watcher(api, config));
    // Names of thousands of objects would take more memory than what is kept of the objects. That two of a million names
    // have one hash of 64 bits happens once in ten million lists; then one object is missed until the next.
    let hasher = RandomState::new();
    let hash = |key: &K| hasher.hash_one(key);
    let mut known: HashSet<u64> = HashSet::new();
    let mut listed: HashSet<u64> = HashSet::new();
    let mut health = Health::new(name, &readiness);
    let mut complete = false;
    // A list that succeeds says so: silence in one tells nothing.
    let mut listing = true;
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => event,
            () = tokio::time::sleep(QUIET), if health.fails() && !listing => {
                health.works();
                continue;
            }
        };
        match event {
            None => return,
            Some(Ok(event)) => {
                listing = match event {
                    Event::Init | Event::InitApply(_) => true,
                    Event::InitDone | Event::Apply(_) | Event::Delete(_) => false,
                };
                // Of a list, its last page alone says that it works: each try begins with the first.
                if !listing {
                    health.works();
                }
                match event {
                    Event::Init => listed.clear(),
                    Event::InitApply(object) => {
                        listed.insert(hash(&(keys.of)(&object)));
                        sink(Change::Put(object));
                    }
                    Event::InitDone => {
                        let before = std::mem::replace(&mut known, std::mem::take(&mut listed));
                        if before.iter().any(|hash| !known.contains(hash)) {
                            let gone = |key: &K| before.contains(&hash(key)) && !known.contains(&hash(key));
                            for key in (keys.known)().into_iter().filter(gone) {
                                sink(Change::Gone(key));
                            }
                        }
                        complete = true;
                        readiness.done(name);
                    }
                    Event::Apply(object) => {
                        known.insert(hash(&(keys.of)(&object)));
                        sink(Change::Put(object));
                    }
                    Event::Delete(object) => {
                        let key = (keys.of)(&object);
                        known.remove(&hash(&key));
                        sink(Change::Gone(key));
                    }
                }
            }
            Some(Err(error)) => {
                let text = describe(&error);
                if !complete {
                    readiness.wait_for(name, &text);
                }
                let pause = health.failed(text);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

/// Whether a watch works, as readiness and the log know it.
struct Health<'a> {
    name: &'a str,
    readiness: &'a Readiness,
    /// The error that was told last; none while it works.
    told: Option<String>,
    pause: Duration,
}

impl<'a> Health<'a> {
    fn new(name: &'a str, readiness: &'a Readiness) -> Self {
        Self {
            name,
            readiness,
            told: None,
            pause: FIRST_PAUSE,
        }
    }

    fn fails(&self) -> bool {
        self.told.is_some()
    }

    /// It gave an answer that is none; returns how long to wait before the next try.
    fn failed(&mut self, text: String) -> Duration {
        if self.told.as_ref() != Some(&text) {
            tracing::warn!(watch = self.name, error = text, "watch failed; trying again");
            self.readiness.fails(self.name, &text);
            self.told = Some(text);
        }
        let pause = self.pause;
        self.pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        pause
    }

    fn works(&mut self) {
        if self.fails() {
            tracing::info!(watch = self.name, "watch works again");
            self.readiness.works(self.name);
            self.told = None;
        }
        self.pause = FIRST_PAUSE;
    }
}

/// The error in words.
fn describe(error: &watcher::Error) -> String {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status,
        other => return chain(other),
    };
    match status.code {
        404 => "the API server does not know this kind; install its CRD".to_owned(),
        403 => format!("not allowed: {}", status.message),
        // Of something in between, such as a load balancer.
        code if status.message.is_empty() => format!("HTTP status {code}, without words"),
        _ => status.message.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)] // tests
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::response::{IntoResponse as _, Response};
    use futures::FutureExt as _;
    use futures::channel::mpsc;
    use futures::future::{BoxFuture, pending, ready};
    use http::StatusCode;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt as _;
    use rstest::rstest;
    use tokio::time::Instant;

    use super::*;
    use crate::client::Answered;

    const LIST: &str = r#"{"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "1"}, "items": []}"#;
    const PAGE_OF_TWO: &str = r#"{"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "1", "continue": "more"},
        "items": [{"metadata": {"name": "a", "namespace": "n"}}]}"#;
    const ADDED: &str = "{\"type\": \"ADDED\", \"object\": {\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"a\", \"namespace\": \"n\", \"resourceVersion\": \"2\"}}}\n";

    /// How an API server answers a request.
    type Answer = BoxFuture<'static, Response>;

    fn fails() -> Answer {
        ready(StatusCode::SERVICE_UNAVAILABLE.into_response()).boxed()
    }

    /// The first page of a list.
    fn page() -> Answer {
        ready(PAGE_OF_TWO.into_response()).boxed()
    }

    fn list() -> Answer {
        ready(LIST.into_response()).boxed()
    }

    /// A watch, and what its API server sends.
    fn watching() -> (Answer, mpsc::UnboundedSender<std::io::Result<&'static str>>) {
        let (sender, events) = mpsc::unbounded();
        (ready(Body::from_stream(events).into_response()).boxed(), sender)
    }

    struct Watching {
        readiness: Readiness,
        /// When each request came, and whether it was for a watch.
        asked: Arc<Mutex<Vec<(Duration, bool)>>>,
        start: Instant,
    }

    impl Watching {
        /// Watches at an API server that answers so, one request after the other, and then no more.
        fn start(answers: Vec<Answer>) -> Self {
            let (asked, start) = (Arc::<Mutex<Vec<_>>>::default(), Instant::now());
            let (asks, mut answers) = (asked.clone(), answers.into_iter());
            let answer = Mutex::new(move || answers.next().unwrap_or_else(|| pending().boxed()));
            let answer = Arc::new(answer);
            let api_server = Router::new().fallback(move |request: Request| {
                let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
                asks.lock().unwrap().push((start.elapsed(), watches));
                answer.lock().unwrap()()
            });
            let readiness = Readiness::default();
            let api = Api::<ConfigMap>::all(kube::Client::new(Answered(api_server), "default"));
            let (readiness_of_watch, stop) = (readiness.clone(), CancellationToken::new());
            tokio::spawn(async move {
                let keys = Keys {
                    of: |object: &ConfigMap| object.name_any(),
                    known: Vec::new,
                };
                run("configmaps", api, None, readiness_of_watch, stop, keys, |_| {}).await;
            });
            Self { readiness, asked, start }
        }

        /// When it was so; panics where that does not come within two minutes.
        async fn once(&self, what: &str, mut so: impl FnMut(&Self) -> bool) -> Duration {
            while !so(self) {
                assert!(
                    self.start.elapsed() < Duration::from_mins(2),
                    "{what}: {:?} {:?}",
                    self.asked,
                    self.readiness
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            self.start.elapsed()
        }

        async fn fails(&self, fails: bool) -> Duration {
            let what = format!("it fails: {fails}");
            self.once(&what, |w| w.readiness.failing().is_empty() != fails).await
        }

        fn error(&self) -> Option<String> {
            self.readiness.failing().remove("configmaps")
        }

        async fn requests(&self, count: usize) -> Vec<(Duration, bool)> {
            self.once("requests", |w| w.asked.lock().unwrap().len() >= count).await;
            self.asked.lock().unwrap().clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_watch_that_gives_no_error_for_a_while_works() {
        let ((first, sender), (second, _kept)) = (watching(), watching());
        let watch = Watching::start(vec![list(), fails(), fails(), first, fails(), second]);
        watch.fails(true).await;
        let begun = watch.requests(4).await[3].0;
        let works = watch.fails(false).await;
        assert!(
            works >= begun + REQUEST_TIMEOUT && works <= begun + QUIET * 2,
            "{begun:?} {works:?}"
        );
        // The pauses begin anew.
        let failed = watch.start.elapsed();
        sender.unbounded_send(Err(std::io::Error::other("reset by peer"))).unwrap();
        drop(sender);
        watch.fails(true).await;
        let again = watch.requests(5).await[4].0;
        assert!(again < failed + FIRST_PAUSE * 2, "{failed:?} {again:?}");
    }

    /// Something takes its requests and answers none.
    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_not_answered_fails_until_one_is() {
        let unanswered = || pending().boxed();
        let (answer, _kept) = watching();
        let watch = Watching::start(vec![list(), unanswered(), unanswered(), answer]);
        let begun = watch.requests(2).await[1].0;
        let failed = watch.fails(true).await;
        assert!(
            failed >= begun + WATCH_ANSWER && failed < begun + WATCH_ANSWER + FIRST_PAUSE,
            "{begun:?} {failed:?}"
        );
        let error = watch.error().unwrap_or_default();
        assert!(error.ends_with("no answer within 10 s"), "{error}");
        let mut failing = true;
        watch
            .once("one that is answered", |w| {
                failing &= w.error().is_some();
                w.asked.lock().unwrap().len() >= 4
            })
            .await;
        assert!(failing, "it has not worked in between");
        let asked = watch.requests(4).await;
        assert!(asked[1..].iter().all(|(_, watches)| *watches), "{asked:?}");
        let pauses = asked[1..]
            .windows(2)
            .map(|pair| pair[1].0.saturating_sub(pair[0].0 + WATCH_ANSWER).as_millis() / 100);
        assert_eq!(pauses.collect::<Vec<_>>(), [5, 10]);
        watch.fails(false).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_is_not_answered_fails() {
        let watch = Watching::start(Vec::new());
        watch.fails(true).await;
        let error = watch.error().unwrap_or_default();
        assert!(error.ends_with("no answer within 70 s"), "{error}");
        assert_eq!(watch.readiness.missing().remove("configmaps"), Some(error));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_event_says_that_a_watch_works() {
        let (answer, sender) = watching();
        let watch = Watching::start(vec![list(), fails(), answer]);
        watch.fails(true).await;
        let begun = watch.requests(3).await[2].0;
        sender.unbounded_send(Ok(ADDED)).unwrap();
        let works = watch.fails(false).await;
        assert!(works < begun + Duration::from_secs(1), "{begun:?} {works:?}");
    }

    /// The watcher says that it lists before it asks, and tells of each page: neither is a success.
    #[rstest]
    #[case::its_first_page(0)]
    #[case::its_second_page(1)]
    #[tokio::test(start_paused = true)]
    async fn a_list_that_fails_fails_all_the_time_and_is_asked_for_less_and_less(#[case] pages: usize) {
        let one_try = || (0..pages).map(|_| page()).chain([fails()]);
        let watch = Watching::start((0..5).flat_map(|_| one_try()).collect());
        watch.fails(true).await;
        let (mut failing, all) = (true, 5 * (pages + 1) + 1);
        watch
            .once("five tries", |w| {
                failing &= !w.readiness.failing().is_empty();
                w.asked.lock().unwrap().len() >= all
            })
            .await;
        assert!(failing, "it has not worked in between");
        let asked = watch.requests(all).await;
        let tries: Vec<_> = asked.iter().step_by(pages + 1).collect();
        let pauses = tries.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].0).as_millis() / 100);
        assert_eq!(pauses.collect::<Vec<_>>(), [5, 10, 20, 40, 80]);
        assert!(asked.iter().all(|(_, watches)| !watches));
        // Nor is one that is not answered.
        tokio::time::sleep(QUIET * 2).await;
        assert!(!watch.readiness.failing().is_empty());
    }
}
