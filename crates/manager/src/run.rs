//! Wires the manager together and runs it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use csm_runtime::lease::{self, Leadership};
use csm_runtime::readiness::Readiness;
use csm_runtime::{Identity, admin, client, shutdown, telemetry};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::apply::Writer;
use crate::controller::Controller;
use crate::kubelet::Kubelets;
use crate::report::metrics::Process;
use crate::sampler::Sampler;
use crate::settings::{LeaderElection, RunArgs, Settings};
use crate::shared::Shared;
use crate::{watches, webhook};

/// What is told to stop has so long, and is left then: one call to the API server may be under way.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// Runs the manager until it is told to stop, or loses its lease.
///
/// # Errors
/// Where it cannot start, or lost the lease: the process is to be started again, with clean caches.
pub async fn run(args: &RunArgs) -> anyhow::Result<()> {
    let mut settings = Settings::load(args)?;
    telemetry::start(&settings.log_level, settings.log_format);
    let stop = shutdown::on_signal().context("cannot handle signals")?;
    let config = client::config(args.kubeconfig.as_deref(), args.context.as_deref()).await?;
    let kubelets = Kubelets::new(settings.kubelet.clone(), &config)?;
    let lease_namespace = config.default_namespace.clone();
    let election = settings.leader_election.as_ref();
    let own_namespace = election.and_then(|e| e.namespace.as_deref()).unwrap_or(&lease_namespace);
    settings.fleet.namespace = own_namespace.into();
    let client = client::client(config)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespaces = if settings.watch_namespaces.is_empty() {
            "all".to_owned()
        } else {
            settings.watch_namespaces.join(",")
        },
        "starting"
    );

    let shared = Arc::new(Shared::new(settings));
    let readiness = Readiness::default();
    let mut registry = Registry::default();
    shared
        .metrics
        .register(&mut registry, shared.index.clone(), shared.settings.disk_metrics);
    registry.register_collector(Box::new(Process(readiness.clone())));
    let webhooks = webhook::start(&shared, &client, &lease_namespace, &readiness, &mut registry, &stop).await?;
    let listener = admin::bind(shared.settings.admin_address)
        .await
        .with_context(|| format!("cannot serve on {} (setting adminAddress)", shared.settings.admin_address))?;
    tracing::info!(address = %listener.local_addr()?, "serving /metrics, /healthz and /readyz");
    // Served until the very end: a stop that takes long can be watched.
    let ended = CancellationToken::new();
    let mut server = JoinSet::new();
    server.spawn(admin::serve(
        listener,
        registry,
        readiness.clone(),
        || Ok(()),
        ended.clone().cancelled_owned(),
    ));

    let watches = watches::start(&shared, &client, &readiness, &stop);
    let outcome = lead(&shared, &client, &readiness, kubelets, &lease_namespace, &stop).await;
    stop.cancel();
    end("watches", watches).await;
    end("webhooks", webhooks).await;
    ended.cancel();
    end("admin server", server).await;
    tracing::info!("stopped");
    outcome
}

/// Waits until tasks that were told to stop have ended, and leaves those that do not. One that lost its lease must be started
/// again soon, whatever its peers do.
async fn end(what: &str, mut tasks: JoinSet<()>) {
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(what, %error, "a task ended badly");
            }
        }
    };
    if tokio::time::timeout(ENDS_WITHIN, all).await.is_err() {
        tracing::warn!(what, within = ?ENDS_WITHIN, "did not end in time, and is left");
    }
}

/// Waits until all caches are complete and the lease is ours; then works until told to stop.
async fn lead(
    shared: &Arc<Shared>,
    client: &kube::Client,
    readiness: &Readiness,
    kubelets: Kubelets,
    lease_namespace: &str,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let host = std::env::var("HOSTNAME")
        .ok()
        .filter(|h| !h.is_empty())
        .unwrap_or_else(|| "local".to_owned());
    let identity = Identity::new(&host);
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        () = complete(readiness) => {}
    }
    tracing::info!("all caches are complete");
    let leadership = match &shared.settings.leader_election {
        None => Leadership::without_election(),
        Some(election) => {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                leadership = elect(client, election, lease_namespace, identity.clone()) => leadership,
            }
        }
    };
    shared.metrics.leading(true);
    let work = CancellationToken::new();
    let writer = Writer::new(client.clone(), leadership.guard.clone(), identity.as_str().to_owned());
    let controller = tokio::spawn(Controller::new(shared.clone(), writer).run(work.clone()));
    let sampler = Sampler::new(
        shared.clone(),
        kubelets,
        shared.settings.metrics_interval,
        shared.settings.kubelet.concurrency,
    );
    let sampler = tokio::spawn(sampler.run(work.clone()));
    let lost = tokio::select! {
        () = stop.cancelled() => false,
        () = leadership.lost.cancelled() => true,
    };
    work.cancel();
    for (what, mut task) in [("controller", controller), ("sampler", sampler)] {
        // A look that has begun is ended first; without the lease it may write nothing more, and is not waited for.
        let limit = if lost { ENDS_WITHIN } else { Duration::MAX };
        match tokio::time::timeout(limit, &mut task).await {
            Ok(ended) => ended.with_context(|| format!("the {what} ended badly"))?,
            Err(_) => task.abort(),
        }
    }
    shared.metrics.leading(false);
    anyhow::ensure!(!lost, "lost the lease; to be started again with clean caches");
    leadership.release().await;
    Ok(())
}

async fn elect(client: &kube::Client, election: &LeaderElection, default_namespace: &str, identity: Identity) -> Leadership {
    let namespace = election.namespace.as_deref().unwrap_or(default_namespace);
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    lease::acquire(api, &election.name, identity, election.times).await
}

/// Resolves once every watch has had its first complete list. Whoever leads does not wait for a certificate: disks fill
/// without webhooks too.
async fn complete(readiness: &Readiness) {
    let mut told = Duration::ZERO;
    while !webhook::caches_are_complete(readiness) {
        const STEP: Duration = Duration::from_millis(50);
        tokio::time::sleep(STEP).await;
        told += STEP;
        if told == Duration::from_secs(10) {
            for (name, why) in readiness.missing() {
                tracing::warn!(waiting_for = name, why, "not ready");
            }
        }
    }
}
