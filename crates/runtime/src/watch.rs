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

use crate::error::chain;
use crate::readiness::Readiness;

/// Objects a page of a list: bounds what is decoded at a time, about 10 KiB each for as long as it takes.
const PAGE: u32 = 200;
/// First pause after a failed watch.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause after failed watches in a row.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

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
    let mut pause = FIRST_PAUSE;
    let mut reported = String::new();
    let mut complete = false;
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            None => return,
            Some(Ok(event)) => {
                if !reported.is_empty() {
                    tracing::info!(watch = name, "watch works again");
                    readiness.works(name);
                    reported.clear();
                }
                pause = FIRST_PAUSE;
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
                if reported != text {
                    tracing::warn!(watch = name, error = text, "watch failed; trying again");
                    readiness.fails(name, &text);
                    reported = text;
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
        }
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
        _ => status.message.clone(),
    }
}
