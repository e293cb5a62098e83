//! A node: a network and a mount namespace of its own, and in it containerd, kubelet, kube-proxy and the CSI drivers.

use std::fs;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::component::{Namespaces, Spec};
use super::controlplane::{csi_flags, kind_word, write, write_kubeconfig};
use crate::csi::Kind;
use crate::lab::command::{run, run_command, run_line};
use crate::lab::config::Config;
use crate::lab::host;
use crate::lab::layout::{Layout, MARKER_ENV, NodeLayout};
use crate::lab::{MEASURE_FREQUENCY, SYNC_FREQUENCY};
use crate::pki::{Ca, Subject, Usage};

/// Printed by the process that furnishes a node's namespaces, when done.
const READY: &str = "ready";

/// A node whose namespaces exist.
pub struct Node {
    /// Counted from 1.
    pub number: u8,
    /// Where its things lie.
    pub layout: NodeLayout,
    namespaces: Arc<Namespaces>,
}

impl Node {
    /// Makes the namespaces, the cable, the routes and the configuration files.
    pub async fn create(layout: &Layout, config: &Config, ca: &Ca, number: u8) -> Result<Self> {
        let node = layout.node(number);
        write_config(layout, config, ca, number, &node)?;
        host::make_cgroups(&cgroup(layout, number))?;
        let mut furnisher = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "--"])
            .arg(layout.bin().join("labd"))
            .arg("furnish")
            .arg("--dir")
            .arg(layout.dir())
            .arg("--node")
            .arg(number.to_string())
            .env(MARKER_ENV, layout.dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start the process that furnishes the node's namespaces")?;
        let pid = furnisher.id().context("the furnishing process ended at once")?;
        let output = furnisher.stdout.take().context("the furnishing process has no output")?;
        match BufReader::new(output).lines().next_line().await? {
            Some(line) if line == READY => {}
            _ => bail!(
                "the mounts of node {} could not be made: see {}",
                node.name,
                layout.log("labd").display()
            ),
        }
        let this = Self {
            number,
            layout: node,
            namespaces: Arc::new(Namespaces::of(pid)?),
        };
        this.connect(config, pid).await?;
        furnisher.kill().await.context("end the furnishing process")?;
        Ok(this)
    }

    /// Runs a command line of plain words in the node's namespaces.
    async fn inside(&self, line: &str) -> Result<()> {
        let mut command = self.namespaces.enter();
        command.args(line.split_whitespace());
        run_command(command).await.map(drop)
    }

    async fn connect(&self, config: &Config, pid: u32) -> Result<()> {
        let (number, network) = (self.number, config.network);
        let (link, ip) = (format!("n{number}"), network.node(number));
        let gateway = network.control_plane();
        run_line(&format!("ip link add {link} type veth peer name eth0 netns {pid}")).await?;
        run_line(&format!("ip link set {link} master lab0 up")).await?;
        self.inside("ip link set lo up").await?;
        self.inside(&format!("ip address add {ip}/24 dev eth0")).await?;
        self.inside("ip link set eth0 up").await?;
        self.inside(&format!("ip route add default via {gateway}")).await?;
        self.inside("sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1")
            .await
    }

    /// Adds a route to another node's pods.
    pub async fn route_to(&self, config: &Config, other: u8) -> Result<()> {
        let (pods, via) = (config.network.pods(other), config.network.node(other));
        self.inside(&format!("ip route replace {pods} via {via}")).await
    }

    /// containerd, to be started first.
    pub fn containerd(&self) -> Spec {
        self.spec("containerd", "/usr/bin/containerd")
            .flag("config", self.layout.dir.join("containerd.toml").display())
    }

    /// Imports an image archive.
    pub async fn import(&self, archive: &std::path::Path) -> Result<()> {
        import(&self.layout, archive).await
    }

    /// The rest, to be started when containerd and the API server answer.
    pub fn components(&self, layout: &Layout, config: &Config) -> Vec<Spec> {
        let (dir, name) = (&self.layout.dir, &self.layout.name);
        let kubelet = self
            .spec("kubelet", config.binaries.join("kubelet"))
            .flag("config", dir.join("kubelet.yaml").display())
            .flag("kubeconfig", dir.join("kubelet.kubeconfig").display())
            .flag("root-dir", self.layout.kubelet().display())
            .flag("cert-dir", dir.join("pki").display())
            .flag("hostname-override", name)
            .flag("node-ip", config.network.node(self.number))
            // Not only the kubelet's configuration: its embedded cAdvisor asks containerd itself.
            .flag("containerd", self.layout.containerd_socket().display())
            .flag("v", 2);
        let proxy = self
            .spec("kube-proxy", config.binaries.join("kube-proxy"))
            .flag("config", dir.join("kube-proxy.yaml").display());
        let mut specs = vec![kubelet, proxy];
        for kind in [Kind::Loop, Kind::HostDir] {
            let socket = self.layout.csi_socket(kind);
            let driver = self.spec(&format!("csi-{}", kind_word(kind)), layout.bin().join("loopcsi"));
            let driver = csi_flags(layout, kind, driver).flag("socket", socket.display());
            specs.push(driver.args(["node", "--name", name]));
            let registrar = self.spec(&format!("csi-registrar-{}", kind_word(kind)), config.binaries.join("csi-registrar"));
            specs.push(
                registrar
                    .flag("driver", kind.driver_name())
                    .flag("endpoint", socket.display())
                    .flag("registry", self.layout.registry().display()),
            );
        }
        specs
    }

    fn spec(&self, word: &str, program: impl Into<std::path::PathBuf>) -> Spec {
        let spec = Spec::new(&format!("{word}@{}", self.layout.name), program);
        Spec {
            namespaces: Some(self.namespaces.clone()),
            ..spec
        }
    }
}

/// Imports an image archive into one node's containerd. Works from outside the lab too.
pub async fn import(node: &NodeLayout, archive: &std::path::Path) -> Result<()> {
    let socket = node.containerd_socket();
    let arguments = ["--address", &socket.to_string_lossy(), "--namespace", "k8s.io", "images", "import"].map(str::to_owned);
    run("ctr", arguments.into_iter().chain([archive.to_string_lossy().into_owned()]))
        .await
        .map(drop)
}

fn cgroup(layout: &Layout, number: u8) -> String {
    format!("{}/n{number}", layout.cgroup())
}

/// Runs inside a node's new namespaces: makes its mounts, says so, and waits for its end, which comes when somebody else
/// has handles on them.
pub async fn furnish_node(layout: &Layout, number: u8) -> Result<()> {
    let node = layout.node(number);
    furnish().await?;
    let kubelet = node.kubelet();
    // Mounts that the kubelet and CSI drivers make below must reach containers, and the other way round.
    run("mount", ["--bind".as_ref(), kubelet.as_os_str(), kubelet.as_os_str()]).await?;
    run("mount", ["--make-rshared".as_ref(), kubelet.as_os_str()]).await?;
    fake_sysctls(&node).await?;
    println!("{READY}");
    std::future::pending().await
}

/// What every mount namespace of the lab needs: runtime folders that nobody else sees, and that end with it.
pub async fn furnish() -> Result<()> {
    run_line("mount -t tmpfs -o mode=755 tmpfs /run").await?;
    // libcni keeps its results there, whatever it is told.
    fs::create_dir_all("/var/lib/cni").context("create /var/lib/cni")?;
    run_line("mount -t tmpfs -o mode=755 tmpfs /var/lib/cni").await?;
    Ok(())
}

/// The kubelet insists on kernel settings that belong to the whole machine. It is shown files that hold what it wants, so
/// that the machine keeps its own.
async fn fake_sysctls(node: &NodeLayout) -> Result<()> {
    const WANTED: [(&str, &str); 6] = [
        ("vm/overcommit_memory", "1"),
        ("vm/panic_on_oom", "0"),
        ("kernel/panic", "10"),
        ("kernel/panic_on_oops", "1"),
        ("kernel/keys/root_maxkeys", "1000000"),
        ("kernel/keys/root_maxbytes", "25000000"),
    ];
    let dir = node.dir.join("sysctl");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    for (name, value) in WANTED {
        let file = dir.join(name.replace('/', "."));
        write(&file, &format!("{value}\n"))?;
        run("mount", ["--bind".as_ref(), file.as_os_str(), format!("/proc/sys/{name}").as_ref()]).await?;
    }
    Ok(())
}

fn write_config(layout: &Layout, config: &Config, ca: &Ca, number: u8, node: &NodeLayout) -> Result<()> {
    let (dir, network) = (&node.dir, config.network);
    let path = |path: std::path::PathBuf| path.display().to_string();
    let mut folders = vec![
        node.registry(),
        node.pod_logs(),
        node.containerd_root(),
        node.cni(),
        dir.join("cni.d"),
    ];
    folders.extend(
        [Kind::Loop, Kind::HostDir]
            .iter()
            .filter_map(|kind| Some(node.csi_socket(*kind).parent()?.to_owned())),
    );
    for folder in folders {
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let ip = network.node(number).to_string();
    let names = [node.name.clone(), ip, "127.0.0.1".into()];
    ca.issue(
        Subject::member(format!("system:node:{}", node.name), "system:nodes"),
        Usage::Server,
        &names,
    )?
    .save(dir, "kubelet-server")?;
    let user = Subject::member(format!("system:node:{}", node.name), "system:nodes");
    write_kubeconfig(&dir.join("kubelet.kubeconfig"), config, ca, user)?;
    write_kubeconfig(&dir.join("kube-proxy.kubeconfig"), config, ca, Subject::user("system:kube-proxy"))?;
    // Pods that ask for the node's resolver get none: there is no world outside.
    write(&dir.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
    write(&dir.join("containerd.toml"), &containerd_toml(node))?;
    let bridge = json!({
        "cniVersion": "0.4.0", "name": "lab",
        "plugins": [{
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
            "ipam": {
                "type": "host-local", "dataDir": path(node.cni()),
                "ranges": [[{ "subnet": network.pods(number) }]], "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    });
    write(&dir.join("cni.d/10-lab.conflist"), &bridge.to_string())?;
    let kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", cgroup(layout, number)),
        "containerRuntimeEndpoint": format!("unix://{}", path(node.containerd_socket())),
        "podLogsDir": path(node.pod_logs()),
        "volumePluginDir": path(dir.join("flexvolume")),
        "clusterDNS": [network.dns_service()],
        "clusterDomain": "cluster.local",
        "resolvConf": path(dir.join("resolv.conf")),
        "tlsCertFile": path(dir.join("kubelet-server.crt")),
        "tlsPrivateKeyFile": path(dir.join("kubelet-server.key")),
        "authentication": {
            "anonymous": { "enabled": false }, "webhook": { "enabled": true },
            "x509": { "clientCAFile": path(layout.pki().join("ca.crt")) },
        },
        "authorization": { "mode": "Webhook" },
        "readOnlyPort": 0,
        "failSwapOn": false,
        // Lowering it needs CAP_SYS_RESOURCE, which not every machine gives its root.
        "oomScoreAdj": 0,
        "evictionHard": { "memory.available": "100Mi", "nodefs.available": "2Gi", "imagefs.available": "2Gi" },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "imageMinimumGCAge": "240h",
        // For the tests' sake: online growth within 2 s, figures of volumes every 5 to 7 s (defaults: 1 min each).
        "syncFrequency": SYNC_FREQUENCY,
        "volumeStatsAggPeriod": MEASURE_FREQUENCY,
        "nodeStatusUpdateFrequency": "5s",
        "nodeStatusReportFrequency": "5s",
    });
    write(&dir.join("kubelet.yaml"), &kubelet.to_string())?;
    let proxy = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": network.all_pods(),
        "hostnameOverride": node.name,
        "clientConnection": { "kubeconfig": path(dir.join("kube-proxy.kubeconfig")) },
        "conntrack": { "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
    });
    write(&dir.join("kube-proxy.yaml"), &proxy.to_string())
}

fn containerd_toml(node: &NodeLayout) -> String {
    let (root, socket, dir) = (node.containerd_root(), node.containerd_socket(), &node.dir);
    format!(
        r#"version = 2
root = "{root}"
state = "/run/containerd"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:lab"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{dir}/cni.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "/usr/sbin/runc"
        SystemdCgroup = false
"#,
        root = root.display(),
        socket = socket.display(),
        dir = dir.display(),
    )
}
