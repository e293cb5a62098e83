use std::sync::Arc;

use axum::Router;
use csm_runtime::lease::Leadership;
use kube::Client;

use super::Controller;
use crate::apply::Writer;
use crate::settings::{CreatePostgresStorage, RunArgs, Settings};
use crate::shared::Shared;

/// A controller at an API server of this kind, which makes a PostgresStorage for every Cluster.
pub fn controller(api_server: Router) -> Arc<Controller> {
    let arguments = RunArgs {
        create_postgres_storage: Some(CreatePostgresStorage::All),
        ..RunArgs::default()
    };
    let settings = Settings::load(&arguments).unwrap_or_else(|error| panic!("{error:#}"));
    let guard = Leadership::without_election().guard;
    let writer = Writer::new(Client::new(api_server, "default"), guard, "test".to_owned());
    Controller::new(Arc::new(Shared::new(settings)), writer)
}
