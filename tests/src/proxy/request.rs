//! What a request asks for, in a form that is the same in every run.

use http::{Method, Uri};
use serde_json::Value;

/// What a list of the objects of one cluster says.
pub const OF_A_CLUSTER: &str = "of a cluster";

/// A request to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Verb and resource, such as `PATCH storageevents/status`, `LIST pods` or `WATCH pods`.
    pub kind: String,
    /// What a write says, without what differs from run to run; of a read, whether it is of the objects of one cluster.
    pub says: String,
    /// The resource in the plural.
    pub resource: String,
}

impl Asked {
    /// Reads a request; none for one that is about no resource, such as `/version`.
    pub fn of(method: &Method, uri: &Uri, body: &[u8]) -> Option<Self> {
        let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        // /api/VERSION/… or /apis/GROUP/VERSION/…
        let rest = match parts.first() {
            Some(&"api") => parts.get(2..)?,
            Some(&"apis") => parts.get(3..)?,
            _ => return None,
        };
        let rest = match rest {
            ["namespaces", _, resource @ ..] if !resource.is_empty() => resource,
            other => other,
        };
        let resource = (*rest.first()?).to_owned();
        let name = rest.get(1).copied().unwrap_or_default();
        let subresource = rest.get(2).map(|s| format!("/{s}")).unwrap_or_default();
        let query = uri.query().unwrap_or_default();
        let watches = query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1");
        // The last look at the ledger before a record, which a watch that lists anew is not.
        let of_a_cluster = query
            .split('&')
            .any(|pair| pair.starts_with("labelSelector=cnpg.supporttools.io%2Fcluster%3D"));
        let verb = match *method {
            Method::GET if watches => "WATCH",
            Method::GET if name.is_empty() => "LIST",
            _ => method.as_str(),
        };
        let says = if *method == Method::GET {
            if of_a_cluster { OF_A_CLUSTER } else { "" }.to_owned()
        } else {
            says(&resource, name, &subresource, &serde_json::from_slice(body).unwrap_or_default())
        };
        Some(Self {
            kind: format!("{verb} {resource}{subresource}"),
            says,
            resource,
        })
    }

    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        !["GET ", "LIST ", "WATCH "].iter().any(|verb| self.kind.starts_with(verb))
    }

    /// Whether its answer goes on until somebody ends it.
    pub fn is_watch(&self) -> bool {
        self.kind.starts_with("WATCH ")
    }

    /// Kind and words in one.
    pub fn signature(&self) -> String {
        format!("{} {}", self.kind, self.says).trim().to_owned()
    }
}

fn says(resource: &str, name: &str, subresource: &str, body: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    match resource {
        "persistentvolumeclaims" => format!("{name} {}", text(&body["spec"]["resources"]["requests"]["storage"])),
        "events" => text(&body["reason"]),
        "storageevents" if !subresource.is_empty() => {
            let pvcs = body["status"]["pvcStatuses"].as_array().cloned().unwrap_or_default();
            let phases: Vec<&str> = pvcs.iter().filter_map(|p| p["phase"].as_str()).collect();
            format!("{} [{}]", text(&body["status"]["phase"]), phases.join(", "))
        }
        "postgresstorages" if !subresource.is_empty() => text(&body["status"]["state"]),
        "clusters" => {
            let growing = body["metadata"]["annotations"]
                .get("storage.cnpg.supporttools.io/target-size")
                .is_some();
            if growing { "growing" } else { "at rest" }.to_owned()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: Method, uri: &str, body: &Value) -> Asked {
        Asked::of(&method, &uri.parse().expect("a URI"), body.to_string().as_bytes()).expect("a resource")
    }

    #[test]
    fn verbs_resources_and_words() {
        let pvc = serde_json::json!({"spec": {"resources": {"requests": {"storage": "15Gi"}}}});
        let patch = asked(Method::PATCH, "/api/v1/namespaces/n/persistentvolumeclaims/orders-1?x=y", &pvc);
        assert_eq!(patch.signature(), "PATCH persistentvolumeclaims orders-1 15Gi");
        assert!(patch.is_write());
        let status = "/apis/cnpg.supporttools.io/v1alpha1/namespaces/n/storageevents/e/status";
        let body = serde_json::json!({"status": {"phase": "InProgress", "pvcStatuses": [{"phase": "Pending"}]}});
        assert_eq!(
            asked(Method::PATCH, status, &body).signature(),
            "PATCH storageevents/status InProgress [Pending]"
        );
        let kind = |uri: &str| asked(Method::GET, uri, &Value::Null).kind;
        assert_eq!(kind("/api/v1/nodes?limit=200"), "LIST nodes");
        assert_eq!(kind("/api/v1/namespaces"), "LIST namespaces");
        assert_eq!(kind("/api/v1/namespaces/n"), "GET namespaces");
        assert_eq!(kind("/api/v1/namespaces/n/pods?watch=true&limit=1"), "WATCH pods");
        assert_eq!(kind("/apis/coordination.k8s.io/v1/namespaces/n/leases/l"), "GET leases");
        assert!(Asked::of(&Method::GET, &"/version".parse().expect("a URI"), b"").is_none());
    }
}
