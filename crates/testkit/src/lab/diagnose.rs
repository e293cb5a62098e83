//! What is wrong with a lab.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;

use super::Lab;
use super::layout::Layout;
use super::protocol::{Phase, Request, State, Status, ask, now_ms};
use crate::process::tail;
use crate::wait::retry;

/// Something that a test has just restarted needs a moment; what is broken stays broken.
const SETTLE: Duration = Duration::from_secs(45);
const POLL: Duration = Duration::from_millis(500);

/// What is wrong with a lab, after waiting for it to recover. Empty: healthy.
pub(super) async fn settled(layout: &Layout) -> Result<Vec<String>> {
    let settled = retry(POLL, SETTLE, async || match problems(layout).await {
        Ok(problems) if !problems.is_empty() => Err(problems),
        settled => Ok(settled),
    });
    settled.await.unwrap_or_else(Ok)
}

/// What is wrong with a lab right now. Empty: healthy.
pub async fn problems(layout: &Layout) -> Result<Vec<String>> {
    let Some(status) = ask::<Status>(layout, &Request::Status).await? else {
        return Ok(vec!["no lab is running: bring it up with `make lab`".into()]);
    };
    let mut problems = Vec::new();
    match &status.phase {
        Phase::Ready => {}
        Phase::Starting => problems.push("the lab is still being brought up".into()),
        Phase::Failed(error) => problems.push(format!("bringing the lab up failed: {error}")),
    }
    for component in status.components.iter().filter(|component| component.state != State::Running) {
        let exit = component.last_exit.as_deref().unwrap_or("never ran");
        let state = if component.state == State::Stopped {
            "was stopped"
        } else {
            "does not run"
        };
        problems.push(format!("{} {state} ({exit}; {} restarts)", component.name, component.restarts));
    }
    let lab = Lab::over(layout.clone(), status);
    match cluster_problems(&lab).await {
        Ok(found) => problems.extend(found),
        Err(error) => problems.push(format!("the cluster cannot be asked: {error:#}")),
    }
    Ok(problems)
}

/// What the API server knows of nodes and of the pods that everything else needs.
async fn cluster_problems(lab: &Lab) -> Result<Vec<String>> {
    let nodes = r#"jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message}{"\n"}{end}"#;
    let nodes = lab.kubectl(["get", "nodes", "--request-timeout=10s", "--output", nodes]).await?;
    let mut problems = Vec::new();
    for line in nodes.lines() {
        let mut words = line.splitn(3, ' ');
        let (name, ready, message) = (words.next(), words.next(), words.next().unwrap_or_default());
        if ready != Some("True") {
            problems.push(format!("node {} is not ready: {message}", name.unwrap_or_default()));
        }
    }
    for node in &lab.status().nodes {
        if !nodes.lines().any(|line| line.split(' ').next() == Some(&node.name)) {
            problems.push(format!("node {} is not registered", node.name));
        }
    }
    for (namespace, name) in [("kube-system", "coredns"), ("cnpg-system", "cnpg-controller-manager")] {
        let path = "jsonpath={.status.readyReplicas}";
        let ready = lab
            .kubectl(["get", "deployment", "--namespace", namespace, name, "--output", path])
            .await;
        match ready {
            Ok(ready) if ready.trim() == "1" => {}
            Ok(_) => problems.push(format!("deployment {namespace}/{name} has no ready pod")),
            Err(error) => problems.push(format!("deployment {namespace}/{name}: {error:#}")),
        }
    }
    Ok(problems)
}

/// One screen about a lab.
pub async fn screen(layout: &Layout) -> Result<String> {
    let Some(status) = ask::<Status>(layout, &Request::Status).await? else {
        return Ok(format!(
            "no lab is running in {} (bring it up with `make lab`)\n",
            layout.dir().display()
        ));
    };
    let mut text = String::new();
    let phase = match &status.phase {
        Phase::Ready => "ready".to_owned(),
        Phase::Starting => "starting".to_owned(),
        Phase::Failed(error) => format!("failed: {error}"),
    };
    let age = now_ms().saturating_sub(status.started_ms) / 1000;
    writeln!(
        text,
        "lab {}: {phase}, since {age} s, network {}",
        layout.dir().display(),
        status.network.cidr()
    )?;
    writeln!(text, "KUBECONFIG={}", layout.kubeconfig().display())?;
    writeln!(text, "PostgreSQL image: {}", status.postgres_image)?;
    for node in &status.nodes {
        writeln!(text, "node {} at {}", node.name, node.ip)?;
    }
    writeln!(text, "{:36} {:11} {:>8} {:>8}  LAST EXIT", "COMPONENT", "STATE", "AGE", "RESTARTS")?;
    for component in &status.components {
        let state = format!("{:?}", component.state);
        let age = format!("{} s", now_ms().saturating_sub(component.since_ms) / 1000);
        let exit = component.last_exit.as_deref().unwrap_or("-");
        writeln!(text, "{:36} {state:11} {age:>8} {:>8}  {exit}", component.name, component.restarts)?;
    }
    for step in status.steps.iter().filter(|step| step.took_ms.is_none()) {
        writeln!(text, "not done: {}", step.name)?;
    }
    Ok(text)
}

/// Everything that helps to find out what is wrong, and whether something is.
pub async fn report(layout: &Layout) -> Result<(String, bool)> {
    let problems = problems(layout).await?;
    let mut text = screen(layout).await?;
    let Some(status) = ask::<Status>(layout, &Request::Status).await? else {
        let left = super::clean::leftovers(layout)?;
        left.iter().try_for_each(|left| writeln!(text, "left behind: {left}"))?;
        let log = layout.log("labd");
        if log.exists() {
            writeln!(text, "\nthe end of {}:\n{}", log.display(), tail(&log, 15))?;
        }
        return Ok((text, false));
    };
    for component in status.components.iter().filter(|component| component.state != State::Running) {
        writeln!(text, "\nthe end of {}:\n{}", component.log.display(), tail(&component.log, 15))?;
    }
    let lab = Lab::over(layout.clone(), status);
    for arguments in [
        "get nodes --output wide",
        "get pods --all-namespaces --output wide --field-selector status.phase!=Succeeded",
        "get persistentvolumeclaims --all-namespaces",
        "get events --all-namespaces --field-selector type=Warning --sort-by .lastTimestamp",
    ] {
        let output = lab
            .kubectl(arguments.split(' '))
            .await
            .unwrap_or_else(|error| format!("{error:#}\n"));
        let lines: Vec<&str> = output.lines().collect();
        let last = lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n");
        writeln!(text, "\nkubectl {arguments}\n{last}")?;
    }
    writeln!(text)?;
    if problems.is_empty() {
        writeln!(text, "healthy")?;
    }
    problems.iter().try_for_each(|problem| writeln!(text, "PROBLEM: {problem}"))?;
    Ok((text, problems.is_empty()))
}
