//! Bringing a lab up and taking it down, as seen from outside.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::command::system;
use super::config::{Config, FORMAT, MOST_NODES, Network};
use super::layout::{Layout, MARKER_ENV};
use super::protocol::{Phase, Request, State, Status, ask, now_ms};
use super::{clean, diagnose, host, images};
use crate::csi::{Kind, control};
use crate::s3::Store;
use crate::tools;
use crate::wait::looks;

/// The supervisor has this long to open its socket.
const SUPERVISOR_PATIENCE: Duration = Duration::from_secs(20);
/// The whole of bringing a cluster up, with everything built. The supervisor's own limits are tighter.
const PATIENCE: Duration = Duration::from_mins(10);
const POLL: Duration = Duration::from_millis(100);

/// Our own programs of the lab.
pub const PROGRAMS: [&str; 3] = ["labd", "loopcsi", "csm-s3"];

/// What `up` is asked for.
pub struct Options {
    /// How many nodes. A running lab with fewer gets more; one with more is kept.
    pub nodes: u8,
    /// Builds our own [`PROGRAMS`] and returns their folder. Not called when a lab runs already.
    pub programs: Box<dyn FnOnce() -> Result<PathBuf>>,
}

/// Prints steps with their time.
struct Progress {
    begin: Instant,
    last: Instant,
    print: Box<dyn FnMut(&str)>,
}

impl Progress {
    fn say(&mut self, text: &str) {
        let line = format!("{:7.1} s  {text}", self.begin.elapsed().as_secs_f64());
        (self.print)(&line);
    }

    /// A finished step of our own: with the time since the one before.
    fn done(&mut self, what: &str) {
        let took = self.last.elapsed().as_secs_f64();
        self.say(&format!("{what} ({took:.1} s)"));
        self.last = Instant::now();
    }
}

/// Brings the lab up: adopts a healthy one, clears away what is left of another, and starts anew.
pub async fn up(layout: &Layout, options: Options, print: impl FnMut(&str) + 'static) -> Result<Status> {
    if !(1..=MOST_NODES).contains(&options.nodes) {
        bail!("a lab has 1 to {MOST_NODES} nodes, not {}", options.nodes);
    }
    let begin = Instant::now();
    let mut progress = Progress {
        begin,
        last: begin,
        print: Box::new(print),
    };
    require_root()?;
    layout.claim()?;
    let _lock = lock(layout, &mut progress)?;
    if let Some(status) = adopt(layout, options.nodes, &mut progress).await? {
        return Ok(status);
    }
    // What remains of another run goes first: its network would be in the way of the choice of ours.
    clear(layout, &mut progress).await?;
    host::ensure(layout.dir(), &mut |text| progress.say(text))?;
    progress.done("this machine has what the lab needs");
    // First, since it fails soonest.
    let programs = (options.programs)()?;
    progress.done("the lab's own programs are built");
    let binaries = tools::ensure(tools::Set::Lab, &mut |text| progress.say(text))?;
    progress.done("Kubernetes, CloudNativePG and etcd are built");
    let images = images::ensure(&binaries, &mut |text| progress.say(text))?;
    progress.done("images are made");
    let config = Config {
        format: FORMAT,
        nodes: options.nodes,
        network: Network::free(&layout.host_link())?,
        binaries: binaries.dir().to_owned(),
        images: images.archives,
        cnpg_manifest: tools::cnpg_manifest()?,
        operator_image: images.operator,
        postgres_image: images.postgres,
    };
    prepare(layout, &config, &programs)?;
    start_supervisor(layout)?;
    let status = follow(layout, &mut progress).await?;
    progress.say(&format!("the lab is ready: KUBECONFIG={}", layout.kubeconfig().display()));
    Ok(status)
}

/// Takes the lab down. Calling it when there is none is no error.
pub async fn down(layout: &Layout, print: impl FnMut(&str) + 'static) -> Result<()> {
    require_root()?;
    let begin = Instant::now();
    let mut progress = Progress {
        begin,
        last: begin,
        print: Box::new(print),
    };
    if !layout.dir().exists() {
        progress.say("there is no lab");
        return Ok(());
    }
    if !layout.is_claimed() {
        bail!("{} is not a lab's folder. Nothing was touched", layout.dir().display());
    }
    let _lock = lock(layout, &mut progress)?;
    clean::clear(layout).await?;
    let left = clean::leftovers(layout)?;
    if !left.is_empty() {
        bail!("something of the lab is left:\n  {}", left.join("\n  "));
    }
    progress.done("the lab is down; nothing of it is left but its logs");
    Ok(())
}

fn require_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the lab needs root: it makes namespaces, mounts and loop devices");
    }
    Ok(())
}

/// One `up` or `down` at a time; the lock ends with the process.
fn lock(layout: &Layout, progress: &mut Progress) -> Result<File> {
    let path = layout.lock();
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    if file.try_lock().is_err() {
        progress.say("waiting for another process that brings this lab up or down");
        file.lock().with_context(|| format!("lock {}", path.display()))?;
    }
    Ok(file)
}

/// A lab that runs already, if it is one that we can use.
async fn adopt(layout: &Layout, nodes: u8, progress: &mut Progress) -> Result<Option<Status>> {
    let status = match ask::<Status>(layout, &Request::Status).await {
        Ok(None) => return Ok(None),
        Ok(Some(status)) if status.format == FORMAT => status,
        Ok(Some(status)) => {
            progress.say(&format!(
                "the running lab has format {}, not {FORMAT}: starting anew",
                status.format
            ));
            return Ok(None);
        }
        Err(error) => {
            progress.say(&format!("the running lab does not answer as it should: starting anew ({error:#})"));
            return Ok(None);
        }
    };
    if status.phase == Phase::Starting {
        progress.say("a lab is being brought up already: following it");
        if let Err(error) = follow(layout, progress).await {
            progress.say(&format!("it failed, starting anew ({error:#})"));
            return Ok(None);
        }
    }
    if let Phase::Failed(error) = &status.phase {
        progress.say(&format!("the running lab never became ready, starting anew ({error})"));
        return Ok(None);
    }
    tidy(layout, &status, progress).await?;
    let problems = diagnose::settled(layout).await?;
    if !problems.is_empty() {
        progress.say("the running lab is not healthy, starting anew:");
        for problem in &problems {
            progress.say(&format!("  {problem}"));
        }
        return Ok(None);
    }
    for number in status.nodes.len() + 1..=usize::from(nodes) {
        if let Err(error) = ask::<u8>(layout, &Request::AddNode).await {
            progress.say(&format!("node {number} could not be added, starting anew ({error:#})"));
            return Ok(None);
        }
        progress.done(&format!("node {number} added"));
    }
    let status = ask(layout, &Request::Status).await?;
    progress.say(&format!("the lab is up: KUBECONFIG={}", layout.kubeconfig().display()));
    Ok(status)
}

/// A test that was cut off leaves components stopped, cables pulled and faults set.
async fn tidy(layout: &Layout, status: &Status, progress: &mut Progress) -> Result<()> {
    for component in status.components.iter().filter(|component| component.state == State::Stopped) {
        progress.say(&format!("starting {}, which was stopped", component.name));
        let request = Request::Start {
            name: component.name.clone(),
        };
        ask::<()>(layout, &request).await?;
    }
    for node in &status.nodes {
        let request = Request::Link {
            node: node.name.clone(),
            up: true,
        };
        ask::<()>(layout, &request).await?;
    }
    for kind in [Kind::Loop, Kind::HostDir] {
        let faults = control::Client::new(layout.csi_control(kind));
        for fault in faults.list().await? {
            progress.say(&format!("clearing the fault {} of {}", fault.name, kind.driver_name()));
            faults.clear(&fault.name).await?;
        }
    }
    for bucket in Store::open(&layout.s3())?.clear_all()? {
        progress.say(&format!("clearing the fault of the bucket {bucket}"));
    }
    Ok(())
}

async fn clear(layout: &Layout, progress: &mut Progress) -> Result<()> {
    let left = clean::leftovers(layout)?;
    if left.is_empty() {
        return Ok(());
    }
    progress.say(&format!(
        "clearing away what an earlier run left: {} things, first {}",
        left.len(),
        left[0]
    ));
    clean::clear(layout).await?;
    progress.done("cleared");
    Ok(())
}

/// Everything that the supervisor reads at its start.
fn prepare(layout: &Layout, config: &Config, programs: &Path) -> Result<()> {
    // The logs of the run before are kept for a look, those before it are not.
    let (logs, previous) = (layout.logs(), layout.dir().join("logs.previous"));
    if logs.exists() {
        clean::remove_folder(&previous)?;
        fs::rename(&logs, &previous).with_context(|| format!("move {}", logs.display()))?;
    }
    for dir in [layout.run(), layout.bin(), logs] {
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    }
    for name in PROGRAMS {
        let (from, to) = (programs.join(name), layout.bin().join(name));
        fs::copy(&from, &to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    }
    let text = serde_json::to_vec_pretty(config)?;
    fs::write(layout.config(), text).with_context(|| format!("write {}", layout.config().display()))
}

/// Starts the supervisor in namespaces of its own, detached from us.
fn start_supervisor(layout: &Layout) -> Result<()> {
    let path = layout.log("labd");
    let log = File::options().create(true).append(true).open(&path);
    let log = log.with_context(|| format!("open {}", path.display()))?;
    // A handle on this network namespace, through which the supervisor lays its one cable out of the lab.
    let network = File::open("/proc/self/ns/net").context("open /proc/self/ns/net")?;
    let mut child = system("setsid")
        .args([
            "--fork",
            "unshare",
            "--net",
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--mount-proc",
            "--",
        ])
        .arg(layout.bin().join("labd"))
        .arg("init")
        .arg("--dir")
        .arg(layout.dir())
        .current_dir("/")
        .env(MARKER_ENV, layout.dir())
        // A lab does not speak to the world; a proxy for it must not come between its parts.
        .env_remove("HTTP_PROXY")
        .env_remove("HTTPS_PROXY")
        .env_remove("http_proxy")
        .env_remove("https_proxy")
        .stdin(Stdio::from(network))
        .stdout(log.try_clone().context("duplicate the log's handle")?)
        .stderr(log)
        .spawn()
        .context("start setsid: install util-linux")?;
    let status = child.wait().context("wait for setsid")?;
    if !status.success() {
        bail!("setsid: {status}");
    }
    Ok(())
}

/// Prints the supervisor's steps as they are done, until the lab is ready.
async fn follow(layout: &Layout, progress: &mut Progress) -> Result<Status> {
    let begin = Instant::now();
    let mut printed = Vec::new();
    let mut seen = false;
    let mut looks = looks(POLL);
    loop {
        looks.tick().await;
        match ask::<Status>(layout, &Request::Status).await? {
            Some(status) => {
                seen = true;
                let offset = now_ms().saturating_sub(status.started_ms);
                for (index, step) in status.steps.iter().enumerate() {
                    if let Some(took) = step.took_ms.filter(|_| !printed.contains(&index)) {
                        printed.push(index);
                        progress.say(&format!("{} ({:.1} s)", step.name, Duration::from_millis(took).as_secs_f64()));
                    }
                }
                match &status.phase {
                    Phase::Ready => return Ok(status),
                    Phase::Failed(error) => bail!("{error}\nThe logs are in {}", layout.logs().display()),
                    Phase::Starting if Duration::from_millis(offset) > PATIENCE => {
                        bail!(
                            "not ready after {} s. The logs are in {}",
                            PATIENCE.as_secs(),
                            layout.logs().display()
                        )
                    }
                    Phase::Starting => {}
                }
            }
            None if seen || begin.elapsed() > SUPERVISOR_PATIENCE => {
                let log = crate::process::tail(&layout.log("labd"), 10);
                bail!(
                    "the lab's supervisor is not there (any more); the end of {}:\n{log}",
                    layout.log("labd").display()
                );
            }
            None => {}
        }
    }
}
