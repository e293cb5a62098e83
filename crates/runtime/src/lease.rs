//! Leader election on a `coordination.k8s.io/v1` Lease, and the permission to write that it gives.
//!
//! The same algorithm as client-go's `leaderelection`: a Lease is taken over only after its holder has not renewed it
//! for its duration, measured on our own clock from when we saw its last change. Written here since the crates that
//! fit this kube lack the precondition on `resourceVersion`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::REQUEST_TIMEOUT;
use crate::error::{Failure, FailureClass};

/// Times of the election. `duration > renew_deadline > retry_period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// Others wait this long after the last renewal before they take over.
    pub duration: Duration,
    /// We stop writing when we could not renew for so long.
    pub renew_deadline: Duration,
    /// Pause between tries.
    pub retry_period: Duration,
}

impl Default for LeaseTimes {
    /// As client-go: 15 s, 10 s, 2 s.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Who asks for the lease: unique to this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(String);

impl Identity {
    /// The host (pod) name with a random suffix: two processes never share one, even under one name.
    #[must_use]
    pub fn new(host: &str) -> Self {
        Self(format!("{host}_{:016x}", rand::random::<u64>()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// We do not hold the lease (any more); nothing may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not the leader any more: the lease could not be renewed in time")]
pub struct LeaseLost;

/// Permission to write, made only by this module for the holder of the lease.
///
/// Every write goes through [`LeaderGuard::write`]: it does not start once the renew deadline has passed, and it is
/// given up before the lease can pass on, so that two leaders never write at one time.
#[derive(Clone, Debug)]
pub struct LeaderGuard {
    term: Arc<Mutex<Term>>,
}

#[derive(Clone, Copy, Debug)]
enum Term {
    /// There is no election; we are the only one.
    Always,
    /// Start no write after the first, let none run beyond the second.
    Until(Instant, Instant),
}

impl LeaderGuard {
    fn until(start: Instant, times: LeaseTimes) -> Term {
        Term::Until(start + times.renew_deadline, start + times.duration)
    }

    /// Whether a write may start now; how long it may take.
    ///
    /// # Errors
    /// [`LeaseLost`].
    pub fn permit(&self) -> Result<Duration, LeaseLost> {
        match *self.term.lock().unwrap_or_else(PoisonError::into_inner) {
            Term::Always => Ok(REQUEST_TIMEOUT),
            Term::Until(start_by, end_by) => {
                let now = Instant::now();
                if now >= start_by {
                    Err(LeaseLost)
                } else {
                    Ok(REQUEST_TIMEOUT.min(end_by.saturating_duration_since(now)))
                }
            }
        }
    }

    /// Runs one write while the permission lasts.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn write<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
        let limit = self.permit()?;
        match tokio::time::timeout(limit, request).await {
            Ok(answer) => answer.map_err(Failure::from),
            Err(_) => Err(Failure::Timeout),
        }
    }
}

/// The lease, once held.
pub struct Leadership {
    /// Permission to write.
    pub guard: LeaderGuard,
    /// Cancelled when the lease is lost.
    pub lost: CancellationToken,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Leadership {
    /// For a process that is the only one by design.
    #[must_use]
    pub fn without_election() -> Self {
        let guard = LeaderGuard {
            term: Arc::new(Mutex::new(Term::Always)),
        };
        Self {
            guard,
            lost: CancellationToken::new(),
            stop: CancellationToken::new(),
            task: tokio::spawn(async {}),
        }
    }

    /// Gives the lease back, so that the next leader need not wait. Call it after the last write has ended.
    pub async fn release(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the renewal of the lease ended badly");
        }
    }
}

/// Waits until we hold the lease `name`; then keeps renewing it in the background.
pub async fn acquire(api: Api<Lease>, name: &str, identity: Identity, times: LeaseTimes) -> Leadership {
    let mut elector = Elector {
        api,
        name: name.to_owned(),
        identity,
        times,
        seen: None,
    };
    let mut told = false;
    let (start, lease) = loop {
        let start = Instant::now();
        match elector.try_acquire().await {
            Ok(Some(lease)) => break (start, lease),
            Ok(None) => {
                if !told {
                    tracing::info!(lease = name, holder = elector.holder(), "another replica leads; standing by");
                    told = true;
                }
            }
            Err(failure) => tracing::warn!(lease = name, error = failure.message(), "cannot get the lease; trying again"),
        }
        tokio::time::sleep(times.retry_period).await;
    };
    tracing::info!(lease = name, identity = elector.identity.as_str(), "leading");
    let guard = LeaderGuard {
        term: Arc::new(Mutex::new(LeaderGuard::until(start, times))),
    };
    let (lost, stop) = (CancellationToken::new(), CancellationToken::new());
    let keep = elector.keep(lease, guard.clone(), lost.clone(), stop.clone());
    let when_it_ends = lost.clone().drop_guard();
    let task = tokio::spawn(async move {
        // However it ends, by a panic too: what is not renewed is lost.
        let _lost = when_it_ends;
        keep.await;
    });
    Leadership { guard, lost, stop, task }
}

struct Elector {
    api: Api<Lease>,
    name: String,
    identity: Identity,
    times: LeaseTimes,
    /// The newest record of another holder, and when we first saw it.
    seen: Option<(LeaseSpec, Instant)>,
}

impl Elector {
    fn holder(&self) -> String {
        self.seen
            .as_ref()
            .and_then(|(spec, _)| spec.holder_identity.clone())
            .unwrap_or_default()
    }

    fn spec(&self, transitions: i32, acquired: Option<MicroTime>) -> LeaseSpec {
        let now = MicroTime(jiff::Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.0.clone()),
            lease_duration_seconds: Some(i32::try_from(self.times.duration.as_secs().max(1)).unwrap_or(i32::MAX)),
            acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    /// One try: the lease if it is ours now.
    async fn try_acquire(&mut self) -> Result<Option<Lease>, Failure> {
        let Some(current) = crate::error::call(self.api.get_opt(&self.name)).await? else {
            return self.create().await;
        };
        let spec = current.spec.clone().unwrap_or_default();
        let free = spec.holder_identity.as_deref().unwrap_or_default().is_empty();
        if !free && spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            let held_for =
                Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0)).max(self.times.duration);
            match &self.seen {
                Some((seen, since)) if *seen == spec => {
                    if since.elapsed() < held_for {
                        return Ok(None);
                    }
                }
                _ => {
                    self.seen = Some((spec, Instant::now()));
                    return Ok(None);
                }
            }
        }
        let transitions = spec.lease_transitions.unwrap_or(0).saturating_add(1);
        self.replace(&current, self.spec(transitions, None)).await
    }

    /// Creates the lease, unless somebody else just did.
    async fn create(&self) -> Result<Option<Lease>, Failure> {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            ..ObjectMeta::default()
        };
        let lease = Lease {
            metadata,
            spec: Some(self.spec(0, None)),
        };
        match crate::error::call(self.api.create(&PostParams::default(), &lease)).await {
            Ok(created) => Ok(Some(created)),
            Err(failure) if failure.class() == FailureClass::AlreadyExists => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Writes the lease, provided that nobody else has since.
    async fn replace(&self, current: &Lease, spec: LeaseSpec) -> Result<Option<Lease>, Failure> {
        let mut next = current.clone();
        next.spec = Some(spec);
        match crate::error::call(self.api.replace(&self.name, &PostParams::default(), &next)).await {
            Ok(lease) => Ok(Some(lease)),
            Err(failure) if failure.class() == FailureClass::Conflict => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Renews until told to stop, or until the deadline has passed.
    async fn keep(self, mut lease: Lease, guard: LeaderGuard, lost: CancellationToken, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.give_back(&lease).await,
                () = tokio::time::sleep(self.times.retry_period) => {}
            }
            let start = Instant::now();
            let (transitions, acquired) = lease
                .spec
                .as_ref()
                .map_or((0, None), |s| (s.lease_transitions.unwrap_or(0), s.acquire_time.clone()));
            match self.replace(&lease, self.spec(transitions, acquired)).await {
                Ok(Some(renewed)) => {
                    lease = renewed;
                    *guard.term.lock().unwrap_or_else(PoisonError::into_inner) = LeaderGuard::until(start, self.times);
                    continue;
                }
                // Somebody else wrote it. It may have been an edit by hand: the lease is still ours if it says so.
                Ok(None) => match crate::error::call(self.api.get(&self.name)).await {
                    Ok(current) if current.spec.as_ref().and_then(|s| s.holder_identity.as_deref()) == Some(self.identity.as_str()) => {
                        lease = current;
                    }
                    Ok(_) => {
                        *guard.term.lock().unwrap_or_else(PoisonError::into_inner) = Term::Until(start, start);
                    }
                    Err(failure) => tracing::warn!(error = failure.message(), "cannot read the lease"),
                },
                Err(failure) => tracing::warn!(error = failure.message(), "cannot renew the lease"),
            }
            if guard.permit().is_err() {
                tracing::error!(lease = self.name, "lost the lease; stopping all writes");
                lost.cancel();
                return;
            }
        }
    }

    async fn give_back(&self, lease: &Lease) {
        let mut spec = lease.spec.clone().unwrap_or_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        match self.replace(lease, spec).await {
            Ok(_) => tracing::info!(lease = self.name, "gave the lease back"),
            Err(failure) => tracing::warn!(error = failure.message(), "could not give the lease back; it runs out by itself"),
        }
    }
}
