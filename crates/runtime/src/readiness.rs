//! What the process waits for before it is ready, and what fails since.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

/// The named things that readiness waits for.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    waiting: Arc<RwLock<BTreeMap<String, String>>>,
    failing: Arc<RwLock<BTreeMap<String, String>>>,
}

impl Readiness {
    /// `name` is waited for, because of `why`.
    pub fn wait_for(&self, name: &str, why: &str) {
        let mut waiting = self.waiting.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if waiting.get(name).is_none_or(|known| known != why) {
            waiting.insert(name.to_owned(), why.to_owned());
        }
    }

    /// `name` is there.
    pub fn done(&self, name: &str) {
        self.waiting.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(name);
    }

    /// What is still waited for, with the reason; empty when ready.
    pub fn missing(&self) -> BTreeMap<String, String> {
        self.waiting.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// `name` fails, because of `why`. A process that was ready stays so: it goes on with what it knows.
    pub fn fails(&self, name: &str, why: &str) {
        let mut failing = self.failing.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        failing.insert(name.to_owned(), why.to_owned());
    }

    /// `name` works again.
    pub fn works(&self, name: &str) {
        self.failing.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(name);
    }

    /// What fails now, with the reason.
    pub fn failing(&self) -> BTreeMap<String, String> {
        self.failing.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Whether nothing is waited for.
    pub fn is_ready(&self) -> bool {
        self.waiting.read().unwrap_or_else(std::sync::PoisonError::into_inner).is_empty()
    }
}
