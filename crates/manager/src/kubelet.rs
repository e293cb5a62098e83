//! One kubelet, asked directly on its own port. Needs `get` on `nodes/stats`, and nothing else.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base64::Engine as _;
use reqwest::{Certificate, StatusCode};
use secrecy::ExposeSecret as _;
use thiserror::Error;

use crate::fetch::{self, Bounds, FetchError};
use crate::rounds::Trouble;
use csm_gather::views::NodeView;
use csm_runtime::tasks::Panicked;

/// Answers beyond this are not a summary: 500 pods with 20 volumes each are about 5 MiB.
const LARGEST_ANSWER: usize = 64 << 20;
/// A projected token is renewed by the kubelet when 80 % of its life has passed; a minute is well within the rest.
const TOKEN_REREAD: Duration = Duration::from_mins(1);

/// Why a kubelet gave no figures.
#[derive(Debug, Error)]
pub enum KubeletError {
    /// The node says no address of a type that we use.
    #[error("the node has no address of type {0}; see the setting kubelet.addressTypes")]
    NoAddress(String),
    /// It gave no answer.
    #[error("{url}: {error}{}", hint(error))]
    Fetch {
        /// Where.
        url: String,
        /// Why.
        error: FetchError,
    },
    /// The answer is not a summary.
    #[error("the answer of {url} is not a stats summary: {reason}")]
    Garbage {
        /// Where.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// We panicked over it.
    #[error("BUG: looking at the figures {0}")]
    Panic(#[from] Panicked),
}

impl Trouble for KubeletError {
    fn kind(&self) -> &'static str {
        match self {
            Self::NoAddress(_) => "no-address",
            Self::Fetch {
                error: FetchError::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
                ..
            } => "refused",
            Self::Fetch { error, .. } => error.kind(),
            Self::Garbage { .. } => "garbage",
            Self::Panic(_) => "panic",
        }
    }
}

/// What to do about it; it goes behind the error.
const fn hint(error: &FetchError) -> &'static str {
    match error {
        FetchError::Certificate(_) => {
            "; set kubelet.caFile to the CA that signs the kubelets' serving certificates, or kubelet.insecureSkipTLSVerify"
        }
        FetchError::Timeout(_) => " (setting kubelet.timeout)",
        FetchError::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            ": the manager's service account needs `get` on nodes/stats"
        }
        FetchError::Connect(_) | FetchError::Status(_) | FetchError::TooLarge(_) => "",
    }
}

/// How kubelets are asked.
#[derive(Clone, Debug)]
pub struct KubeletSettings {
    /// Port where the Node does not say one.
    pub port: u16,
    /// CA of the serving certificates; none: the cluster's own.
    pub ca_file: Option<PathBuf>,
    /// Do not verify the serving certificates.
    pub insecure_skip_tls_verify: bool,
    /// Types of addresses, the first that a node has.
    pub address_types: Vec<String>,
    /// For a whole answer.
    pub timeout: Duration,
    /// Kubelets asked at a time.
    pub concurrency: usize,
}

/// Who asks.
#[derive(Debug)]
pub enum Credentials {
    /// A token that does not change.
    Token(String),
    /// A token that is read again from its file.
    TokenFile(PathBuf),
    /// The client certificate that is in the client already, or nothing.
    None,
}

/// Asks kubelets.
pub struct Kubelets {
    http: reqwest::Client,
    credentials: Credentials,
    token: Mutex<Option<(String, Instant)>>,
    settings: KubeletSettings,
}

impl Kubelets {
    /// With the CA and the credentials of the Kubernetes client's configuration.
    ///
    /// # Errors
    /// Where a CA or a client certificate cannot be read.
    pub fn new(settings: KubeletSettings, config: &kube::Config) -> anyhow::Result<Self> {
        let mut builder = reqwest::Client::builder()
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout)
            // An idle connection keeps its buffers, tens to hundreds of KiB; a handshake every interval costs less than
            // as many connections as there are nodes.
            .pool_max_idle_per_host(0)
            .no_proxy()
            .tls_danger_accept_invalid_certs(settings.insecure_skip_tls_verify)
            .user_agent(concat!("cnpg-storage-manager/", env!("CARGO_PKG_VERSION")));
        let mut roots = Vec::new();
        match (&settings.ca_file, &config.root_cert_file, &config.root_cert) {
            (Some(path), _, _) | (None, Some(path), _) => {
                let pem = std::fs::read(path).with_context(|| format!("cannot read the CA of the kubelets, {}", path.display()))?;
                roots.extend(Certificate::from_pem_bundle(&pem).with_context(|| format!("{} holds no certificates", path.display()))?);
            }
            (None, None, Some(certificates)) => {
                for der in certificates {
                    roots.push(Certificate::from_der(der).context("the cluster's CA is no certificate")?);
                }
            }
            (None, None, None) => {}
        }
        if !roots.is_empty() {
            builder = builder.tls_certs_only(roots);
        }
        let auth = &config.auth_info;
        let credentials = if let Some(path) = &auth.token_file {
            Credentials::TokenFile(path.into())
        } else if let Some(token) = &auth.token {
            Credentials::Token(token.expose_secret().to_owned())
        } else {
            if let Some(identity) = identity(auth)? {
                builder = builder.identity(identity);
            }
            Credentials::None
        };
        let http = builder.build().context("cannot make the HTTPS client for kubelets")?;
        Ok(Self {
            http,
            credentials,
            token: Mutex::new(None),
            settings,
        })
    }

    /// Reads `/stats/summary` of a node into `buffer`; returns the address for messages.
    ///
    /// # Errors
    /// See [`KubeletError`].
    pub async fn summary(&self, node: &NodeView, buffer: &mut Vec<u8>) -> Result<String, KubeletError> {
        let wanted = &self.settings.address_types;
        let address = wanted
            .iter()
            .find_map(|type_| node.addresses.iter().find(|(t, _)| **t == **type_))
            .map(|(_, address)| address.clone())
            .ok_or_else(|| KubeletError::NoAddress(wanted.join(" or ")))?;
        let host = if address.contains(':') {
            format!("[{address}]")
        } else {
            address.to_string()
        };
        let url = format!("https://{host}:{}/stats/summary", node.port.unwrap_or(self.settings.port));
        let mut request = self.http.get(&url);
        if let Some(token) = self.bearer() {
            request = request.bearer_auth(token);
        }
        let bounds = Bounds {
            timeout: self.settings.timeout,
            largest: LARGEST_ANSWER,
        };
        match fetch::get(request, bounds, buffer).await {
            Ok(()) => Ok(url),
            Err(error) => Err(KubeletError::Fetch { url, error }),
        }
    }

    /// The token to send; a token file is read again once a minute.
    fn bearer(&self) -> Option<String> {
        match &self.credentials {
            Credentials::None => None,
            Credentials::Token(token) => Some(token.clone()),
            Credentials::TokenFile(path) => {
                let mut cached = self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if let Some((token, read)) = cached.as_ref()
                    && read.elapsed() < TOKEN_REREAD
                {
                    return Some(token.clone());
                }
                match std::fs::read_to_string(path) {
                    Ok(token) => {
                        let token = token.trim().to_owned();
                        *cached = Some((token.clone(), Instant::now()));
                        Some(token)
                    }
                    // The old one may still be good; the kubelet's 401 says if it is not.
                    Err(_) => cached.as_ref().map(|(token, _)| token.clone()),
                }
            }
        }
    }
}

/// The client certificate of a kubeconfig.
fn identity(auth: &kube::config::AuthInfo) -> anyhow::Result<Option<reqwest::Identity>> {
    let read = |path: &Option<String>, data: Option<String>, what: &str| -> anyhow::Result<Option<Vec<u8>>> {
        if let Some(data) = data {
            let decoded = base64::engine::general_purpose::STANDARD
                .decode(data.trim())
                .with_context(|| format!("the {what} is not base64"))?;
            return Ok(Some(decoded));
        }
        path.as_ref()
            .map(|path| std::fs::read(path).with_context(|| format!("cannot read the {what} {path}")))
            .transpose()
    };
    let certificate = read(&auth.client_certificate, auth.client_certificate_data.clone(), "client certificate")?;
    let key = read(
        &auth.client_key,
        auth.client_key_data.as_ref().map(|k| k.expose_secret().to_owned()),
        "client key",
    )?;
    let (Some(mut pem), Some(key)) = (certificate, key) else {
        return Ok(None);
    };
    pem.push(b'\n');
    pem.extend_from_slice(&key);
    Ok(Some(
        reqwest::Identity::from_pem(&pem).context("the client certificate or its key is not valid")?,
    ))
}
