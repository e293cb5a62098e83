//! What `doctor` reads beside the cluster: quotas, the webhook's configuration, and what the manager may do.

use std::fmt;

use futures::future::join_all;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{ListParams, PostParams};

use super::list::{Failure, answer, list};
use crate::connect::Connection;
use crate::error::Error;

/// The name of the manager's webhook configurations (deploy/webhook.yaml).
const WEBHOOK: &str = "cnpg-storage-manager";

/// What stands around a cluster.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Quotas of its namespace; none where they could not be read.
    pub quotas: Option<Vec<ResourceQuota>>,
    /// The manager's service account, NAMESPACE/NAME.
    pub service_account: String,
    /// What the manager may do; none where we may not ask.
    pub permissions: Option<Vec<Allowed>>,
    /// Its webhooks.
    pub webhooks: Vec<Webhook>,
}

/// One thing that the manager does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The API group.
    pub group: &'static str,
    /// The resource, with its subresource: `nodes/stats`.
    pub resource: &'static str,
    /// The verb.
    pub verb: &'static str,
    /// Whether it is asked of the Cluster's namespace, and not of all of them.
    pub namespaced: bool,
    /// What there is without it, as the end of a sentence.
    pub means: &'static str,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            group,
            resource,
            verb,
            namespaced,
            means: _,
        } = self;
        let dot = if group.is_empty() { "" } else { "." };
        let place = if *namespaced { " in this namespace" } else { "" };
        write!(f, "{verb} {resource}{dot}{group}{place}")
    }
}

const fn own(group: &'static str, resource: &'static str, verb: &'static str, means: &'static str) -> Permission {
    Permission {
        group,
        resource,
        verb,
        namespaced: true,
        means,
    }
}

const fn wide(group: &'static str, resource: &'static str, verb: &'static str, means: &'static str) -> Permission {
    Permission {
        namespaced: false,
        ..own(group, resource, verb, means)
    }
}

const OURS: &str = "cnpg.supporttools.io";
const CNPG: &str = "postgresql.cnpg.io";

/// What the manager needs. Where one is missing that it can do without, it says so itself.
pub const NEEDED: [Permission; 15] = [
    own("", "persistentvolumeclaims", "list", "it does not see volumes"),
    own("", "persistentvolumeclaims", "watch", "it does not see volumes change"),
    own("", "persistentvolumeclaims", "patch", "it cannot grow anything"),
    own("", "pods", "list", "it does not see instances"),
    own("", "pods", "watch", "it does not see instances go down"),
    wide("", "nodes", "list", "it finds no kubelets"),
    wide("", "nodes/stats", "get", "kubelets tell it nothing of how full volumes are"),
    wide("storage.k8s.io", "storageclasses", "list", "it does not know what can grow"),
    own(CNPG, "clusters", "list", "it does not see Clusters"),
    own(CNPG, "clusters", "watch", "it does not see Clusters change"),
    own(OURS, "storagepolicies", "list", "it does not see policies"),
    own(OURS, "postgresstorages", "create", "it cannot report on Clusters"),
    own(OURS, "postgresstorages/status", "patch", "it cannot report on Clusters"),
    own(
        OURS,
        "storageevents",
        "create",
        "it cannot record growths, and grows nothing without a record",
    ),
    own(
        OURS,
        "storageevents/status",
        "patch",
        "it cannot record how growths go on, and begins none",
    ),
];

/// Whether the manager may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// What.
    pub permission: Permission,
    /// Whether it may.
    pub allowed: bool,
}

/// Which of the two configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookKind {
    /// Of policies.
    Validating,
    /// Of new PVCs.
    Mutating,
}

impl WebhookKind {
    /// The name of its kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Validating => "ValidatingWebhookConfiguration",
            Self::Mutating => "MutatingWebhookConfiguration",
        }
    }

    /// What there is without it.
    #[must_use]
    pub const fn without(self) -> &'static str {
        match self {
            Self::Validating => "policies that conflict, or are not valid together, are taken, and hold growth later",
            Self::Mutating => {
                "PVCs of new instances are born at the size in the Cluster's spec, and a replica that has no room for the data fails to join until it is caught up"
            }
        }
    }
}

/// Whether the API server asks a webhook, and gets an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trusted {
    /// It does, as far as one can see.
    Yes,
    /// The configuration may not be read.
    Unknown,
    /// There is no configuration.
    Missing,
    /// It has no authority to trust.
    NoAuthority,
    /// Nobody serves it.
    NobodyServes {
        /// The service, NAMESPACE/NAME.
        service: String,
    },
}

/// A webhook of the manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Which.
    pub kind: WebhookKind,
    /// Whether it works.
    pub trusted: Trusted,
}

/// Reads them. `service_account` is the manager's, NAMESPACE and NAME.
///
/// # Errors
/// Where the API server does not answer. What may not be read is left out.
pub async fn surroundings(connection: &Connection, service_account: (&str, &str)) -> Result<Surroundings, Error> {
    let client = || connection.client.clone();
    let quotas: Api<ResourceQuota> = Api::namespaced(client(), &connection.namespace);
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(client());
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(client());
    let (quotas, permissions, validating, mutating) = futures::join!(
        list(connection, quotas, ListParams::default(), "resourcequotas"),
        permissions(connection, service_account),
        answer(connection, "validatingwebhookconfigurations", validating.get(WEBHOOK)),
        answer(connection, "mutatingwebhookconfigurations", mutating.get(WEBHOOK)),
    );
    let validating = validating.map(|found| {
        let webhooks = found.webhooks.unwrap_or_default();
        webhooks.into_iter().map(|webhook| webhook.client_config).collect()
    });
    let mutating = mutating.map(|found| {
        let webhooks = found.webhooks.unwrap_or_default();
        webhooks.into_iter().map(|webhook| webhook.client_config).collect()
    });
    let (validating, mutating) = futures::join!(trusted(connection, validating), trusted(connection, mutating));
    Ok(Surroundings {
        quotas: or_none(quotas)?,
        service_account: format!("{}/{}", service_account.0, service_account.1),
        permissions: permissions?,
        webhooks: vec![
            Webhook {
                kind: WebhookKind::Validating,
                trusted: validating?,
            },
            Webhook {
                kind: WebhookKind::Mutating,
                trusted: mutating?,
            },
        ],
    })
}

fn or_none<T>(result: Result<T, Failure>) -> Result<Option<T>, Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Failure::Missing | Failure::Forbidden) => Ok(None),
        Err(Failure::Error(error)) => Err(error),
    }
}

/// What the manager may do, asked of the API server; none where we may not ask.
async fn permissions(connection: &Connection, (namespace, name): (&str, &str)) -> Result<Option<Vec<Allowed>>, Error> {
    let reviews: Api<SubjectAccessReview> = Api::all(connection.client.clone());
    let ask = |permission: &Permission| {
        let (resource, subresource) = permission.resource.split_once('/').unwrap_or((permission.resource, ""));
        let attributes = ResourceAttributes {
            group: Some(permission.group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: Some(subresource.to_owned()).filter(|s| !s.is_empty()),
            verb: Some(permission.verb.to_owned()),
            namespace: permission.namespaced.then(|| connection.namespace.clone()),
            ..ResourceAttributes::default()
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                user: Some(format!("system:serviceaccount:{namespace}:{name}")),
                groups: Some(vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                    "system:authenticated".to_owned(),
                ]),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let (permission, reviews) = (*permission, reviews.clone());
        async move {
            let parameters = PostParams::default();
            let asked = answer(connection, "subjectaccessreviews", reviews.create(&parameters, &review)).await;
            asked.map(|review| Allowed {
                permission,
                allowed: review.status.is_some_and(|status| status.allowed),
            })
        }
    };
    let answers = join_all(NEEDED.iter().map(ask)).await;
    or_none(answers.into_iter().collect())
}

/// Whether the API server asks a webhook, and gets an answer.
async fn trusted(connection: &Connection, found: Result<Vec<WebhookClientConfig>, Failure>) -> Result<Trusted, Error> {
    let clients = match found {
        Ok(clients) => clients,
        Err(Failure::Missing) => return Ok(Trusted::Missing),
        Err(Failure::Forbidden) => return Ok(Trusted::Unknown),
        Err(Failure::Error(error)) => return Err(error),
    };
    let Some(client) = clients.first() else {
        return Ok(Trusted::Missing);
    };
    if client.ca_bundle.as_ref().is_none_or(|bundle| bundle.0.is_empty()) {
        return Ok(Trusted::NoAuthority);
    }
    let Some(service) = &client.service else { return Ok(Trusted::Yes) };
    let slices: Api<EndpointSlice> = Api::namespaced(connection.client.clone(), &service.namespace);
    let of_it = ListParams::default().labels(&format!("kubernetes.io/service-name={}", service.name));
    let Some(slices) = or_none(list(connection, slices, of_it, "endpointslices").await)? else {
        // As far as one can see.
        return Ok(Trusted::Yes);
    };
    let ready = |slice: &EndpointSlice| {
        slice
            .endpoints
            .iter()
            .any(|endpoint| endpoint.conditions.as_ref().is_none_or(|c| c.ready != Some(false)))
    };
    if slices.iter().any(ready) {
        Ok(Trusted::Yes)
    } else {
        Ok(Trusted::NobodyServes {
            service: format!("{}/{}", service.namespace, service.name),
        })
    }
}
