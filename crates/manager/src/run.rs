//! Wires the manager together and runs it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use csm_runtime::lease::{self, Leadership};
use csm_runtime::readiness::Readiness;
use csm_runtime::tasks::{Ended, Tasks};
use csm_runtime::{Identity, admin, client, shutdown, telemetry};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::apply::Writer;
use crate::controller::Controller;
use crate::exporters::Exporters;
use crate::instances::Instances;
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
    let instances = Instances::new(shared.clone())?;
    let exporters = Exporters::new(shared.clone())?;
    let readiness = Readiness::default();
    let mut registry = Registry::default();
    shared
        .metrics
        .register(&mut registry, shared.index.clone(), shared.settings.disk_metrics);
    registry.register_collector(Box::new(Process(readiness.clone())));
    let mut tasks = Tasks::default();
    webhook::start(&shared, &client, &lease_namespace, &readiness, &mut registry, &stop, &mut tasks).await?;
    let listener = admin::bind(shared.settings.admin_address)
        .await
        .with_context(|| format!("cannot serve on {} (setting adminAddress)", shared.settings.admin_address))?;
    tracing::info!(address = %listener.local_addr()?, "serving /metrics, /healthz and /readyz");
    // Served until the very end: a stop that takes long can be watched.
    let ended = CancellationToken::new();
    let mut server = Tasks::default();
    // There is no state in which it lives and is of no use: it ends where a part of it does.
    let serve = admin::serve(listener, registry, readiness.clone(), ended.clone().cancelled_owned());
    server.spawn("admin server", serve);

    watches::start(&shared, &client, &readiness, &stop, &mut tasks);
    let mut leading = pin!(lead(
        &shared,
        &client,
        &readiness,
        (kubelets, instances, exporters),
        &lease_namespace,
        &stop
    ));
    let outcome = tokio::select! {
        outcome = &mut leading => outcome,
        fault = async { tokio::select! { fault = tasks.fault(&stop) => fault, fault = server.fault(&stop) => fault } } => {
            // Looks that have begun are ended, and the lease is given back: another replica goes on.
            stop.cancel();
            if let Err(error) = leading.await {
                tracing::warn!(error = format!("{error:#}"), "ended badly as well");
            }
            Err(to_be_started_again(fault))
        }
    };
    stop.cancel();
    tasks.end(ENDS_WITHIN).await;
    ended.cancel();
    server.end(ENDS_WITHIN).await;
    tracing::info!("stopped");
    outcome
}

/// A part that is needed has ended: what it held in memory is lost, and it is not begun anew within this process.
fn to_be_started_again(fault: Ended) -> anyhow::Error {
    anyhow::Error::new(fault).context("a part of the manager ended; it is to be started again with clean caches")
}

/// Waits until all caches are complete and the lease is ours; then works until told to stop.
async fn lead(
    shared: &Arc<Shared>,
    client: &kube::Client,
    readiness: &Readiness,
    (kubelets, instances, exporters): (Kubelets, Instances, Exporters),
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
    let mut tasks = Tasks::default();
    Controller::new(shared.clone(), writer).start(&work, &mut tasks);
    let sampler = Sampler::new(
        shared.clone(),
        kubelets,
        shared.settings.metrics_interval,
        shared.settings.kubelet.concurrency,
    );
    tasks.spawn("sampler", sampler.run(work.clone()));
    tasks.spawn("instances", instances.run(work.clone()));
    tasks.spawn("exporters", exporters.run(work.clone()));
    let (lost, outcome) = tokio::select! {
        () = stop.cancelled() => (false, Ok(())),
        () = leadership.lost.cancelled() => (true, Err(anyhow::anyhow!("lost the lease; to be started again with clean caches"))),
        fault = tasks.fault(&work) => (false, Err(to_be_started_again(fault))),
    };
    work.cancel();
    // A look that has begun is ended first; without the lease it may write nothing more, and is not waited for.
    tasks.end(if lost { ENDS_WITHIN } else { Duration::MAX }).await;
    shared.metrics.leading(false);
    if !lost {
        leadership.release().await;
    }
    outcome
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
