//! A run that failed, in words.

use csm_testkit::controlplane::AuditEntry;
use csm_tests::writers;

use super::{describe, line};
use crate::run::{CLUSTER, Run};

/// How much of a log is shown.
const SHOWN: usize = 60;

/// All that is needed to see why a run failed, and to do it again.
pub async fn report(run: &Run, scenario: &str, error: &anyhow::Error) -> String {
    let mut text = vec![
        format!("{scenario}\n\nWRONG: {error:#}\n"),
        "requests at the proxy, with what was done to them (the lease's aside):".to_owned(),
    ];
    for seen in run.proxy.seen() {
        if seen.asked.resource == "leases" && seen.fault.is_none() {
            continue;
        }
        let fault = seen.fault.as_ref().map_or_else(String::new, |f| format!("  <== {f:?}"));
        let code = seen.code.map_or_else(|| "none".to_owned(), |c| c.to_string());
        text.push(format!("  {} {} {code}{fault}", seen.by, seen.asked.signature()));
    }
    text.push("\nwrites as the API server has them:".to_owned());
    let audit = writers::audit(&run.stage, run.mark).await.unwrap_or_default();
    let writes = |e: &&AuditEntry| !["get", "list", "watch"].contains(&e.verb.as_str()) && e.resource != "leases";
    text.extend(audit.iter().filter(writes).map(|entry| format!("  {}", line(entry))));
    text.push("\nStorageEvents:".to_owned());
    for event in run.stage.events(CLUSTER).await.unwrap_or_default() {
        text.push(format!("  {}\n    {:?}", describe(&event), event.status));
    }
    let status = run.stage.storage(CLUSTER).await.ok().flatten().and_then(|s| s.status);
    text.push(format!("\nstatus: {status:?}"));
    for (number, log) in run.keeper.logs().iter().enumerate() {
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n  ");
        text.push(format!("\nmanager {}:\n  {tail}", number + 1));
    }
    text.push(format!("\nagain: make chaos SEED={} RUNS=1\n", run.scenario.seed));
    text.join("\n")
}
