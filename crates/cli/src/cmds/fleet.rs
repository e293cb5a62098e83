//! All clusters in scope, as `status` and `disk status` show them.

use serde::Serialize;

use super::{Answer, View, exit_status, notes};
use crate::connect::Connection;
use crate::error::Error;
use crate::read::{Facts, Manager, Scope};
use crate::render::Page;

/// What programs get of all clusters.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fleet<'a, T> {
    manager: &'a Manager,
    notes: &'a [String],
    clusters: &'a [T],
}

/// What programs get of one cluster.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct One<'a, T> {
    pub manager: &'a Manager,
    pub notes: &'a [String],
    #[serde(flatten)]
    pub cluster: T,
}

/// The namespaces that are asked for.
pub(super) fn scope(all: bool, connection: &Connection) -> Scope {
    if all {
        Scope::All
    } else {
        Scope::Namespace(connection.namespace.clone())
    }
}

/// How one command shows clusters.
pub(super) struct Shown<T> {
    /// Whether one of them needs a person.
    pub is_needy: fn(&T) -> bool,
    /// Which command says more of it.
    pub more: &'static str,
    /// All of them, with their namespaces or without.
    pub text: fn(&[T], bool, &Page) -> String,
}

impl<T: Serialize> Shown<T> {
    /// The answer.
    pub fn answer(&self, clusters: &[T], facts: &Facts, scope: &Scope, check: bool, view: &View) -> Result<Answer, Error> {
        let mut notes = notes(facts, view.now);
        if clusters.is_empty() {
            notes.insert(0, format!("there are no CNPG Clusters in {scope}"));
        }
        let data = Fleet {
            manager: &facts.manager,
            notes: &notes,
            clusters,
        };
        let text = view.write(&data, |page| match clusters {
            [] => String::new(),
            clusters => (self.text)(clusters, *scope == Scope::All, page),
        })?;
        let needy = clusters.iter().filter(|cluster| (self.is_needy)(cluster)).count();
        if needy > 0 {
            let (count, verb) = (clusters.len(), if needy == 1 { "needs" } else { "need" });
            notes.push(format!("{needy} of {count} {verb} a person (!); {}", self.more));
        }
        Ok(Answer {
            text,
            notes,
            status: exit_status(check, needy > 0 || facts.manager.is_away()),
            ..Answer::default()
        })
    }
}
