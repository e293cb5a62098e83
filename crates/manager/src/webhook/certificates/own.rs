//! An authority of our own, kept in a Secret that all replicas share.
//!
//! Every replica watches the Secret and serves with what is in it. Any of them takes the next step, since the first that
//! starts needs a certificate before anybody leads; each write has the version as a precondition that it was decided on.
//! The configurations are read before the Secret: who still sees a configuration as it was before somebody changed it
//! cannot write it, so that a certificate which was announced is never taken away by a replica that had not heard of it.

use std::time::Duration;

use csm_runtime::error::call;
use csm_runtime::readiness::Readiness;
use csm_runtime::tls::{BadCertificate, Certificate};
use csm_runtime::{Failure, FailureClass};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::json;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::READY;
use super::authority::Authority;
use super::configuration::{self, FIELD_MANAGER, Seen};
use super::rotation::{Kept, Step, Wanted};
use crate::settings::OwnAuthority;

/// The key of the Secret's data.
const KEY: &str = "certificates.json";
/// Steps in a row: a whole rotation takes five. More would be two writers that undo each other.
const STEPS: usize = 8;
/// Another replica was faster.
const AFTER_CONFLICT: Duration = Duration::from_millis(100);
/// Pause after a failure, doubled for each in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Looked at again after so long, whatever is waited for: a clock may jump.
const LOOK_AGAIN: Duration = Duration::from_hours(1);

/// Why there is no certificate, or no new one.
#[derive(Debug, Error)]
enum Trouble {
    #[error("there is no Secret {0}; make an empty one, as deploy/webhook.yaml does")]
    NoSecret(String),
    #[error("the Secret {secret}: {}", .failure.message())]
    Secret { secret: String, failure: Failure },
    #[error("the webhook configurations {name}: {}", .failure.message())]
    Configuration { name: String, failure: Failure },
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    #[error("cannot serve with the certificate of the Secret {secret}")]
    Serve {
        secret: String,
        #[source]
        error: BadCertificate,
    },
    #[error("the certificates change again and again; does another program write them too?")]
    Restless,
}

impl Trouble {
    fn is_conflict(&self) -> bool {
        let (Self::Secret { failure, .. } | Self::Configuration { failure, .. }) = self else {
            return false;
        };
        failure.class() == FailureClass::Conflict
    }
}

pub(super) struct Own {
    settings: OwnAuthority,
    client: Client,
    namespace: String,
    names: Vec<String>,
    certificate: Certificate,
    readiness: Readiness,
}

/// The Secret as it was read.
struct Read {
    version: Option<String>,
    kept: Kept,
}

impl Own {
    pub fn new(settings: OwnAuthority, client: Client, namespace: String, certificate: Certificate, readiness: Readiness) -> Self {
        // The name that the API server checks of a Service (k8s.io/apiserver, webhook.ClientManager).
        let service = format!("{}.{namespace}.svc", settings.service);
        let names = std::iter::once(service).chain(settings.names.iter().cloned()).collect();
        Self {
            settings,
            client,
            namespace,
            names,
            certificate,
            readiness,
        }
    }

    /// Keeps the certificate until `stop`.
    pub async fn keep(self, stop: CancellationToken) {
        let mut changes = self.changes();
        let mut served = None;
        let mut told = String::new();
        let mut pause = FIRST_PAUSE;
        loop {
            let wait = match self.steps(&mut served).await {
                Ok(until) => {
                    (told, pause) = (String::new(), FIRST_PAUSE);
                    let left = until.duration_since(Timestamp::now());
                    Duration::try_from(left).unwrap_or(Duration::ZERO).min(LOOK_AGAIN)
                }
                Err(trouble) if trouble.is_conflict() => AFTER_CONFLICT.mul_f64(1.0 + rand::random::<f64>()),
                Err(trouble) => {
                    let text = csm_runtime::error::chain(&trouble);
                    if served.is_none() {
                        self.readiness.wait_for(READY, &text);
                    }
                    if told != text {
                        tracing::warn!(error = text, "no new certificate for the webhooks; trying again");
                        told = text;
                    }
                    let wait = pause;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                    wait
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                Some(()) = changes.next() => {}
            }
        }
    }

    /// Wakes on each change of what all replicas share.
    fn changes(&self) -> BoxStream<'static, ()> {
        fn of<K>(api: Api<K>, name: &str) -> impl Stream<Item = ()> + Send + use<K>
        where
            K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
        {
            let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
            // A watch that fails is no change; what is wrong is said when the object is read.
            watcher(api, config).default_backoff().filter_map(|event| async move {
                matches!(event, Ok(Event::Apply(_) | Event::InitApply(_) | Event::Delete(_))).then_some(())
            })
        }
        let Self {
            settings,
            client,
            namespace,
            ..
        } = self;
        let secret = of::<Secret>(Api::namespaced(client.clone(), namespace), &settings.secret);
        let validating = of::<ValidatingWebhookConfiguration>(Api::all(client.clone()), &settings.configuration);
        let mutating = of::<MutatingWebhookConfiguration>(Api::all(client.clone()), &settings.configuration);
        stream::select_all([secret.boxed(), validating.boxed(), mutating.boxed()]).boxed()
    }

    /// Serves with what there is, and takes all steps that are due. Returns when the next one is.
    async fn steps(&self, served: &mut Option<String>) -> Result<Timestamp, Trouble> {
        for _ in 0..STEPS {
            // In this order: see above.
            let validating = self.configuration::<ValidatingWebhookConfiguration>().await?;
            let mutating = self.configuration::<MutatingWebhookConfiguration>().await?;
            let read = self.read().await?;
            self.serve(&read.kept, served)?;
            let bundle = read.kept.bundle();
            let trusted = validating.trusts(&bundle) && mutating.trusts(&bundle);
            let wanted = Wanted {
                names: &self.names,
                settle: self.settings.lifetimes.settle,
            };
            match read.kept.step(trusted, &wanted, Timestamp::now()) {
                Step::Wait(until) => return Ok(until),
                Step::Trust => {
                    self.trust::<ValidatingWebhookConfiguration>(&validating, &bundle).await?;
                    self.trust::<MutatingWebhookConfiguration>(&mutating, &bundle).await?;
                    tracing::info!(
                        configurations = self.settings.configuration,
                        "the API server was told whom to trust"
                    );
                }
                step => {
                    let kept = self.after(step, read.kept)?;
                    self.write(read.version.as_deref(), &kept).await?;
                    tracing::info!(step = ?step, secret = self.settings.secret, "certificates of the webhooks");
                }
            }
        }
        Err(Trouble::Restless)
    }

    /// What is kept after a step.
    fn after(&self, step: Step, kept: Kept) -> Result<Kept, rcgen::Error> {
        let (lifetimes, now) = (self.settings.lifetimes, Timestamp::now());
        let names = match step {
            Step::Widen => kept.names(&self.names),
            _ => self.names.clone(),
        };
        let issue = |authority: &Authority| authority.issue(&names, lifetimes, now);
        let begin = || {
            let authority = Authority::make(lifetimes, now)?;
            let leaf = issue(&authority)?;
            Ok(Kept::begun(authority, leaf))
        };
        Ok(match step {
            Step::Begin => begin()?,
            Step::Announce => kept.announced(Authority::make(lifetimes, now)?),
            Step::Confirm => kept.confirmed(now),
            Step::Promote => match &kept.next {
                Some(next) => {
                    let leaf = issue(&next.authority)?;
                    kept.promoted(leaf, now)
                }
                None => kept,
            },
            Step::Retire => kept.retired(),
            Step::Reissue | Step::Widen => match kept.current.as_ref().map(issue) {
                Some(Ok(leaf)) => kept.reissued(leaf),
                // With a key that cannot be read there is nothing to go on with.
                Some(Err(_)) | None => begin()?,
            },
            Step::Trust | Step::Wait(_) => kept,
        })
    }

    fn serve(&self, kept: &Kept, served: &mut Option<String>) -> Result<(), Trouble> {
        let Some(leaf) = kept.leaf.as_ref().filter(|leaf| served.as_ref() != Some(&leaf.certificate)) else {
            return Ok(());
        };
        let installed = self.certificate.install(leaf.certificate.as_bytes(), leaf.key.0.as_bytes());
        installed.map_err(|error| Trouble::Serve {
            secret: self.secret(),
            error,
        })?;
        tracing::info!(until = %leaf.life.until, "serving webhooks with a new certificate");
        *served = Some(leaf.certificate.clone());
        self.readiness.done(READY);
        Ok(())
    }

    fn secret(&self) -> String {
        format!("{}/{}", self.namespace, self.settings.secret)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn read(&self) -> Result<Read, Trouble> {
        let secret = call(self.secrets().get_opt(&self.settings.secret)).await;
        let secret = secret.map_err(|failure| Trouble::Secret {
            secret: self.secret(),
            failure,
        })?;
        let secret = secret.ok_or_else(|| Trouble::NoSecret(self.secret()))?;
        let text = secret.data.as_ref().and_then(|data| data.get(KEY));
        let kept = text.map(|ByteString(text)| serde_json::from_slice(text));
        Ok(Read {
            version: secret.metadata.resource_version,
            kept: kept
                .transpose()
                .unwrap_or_else(|error| {
                    // The text of an error may quote the key.
                    let (line, column) = (error.line(), error.column());
                    tracing::warn!(
                        secret = self.secret(),
                        line,
                        column,
                        "what is in the Secret cannot be read; beginning anew"
                    );
                    None
                })
                .unwrap_or_default(),
        })
    }

    async fn write(&self, version: Option<&str>, kept: &Kept) -> Result<(), Trouble> {
        let failed = |failure| Trouble::Secret {
            secret: self.secret(),
            failure,
        };
        let text = serde_json::to_vec(kept).map_err(|error| failed(Failure::Connection(kube::Error::SerdeError(error))))?;
        let patch = json!({"metadata": {"resourceVersion": version}, "data": {KEY: ByteString(text)}});
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let written = call(self.secrets().patch(&self.settings.secret, &parameters, &Patch::Merge(patch))).await;
        written.map(drop).map_err(failed)
    }

    async fn configuration<K: configuration::Configuration>(&self) -> Result<Seen, Trouble> {
        let read = configuration::read::<K>(&self.client, &self.settings.configuration).await;
        read.map_err(|failure| self.of_configuration(failure))
    }

    async fn trust<K: configuration::Configuration>(&self, seen: &Seen, bundle: &str) -> Result<(), Trouble> {
        let told = configuration::trust::<K>(&self.client, &self.settings.configuration, seen, bundle).await;
        told.map_err(|failure| self.of_configuration(failure))
    }

    fn of_configuration(&self, failure: Failure) -> Trouble {
        Trouble::Configuration {
            name: self.settings.configuration.clone(),
            failure,
        }
    }
}
