//! A light control plane: etcd and kube-apiserver alone, as an ordinary user, for one test run.
//!
//! Authentication, RBAC, admission, CEL and audit are the real ones. Nothing else runs: no scheduler, no controllers, no
//! kubelets, so namespaces do not empty themselves, owners' objects are not collected and pods stay as they are written.
//! [`crate::nodesim`] and [`crate::resizer`] play the parts that matter for storage.
//!
//! Two runs never meet: each has its own folder, unix sockets for etcd, and a port that it tried out. What a killed run
//! leaves behind is a folder, which the next run removes; its processes die with it.

mod audit;
mod state;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Client, ResourceExt};
use rand::RngExt;

pub use self::audit::{AuditEntry, AuditMark, Stage};
use self::state::StateDir;
use crate::pki::{self, Ca, Credential, ServiceAccountKeys, Subject, Usage};
use crate::process::{Command, Process, ProcessId};
use crate::tools::{self, Binaries, Set};
use crate::wait::Patience;
use crate::{manifest, retry};

/// Longest wait for the API server to be ready; it takes 2 to 3 s on two idle cores.
const READY_PATIENCE: Duration = Duration::from_mins(1);
/// How often readiness is looked at.
const READY_POLL: Duration = Duration::from_millis(20);
/// Ports to choose from: below the range that Linux gives to outgoing connections (from 32768).
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// How many ports are tried before giving up.
const PORT_TRIES: usize = 8;
/// A socket's path has 108 bytes in Linux (unix(7)); the longest name in the folder takes 16.
const LONGEST_STATE_PATH: usize = 90;
/// Tokens of service accounts outlive every test and bench.
const TOKEN_SECONDS: i64 = 24 * 3600;

/// The admission plugins that are switched off, with the controllers that they need: `ServiceAccount` wants the tokens
/// controller, `TaintNodesByCondition` the node controller, `StorageObjectInUseProtection` the protection controllers.
const DISABLED_ADMISSION: &str = "ServiceAccount,TaintNodesByCondition,StorageObjectInUseProtection";

/// How a control plane is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// More arguments for kube-apiserver; they come last, so they win.
    pub api_server_arguments: Vec<String>,
}

/// A running control plane. Dropping it ends its processes and removes its folder.
pub struct ControlPlane {
    // Fields drop in this order: processes before the folder that they use.
    api_server: Mutex<Option<Process>>,
    etcd: Mutex<Process>,
    binaries: Binaries,
    options: Options,
    ca: Arc<Ca>,
    server: String,
    kubeconfig: PathBuf,
    /// The latest mark in the audit log: a long run must not read all of it for each new one.
    audited: Mutex<AuditMark>,
    state: StateDir,
}

impl ControlPlane {
    /// Starts one and waits until it is ready. Builds the programs first where they are missing.
    pub async fn start(options: Options) -> Result<Self> {
        install_crypto_provider();
        let binaries = tokio::task::spawn_blocking(|| tools::ensure(Set::Light, &mut |line| eprintln!("{line}")))
            .await
            .context("build the programs")??;
        state::remove_leftovers();
        let state = StateDir::create()?;
        if state.path().as_os_str().len() > LONGEST_STATE_PATH {
            bail!(
                "{} is too long for a unix socket: set TMPDIR to a shorter folder",
                state.path().display()
            );
        }
        let ca = Arc::new(Ca::new("test-ca")?);
        write_certificates(&ca, state.path())?;
        audit::write_policy(state.path())?;
        let mut etcd = start_etcd(&binaries, state.path())?;
        let (api_server, server, kubeconfig) = start_on_free_port(&binaries, &options, &ca, state.path(), &mut etcd).await?;
        Ok(Self {
            api_server: Mutex::new(Some(api_server)),
            etcd: Mutex::new(etcd),
            binaries,
            options,
            ca,
            server,
            kubeconfig,
            audited: Mutex::default(),
            state,
        })
    }

    /// The URL of the API server.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The authority that signed its certificates; simulated kubelets use it too.
    pub fn ca(&self) -> &Arc<Ca> {
        &self.ca
    }

    /// That authority's certificate as a file, for programs that want one.
    pub fn ca_file(&self) -> PathBuf {
        self.state.path().join("ca.crt")
    }

    /// The programs that it was started from, `kubectl` among them.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// A folder for more files of this run; it goes with the control plane.
    pub fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// A kubeconfig of a member of `system:masters`.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A client that may do everything.
    pub async fn client(&self) -> Result<Client> {
        client_from(&self.kubeconfig).await
    }

    /// A kubeconfig of a user in groups, by client certificate; RBAC decides what it may do.
    pub fn user_kubeconfig(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let orgs = groups.iter().map(|&group| group.to_owned()).collect();
        let issued = self.ca.issue(Subject { cn: user.to_owned(), orgs }, Usage::Client, &[])?;
        let text = pki::kubeconfig(&self.server, self.ca.cert_pem(), &Credential::Certificate(&issued), "default");
        self.write_kubeconfig(&format!("user-{user}"), &text)
    }

    /// A token for a service account, which is made (with its namespace) where it is missing.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> Result<String> {
        let client = self.client().await?;
        create_if_missing(
            &Api::all(client.clone()),
            Namespace {
                metadata: named(namespace),
                ..Default::default()
            },
        )
        .await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
        create_if_missing(
            &accounts,
            ServiceAccount {
                metadata: named(name),
                ..Default::default()
            },
        )
        .await?;
        let spec = TokenRequestSpec {
            expiration_seconds: Some(TOKEN_SECONDS),
            ..Default::default()
        };
        let request = TokenRequest {
            spec,
            ..Default::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| format!("request a token for the service account {namespace}/{name}"))?;
        answer
            .status
            .map(|status| status.token)
            .context("the answer to a TokenRequest holds no token")
    }

    /// A kubeconfig of a service account, which is made (with its namespace) where it is missing.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = self.service_account_token(namespace, name).await?;
        let text = pki::kubeconfig(&self.server, self.ca.cert_pem(), &Credential::Token(&token), namespace);
        self.write_kubeconfig(&format!("service-account-{namespace}-{name}"), &text)
    }

    /// Applies CustomResourceDefinitions and waits until their kinds are served.
    pub async fn apply_crds(&self, crds: impl IntoIterator<Item = CustomResourceDefinition>) -> Result<()> {
        manifest::apply_crds(&self.client().await?, crds).await
    }

    /// Applies a YAML text of one or more objects by server-side apply. Objects of namespaced kinds that name no
    /// namespace go to `default`.
    pub async fn apply_yaml(&self, text: &str) -> Result<()> {
        manifest::apply(&self.client().await?, manifest::documents(text)?, "default").await
    }

    /// Where everything said so far ends; see [`Self::audit_since`].
    pub async fn audit_mark(&self) -> Result<AuditMark> {
        let latest = || self.audited.lock().unwrap_or_else(PoisonError::into_inner);
        let known = *latest();
        let mark = audit::mark(&self.client().await?, self.state.path(), known).await?;
        let mut latest = latest();
        *latest = mark.max(*latest);
        Ok(mark)
    }

    /// Every request that the API server answered (or began to answer: watches) from its start until now, once each.
    /// Its own loop-back requests and health checks are left out.
    pub async fn audit(&self) -> Result<Vec<AuditEntry>> {
        self.audit_since(AuditMark::default()).await
    }

    /// Like [`Self::audit`], but only what came after `mark`.
    pub async fn audit_since(&self, mark: AuditMark) -> Result<Vec<AuditEntry>> {
        audit::since(&self.client().await?, self.state.path(), mark).await
    }

    /// Kills the API server, as an outage would. etcd keeps its data.
    pub fn stop_api_server(&self) -> Result<()> {
        let process = self.api_server.lock().unwrap_or_else(PoisonError::into_inner).take();
        process.map_or(Ok(()), |mut process| process.kill().map(|_| ()))
    }

    /// Ends such an outage: same address, same data. Returns when it is ready.
    pub async fn start_api_server(&self) -> Result<()> {
        let port = self
            .server
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .context("the server has no port")?;
        let process = start_api_server(&self.binaries, &self.options, self.state.path(), port)?;
        *self.api_server.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        wait_ready(&self.client().await?, || self.check()).await
    }

    /// An error that says what died, if something did. For programs that keep a control plane in the foreground.
    pub fn check(&self) -> Result<()> {
        if let Some(process) = self.api_server.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            process.check()?;
        }
        self.etcd.lock().unwrap_or_else(PoisonError::into_inner).check()
    }

    /// Its processes, for tests that look at what becomes of them.
    pub fn processes(&self) -> Result<Vec<ProcessId>> {
        let mut processes = vec![self.etcd.lock().unwrap_or_else(PoisonError::into_inner).id()?];
        if let Some(process) = self.api_server.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            processes.push(process.id()?);
        }
        Ok(processes)
    }

    /// Ends it and removes its folder; the same as dropping it.
    pub fn stop(self) {
        drop(self);
    }

    fn write_kubeconfig(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.state.path().join(format!("{}.kubeconfig", name.replace([':', '/'], "-")));
        pki::write_secret(&path, text)?;
        Ok(path)
    }
}

/// Starts the API server on a port that proves to be free. Returns it with its URL and the admin's kubeconfig.
async fn start_on_free_port(
    binaries: &Binaries,
    options: &Options,
    ca: &Ca,
    dir: &Path,
    etcd: &mut Process,
) -> Result<(Process, String, PathBuf)> {
    for _ in 0..PORT_TRIES {
        let Some(port) = free_port() else { break };
        let server = format!("https://127.0.0.1:{port}");
        let kubeconfig = write_admin_kubeconfig(ca, &server, dir)?;
        let mut process = start_api_server(binaries, options, dir, port)?;
        match wait_ready(&client_from(&kubeconfig).await?, || process.check().and_then(|()| etcd.check())).await {
            Ok(()) => return Ok((process, server, kubeconfig)),
            // Somebody took the port between our look and the start.
            Err(error) if format!("{error:#}").contains("address already in use") => {}
            Err(error) => return Err(error),
        }
    }
    bail!("no free port on 127.0.0.1 between {} and {}", PORTS.start, PORTS.end)
}

/// Waits for `/readyz`, giving up when `check` finds that something died.
async fn wait_ready(client: &Client, mut check: impl FnMut() -> Result<()>) -> Result<()> {
    let mut patience = Patience::new(READY_POLL, READY_PATIENCE);
    loop {
        let request = http::Request::get("/readyz").body(Vec::new()).context("build a request")?;
        let Err(error) = client.request_text(request).await else {
            return Ok(());
        };
        check()?;
        patience.pause(error).await.context("the API server does not get ready")?;
    }
}

/// Sets the one TLS provider of this program, unless it has one.
pub fn install_crypto_provider() {
    // An error means that another part of the program did it before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client for a kubeconfig file.
pub async fn client_from(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).context("read a kubeconfig")?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.context("use a kubeconfig")?).context("build a client")
}

/// Metadata with a name and nothing else.
fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}

async fn create_if_missing<K>(api: &Api<K>, object: K) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(()),
        Err(error) if retry::already_exists(&error) => Ok(()),
        Err(error) => Err(anyhow!(error).context(format!("create {}", object.name_any()))),
    }
}

fn write_certificates(ca: &Ca, dir: &Path) -> Result<()> {
    ca.save(dir)?;
    let names = [
        "127.0.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
    ];
    let names = names.map(str::to_owned);
    ca.issue(Subject::user("kube-apiserver"), Usage::Server, &names)?
        .save(dir, "apiserver")?;
    let kubelet_client = Subject::member("kube-apiserver-kubelet-client", "system:masters");
    ca.issue(kubelet_client, Usage::Client, &[])?.save(dir, "kubelet-client")?;
    ServiceAccountKeys::ensure(dir)?;
    Ok(())
}

fn write_admin_kubeconfig(ca: &Ca, server: &str, dir: &Path) -> Result<PathBuf> {
    let issued = ca.issue(Subject::member("admin", "system:masters"), Usage::Client, &[])?;
    let text = pki::kubeconfig(server, ca.cert_pem(), &Credential::Certificate(&issued), "default");
    let path = dir.join("admin.kubeconfig");
    pki::write_secret(&path, &text)?;
    Ok(path)
}

/// etcd without TCP ports and without fsync: nothing it holds is worth a disk's time.
fn start_etcd(binaries: &Binaries, dir: &Path) -> Result<Process> {
    // A unix URL is a file name in the working directory; etcd insists on the form HOST:PORT.
    let (client, peer) = ("unix://localhost:2379", "unix://localhost:2380");
    Command::new(binaries.path("etcd"), dir.join("etcd.log"))
        .current_dir(dir)
        .args(["--name", "test", "--data-dir", "etcd", "--unsafe-no-fsync", "--log-level", "warn"])
        .args(["--listen-client-urls", client, "--advertise-client-urls", client])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("test={peer}")])
        // Benches write hundreds of thousands of objects; the default of 2 GiB is for disks that matter.
        .args(["--quota-backend-bytes", "8589934592"])
        .spawn()
}

fn start_api_server(binaries: &Binaries, options: &Options, dir: &Path, port: u16) -> Result<Process> {
    let file = |name: &str| dir.join(name).display().to_string();
    Command::new(binaries.path("kube-apiserver"), dir.join("kube-apiserver.log"))
        .current_dir(dir)
        .arg(format!("--etcd-servers=unix://{}", file("localhost:2379")))
        .args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
        ])
        .arg(format!("--secure-port={port}"))
        .arg("--service-cluster-ip-range=10.96.0.0/24")
        .arg(format!("--client-ca-file={}", file("ca.crt")))
        .arg(format!("--tls-cert-file={}", file("apiserver.crt")))
        .arg(format!("--tls-private-key-file={}", file("apiserver.key")))
        .arg(format!("--kubelet-certificate-authority={}", file("ca.crt")))
        .arg(format!("--kubelet-client-certificate={}", file("kubelet-client.crt")))
        .arg(format!("--kubelet-client-key={}", file("kubelet-client.key")))
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(format!("--service-account-key-file={}", file("sa.pub")))
        .arg(format!("--service-account-signing-key-file={}", file("sa.key")))
        .arg("--authorization-mode=Node,RBAC")
        .arg(format!("--disable-admission-plugins={DISABLED_ADMISSION}"))
        .arg("--allow-privileged=true")
        // Names of simulated nodes mean nothing to anybody.
        .arg("--kubelet-preferred-address-types=InternalIP")
        // Scenarios are written as fast as the machine can; fairness would only slow them down.
        .arg("--enable-priority-and-fairness=false")
        .arg("--profiling=false")
        .args(audit::arguments(dir))
        .args(&options.api_server_arguments)
        .spawn()
}

/// A port that nobody listens on at the moment.
fn free_port() -> Option<u16> {
    let mut random = rand::rng();
    (0..100)
        .map(|_| random.random_range(PORTS))
        .find(|&port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok())
}
