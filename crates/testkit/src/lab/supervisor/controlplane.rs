//! The control plane: certificates, configuration files, and how its programs are started.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::component::Spec;
use crate::csi::Kind;
use crate::lab::S3;
use crate::lab::config::Config;
use crate::lab::layout::Layout;
use crate::pki::{Ca, Credential, ServiceAccountKeys, Subject, Usage, kubeconfig};
use crate::s3::Credentials;

/// Makes the folder of a file, and writes it.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let dir = path.parent().context("a file needs a folder")?;
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Certificates and kubeconfigs of the control plane. Returns the authority that signs those of the nodes.
pub fn prepare(layout: &Layout, config: &Config) -> Result<Ca> {
    let (pki, conf, network) = (layout.pki(), layout.conf(), config.network);
    for dir in [&pki, &conf, &layout.run().join("audit")] {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    let ca = Ca::load_or_create(&pki, "csm-lab")?;
    ServiceAccountKeys::ensure(&pki)?;
    let mut names: Vec<String> = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
        .map(Into::into)
        .into();
    names.push("kubernetes.default.svc.cluster.local".into());
    names.extend([network.control_plane(), network.api_service(), std::net::Ipv4Addr::LOCALHOST].map(|ip| ip.to_string()));
    ca.issue(Subject::user("kube-apiserver"), Usage::Server, &names)?
        .save(&pki, "apiserver")?;
    let to_kubelets = Subject::member("apiserver-kubelet-client", "system:masters");
    ca.issue(to_kubelets, Usage::Client, &[])?.save(&pki, "apiserver-kubelet-client")?;
    for (file, subject) in [
        (layout.kubeconfig(), Subject::member("admin", "system:masters")),
        (
            conf.join("kube-controller-manager.kubeconfig"),
            Subject::user("system:kube-controller-manager"),
        ),
        (conf.join("kube-scheduler.kubeconfig"), Subject::user("system:kube-scheduler")),
        (conf.join("csi.kubeconfig"), Subject::member("csi-sidecars", "system:masters")),
    ] {
        write_kubeconfig(&file, config, &ca, subject)?;
    }
    write(&conf.join("audit.yaml"), &audit_policy().to_string())?;
    Ok(ca)
}

/// A kubeconfig with a certificate of its own.
pub fn write_kubeconfig(file: &Path, config: &Config, ca: &Ca, subject: Subject) -> Result<()> {
    let issued = ca.issue(subject, Usage::Client, &[])?;
    let text = kubeconfig(
        &config.network.api_url(),
        ca.cert_pem(),
        &Credential::Certificate(&issued),
        "default",
    );
    write(file, &text)
}

/// Everything with its metadata; what concerns volumes and our own kinds with its body.
fn audit_policy() -> serde_json::Value {
    let writes = ["create", "update", "patch", "delete", "deletecollection"];
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            { "level": "Request", "verbs": writes, "resources": [
                { "group": "", "resources": ["persistentvolumeclaims", "persistentvolumeclaims/status"] },
                { "group": "cnpg.supporttools.io" },
                { "group": "postgresql.cnpg.io", "resources": ["clusters"] },
            ]},
            { "level": "Metadata" },
        ],
    })
}

/// etcd.
pub fn etcd(layout: &Layout, config: &Config) -> Spec {
    let (clients, peers) = ("http://127.0.0.1:2379", "http://127.0.0.1:2380");
    Spec::new("etcd", config.binaries.join("etcd"))
        .flag("name", "lab")
        .flag("data-dir", layout.run().join("etcd").display())
        .flag("listen-client-urls", clients)
        .flag("advertise-client-urls", clients)
        .flag("listen-peer-urls", peers)
        .flag("initial-advertise-peer-urls", peers)
        .flag("initial-cluster", format!("lab={peers}"))
        .flag("log-level", "warn")
        // A lab that is cut off starts anew: nothing in it needs to survive the machine.
        .arg("--unsafe-no-fsync")
}

/// The API server.
pub fn apiserver(layout: &Layout, config: &Config) -> Spec {
    let pki = |name: &str| layout.pki().join(name).display().to_string();
    let network = config.network;
    Spec::new("kube-apiserver", config.binaries.join("kube-apiserver"))
        .flag("etcd-servers", "http://127.0.0.1:2379")
        .flag("advertise-address", network.control_plane())
        .flag("secure-port", 6443)
        .flag("service-cluster-ip-range", network.services())
        .flag("authorization-mode", "Node,RBAC")
        .flag("enable-admission-plugins", "NodeRestriction")
        .flag("allow-privileged", true)
        .flag("client-ca-file", pki("ca.crt"))
        .flag("tls-cert-file", pki("apiserver.crt"))
        .flag("tls-private-key-file", pki("apiserver.key"))
        .flag("kubelet-certificate-authority", pki("ca.crt"))
        .flag("kubelet-client-certificate", pki("apiserver-kubelet-client.crt"))
        .flag("kubelet-client-key", pki("apiserver-kubelet-client.key"))
        .flag("kubelet-preferred-address-types", "InternalIP")
        .flag("service-account-issuer", "https://kubernetes.default.svc.cluster.local")
        .flag("service-account-key-file", pki("sa.pub"))
        .flag("service-account-signing-key-file", pki("sa.key"))
        // Webhooks are called at their pods: no kube-proxy runs beside the control plane.
        .flag("enable-aggregator-routing", true)
        .flag("audit-policy-file", layout.conf().join("audit.yaml").display())
        .flag("audit-log-path", layout.audit_log().display())
        // Never rotated within a run, so that a reader's offset stays true.
        .flag("audit-log-maxsize", 100_000)
        .flag("profiling", false)
}

/// The controller manager.
pub fn controller_manager(layout: &Layout, config: &Config) -> Spec {
    let pki = |name: &str| layout.pki().join(name).display().to_string();
    with_kubeconfig(
        layout,
        Spec::new("kube-controller-manager", config.binaries.join("kube-controller-manager")),
    )
    .flag("leader-elect", false)
    .flag("use-service-account-credentials", true)
    .flag("root-ca-file", pki("ca.crt"))
    .flag("service-account-private-key-file", pki("sa.key"))
    .flag("cluster-signing-cert-file", pki("ca.crt"))
    .flag("cluster-signing-key-file", pki("ca.key"))
    .flag("flex-volume-plugin-dir", layout.run().join("flexvolume").display())
    .flag("bind-address", "127.0.0.1")
    .flag("profiling", false)
}

/// The scheduler.
pub fn scheduler(layout: &Layout, config: &Config) -> Spec {
    with_kubeconfig(layout, Spec::new("kube-scheduler", config.binaries.join("kube-scheduler")))
        .flag("leader-elect", false)
        .flag("bind-address", "127.0.0.1")
        .flag("profiling", false)
}

fn with_kubeconfig(layout: &Layout, spec: Spec) -> Spec {
    let file = layout.conf().join(format!("{}.kubeconfig", spec.name));
    ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
        .into_iter()
        .fold(spec, |spec, flag| spec.flag(flag, file.display()))
}

/// The object store that databases archive to.
pub fn s3(layout: &Layout, config: &Config) -> Spec {
    let Credentials { access_key, secret_key } = Credentials::of_the_lab();
    Spec::new(S3, layout.bin().join("csm-s3"))
        .flag("dir", layout.s3().display())
        .flag("listen", config.network.s3())
        .flag("access-key", access_key)
        .flag("secret-key", secret_key)
}

/// The controller half of the CSI drivers, with the sidecars that drive it.
pub fn csi(layout: &Layout, config: &Config, kind: Kind) -> Vec<Spec> {
    let word = kind_word(kind);
    let driver = Spec::new(&format!("csi-{word}"), layout.bin().join("loopcsi"));
    let driver = csi_flags(layout, kind, driver)
        .flag("socket", layout.csi_socket(kind).display())
        .arg("controller");
    let sidecar = |program: &str, port: u16| {
        Spec::new(&format!("{program}-{word}"), config.binaries.join(program))
            .flag("csi-address", layout.csi_socket(kind).display())
            .flag("kubeconfig", layout.conf().join("csi.kubeconfig").display())
            .flag("http-endpoint", format!("127.0.0.1:{port}"))
    };
    let port = match kind {
        Kind::Loop => 9801,
        Kind::HostDir => 9803,
    };
    // The provisioner would otherwise wait for CSINode topology; volumes are usable from every node.
    let provisioner = sidecar("csi-provisioner", port)
        .flag("feature-gates", "Topology=false")
        .flag("extra-create-metadata", true)
        .flag("retry-interval-start", "500ms")
        .flag("retry-interval-max", "10s");
    // Short intervals: tests wait for retries.
    let resizer = sidecar("csi-resizer", port + 1)
        .flag("retry-interval-start", "1s")
        .flag("retry-interval-max", "30s")
        .flag("timeout", "10s");
    vec![driver, provisioner, resizer]
}

/// The arguments that the controller and node processes of a driver share.
pub fn csi_flags(layout: &Layout, kind: Kind, spec: Spec) -> Spec {
    spec.flag("kind", kind_word(kind))
        .flag("volumes", layout.volumes(kind).display())
        .flag("control", layout.csi_control(kind).display())
}

/// The word for a kind in component names and arguments.
pub const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Loop => "loop",
        Kind::HostDir => "hostdir",
    }
}
