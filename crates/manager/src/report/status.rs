//! The status of a PostgresStorage.

use std::collections::BTreeMap;
use std::sync::Arc;

use csm_api::{
    BreakerScope, BudgetStatus, CircuitBreakerStatus, DiskStatus, Growth, InstanceDisk, LastAction, LastDecision, Phase, PolicyRef,
    PostgresStorageStatus, PvcPhase, ResizeOutcome, Role, State, StorageSizing, Urgency, VolumeSizing, merge_conditions,
};
use csm_core::explain;
use csm_core::plan::{self, Budget, Decision, Plan};
use csm_core::resolve::{OriginKind, Resolution};
use csm_core::world::{Volume, VolumeKey, World};
use csm_units::Percent;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{blocked_by, conditions, remaining, root_cause, wal};
use csm_gather::index::Snapshot;
use csm_gather::views::{started_at, volume_of};
use csm_gather::world::newest;

/// Outcomes that are kept in the status.
const OUTCOMES: usize = 20;

/// The status as it should be. `refused` are the sizes in the Cluster's spec that could not be raised, a sentence each.
#[must_use]
pub fn status(snapshot: &Snapshot, world: &World, plan: &Plan, refused: &[String], now: Timestamp) -> PostgresStorageStatus {
    let old = snapshot.storage.as_ref().and_then(|s| s.status.clone()).unwrap_or_default();
    let worst = plan.decisions.iter().max_by_key(|d| (gravity(d.state), d.percent_used));
    let mut sizing = StorageSizing::default();
    let mut disks = DiskStatus::default();
    for decision in &plan.decisions {
        let Some(volume) = world.volumes.iter().find(|v| v.key == decision.volume) else {
            continue;
        };
        let before = old.storage_sizing.as_ref().and_then(|s| sizing_of(s, &decision.volume));
        let entry = volume_sizing(snapshot, world, volume, decision, before, now);
        match (decision.volume.role, &decision.volume.tablespace) {
            (Role::Data, _) => sizing.data = Some(entry),
            (Role::Wal, _) => sizing.wal = Some(entry),
            (Role::Tablespace, name) => {
                sizing.tablespaces.insert(name.as_deref().unwrap_or_default().to_owned(), entry);
            }
        }
        add_disks(&mut disks, volume, decision, snapshot);
    }
    wal::add(&mut disks, world);
    let soonest = plan
        .decisions
        .iter()
        .filter_map(|d| plan::time_to_full(world, now, &d.volume))
        .min();
    let generation = snapshot.storage.as_ref().and_then(|s| s.metadata.generation);
    PostgresStorageStatus {
        state: worst.map(|d| d.state),
        percent_used: plan
            .decisions
            .iter()
            .filter_map(|d| d.percent_used)
            .max()
            .map(|p| i32::from(p.get())),
        size: worst.map(|d| d.from),
        limit: worst.and_then(|d| d.ceiling.as_ref().map(|c| c.size)),
        time_to_full: soonest.map(coarse),
        actions_left: plan
            .decisions
            .iter()
            .filter_map(|d| d.budget.available_for_planned)
            .min()
            .map(whole),
        conditions: merge_conditions(
            &old.conditions,
            conditions::of(&snapshot.resolution, world, plan, (&snapshot.cluster, refused), generation, now),
        ),
        policies: policies(&snapshot.resolution),
        storage_sizing: Some(sizing),
        disk_status: Some(disks),
        auto_resize_events: outcomes(snapshot.growths()),
        circuit_breaker: circuit_breaker(&snapshot.resolution, world, now),
        observed_generation: generation,
    }
}

/// The breaker that is not closed; else that of the Cluster. None where nothing says when it would open.
fn circuit_breaker(resolution: &Resolution, world: &World, now: Timestamp) -> Option<CircuitBreakerStatus> {
    if !matches!(resolution, Resolution::Settings(_)) {
        return None;
    }
    let (circuit, global) = conditions::breaker(world, now).unwrap_or((&world.cluster.breaker, false));
    Some(CircuitBreakerStatus {
        scope: Some(if global { BreakerScope::Global } else { BreakerScope::PerCluster }),
        state: circuit.state(now).into(),
        failures: whole(circuit.failures),
        opened_at: circuit.opened.and_then(|(at, _)| second(at)),
        resets_at: circuit.resets_at().and_then(second),
        reason: conditions::why_open(circuit, global, now),
    })
}

/// As it comes back once it is written: what is written is not news.
pub(super) fn second(at: Timestamp) -> Option<Time> {
    Timestamp::from_second(at.as_second()).ok().map(Time)
}

/// How bad a state is, to find the volume that is worst off.
fn gravity(state: State) -> u8 {
    match state {
        State::Balanced => 0,
        State::Unmanaged | State::DryRun => 1,
        State::Paused => 2,
        State::WaitingForDiskStatus => 3,
        State::Resizing | State::NeedsGrow | State::PendingGrowth => 4,
        State::Blocked => 5,
        State::AtLimit => 6,
        State::Emergency => 7,
    }
}

/// Whether `new` says something that `old` does not, live figures aside.
#[must_use]
pub fn news(old: &PostgresStorageStatus, new: &PostgresStorageStatus) -> bool {
    without_figures(old) != without_figures(new)
}

/// Whether a figure moved by at least a percentage point.
#[must_use]
pub fn moved(old: &PostgresStorageStatus, new: &PostgresStorageStatus) -> bool {
    let percents = |status: &PostgresStorageStatus| -> Vec<(String, i32, i64)> {
        let disks = status.disk_status.iter().flat_map(|d| &d.instances);
        disks
            .flat_map(|(instance, disks)| {
                let named = disks.data_volume.iter().map(|d| (format!("{instance}/data"), d));
                let named = named.chain(disks.wal_volume.iter().map(|d| (format!("{instance}/wal"), d)));
                let named = named.chain(disks.tablespaces.iter().map(|(name, d)| (format!("{instance}/{name}"), d)));
                named
                    .map(|(name, disk)| (name, disk.percent_used, disk.total_bytes))
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    percents(old) != percents(new)
}

fn without_figures(status: &PostgresStorageStatus) -> PostgresStorageStatus {
    let mut status = status.clone();
    status.percent_used = None;
    status.time_to_full = None;
    if let Some(sizing) = &mut status.storage_sizing {
        let entries = sizing.data.iter_mut().chain(&mut sizing.wal).chain(sizing.tablespaces.values_mut());
        for entry in entries {
            entry.time_to_full = None;
        }
    }
    for disks in status.disk_status.iter_mut().flat_map(|d| d.instances.values_mut()) {
        if let Some(wal) = &mut disks.wal_health {
            *wal = wal::without_figures(wal);
        }
        for disk in disks
            .data_volume
            .iter_mut()
            .chain(&mut disks.wal_volume)
            .chain(disks.tablespaces.values_mut())
        {
            disk.total_bytes = 0;
            disk.used_bytes = 0;
            disk.available_bytes = 0;
            disk.percent_used = 0;
            disk.inodes_total = None;
            disk.inodes_used = None;
            disk.inodes_free = None;
            disk.observed_at = Time(Timestamp::UNIX_EPOCH);
        }
    }
    status
}

/// The entry of a volume.
#[must_use]
pub fn sizing_of<'a>(sizing: &'a StorageSizing, key: &VolumeKey) -> Option<&'a VolumeSizing> {
    match (key.role, &key.tablespace) {
        (Role::Data, _) => sizing.data.as_ref(),
        (Role::Wal, _) => sizing.wal.as_ref(),
        (Role::Tablespace, name) => sizing.tablespaces.get(name.as_deref().unwrap_or_default()),
    }
}

fn volume_sizing(
    snapshot: &Snapshot,
    world: &World,
    volume: &Volume,
    decision: &Decision,
    before: Option<&VolumeSizing>,
    now: Timestamp,
) -> VolumeSizing {
    let last = newest(snapshot, &volume.key);
    let growing = last
        .filter(|event| !event.is_done())
        .map(|event| event.spec.expansion.requested_size);
    VolumeSizing {
        effective_size: decision.from,
        target_size: growing.or(decision.to).or(decision.wanted.as_ref().and_then(|w| w.to)),
        limit: decision.ceiling.as_ref().map(|c| c.size),
        actual_sizes: volume.members.iter().map(|m| (m.instance.to_string(), m.size)).collect(),
        state: decision.state,
        last_action: last.map(|event| last_action(event)),
        next_action_at: decision.next_action_at.map(Time),
        budget: budget(&decision.budget),
        next_maintenance_window: next_window(snapshot, &volume.key, now).map(Time),
        time_to_full: plan::time_to_full(world, now, &volume.key).map(coarse),
        root_cause: root_cause::of(snapshot, world, decision, before.and_then(|before| before.root_cause.as_ref()), now),
        last_decision: last_decision(decision, before, now),
    }
}

/// The budget; none where there is nothing to say of one.
fn budget(budget: &Budget) -> Option<BudgetStatus> {
    let Budget {
        actions_last_24h,
        available_for_planned,
        available_for_emergency,
        resets_at,
    } = *budget;
    let status = BudgetStatus {
        actions_last_24h: whole(actions_last_24h),
        available_for_planned: available_for_planned.map(whole),
        available_for_emergency: available_for_emergency.map(whole),
        budget_resets_at: resets_at.map(Time),
    };
    (actions_last_24h > 0 || available_for_planned.is_some()).then_some(status)
}

fn whole(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// When the maintenance window of a volume opens next; while it is open, when it did not yet close.
fn next_window(snapshot: &Snapshot, volume: &VolumeKey, now: Timestamp) -> Option<Timestamp> {
    let Resolution::Settings(settings) = &*snapshot.resolution else {
        return None;
    };
    let rules = settings.volumes.of(volume).ok()?;
    rules.window.as_ref()?.window.next_firing(now)
}

/// A time to full as a person reads it: in minutes below two hours, in hours below two days, else in days.
fn coarse(time: SignedDuration) -> String {
    match (time.as_mins(), time.as_hours()) {
        (minutes, 0..2) => format!("{minutes}m"),
        (_, hours @ ..48) => format!("{hours}h"),
        (_, hours) => format!("{}d", hours / 24),
    }
}

/// The decision as it was first made: it is written when it changes, not when its figures do. Where only the state of the
/// volume changed, such as a resize that has ended, it is put into words anew and keeps its time.
fn last_decision(decision: &Decision, before: Option<&VolumeSizing>, now: Timestamp) -> LastDecision {
    let wanted = decision.wanted.as_ref().and_then(|w| w.to);
    let same = before.filter(|before| {
        let told = &before.last_decision;
        told.verdict == decision.verdict && told.reason == decision.reason && told.urgency == decision.urgency && told.wanted == wanted
    });
    // Words that tell a time are as good as that time, and what is known of an instance that is down is news.
    let next = decision.next_action_at.map(Time);
    let known = |told: &LastDecision| -> BTreeMap<String, String> {
        let of_instances = told.inputs.iter().filter(|(name, _)| name.starts_with(explain::EVIDENCE));
        of_instances.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let stands = |same: &VolumeSizing| {
        same.state == decision.state && same.next_action_at == next && known(&same.last_decision) == explain::evidence(decision)
    };
    if let Some(same) = same.filter(|same| stands(same)) {
        return same.last_decision.clone();
    }
    LastDecision {
        verdict: decision.verdict,
        reason: decision.reason,
        urgency: decision.urgency,
        wanted,
        inputs: explain::inputs(decision),
        message: explain::sentence(decision),
        at: same.map_or(Time(now), |same| same.last_decision.at.clone()),
    }
}

fn last_action(event: &Growth) -> LastAction {
    let expansion = &event.spec.expansion;
    LastAction {
        kind: match event.spec.urgency() {
            Urgency::Rescue => "Rescue",
            Urgency::Emergency | Urgency::Runway => "EmergencyGrow",
            Urgency::Planned => "ScheduledGrow",
            Urgency::CatchUp => "CatchUp",
        }
        .to_owned(),
        from: expansion.original_size,
        to: expansion.requested_size,
        timestamp: Time(started_at(event)),
        result: match event.status.as_ref().and_then(|s| s.phase) {
            Some(Phase::Completed) => "Success",
            Some(Phase::Failed) => "Failed",
            Some(Phase::Pending | Phase::InProgress) | None => "Pending",
        }
        .to_owned(),
        event: event.name_any(),
    }
}

fn add_disks(disks: &mut DiskStatus, volume: &Volume, decision: &Decision, snapshot: &Snapshot) {
    let blocked = blocked_by(decision);
    for member in &volume.members {
        let Some(figures) = member.figures() else { continue };
        let wide = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let disk = InstanceDisk {
            total_bytes: wide(figures.used.saturating_add(figures.available).get()),
            used_bytes: wide(figures.used.get()),
            available_bytes: wide(figures.available.get()),
            percent_used: Percent::used(figures.used, figures.available).map_or(0, |p| i32::from(p.get())),
            inodes_total: figures.inodes.map(|i| wide(i.total)),
            inodes_used: figures.inodes.map(|i| wide(i.used)),
            inodes_free: figures.inodes.map(|i| wide(i.total.saturating_sub(i.used))),
            at_limit: decision.at_limit,
            resize_blocked: blocked.is_some(),
            block_reason: blocked,
            budget_remaining: remaining(&decision.budget).map(whole),
            resize_count: Some(resizes(snapshot.growths(), &member.uid)),
            source: "kubelet".to_owned(),
            observed_at: Time(figures.at),
        };
        let instance = disks.instances.entry(member.instance.to_string()).or_default();
        match (volume.key.role, &volume.key.tablespace) {
            (Role::Data, _) => instance.data_volume = Some(disk),
            (Role::Wal, _) => instance.wal_volume = Some(disk),
            (Role::Tablespace, name) => {
                instance.tablespaces.insert(name.as_deref().unwrap_or_default().to_owned(), disk);
            }
        }
    }
}

/// How often a PVC was resized and verified.
fn resizes<'a>(growths: impl Iterator<Item = &'a Arc<Growth>>, uid: &str) -> i32 {
    let pvcs = growths.filter_map(|event| event.status.as_ref()).flat_map(|s| &s.pvc_statuses);
    let resized = pvcs.filter(|pvc| pvc.uid == uid && pvc.phase == PvcPhase::Completed && pvc.filesystem_resized.is_some());
    i32::try_from(resized.count()).unwrap_or(i32::MAX)
}

fn policies(resolution: &Resolution) -> Vec<PolicyRef> {
    let Resolution::Settings(settings) = resolution else {
        return Vec::new();
    };
    let objects = settings
        .policies
        .iter()
        .filter(|o| !matches!(o.kind, OriginKind::Defaults | OriginKind::BuiltIn));
    objects
        .map(|o| PolicyRef {
            kind: o.kind.as_str().to_owned(),
            name: o.name.to_string(),
            namespace: o.namespace.as_deref().map(str::to_owned),
        })
        .collect()
}

/// The newest outcomes, newest first.
fn outcomes<'a>(growths: impl Iterator<Item = &'a Arc<Growth>>) -> Vec<ResizeOutcome> {
    let mut outcomes = Vec::new();
    for event in growths {
        let Some(status) = &event.status else { continue };
        let Some(ended) = status.completion_time.as_ref() else { continue };
        let instances: BTreeMap<&str, &str> = event
            .spec
            .expansion
            .affected_pvcs
            .iter()
            .map(|p| (p.uid.as_str(), p.instance.as_str()))
            .collect();
        let volume = volume_of(event);
        for pvc in &status.pvc_statuses {
            let success = pvc.phase == PvcPhase::Completed;
            outcomes.push(ResizeOutcome {
                timestamp: pvc.filesystem_resized.clone().unwrap_or_else(|| ended.clone()),
                instance: (*instances.get(pvc.uid.as_str()).unwrap_or(&pvc.name.as_str())).to_owned(),
                volume_type: volume.role,
                tablespace: volume.tablespace.as_deref().map(str::to_owned),
                from: pvc.original_size,
                to: event.spec.expansion.requested_size,
                result: if success { "success" } else { "failure" }.to_owned(),
                reason: pvc
                    .error
                    .clone()
                    .filter(|_| !success)
                    .unwrap_or_else(|| event.spec.reason.to_string()),
            });
        }
    }
    outcomes.sort_by(|a, b| {
        b.timestamp
            .0
            .cmp(&a.timestamp.0)
            .then_with(|| a.instance.cmp(&b.instance))
            .then_with(|| a.volume_type.cmp(&b.volume_type))
    });
    outcomes.truncate(OUTCOMES);
    outcomes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::testing::{now, subject};

    #[test]
    fn each_filesystem_says_how_often_it_grew_and_may() {
        let mut subject = subject(
            "{storage: {resize: {enabled: true, strategy: {maxActionsPerDay: 3}}}}",
            "volumes: {data: {size: 10Gi, members: {orders-1: {used: 1Gi, available: 9Gi}, orders-2: {used: 1Gi, available: 9Gi}}}},\
             operations: [{volume: data, at: 2026-03-01T03:00:00Z, from: 8Gi, to: 10Gi}]",
        );
        let uid = |instance: &str| {
            let mut members = subject.world.volumes.iter().flat_map(|v| &v.members);
            members.find(|m| *m.instance == *instance).unwrap().uid.to_string()
        };
        let pvc = |instance: &str, phase: &str, at: Option<&str>| json!({"name": instance, "uid": uid(instance), "phase": phase, "originalSize": "8Gi", "filesystemResized": at});
        let uid = subject.snapshot.cluster.uid.to_string();
        let event = |pvcs: serde_json::Value| -> Arc<Growth> {
            serde_json::from_value(json!({
                "metadata": {"name": "orders-expansion-1", "namespace": "shop"},
                "spec": {
                    "clusterRef": {"name": "orders", "uid": uid}, "eventType": "expansion", "trigger": "threshold-breach",
                    "volume": {"role": "data"}, "reason": "UsageThreshold", "message": "full",
                    "expansion": {"originalSize": "8Gi", "requestedSize": "10Gi", "parallelism": 1, "affectedPVCs": []},
                },
                "status": {"phase": "Completed", "pvcStatuses": pvcs},
            }))
            .unwrap()
        };
        let verified = Some("2026-03-01T03:01:00Z");
        let events = vec![
            event(json!([pvc("orders-1", "Completed", verified), pvc("orders-2", "Failed", None)])),
            event(json!([
                pvc("orders-1", "Completed", verified),
                pvc("orders-2", "Completed", verified)
            ])),
        ];
        subject.snapshot.events = events;
        let plan = plan::plan(&subject.world, now());
        let disks = status(&subject.snapshot, &subject.world, &plan, &[], now()).disk_status.unwrap();
        let counts = disks.instances.values().map(|disks| {
            let data = disks.data_volume.as_ref().unwrap();
            (data.budget_remaining, data.resize_count)
        });
        assert_eq!(counts.collect::<Vec<_>>(), [(Some(2), Some(2)), (Some(2), Some(1))]);
    }
}
