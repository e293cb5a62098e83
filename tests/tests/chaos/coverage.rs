//! What the runs have hit: which fault at which kind of request.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use csm_tests::proxy::Seen;

use crate::scenario::{CUTS, SORTS, WRITES};

/// Hits by kind of request and sort of fault.
#[derive(Default)]
pub struct Coverage {
    hits: BTreeMap<(String, &'static str), usize>,
    /// Kinds that were seen at all, and how often.
    kinds: BTreeMap<String, usize>,
    /// Watches that were ended while they were open, by the sort of fault.
    ended: BTreeMap<&'static str, usize>,
}

impl Coverage {
    /// Adds what a run has seen.
    pub fn add(&mut self, seen: &[Seen]) {
        for seen in seen {
            *self.kinds.entry(seen.asked.kind.clone()).or_default() += 1;
            if let Some(fault) = &seen.fault {
                *self.hits.entry((seen.asked.kind.clone(), fault.sort())).or_default() += 1;
                *self.ended.entry(fault.sort()).or_default() += seen.ended;
            }
        }
    }

    /// Kinds of writes of an operation that nothing was done to.
    pub fn never_hit(&self) -> Vec<&'static str> {
        let hit = |kind: &&str| !self.hits.keys().any(|(of, _)| of == kind);
        WRITES.into_iter().filter(hit).collect()
    }

    /// Sorts of cuts that ended no open watch.
    pub fn cut_nothing(&self) -> Vec<&'static str> {
        let ended = |sort: &&str| self.ended.get(sort).copied().unwrap_or(0);
        CUTS.into_iter().filter(|sort| ended(sort) == 0).collect()
    }

    /// Faults that never came at a kind of write of an operation.
    pub fn gaps(&self) -> Vec<String> {
        let all = WRITES
            .into_iter()
            .flat_map(|kind| SORTS.into_iter().map(move |sort| (kind.to_owned(), sort)));
        all.filter(|key| !self.hits.contains_key(key))
            .map(|(kind, sort)| format!("{sort} at {kind}"))
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: usize = self.hits.values().sum();
        writeln!(f, "{faults} faults, by the kind of request that they came at:")?;
        let kinds: BTreeSet<&String> = self.hits.keys().map(|(kind, _)| kind).collect();
        for kind in kinds {
            let of_kind = self.hits.iter().filter(|((of, _), _)| of == kind);
            let told: Vec<String> = of_kind.map(|((_, sort), times)| format!("{sort} {times}")).collect();
            let requests = self.kinds.get(kind).copied().unwrap_or(0);
            writeln!(f, "  {kind} (of {requests}): {}", told.join(", "))?;
        }
        let ended = CUTS.map(|sort| format!("{sort} {}", self.ended.get(sort).copied().unwrap_or(0)));
        writeln!(f, "open watches that were ended: {}", ended.join("; "))?;
        let untouched: Vec<&str> = self
            .kinds
            .keys()
            .filter(|kind| !self.hits.keys().any(|(of, _)| of == *kind))
            .map(String::as_str)
            .collect();
        write!(f, "never touched: {}", untouched.join(", "))
    }
}
