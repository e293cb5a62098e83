//! The certificate that the webhooks are served with, and that the API server is told to trust.

mod authority;
mod configuration;
mod files;
mod own;
mod rotation;

use csm_runtime::readiness::Readiness;
use csm_runtime::tls::Certificate;
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::settings::CertificateSettings;

/// What readiness calls the certificate.
pub const READY: &str = "webhook certificate";

/// Keeps `certificate` up to date until `stop`; `namespace` is the manager's own.
pub async fn keep(
    settings: CertificateSettings,
    client: Client,
    namespace: String,
    certificate: Certificate,
    readiness: Readiness,
    stop: CancellationToken,
) {
    match settings {
        CertificateSettings::Own(settings) => own::Own::new(settings, client, namespace, certificate, readiness).keep(stop).await,
        CertificateSettings::Files(folder) => files::keep(&folder, &certificate, &readiness, &stop).await,
    }
}
