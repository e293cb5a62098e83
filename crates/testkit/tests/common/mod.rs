//! Shared by the tests of the simulators.

use std::net::SocketAddr;
use std::time::Duration;

use csm_testkit::scenario::Sim;
use serde_json::Value;

/// What a kubelet answered.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The entry of a PVC in the summary.
    pub fn volume(&self, namespace: &str, claim: &str) -> Option<Value> {
        let json = self.json();
        let pods = json["pods"].as_array()?.clone();
        let volumes = pods.into_iter().filter_map(|pod| pod["volume"].as_array().cloned()).flatten();
        volumes
            .into_iter()
            .find(|volume| volume["pvcRef"]["name"] == claim && volume["pvcRef"]["namespace"] == namespace)
    }
}

/// A client that trusts the simulated kubelets' authority and gives up after two seconds.
pub fn http(sim: &Sim) -> reqwest::Client {
    csm_testkit::controlplane::install_crypto_provider();
    let ca = reqwest::Certificate::from_pem(sim.plane().ca().cert_pem().as_bytes()).unwrap();
    reqwest::Client::builder()
        .tls_certs_only([ca])
        .timeout(Duration::from_secs(2))
        .build()
        .unwrap()
}

pub async fn get(sim: &Sim, address: SocketAddr, path: &str, token: Option<&str>) -> Result<Answer, reqwest::Error> {
    let mut request = http(sim).get(format!("https://{address}{path}"));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await?;
    Ok(Answer {
        code: response.status().as_u16(),
        body: response.text().await?,
    })
}
