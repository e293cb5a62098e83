//! What people ask of breakers: each request closes a breaker once.
//!
//! A request is an annotation. It is taken away first, and carried out afterwards: were it the other way round, one that
//! cannot be taken away, for a webhook that refuses every write to its object, would close the breaker again and again. What
//! was taken and is not recorded yet is kept here, with its moment, of which the record's name is made: tried again, it is
//! recorded once. A manager that is killed between the two loses it; then the breaker is open and the annotation gone, and
//! the person can ask again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use csm_core::world::ClusterKey;
use csm_runtime::{Failure, FailureClass};
use jiff::Timestamp;

/// Where a request stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    /// On a Cluster, for its own breaker.
    Cluster(ClusterKey),
    /// On a ClusterStoragePolicy, for the breaker of all.
    Policy(Arc<str>),
}

/// Requests that are being taken away, or are and wait to be recorded, since when.
#[derive(Default)]
pub(crate) struct Requests(Mutex<BTreeMap<Asked, Timestamp>>);

impl Requests {
    /// Whether one waits, or may.
    pub fn waits(&self, asked: &Asked) -> bool {
        self.lock().contains_key(asked)
    }

    /// The ClusterStoragePolicies of those that wait, or may.
    pub fn policies(&self) -> Vec<Arc<str>> {
        let of_policy = |asked: &Asked| match asked {
            Asked::Policy(name) => Some(name.clone()),
            Asked::Cluster(_) => None,
        };
        self.lock().keys().filter_map(of_policy).collect()
    }

    /// What a try to take one away came to, at `at`: since when it waits to be recorded; none: there is none to record.
    ///
    /// # Errors
    /// The failure of the try. It may have been taken away all the same where the answer was lost: that is seen next time.
    pub fn taken(&self, asked: &Asked, taken: Result<bool, Failure>, at: Timestamp) -> Result<Option<Timestamp>, Failure> {
        let mut requests = self.lock();
        match taken {
            Ok(true) => {
                requests.insert(asked.clone(), at);
            }
            // Where it was here before, it was we who took it.
            Ok(false) => {}
            Err(failure) => {
                if failure.class() == FailureClass::Transient {
                    requests.entry(asked.clone()).or_insert(at);
                }
                return Err(failure);
            }
        }
        Ok(requests.get(asked).copied())
    }

    /// It is carried out, or whom it was about is gone.
    pub fn done(&self, asked: &Asked) {
        self.lock().remove(asked);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Asked, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // tests
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn refused() -> Failure {
        Failure::Api(Box::new(kube::core::Status {
            code: 403,
            ..kube::core::Status::default()
        }))
    }

    #[test]
    fn a_request_is_due_once_and_from_when_it_was_taken() {
        let (requests, asked) = (Requests::default(), Asked::Policy(Arc::from("fleet")));
        assert!(requests.taken(&asked, Err(refused()), at(1)).is_err());
        assert!(!requests.waits(&asked), "it still stands where it was");
        assert_eq!(requests.taken(&asked, Ok(true), at(2)).unwrap(), Some(at(2)));
        // It could not be recorded; nobody asks a second time.
        assert_eq!(requests.policies(), [Arc::from("fleet")]);
        assert_eq!(requests.taken(&asked, Ok(false), at(3)).unwrap(), Some(at(2)));
        requests.done(&asked);
        assert_eq!(requests.taken(&asked, Ok(false), at(4)).unwrap(), None);
    }

    #[test]
    fn an_answer_that_was_lost_is_found_out() {
        let requests = Requests::default();
        let asked = Asked::Cluster(ClusterKey::new("n", "orders"));
        assert!(requests.taken(&asked, Err(Failure::Timeout), at(1)).is_err());
        assert!(requests.waits(&asked));
        assert_eq!(requests.taken(&asked, Ok(false), at(5)).unwrap(), Some(at(1)), "it was applied");
        requests.done(&asked);
        assert!(requests.taken(&asked, Err(Failure::Timeout), at(6)).is_err());
        assert_eq!(requests.taken(&asked, Ok(true), at(7)).unwrap(), Some(at(7)), "it was not");
    }
}
