//! Which step of a rotation is next: from what is kept, what the API server is told, and the time, and from nothing else.
//!
//! Nobody is ever asked to trust what he has not heard of. A new authority is announced, and the API server told to trust
//! it beside the old one; once that has had the time to reach every API server, it issues; once what it issued has had the
//! time to reach every replica, the old one is dropped. Any replica may take a step, since each write has a precondition.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::authority::{Authority, Leaf};

/// What is kept in the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    /// The authority that issues.
    pub current: Option<Authority>,
    /// The one that comes after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    /// The one that was before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// What every replica serves with.
    pub leaf: Option<Leaf>,
}

/// An authority that does not issue yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Next {
    pub authority: Authority,
    /// Since when every configuration tells to trust it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_since: Option<Timestamp>,
}

/// An authority that issues no more; its key is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Previous {
    pub certificate: String,
    /// Since when nothing of it is to be served.
    pub replaced_at: Timestamp,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is nothing to serve with: make an authority, and a certificate.
    Begin,
    /// Tell the API server to trust what is in [`Kept::bundle`].
    Trust,
    /// Make the next authority.
    Announce,
    /// Every configuration tells to trust the next authority: from now on it is waited for.
    Confirm,
    /// The next authority issues from now on.
    Promote,
    /// Nobody serves anything of the previous authority any more.
    Retire,
    /// A new certificate of the current authority.
    Reissue,
    /// The same, for the names that are wanted here and those that it has: another replica may want those.
    Widen,
    /// Nothing until then.
    Wait(Timestamp),
}

/// What is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    /// Names that the certificate is to be for.
    pub names: &'a [String],
    /// How long a change takes to reach everybody.
    pub settle: Duration,
}

impl Kept {
    /// The certificates of the authorities to trust: what a configuration's `caBundle` is to be.
    pub fn bundle(&self) -> String {
        let current = self.current.iter().map(|a| &a.certificate);
        let next = self.next.iter().map(|n| &n.authority.certificate);
        let previous = self.previous.iter().map(|p| &p.certificate);
        current.chain(next).chain(previous).map(String::as_str).collect()
    }

    /// The next step. `trusted` says whether every configuration that there is has [`bundle`](Self::bundle), and no other.
    pub fn step(&self, trusted: bool, wanted: &Wanted<'_>, now: Timestamp) -> Step {
        let Some(current) = self.current.as_ref().filter(|a| !a.life.is_over(now)) else {
            return Step::Begin;
        };
        let Some(leaf) = self.leaf.as_ref().filter(|l| !l.life.is_over(now)) else {
            return Step::Reissue;
        };
        if !wanted.names.iter().all(|name| leaf.names.contains(name)) {
            return Step::Widen;
        }
        if !trusted {
            return Step::Trust;
        }
        let settled = |since: Timestamp| since.saturating_add(wanted.settle).unwrap_or(Timestamp::MAX);
        let rotation = match (&self.previous, &self.next) {
            (Some(previous), _) => (settled(previous.replaced_at), Step::Retire),
            (None, Some(next)) => match next.trusted_since {
                None => return Step::Confirm,
                Some(since) => (settled(since), Step::Promote),
            },
            (None, None) => (current.life.replace_at(), Step::Announce),
        };
        // Where both are due, the rotation comes first: it may make a new certificate as well.
        let reissue = (leaf.life.replace_at(), Step::Reissue);
        let due = [rotation, reissue].into_iter().find(|(at, _)| now >= *at);
        due.map_or(Step::Wait(rotation.0.min(reissue.0)), |(_, step)| step)
    }

    /// The names of [`Step::Widen`]: those that are wanted, and others that the certificate has. These go with the next one.
    pub fn names(&self, wanted: &[String]) -> Vec<String> {
        let others = self.leaf.iter().flat_map(|leaf| &leaf.names).filter(|name| !wanted.contains(name));
        wanted.iter().chain(others).cloned().collect()
    }

    /// [`Step::Begin`], done.
    pub fn begun(authority: Authority, leaf: Leaf) -> Self {
        Self {
            current: Some(authority),
            next: None,
            previous: None,
            leaf: Some(leaf),
        }
    }

    /// [`Step::Announce`], done.
    pub fn announced(self, authority: Authority) -> Self {
        let trusted_since = None;
        Self {
            next: Some(Next { authority, trusted_since }),
            ..self
        }
    }

    /// [`Step::Confirm`], done.
    pub fn confirmed(mut self, now: Timestamp) -> Self {
        if let Some(next) = &mut self.next {
            next.trusted_since = Some(now);
        }
        self
    }

    /// [`Step::Promote`], done; `leaf` is of the next authority.
    pub fn promoted(self, leaf: Leaf, now: Timestamp) -> Self {
        let previous = self.current.map(|authority| Previous {
            certificate: authority.certificate,
            replaced_at: now,
        });
        Self {
            current: self.next.map(|next| next.authority),
            next: None,
            previous,
            leaf: Some(leaf),
        }
    }

    /// [`Step::Retire`], done.
    pub fn retired(self) -> Self {
        Self { previous: None, ..self }
    }

    /// [`Step::Reissue`] or [`Step::Widen`], done; `leaf` is of the current authority.
    pub fn reissued(self, leaf: Leaf) -> Self {
        Self { leaf: Some(leaf), ..self }
    }
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
#[allow(clippy::expect_used, clippy::indexing_slicing)] // tests
mod tests;
