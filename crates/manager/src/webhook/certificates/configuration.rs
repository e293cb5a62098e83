//! Webhook configurations, as far as they say whom the API server is to trust.

use csm_runtime::Failure;
use csm_runtime::error::call;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::core::ClusterResourceScope;
use serde_json::json;

/// Who writes `caBundle`.
pub(super) const FIELD_MANAGER: &str = "cnpg-storage-manager-webhook";

/// Annotations by which cert-manager's injector is told to write `caBundle` itself.
const INJECTED: &str = "cert-manager.io/inject-";

/// One of the two kinds.
pub(super) trait Configuration:
    kube::Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static
{
    /// Name and client of each webhook.
    fn webhooks(&self) -> Vec<(&str, &WebhookClientConfig)>;
}

impl Configuration for ValidatingWebhookConfiguration {
    fn webhooks(&self) -> Vec<(&str, &WebhookClientConfig)> {
        let all = self.webhooks.iter().flatten();
        all.map(|webhook| (webhook.name.as_str(), &webhook.client_config)).collect()
    }
}

impl Configuration for MutatingWebhookConfiguration {
    fn webhooks(&self) -> Vec<(&str, &WebhookClientConfig)> {
        let all = self.webhooks.iter().flatten();
        all.map(|webhook| (webhook.name.as_str(), &webhook.client_config)).collect()
    }
}

/// A configuration as it was read: what it tells to trust, and in which version.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    version: Option<String>,
    /// Name and `caBundle` of each webhook.
    bundles: Vec<(String, Vec<u8>)>,
}

impl Seen {
    fn of<K: Configuration>(configuration: &K) -> Self {
        let ObjectMeta {
            annotations,
            resource_version,
            ..
        } = configuration.meta();
        // What somebody else writes is not ours to write.
        if annotations.iter().flatten().any(|(name, _)| name.starts_with(INJECTED)) {
            return Self::default();
        }
        let bundle = |client: &WebhookClientConfig| client.ca_bundle.as_ref().map(|ByteString(bytes)| bytes.clone()).unwrap_or_default();
        Self {
            version: resource_version.clone(),
            bundles: configuration
                .webhooks()
                .into_iter()
                .map(|(name, client)| (name.to_owned(), bundle(client)))
                .collect(),
        }
    }

    /// Whether all of it tells to trust this bundle; also where there is nothing that does not.
    pub fn trusts(&self, bundle: &str) -> bool {
        self.bundles.iter().all(|(_, told)| told == bundle.as_bytes())
    }
}

/// Reads one; one that does not exist tells nobody anything.
pub(super) async fn read<K: Configuration>(client: &Client, name: &str) -> Result<Seen, Failure> {
    let api: Api<K> = Api::all(client.clone());
    let found = call(api.get_opt(name)).await?;
    Ok(found.as_ref().map(Seen::of).unwrap_or_default())
}

/// Makes one tell to trust this bundle, provided that it is as it was seen.
pub(super) async fn trust<K: Configuration>(client: &Client, name: &str, seen: &Seen, bundle: &str) -> Result<(), Failure> {
    if seen.trusts(bundle) {
        return Ok(());
    }
    let told = ByteString(bundle.as_bytes().to_vec());
    let webhooks = seen
        .bundles
        .iter()
        .map(|(name, _)| json!({"name": name, "clientConfig": {"caBundle": told}}));
    let patch = json!({"metadata": {"resourceVersion": seen.version}, "webhooks": webhooks.collect::<Vec<_>>()});
    let api: Api<K> = Api::all(client.clone());
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    // Of a list only the strategic patch changes single fields.
    call(api.patch(name, &parameters, &Patch::Strategic(patch))).await.map(drop)
}
