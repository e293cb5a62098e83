//! What must hold at the end of every test.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use csm_api::{Growth, Phase, PvcPhase, VerifiedBy};
use kube::ResourceExt as _;

use crate::cluster::Cluster;
use crate::conditions;
pub use crate::expect::Expect;
use crate::growth::{asked, filesystem_of};
use crate::stage::Stage;
use csm_testkit::wait::until_it;
use csm_tests::journal::Seen;

/// Live figures are written into a status at most once a minute.
const SETTLE: Duration = Duration::from_secs(100);

/// As many outcomes as a status keeps.
const OUTCOMES: usize = 20;

/// I1 to I5 of one cluster, and its conditions, where only one volume may have grown.
pub async fn hold(cluster: &Cluster, expect: &Expect) -> Result<()> {
    hold_all(cluster, std::slice::from_ref(expect)).await
}

/// The same where several volumes may have grown. All others must have been left alone.
pub async fn hold_all(cluster: &Cluster, expects: &[Expect]) -> Result<()> {
    let name = &cluster.name;
    rows(cluster).await.with_context(|| format!("I1, rows of {name}"))?;
    sizes(cluster, expects).await.with_context(|| format!("I2, I4, sizes of {name}"))?;
    nothing_twice(cluster, expects)
        .await
        .with_context(|| format!("I3, operations of {name}"))?;
    until_it(
        SETTLE,
        &format!("I5, status, records, metrics and PVCs of {name} tell one story"),
        async || {
            for expect in expects {
                metrics_tell(cluster, expect).await?;
                status_tells(cluster, expect).await?;
            }
            one_count(cluster, expects).await
        },
    )
    .await
}

/// I1: rows committed before are all there, on every instance, and their checksum is unchanged.
pub async fn rows(cluster: &Cluster) -> Result<()> {
    for volume in cluster.volumes() {
        let committed = cluster.rows(volume);
        if committed.count == 0 {
            continue;
        }
        for instance in cluster.names() {
            // A replica may still be replaying.
            until_it(SETTLE, &format!("{instance} has all rows of {volume}"), async || {
                let rows = cluster.rows_of(&instance, volume).await?;
                ensure!(rows == committed, "{rows:?} instead of {committed:?}");
                Ok(())
            })
            .await?;
        }
    }
    Ok(())
}

/// I2: no PVC above its ceiling, none ever smaller. I4: all members of a volume have one size.
async fn sizes(cluster: &Cluster, expects: &[Expect]) -> Result<()> {
    let stage = &cluster.stage;
    let mut last: BTreeMap<String, Seen> = BTreeMap::new();
    for seen in stage.journal.all() {
        let expect = expects.iter().find(|expect| cluster.claims_of(expect.volume).contains(&seen.name));
        if let Some(expect) = expect {
            let most = seen.request.max(seen.capacity);
            ensure!(most <= Some(expect.ceiling), "{} was above {}: {seen:?}", seen.name, expect.ceiling);
        }
        if let Some(before) = last.get(&seen.uid) {
            // A request may step back from what the storage cannot do, never below what there is.
            let stepped_back = before.expansion.as_deref() == Some("ControllerResizeInfeasible") && seen.request >= seen.capacity;
            let smaller = (seen.request < before.request && !stepped_back) || seen.capacity < before.capacity;
            ensure!(!smaller, "{} became smaller: {before:?}, then {seen:?}", seen.name);
        }
        last.insert(seen.uid.clone(), seen);
    }
    let claims = stage.claims(&cluster.name).await?;
    for volume in cluster.volumes() {
        let expected = expects.iter().find(|expect| expect.volume == volume).map(|expect| expect.size);
        let size = expected.or(cluster.first_size(volume));
        for name in cluster.claims_of(volume) {
            let seen = Seen::of(
                claims.get(&name).with_context(|| format!("there is no PVC {name}"))?,
                jiff::Timestamp::now(),
            );
            ensure!(
                seen.request == size && seen.capacity == size,
                "{name} should have {size:?}: {seen:?}"
            );
            ensure!(
                seen.expansion.is_none() && seen.conditions.is_empty(),
                "something is in flight: {seen:?}"
            );
        }
    }
    Ok(())
}

/// I3: nothing is left in flight, and nothing was done twice: as many accepted patches as PVCs in the records.
async fn nothing_twice(cluster: &Cluster, expects: &[Expect]) -> Result<()> {
    let stage = &cluster.stage;
    for volume in cluster.volumes() {
        let expected = expects
            .iter()
            .find(|expect| expect.volume == volume)
            .map_or(0, |expect| expect.growths + expect.failed);
        let events = stage.events_of(&cluster.name, volume).await?;
        ensure!(
            events.len() == expected,
            "{} records of {volume} instead of {expected}: {events:#?}",
            events.len()
        );
    }
    let mut recorded = Vec::new();
    let mut failed = 0;
    for event in stage.events(&cluster.name).await? {
        let status = event.status.clone().unwrap_or_default();
        let expect = expects.iter().find(|expect| expect.volume.is_of(&event));
        match status.phase {
            Some(Phase::Completed) => verified(cluster, &event, expect)?,
            Some(Phase::Failed) => failed += 1,
            _ => bail!("{} is left in flight: {status:?}", event.name_any()),
        }
        for pvc in status.pvc_statuses.iter().filter(|pvc| pvc.patched_at.is_some()) {
            let sizes = asked(pvc, event.spec.expansion.requested_size).into_iter();
            recorded.extend(sizes.map(|size| (pvc.name.clone(), Some(size))));
        }
    }
    let sum = |of: fn(&Expect) -> usize| expects.iter().map(of).sum::<usize>();
    ensure!(failed == sum(|expect| expect.failed), "{failed} operations failed");
    let ours = |pvc: &str| pvc.strip_prefix(&cluster.name).is_some_and(|rest| rest.starts_with('-'));
    let patches: Vec<_> = stage.patches()?.into_iter().filter(|p| ours(&p.pvc)).collect();
    let refused: Vec<_> = patches.iter().filter(|p| p.code != 200).collect();
    ensure!(refused.len() == sum(|expect| expect.refused), "patches were refused: {refused:?}");
    let accepted = patches.iter().filter(|p| p.code == 200).map(|p| (p.pvc.clone(), p.to));
    let mut patched: Vec<_> = accepted.skip(sum(|expect| expect.forgotten)).collect();
    patched.sort();
    recorded.sort();
    if expects.iter().any(|expect| expect.others_patch) {
        let twice = patched.windows(2).find(|pair| pair[0] == pair[1]);
        ensure!(twice.is_none(), "patched twice: {twice:?}");
        recorded.retain(|record| patched.contains(record));
    }
    ensure!(patched == recorded, "the manager patched {patched:?}, and recorded {recorded:?}");
    Ok(())
}

/// Every PVC of a completed operation is verified by its filesystem, where it is still there.
fn verified(cluster: &Cluster, event: &Growth, expect: Option<&Expect>) -> Result<()> {
    let seen_before = expect.is_none_or(|expect| expect.seen_before);
    for pvc in event.status.iter().flat_map(|status| &status.pvc_statuses) {
        let gone = expect.is_some_and(|expect| !cluster.claims_of(expect.volume).contains(&pvc.name));
        let fits = match pvc.verified_by {
            Some(VerifiedBy::Filesystem) => true,
            Some(VerifiedBy::PvcStatus) => !seen_before,
            Some(VerifiedBy::Gone) => gone,
            None => false,
        };
        ensure!(
            pvc.phase == PvcPhase::Completed && fits,
            "{} of {} is not verified by its filesystem: {pvc:?}",
            pvc.name,
            event.name_any()
        );
    }
    Ok(())
}

/// I5, of the Cluster as a whole: counters, and the outcomes in the status.
async fn one_count(cluster: &Cluster, expects: &[Expect]) -> Result<()> {
    let stage = &cluster.stage;
    let labels = [("namespace", stage.namespace.as_str()), ("cluster", cluster.name.as_str())];
    let metrics = stage.manager.metrics().await?;
    let of_result = |result| metrics.value("cnpg_storage_manager_expansion_total", &[labels[0], labels[1], ("result", result)]);
    if expects.iter().all(|expect| expect.counted) {
        let counted = of_result("success");
        let growths: usize = expects.iter().map(|expect| expect.growths).sum();
        ensure!(is(counted.or(Some(0.0)), growths as u64), "expansion_total is {counted:?}");
    }
    let failed: usize = expects.iter().map(|expect| expect.failed).sum();
    let told = of_result("failure");
    ensure!(
        is(told.or(Some(0.0)), failed as u64) || expects.iter().any(|expect| !expect.counted),
        "{told:?} failed expansions are counted, of {failed}"
    );
    let growing = metrics
        .all("cnpg_storage_manager_expansion_in_progress", &labels)
        .any(|s| !is(Some(s.value), 0));
    ensure!(!growing, "expansion_in_progress is not 0");
    if expects.iter().all(|expect| expect.managed) {
        outcomes(cluster).await?;
    }
    Ok(())
}

/// `autoResizeEvents` tells of every PVC in the records once: which instance, which volume, from where to where, success.
async fn outcomes(cluster: &Cluster) -> Result<()> {
    let stage = &cluster.stage;
    let events = stage.events(&cluster.name).await?;
    let mut recorded = Vec::new();
    for event in &events {
        let expansion = &event.spec.expansion;
        for pvc in event.status.iter().flat_map(|status| &status.pvc_statuses) {
            let affected = expansion.affected_pvcs.iter().find(|affected| affected.uid == pvc.uid);
            let affected = affected.with_context(|| format!("{} is not of {}", pvc.name, event.name_any()))?;
            recorded.push((
                affected.instance.clone(),
                event.spec.volume.role.as_str(),
                event.spec.volume.tablespace.clone(),
                pvc.original_size,
                expansion.requested_size,
                if pvc.phase == PvcPhase::Completed { "success" } else { "failure" }.to_owned(),
            ));
        }
    }
    let status = stage.storage(&cluster.name).await?.and_then(|storage| storage.status);
    let told = status.context("there is no status")?.auto_resize_events.into_iter().map(|outcome| {
        (
            outcome.instance,
            outcome.volume_type.as_str(),
            outcome.tablespace,
            outcome.from,
            outcome.to,
            outcome.result,
        )
    });
    let mut told: Vec<_> = told.collect();
    if recorded.len() > OUTCOMES && told.len() == OUTCOMES {
        recorded.retain(|record| told.contains(record));
    }
    recorded.sort();
    told.sort();
    ensure!(told == recorded, "autoResizeEvents tells of {told:?}, the records of {recorded:?}");
    Ok(())
}

async fn metrics_tell(cluster: &Cluster, expect: &Expect) -> Result<()> {
    let (stage, volume) = (&cluster.stage, expect.volume);
    let labels = [("namespace", stage.namespace.as_str()), ("cluster", cluster.name.as_str())];
    let metrics = stage.manager.metrics().await?;
    for instance in cluster.names() {
        let name = volume.claim(&instance);
        let df = cluster.df_of(&instance, volume).await?;
        let of = |metric: &str| metrics.value(&format!("cnpg_storage_manager_{metric}"), &[labels[0], labels[1], ("pvc", &name)]);
        ensure!(
            is(of("pvc_capacity_bytes"), expect.size.get()),
            "pvc_capacity_bytes of {name}: {:?}",
            of("pvc_capacity_bytes")
        );
        if !expect.own_filesystem {
            continue;
        }
        let used = of("pvc_usage_bytes").with_context(|| format!("{name} has no pvc_usage_bytes"))?;
        // The last sample is a few seconds old, and XFS reserves ahead.
        ensure!(
            (used - double(df.used())).abs() < double(64 << 20),
            "{name}: the metric says {used} bytes used, df {df:?}"
        );
        let [role, tablespace] = volume.labels();
        let shown = [labels[0], labels[1], ("instance", instance.as_str()), role, tablespace];
        ensure!(
            is(metrics.value("cnpg_disk_total_bytes", &shown), df.used() + df.available),
            "cnpg_disk_total_bytes of {name} is {:?}, df {df:?}",
            metrics.value("cnpg_disk_total_bytes", &shown)
        );
        if expect.growths > 0 {
            ensure!(
                df.total >= filesystem_of(expect.size),
                "the filesystem of {name} is too small: {df:?}"
            );
        }
    }
    Ok(())
}

async fn status_tells(cluster: &Cluster, expect: &Expect) -> Result<()> {
    let (stage, volume) = (&cluster.stage, expect.volume);
    let storage = stage.storage(&cluster.name).await?;
    if !expect.managed {
        ensure!(
            storage.is_none(),
            "no policy manages it, but there is a PostgresStorage: {storage:?}"
        );
        return Ok(());
    }
    let status = storage.and_then(|s| s.status).context("there is no status")?;
    let sizing = status.storage_sizing.as_ref().and_then(|sizing| volume.sizing(sizing));
    let sizing = sizing.with_context(|| format!("the status has no {volume}"))?;
    ensure!(
        sizing.state == expect.state,
        "the state of {volume} is {}: {}",
        sizing.state,
        sizing.last_decision.message
    );
    ensure!(
        sizing.effective_size == expect.size,
        "effectiveSize of {volume} is {}",
        sizing.effective_size
    );
    let sizes: BTreeMap<_, _> = cluster.names().into_iter().map(|name| (name, expect.size)).collect();
    ensure!(
        sizing.actual_sizes == sizes,
        "actualSizes of {volume} are {:?}",
        sizing.actual_sizes
    );
    let events = stage.events_of(&cluster.name, volume).await?;
    let result = |event: &Growth| {
        if csm_tests::phase(event) == Some(Phase::Failed) {
            "Failed"
        } else {
            "Success"
        }
    };
    let newest = events.last().map(|event| (event.name_any(), result(event).to_owned()));
    let told = sizing
        .last_action
        .as_ref()
        .map(|action| (action.event.clone(), action.result.clone()));
    ensure!(told == newest, "lastAction of {volume} is {told:?} instead of {newest:?}");
    for name in cluster.names() {
        let disk = status
            .disk_status
            .as_ref()
            .and_then(|d| d.instances.get(&name))
            .and_then(|disks| volume.disk(disks));
        let disk = disk.with_context(|| format!("diskStatus of {name} lacks {volume}"))?;
        if !expect.own_filesystem {
            continue;
        }
        let df = cluster.df_of(&name, volume).await?;
        let total = i64::try_from(df.used() + df.available)?;
        ensure!(
            disk.total_bytes == total,
            "diskStatus of {name} says {} bytes of {volume}, df {df:?}",
            disk.total_bytes
        );
    }
    conditions::are_right(&status.conditions, expect)?;
    let annotations = cluster.annotations().await?;
    ensure!(
        annotations.iter().all(|(key, _)| !key.ends_with("/target-size")),
        "a target is left: {annotations:?}"
    );
    Ok(())
}

/// I6: the manager logged no error, and no warning, that nobody caused.
pub fn log(stage: &Stage) -> Result<()> {
    let excused = stage.excused();
    let lines = stage.manager.log_since(stage.began);
    let readable = !stage.manager.log_since(jiff::Timestamp::UNIX_EPOCH).is_empty();
    ensure!(readable, "I6: the manager's log has not a line: it is not being read");
    for line in lines {
        if line.level == "INFO" || line.level == "DEBUG" || excused.iter().any(|words| line.text.contains(words)) {
            continue;
        }
        bail!("I6: nobody caused this line of the manager's log: {} {}", line.at, line.text);
    }
    Ok(())
}

/// Whether a metric has a whole value.
pub fn is(metric: Option<f64>, value: u64) -> bool {
    metric.is_some_and(|metric| (metric - double(value)).abs() < 0.5)
}

/// Sizes of a lab are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "sizes and counts of a lab are far below 2^53")]
pub fn double(value: u64) -> f64 {
    value as f64
}
