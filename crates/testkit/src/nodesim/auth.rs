//! Who may ask a kubelet for what: bearer tokens by TokenReview, permissions by SubjectAccessReview, as the real one
//! with `authentication.webhook` and `authorization.mode: Webhook` does (pkg/kubelet/server/auth.go).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::Method;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};

/// More entries than any test has users and nodes; beyond it the cache starts anew.
const CACHE_ENTRIES: usize = 100_000;

/// What a kubelet thinks of a request.
#[derive(Debug)]
pub enum Verdict {
    /// Go on.
    Allowed,
    /// 401: no token, or one that nobody knows.
    Unauthorized,
    /// 403, with the kubelet's text.
    Forbidden(String),
}

/// The webhooks of all simulated kubelets, with their cache.
pub struct Authorizer {
    client: Client,
    keep: Duration,
    users: Mutex<Cache<String, Option<UserInfo>>>,
    permissions: Mutex<Cache<Permission, bool>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Permission {
    user: String,
    verb: &'static str,
    subresource: &'static str,
    node: String,
}

impl Authorizer {
    /// `keep` is how long answers of the API server are believed.
    pub fn new(client: Client, keep: Duration) -> Self {
        Self {
            client,
            keep,
            users: Mutex::default(),
            permissions: Mutex::default(),
        }
    }

    /// Decides about one request to the kubelet of `node`. An error means that the API server did not answer.
    pub async fn decide(&self, node: &str, method: &Method, path: &str, token: Option<&str>) -> Result<Verdict> {
        let Some(token) = token else { return Ok(Verdict::Unauthorized) };
        let Some(user) = self.user(token).await? else {
            return Ok(Verdict::Unauthorized);
        };
        let name = user.username.clone().unwrap_or_default();
        let (verb, subresources) = (api_verb(method), subresources(path));
        for &subresource in subresources {
            let permission = Permission {
                user: name.clone(),
                verb,
                subresource,
                node: node.to_owned(),
            };
            if self.allowed(&user, permission).await? {
                return Ok(Verdict::Allowed);
            }
        }
        // Go prints a slice as [a b].
        let list = subresources.join(" ");
        Ok(Verdict::Forbidden(format!(
            "Forbidden (user={name}, verb={verb}, resource=nodes, subresource(s)=[{list}])\n"
        )))
    }

    async fn user(&self, token: &str) -> Result<Option<UserInfo>> {
        if let Some(known) = get(&self.users, token, self.keep) {
            return Ok(known);
        }
        let spec = TokenReviewSpec {
            token: Some(token.to_owned()),
            ..Default::default()
        };
        let review = TokenReview {
            spec,
            ..Default::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await.context("review a token")?;
        let user = answer
            .status
            .filter(|status| status.authenticated == Some(true))
            .and_then(|status| status.user);
        put(&self.users, token.to_owned(), user.clone());
        Ok(user)
    }

    async fn allowed(&self, user: &UserInfo, permission: Permission) -> Result<bool> {
        if let Some(known) = get(&self.permissions, &permission, self.keep) {
            return Ok(known);
        }
        let attributes = ResourceAttributes {
            verb: Some(permission.verb.to_owned()),
            version: Some("v1".to_owned()),
            resource: Some("nodes".to_owned()),
            subresource: Some(permission.subresource.to_owned()),
            name: Some(permission.node.clone()),
            ..Default::default()
        };
        let spec = SubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            user: user.username.clone(),
            groups: user.groups.clone(),
            uid: user.uid.clone(),
            extra: user.extra.clone(),
            ..Default::default()
        };
        let review = SubjectAccessReview {
            spec,
            ..Default::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await.context("review an access")?;
        let allowed = answer.status.is_some_and(|status| status.allowed);
        put(&self.permissions, permission, allowed);
        Ok(allowed)
    }
}

type Cache<K, V> = HashMap<K, (Instant, V)>;

fn get<K, Q, V>(cache: &Mutex<Cache<K, V>>, key: &Q, keep: Duration) -> Option<V>
where
    K: Hash + Eq + std::borrow::Borrow<Q>,
    Q: Hash + Eq + ?Sized,
    V: Clone,
{
    let cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    let (since, value) = cache.get(key)?;
    (since.elapsed() < keep).then(|| value.clone())
}

fn put<K: Hash + Eq, V>(cache: &Mutex<Cache<K, V>>, key: K, value: V) {
    let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    if cache.len() >= CACHE_ENTRIES {
        cache.clear();
    }
    cache.insert(key, (Instant::now(), value));
}

fn api_verb(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "GET" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

/// Any of these subresources of nodes permits the path (Kubernetes 1.36, fine-grained authorization included).
fn subresources(path: &str) -> &'static [&'static str] {
    let below = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match () {
        () if below("/stats") => &["stats"],
        () if below("/metrics") => &["metrics"],
        () if below("/logs") => &["log"],
        () if below("/checkpoint") => &["checkpoint"],
        () if below("/statusz") => &["statusz"],
        () if below("/pods") || below("/runningpods") => &["pods", "proxy"],
        () if below("/healthz") => &["healthz", "proxy"],
        () if below("/configz") => &["configz", "proxy"],
        () if below("/flagz") => &["configz"],
        () => &["proxy"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_ask_for_their_own_permission() {
        assert_eq!(subresources("/stats/summary"), ["stats"]);
        assert_eq!(subresources("/statsx"), ["proxy"]);
        assert_eq!(subresources("/pods"), ["pods", "proxy"]);
        assert_eq!(subresources("/exec/ns/pod/container"), ["proxy"]);
        assert_eq!(subresources("/metrics/cadvisor"), ["metrics"]);
    }
}
