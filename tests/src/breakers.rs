//! What is recorded of circuit breakers.

use csm_api::{BreakerScope, BreakerState, StorageEvent, Trigger};
use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ListParams};

/// What is recorded of breakers in a namespace since a moment, oldest first: each state, and whether a person was it.
pub async fn changes(client: &Client, namespace: &str, since: Timestamp) -> anyhow::Result<Vec<(BreakerScope, BreakerState, bool)>> {
    let api: Api<StorageEvent> = Api::namespaced(client.clone(), namespace);
    let of_breakers = ListParams::default().labels("cnpg.supporttools.io/event-type=circuit-breaker");
    let records = api.list(&of_breakers).await?.items.into_iter();
    let mut changes: Vec<_> = records
        .filter_map(|event| Some((event.spec.circuit_breaker?, event.spec.trigger)))
        .filter(|(change, _)| change.at.0 >= since)
        .collect();
    changes.sort_by_key(|(change, _)| change.at.0);
    Ok(changes
        .into_iter()
        .map(|(change, trigger)| (change.scope, change.state, trigger == Trigger::Manual))
        .collect())
}
