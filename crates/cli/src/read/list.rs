//! One list, page by page, each with a timeout; and what its failure means.

use std::fmt::Debug;

use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

use super::Gap;
use crate::connect::{self, Connection};
use crate::error::Error;

/// Objects a page: what client-go uses, small enough to come within the timeout.
const PAGE: u32 = 500;

/// Why a list could not be read.
pub(super) enum Failure {
    /// The API server does not know the kind, or has no such object.
    Missing,
    /// We may not.
    Forbidden,
    /// Anything else.
    Error(Error),
}

/// Lists everything.
pub(super) async fn list<K>(connection: &Connection, api: Api<K>, params: ListParams, what: &'static str) -> Result<Vec<K>, Failure>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut params = params.limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = answer(connection, what, api.list(&params)).await?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// One call, and what its failure means for what is read.
pub(super) async fn answer<T>(
    connection: &Connection,
    what: &'static str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Failure> {
    connection.answer(what, call).await.map_err(|failure| match failure {
        connect::Failure::Refused(status) => match status.code {
            404 => Failure::Missing,
            403 => Failure::Forbidden,
            _ => Failure::Error(Error::Other {
                what,
                source: Box::new(kube::Error::Api(status)),
            }),
        },
        connect::Failure::Error(error) => Failure::Error(error),
    })
}

/// What was read, or nothing and a gap where we may not, or where the kind is not there.
pub(super) fn or_gap<T: Default>(
    result: Result<T, Failure>,
    gaps: &mut Vec<Gap>,
    what: &'static str,
    means: &'static str,
) -> Result<Option<T>, Error> {
    let mut gap = |why: &str| {
        gaps.push(Gap {
            what,
            why: why.to_owned(),
            means,
        });
    };
    match result {
        Ok(found) => return Ok(Some(found)),
        Err(Failure::Forbidden) => gap("you are not allowed to read them"),
        Err(Failure::Missing) => gap("the API server does not know them"),
        Err(Failure::Error(error)) => return Err(error),
    }
    Ok(None)
}
