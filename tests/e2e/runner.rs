//! Chooses the tests, brings the manager up, runs one test after the other, and tells how they ended.

use std::any::Any;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use csm_testkit::lab::{Lab, MEASURE_FREQUENCY, SYNC_FREQUENCY};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};

use crate::cases;
use crate::manager::Manager;
use crate::report::{Outcome, Run, TestReport};
use crate::stage::{MARK, Stage};
use crate::stamps::{self, Stamps};
use crate::{invariants, permissions, relief};
use csm_testkit::wait::within;

/// A suite ends by itself after this time, and all of them together after the other.
const SUITE: Duration = Duration::from_hours(1);
const ALL: Duration = Duration::from_hours(3);
/// CloudNativePG's pods stop within seconds; their volumes go after them.
const GONE: Duration = Duration::from_mins(3);
/// Runs that are kept in the report's folder.
const KEPT: usize = 10;

/// A function of a test.
pub type Body = fn(Arc<Stage>) -> LocalBoxFuture<'static, Result<()>>;

/// What a test is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// The manager as a whole, whatever the model.
    Manager,
    /// The resize model.
    Resize,
    /// The request/limit model.
    Target,
    /// What people and failures do to a cluster and to the manager while growth is under way.
    Operations,
    /// The same with one, two and three instances.
    Instances,
    /// What is full already.
    Rescue,
    /// What holds WAL back.
    Wal,
    /// What frees it.
    Relief,
}

/// A test.
pub struct Case {
    /// Its id in the list of what must be shown; several, joined by `+`, where one cluster shows them.
    pub id: &'static str,
    /// What it is about.
    pub suite: Suite,
    /// What it shows.
    pub title: &'static str,
    /// What later issues add to it.
    pub left_out: &'static str,
    /// Whether it is one of the most telling.
    pub smoke: bool,
    /// Nodes that it needs.
    pub nodes: usize,
    /// How long it may take.
    pub limit: Duration,
    /// The test.
    pub body: Body,
}

impl Case {
    /// One that is no smoke test, needs one node, and leaves nothing out, as most.
    pub const fn of(suite: Suite, id: &'static str, title: &'static str, limit: Duration, body: Body) -> Self {
        Self {
            id,
            suite,
            title,
            left_out: "",
            smoke: false,
            nodes: 1,
            limit,
            body,
        }
    }
}

/// What the environment asks for.
struct Choice {
    focus: Vec<String>,
    smoke: bool,
    suite: Option<Suite>,
    failfast: bool,
    fresh: bool,
}

impl Choice {
    fn from_env() -> Result<Self> {
        let text = |name: &str| std::env::var(name).unwrap_or_default();
        let flag = |name: &str| !matches!(text(name).as_str(), "" | "0" | "false");
        let (smoke, suite) = match text("SUITE").as_str() {
            "" | "all" => (false, None),
            "smoke" => (true, None),
            "manager" => (false, Some(Suite::Manager)),
            "resize" => (false, Some(Suite::Resize)),
            "target" => (false, Some(Suite::Target)),
            "operations" => (false, Some(Suite::Operations)),
            "instances" => (false, Some(Suite::Instances)),
            "rescue" => (false, Some(Suite::Rescue)),
            "wal" => (false, Some(Suite::Wal)),
            "relief" => (false, Some(Suite::Relief)),
            other => bail!("SUITE is {other:?}; use smoke, manager, resize, target, operations, instances, rescue, wal, relief or all"),
        };
        let focus = text("FOCUS");
        Ok(Self {
            focus: focus.split([',', ' ']).filter(|w| !w.is_empty()).map(str::to_lowercase).collect(),
            smoke,
            suite,
            failfast: flag("FAILFAST"),
            fresh: flag("FRESH"),
        })
    }

    fn takes(&self, case: &Case) -> bool {
        let id = case.id.to_lowercase();
        // By the begin of one of its ids, or of all of them as they stand: `b13+b20` is one test, `b13` are several.
        let is_meant = |word: &String| id.starts_with(word.as_str()) || id.split('+').any(|id| id.starts_with(word.as_str()));
        let focused = self.focus.is_empty() || self.focus.iter().any(is_meant);
        focused && (case.smoke || !self.smoke) && self.suite.is_none_or(|suite| case.suite == suite)
    }

    /// When a run of these ends by itself.
    fn limit(&self) -> Duration {
        if self.smoke || self.suite.is_some() { SUITE } else { ALL }
    }
}

/// Runs what was asked for. Returns whether all of it passed.
pub async fn run() -> Result<bool> {
    let choice = Choice::from_env()?;
    let all = cases::all();
    let chosen: Vec<&Case> = all.iter().filter(|case| choice.takes(case)).collect();
    ensure!(
        !chosen.is_empty(),
        "no test is called {} (there are {})",
        choice.focus.join(" or "),
        all.iter().map(|case| case.id).collect::<Vec<_>>().join(", ")
    );
    let folder = csm_tests::root().join("e2e-report");
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    let began = Timestamp::now();
    let start = Instant::now();

    let mut lab = Lab::connect().await?;
    let _alone = alone(&lab)?;
    let nodes = chosen.iter().map(|case| case.nodes).max().unwrap_or(1);
    if lab.status().nodes.len() < nodes {
        println!("adding nodes to the lab: a test needs {nodes}");
        lab.ensure_nodes(nodes)
            .await
            .with_context(|| format!("a test needs a lab with NODES={nodes}"))?;
    }
    let client = lab.client().await?;
    sweep(&client).await?;
    // A run that was cut off leaves faults set and components stopped, too.
    restore(&lab).await?;

    let here = run_folder(&folder, began)?;
    let binary = csm_tests::manager::binary()?;
    let mark = lab.audit_log().mark()?;
    let manager = Manager::deploy(&lab, &client, &binary, &here.join("manager.log")).await;
    let manager = match manager {
        Ok(manager) => Arc::new(manager),
        Err(error) => {
            lab.collect_diagnostics(&here.join("deploy")).await?;
            return Err(error.context(format!("the manager does not run; see {}", here.join("deploy").display())));
        }
    };
    println!("the manager leads, after {:.0} s", start.elapsed().as_secs_f64());

    let mut stamps = Stamps::open(&folder);
    if stamps.commit.is_none() {
        println!("the tree differs from its commit: every test runs, and none is remembered as passed");
    }
    let mut tests = Vec::new();
    for (index, case) in chosen.iter().enumerate() {
        let place = format!("[{}/{}] {}", index + 1, chosen.len(), case.id);
        if let Some(stamp) = stamps.passed(case.id).filter(|_| !choice.fresh) {
            println!(
                "{place} skipped: it passed at {} on {}; FRESH=1 runs it again",
                stamp.commit,
                stamp.at.strftime("%F %T UTC")
            );
            tests.push(report(case, Outcome::Skipped, 0.0));
            continue;
        }
        println!("{place} {}", case.title);
        if !case.left_out.is_empty() {
            println!("    left out: {}", case.left_out);
        }
        let left = choice.limit().saturating_sub(start.elapsed());
        ensure!(!left.is_zero(), "the suite is not done after {} min", choice.limit().as_secs() / 60);
        let test = one(&lab, &client, &manager, case, &here, mark).await?;
        let outcome = format!("{:?}", test.outcome).to_lowercase();
        println!("{place} {outcome} after {:.0} s", test.seconds);
        if let Some(error) = &test.error {
            println!("    {}", error.replace('\n', "\n    "));
        }
        stamps.put(case.id, test.outcome == Outcome::Passed, test.seconds)?;
        let failed = test.outcome == Outcome::Failed;
        tests.push(test);
        if failed && choice.failfast {
            println!("FAILFAST: the rest is left out");
            break;
        }
    }
    emptied(&lab, &client).await.context("cleaning up")?;
    let manager = Arc::into_inner(manager).context("a test still holds the manager")?;
    manager.remove().await?;

    let run = Run::new(began, stamps::described(), lab.status().nodes.len(), tests, &folder)?;
    run.write(&here)?;
    println!("\n{}\nreport: {}\n", run.table(), here.display());
    let [passed, failed, skipped] = [Outcome::Passed, Outcome::Failed, Outcome::Skipped].map(|outcome| run.count(outcome));
    let skipped = if skipped > 0 {
        format!(", {skipped} skipped")
    } else {
        String::new()
    };
    println!("{passed} passed, {failed} failed{skipped}");
    Ok(failed == 0)
}

fn report(case: &Case, outcome: Outcome, seconds: f64) -> TestReport {
    TestReport {
        id: case.id.to_owned(),
        title: case.title.to_owned(),
        left_out: case.left_out.to_owned(),
        outcome,
        seconds,
        error: None,
        folder: None,
        timelines: Vec::new(),
        expected: 0,
    }
}

/// Runs one test in a namespace of its own.
async fn one(lab: &Lab, client: &Client, manager: &Arc<Manager>, case: &Case, here: &Path, mark: u64) -> Result<TestReport> {
    let start = Instant::now();
    let stage = Stage::new(lab, client, manager, case.id).await?;
    // A panic ends the test, not the run.
    let body = AssertUnwindSafe((case.body)(stage.clone())).catch_unwind();
    let result = match tokio::time::timeout(case.limit, body).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(anyhow!("panicked: {}", words(&*panic))),
        Err(_) => Err(anyhow!("not done after {} s", case.limit.as_secs())),
    };
    // What holds after every test, whatever it was about.
    let result = result.and_then(|()| invariants::log(&stage));
    let result = result.and_then(|()| permissions::check(&lab.audit_log().since(mark)?).map(|_| ()));
    let mut test = report(case, Outcome::Passed, start.elapsed().as_secs_f64());
    test.timelines = stage.timelines();
    test.expected = stage.expected();
    let kept = here.join(format!("{}.timelines.json", case.id));
    std::fs::write(&kept, serde_json::to_vec_pretty(&test.timelines)?).with_context(|| kept.display().to_string())?;
    if let Err(error) = result {
        let folder = here.join(case.id);
        test.outcome = Outcome::Failed;
        test.error = Some(format!("{error:#}"));
        if let Err(error) = collect(&stage, &folder, &format!("{error:?}")).await {
            println!("    the diagnosis is not complete: {error:#}");
        }
        test.folder = Some(folder);
    }
    restore(lab).await?;
    relief::withdraw_permission(client).await?;
    manager.restore().await?;
    delete(client, &stage.namespace).await?;
    Ok(test)
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}

async fn collect(stage: &Stage, folder: &Path, error: &str) -> Result<()> {
    stage.lab.collect_diagnostics(folder).await?;
    std::fs::write(folder.join("error.txt"), error)?;
    let log: Vec<String> = stage.manager.log_since(stage.began).into_iter().map(|line| line.text).collect();
    std::fs::write(folder.join("manager.log"), log.join("\n"))?;
    let journal: Vec<String> = stage.journal.all().iter().map(|seen| format!("{seen:?}")).collect();
    std::fs::write(folder.join("pvcs.txt"), journal.join("\n"))?;
    let metrics = stage.manager.metrics().await?;
    std::fs::write(folder.join("metrics.txt"), format!("{metrics:#?}"))?;
    Ok(())
}

/// A test that was cut off leaves faults set, nodes cordoned and components stopped.
async fn restore(lab: &Lab) -> Result<()> {
    lab.csi_faults().clear_all().await?;
    lab.hostdir_faults().clear_all().await?;
    lab.s3()?.clear_all()?;
    for node in &lab.status().nodes {
        lab.kubectl(["uncordon", &node.name]).await?;
        lab.kubelet_syncs(node.number, SYNC_FREQUENCY).await?;
        lab.kubelet_measures(node.number, MEASURE_FREQUENCY).await?;
    }
    let mut lab = lab.clone();
    let stopped = |c: &&csm_testkit::lab::protocol::Component| c.state == csm_testkit::lab::protocol::State::Stopped;
    let names: Vec<String> = lab
        .refresh()
        .await?
        .components
        .iter()
        .filter(stopped)
        .map(|c| c.name.clone())
        .collect();
    for name in names {
        lab.start(&name).await?;
    }
    Ok(())
}

/// Lets a namespace go; nobody waits for it now.
async fn delete(client: &Client, namespace: &str) -> Result<()> {
    // Cluster-wide policies of a test concern its namespace only, and are of no use without it.
    let policies: Api<csm_api::ClusterStoragePolicy> = Api::all(client.clone());
    for policy in policies.list(&ListParams::default().labels(MARK)).await?.items {
        policies.delete(&policy.name_any(), &DeleteParams::default()).await?;
    }
    // As a person would: first the clusters, then the namespace.
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("postgresql.cnpg.io", "v1", "Cluster"));
    let clusters: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    clusters.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.delete(namespace, &DeleteParams::default()).await?;
    Ok(())
}

async fn left(client: &Client) -> Result<Vec<String>> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let ours = namespaces.list(&ListParams::default().labels(MARK)).await?.items;
    Ok(ours.iter().map(kube::ResourceExt::name_any).collect())
}

/// Lets everything go that a run before, which was cut off, left behind.
async fn sweep(client: &Client) -> Result<()> {
    for namespace in left(client).await? {
        println!("clearing {namespace}, which an earlier run left");
        delete(client, &namespace).await.or_else(|error| {
            // It is going already.
            if format!("{error:#}").contains("409") { Ok(()) } else { Err(error) }
        })?;
    }
    Ok(())
}

/// Waits until nothing of the tests is left.
async fn emptied(lab: &Lab, client: &Client) -> Result<()> {
    within(GONE, "namespaces and volumes of the tests are gone", async || {
        let namespaces = left(client).await?;
        let mut volumes = lab.csi_faults().volumes().await?;
        volumes.extend(lab.hostdir_faults().volumes().await?);
        let volumes: Vec<&str> = volumes
            .iter()
            .map(|v| v.claim.as_str())
            .filter(|claim| claim.starts_with("e2e-"))
            .collect();
        ensure!(namespaces.is_empty() && volumes.is_empty(), "left: {namespaces:?} {volumes:?}");
        Ok(Some(()))
    })
    .await?;
    // Last: who archives makes its bucket anew.
    let store = lab.s3()?;
    for bucket in store.list()?.iter().filter(|bucket| bucket.starts_with("e2e-")) {
        store.remove(bucket)?;
    }
    Ok(())
}

/// One run at a time: the manager sees all namespaces.
fn alone(lab: &Lab) -> Result<File> {
    let path = lab.layout().run().join("e2e.lock");
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    if file.try_lock().is_err() {
        bail!("another run of these tests uses the lab (lock {})", path.display());
    }
    Ok(file)
}

/// The folder of this run; only the newest are kept.
fn run_folder(folder: &Path, began: Timestamp) -> Result<PathBuf> {
    let here = folder.join(began.strftime("run-%Y%m%d-%H%M%S").to_string());
    std::fs::create_dir_all(&here).with_context(|| here.display().to_string())?;
    let is_run = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("run-"));
    let mut runs: Vec<PathBuf> = std::fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .filter(is_run)
        .collect();
    runs.sort();
    for old in runs.iter().rev().skip(KEPT) {
        std::fs::remove_dir_all(old).with_context(|| old.display().to_string())?;
    }
    let latest = folder.join("latest");
    // A convenience for people: where it cannot be made, the path is printed all the same.
    let _ = std::fs::remove_file(&latest);
    let _ = std::os::unix::fs::symlink(&here, &latest);
    Ok(here)
}
