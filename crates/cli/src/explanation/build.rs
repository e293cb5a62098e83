//! From what was thought to an explanation.

use std::collections::BTreeMap;

use csm_api::{Growth, Phase, PvcPhase, Reason, Verdict};
use csm_core::explain::{self, GateReport};
use csm_core::plan::{Budget, Decision, Wanted, time_to_full};
use csm_core::resolve::{Field, Origin, OriginKind, Resolution, Resolved, Sizing, VolumeRules};
use csm_core::world::{Pause, Volume, VolumeKey};
use csm_gather::views::{started_at, volume_of};
use csm_gather::world::newest;
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::spec_sizes::spec_sizes;
use super::{
    Answer, BudgetExplanation, DynamicSizing, Explanation, GateExplanation, MemberExplanation, OperationReport, PvcReport, Setting,
    VolumeExplanation, WantedGrowth, WindowExplanation,
};
use crate::decisions::ReliefWanted;
use crate::figures::{Trust, sizing_of};
use crate::read::{Facts, Manager};
use crate::render::age;
use crate::report::policy_name;
use crate::thought::Thought;

/// Explains what was thought.
#[must_use]
pub fn explain(facts: &Facts, thought: &Thought, now: Timestamp) -> Explanation {
    let key = &thought.snapshot.key;
    let cluster = facts.clusters.first();
    let status = facts.storages.first().and_then(|s| s.status.as_ref());
    let volumes = thought.plan.decisions.iter().filter_map(|decision| {
        let volume = thought.world.volumes.iter().find(|v| v.key == decision.volume)?;
        Some(explain_volume(facts, thought, volume, decision, now))
    });
    Explanation {
        namespace: key.namespace.to_string(),
        cluster: key.name.to_string(),
        instances: cluster.and_then(|c| c.spec.instances),
        primary: cluster.and_then(|c| c.status.current_primary.clone()),
        phase: cluster.and_then(|c| c.status.phase.clone()),
        dynamic_sizing: dynamic_sizing(facts, thought, now),
        policies: policies(facts, thought),
        manager: facts.manager.clone(),
        reported: status.is_some(),
        observed_at: thought.figures.newest(),
        figures_taken_as_current: thought.figures.assumes(),
        settings: thought.fields().into_iter().map(setting).collect(),
        volumes: volumes.collect(),
        spec_sizes: spec_sizes(facts, thought, now),
    }
}

fn setting((field, value, origin): (impl Into<String>, String, Origin)) -> Setting {
    Setting {
        field: field.into(),
        value,
        from: origin.to_string(),
    }
}

/// The policies as we resolve them, or, where we cannot see any, as the manager wrote them.
fn policies(facts: &Facts, thought: &Thought) -> Vec<String> {
    if let Resolution::Settings(resolved) = &*thought.world.resolution {
        let objects = resolved
            .policies
            .iter()
            .filter(|o| !matches!(o.kind, OriginKind::BuiltIn | OriginKind::Defaults));
        return objects.map(ToString::to_string).collect();
    }
    if !matches!(&*thought.world.resolution, Resolution::NoPolicy) {
        return Vec::new();
    }
    let status = facts.storages.first().and_then(|s| s.status.as_ref());
    status.map(|s| s.policies.iter().map(policy_name).collect()).unwrap_or_default()
}

fn dynamic_sizing(facts: &Facts, thought: &Thought, now: Timestamp) -> DynamicSizing {
    let not = |text: String| DynamicSizing { enabled: false, text };
    let resolved = match &*thought.world.resolution {
        Resolution::Settings(resolved) => resolved,
        Resolution::NoPolicy => {
            let known = policies(facts, thought);
            return if known.is_empty() {
                not("Not managed (no policy matches it; its volumes are only watched)".to_owned())
            } else {
                DynamicSizing {
                    enabled: true,
                    text: format!("Enabled (by {}, which cannot be read from here)", known.join(", ")),
                }
            };
        }
        Resolution::Conflict(conflicts) => {
            let names = conflicts.iter().flat_map(|c| &c.policies).map(ToString::to_string);
            let names = names.collect::<Vec<_>>().join(" and ");
            return not(format!("Held ({names} have the same rank and both match)"));
        }
        Resolution::Invalid(problems) => {
            let problems = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            return not(format!("Held (its settings are not valid: {problems})"));
        }
    };
    let pause = &thought.world.cluster.pause;
    if pause.in_force(now) {
        let until = match pause {
            Pause::Paused { until: Some(until), .. } => format!(" until {until}"),
            Pause::Paused { until: None, .. } | Pause::No => String::new(),
        };
        let why = thought.snapshot.cluster.pause_reason.as_ref();
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        return not(format!("Paused{until}{why}"));
    }
    let (off, on): (Vec<_>, Vec<_>) = volumes_of(thought, resolved).partition(|(_, off)| off.is_some());
    let off: Vec<String> = off.into_iter().filter_map(|(_, off)| off).collect();
    if on.is_empty() && !off.is_empty() {
        return not(format!("Disabled ({})", without_doubles(off).join("; ")));
    }
    if resolved.dry_run.value {
        return not(format!(
            "Dry run (dryRun: true, {}): it decides and changes nothing",
            resolved.dry_run.origin
        ));
    }
    let text = if off.is_empty() {
        "Enabled".to_owned()
    } else {
        format!("Enabled, but not for all volumes ({})", without_doubles(off).join("; "))
    };
    DynamicSizing { enabled: true, text }
}

/// Each volume with the switch that keeps it from growing, where that is off.
fn volumes_of<'a>(thought: &'a Thought, resolved: &'a Resolved) -> impl Iterator<Item = (&'a VolumeKey, Option<String>)> {
    let off = |path: &str, name: &str, switch: &Field<bool>| (!switch.value).then(|| format!("{path}{name}: false, {}", switch.origin));
    thought.world.volumes.iter().map(move |volume| {
        let switched_off = match resolved.volumes.of(&volume.key).map(|rules| &rules.sizing) {
            Ok(Sizing::Thresholds) => off("", "expansion.enabled", &resolved.expansion.enabled),
            Ok(Sizing::Resize(resize)) => off(&format!("{}: ", volume.key), "resize.enabled", &resize.enabled),
            Ok(Sizing::Target(_)) | Err(_) => None,
        };
        (&volume.key, switched_off)
    })
}

fn without_doubles(mut texts: Vec<String>) -> Vec<String> {
    texts.dedup();
    texts
}

fn explain_volume(facts: &Facts, thought: &Thought, volume: &Volume, decision: &Decision, now: Timestamp) -> VolumeExplanation {
    let status = facts.storages.first().and_then(|s| s.status.as_ref());
    let last_decision = status.and_then(|s| sizing_of(s, &volume.key)).map(|s| s.last_decision.clone());
    let differs = last_decision
        .as_ref()
        .is_some_and(|d| (d.verdict, d.reason, d.urgency) != (decision.verdict, decision.reason, decision.urgency));
    let resolved = match &*thought.world.resolution {
        Resolution::Settings(resolved) => Some(resolved),
        Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_) => None,
    };
    let rules = resolved.and_then(|resolved| resolved.volumes.of(&volume.key).ok());
    let settings = resolved.map(|resolved| resolved.fields_of(&volume.key)).unwrap_or_default();
    let limit_from = explain::ceiling_setting(decision).map(|name| match settings.iter().find(|(field, ..)| *field == name) {
        Some((.., origin)) => format!("{name}, {origin}"),
        None => name,
    });
    // Those of the volume stand behind those that all volumes share.
    let shared = resolved.map_or(0, |resolved| resolved.fields().len());
    let sizing = status.and_then(|s| sizing_of(s, &volume.key));
    // The manager has a history, and we have none.
    let full_in = time_to_full(&thought.world, now, &volume.key).map(age);
    VolumeExplanation {
        volume: volume.key.to_string(),
        model: decision.model,
        settings: settings.into_iter().skip(shared).map(setting).collect(),
        budget: budget(&decision.budget, resolved.zip(rules)),
        window: rules.and_then(|rules| window(rules, now)),
        time_to_full: full_in.or_else(|| sizing.and_then(|s| s.time_to_full.clone())),
        verdict: decision.verdict,
        reason: decision.reason,
        urgency: decision.urgency,
        state: decision.state,
        message: explain::sentence(decision),
        effective_size: decision.from,
        to: decision.to,
        wanted: decision.wanted.map(wanted),
        limit: decision.ceiling.map(|c| c.size),
        limit_from,
        next_action_at: decision.next_action_at,
        warnings: explain::warnings(decision),
        relief: ReliefWanted::of(decision),
        inputs: explain::inputs(decision),
        root_cause: sizing.and_then(|s| s.root_cause.clone()),
        last_decision,
        differs,
        members: members(thought, volume, decision),
        operation: operation(thought, &volume.key),
        gates: gates(facts, thought, volume, decision, now),
    }
}

/// The budget, with the maximum that applies: that of the model, within the bound of ClusterStoragePolicies.
fn budget(budget: &Budget, settings: Option<(&Resolved, &VolumeRules)>) -> BudgetExplanation {
    let max = settings.and_then(|(resolved, rules)| {
        let own = match &rules.sizing {
            Sizing::Thresholds => 0,
            Sizing::Resize(resize) => resize.max_actions.value,
            Sizing::Target(_) => rules.emergency.as_ref()?.max_actions.value,
        };
        resolved.bounds.actions_a_day(own)
    });
    let Budget {
        actions_last_24h,
        available_for_planned,
        available_for_emergency,
        resets_at,
    } = *budget;
    BudgetExplanation {
        max_actions_per_day: max,
        actions_last_24h,
        available_for_planned,
        available_for_emergency,
        resets_at,
    }
}

fn window(rules: &VolumeRules, now: Timestamp) -> Option<WindowExplanation> {
    let window = &rules.window.as_ref()?.window;
    Some(WindowExplanation {
        open_until: window.open(now),
        next: window.next_firing(now),
    })
}

fn wanted(wanted: Wanted) -> WantedGrowth {
    let Wanted {
        reason,
        urgency,
        to,
        held_by,
    } = wanted;
    WantedGrowth {
        reason,
        urgency,
        to,
        held_by,
    }
}

fn members(thought: &Thought, volume: &Volume, decision: &Decision) -> Vec<MemberExplanation> {
    let explain = |planned: &csm_core::plan::MemberPlan| {
        let member = volume.members.iter().find(|m| m.uid == planned.uid)?;
        let figure = thought.figures.get(&member.instance, &volume.key);
        let disk = figure.map(|f| &f.disk);
        Some(MemberExplanation {
            instance: member.instance.to_string(),
            primary: thought.world.cluster.primary.as_ref() == Some(&member.instance),
            pvc: member.pvc.to_string(),
            storage_class: member.class.name.to_string(),
            node: member.node.as_deref().map(str::to_owned),
            running: member.pod_running,
            size: member.size,
            request: member.request,
            to: planned.to,
            used_bytes: disk.map(|d| d.used_bytes),
            available_bytes: disk.map(|d| d.available_bytes),
            percent_used: disk.map(|d| d.percent_used),
            observed_at: disk.map(|d| d.observed_at.0),
            figures: figure.map(|f| f.trust),
        })
    };
    decision.members.iter().filter_map(explain).collect()
}

/// The newest operation of a volume.
fn operation(thought: &Thought, volume: &VolumeKey) -> Option<OperationReport> {
    newest(&thought.snapshot, volume).map(|event| operation_report(event, thought))
}

fn operation_report(event: &Growth, thought: &Thought) -> OperationReport {
    let status = event.status.clone().unwrap_or_default();
    let expansion = &event.spec.expansion;
    let pvc = |affected: &csm_api::AffectedPvc| {
        let known = status.pvc_statuses.iter().find(|s| s.uid == affected.uid);
        let claim = thought.claims.iter().find(|c| *c.view.uid == *affected.uid);
        PvcReport {
            pvc: affected.name.clone(),
            instance: affected.instance.clone(),
            phase: known.map_or(PvcPhase::Pending, |s| s.phase),
            size: claim
                .map(|c| c.view.capacity)
                .or(known.and_then(|s| s.new_size))
                .unwrap_or(affected.original_size),
            patched_at: known.and_then(|s| s.patched_at.as_ref()).map(|t| t.0),
            verified_by: known.and_then(|s| s.verified_by),
            error: known.and_then(|s| s.error.clone()),
        }
    };
    OperationReport {
        volume: volume_of(event).to_string(),
        event: event.name_any(),
        phase: status.phase.unwrap_or(Phase::Pending),
        from: expansion.original_size,
        to: expansion.requested_size,
        started_at: started_at(event),
        ended_at: status.completion_time.as_ref().map(|t| t.0),
        message: status.conditions.first().map(|c| c.message.clone()).filter(|m| !m.is_empty()),
        pvcs: expansion.affected_pvcs.iter().map(pvc).collect(),
    }
}

fn gates(facts: &Facts, thought: &Thought, volume: &Volume, decision: &Decision, now: Timestamp) -> Vec<GateExplanation> {
    let reports = explain::gates(&thought.world, now, &volume.key).unwrap_or_default();
    let deciding = decision
        .wanted
        .map(|w| w.held_by)
        .or((decision.verdict == Verdict::Hold).then_some(decision.reason));
    let wants = decision.wanted.is_some() || decision.acts();
    let resolved = matches!(&*thought.world.resolution, Resolution::Settings(_));
    let mut decided = false;
    reports
        .into_iter()
        .map(|report| {
            let GateReport { gate, holds, inputs } = report;
            let answer = match holds {
                // Without settings there is nothing that these could be asked about.
                None if decided && !resolved => Answer::NotAsked,
                None => Answer::Open,
                Some(reason) if Some(reason) == deciding => {
                    decided = true;
                    Answer::Holds
                }
                Some(_) if wants => Answer::HoldsToo,
                Some(_) => Answer::WouldHold,
            };
            GateExplanation {
                gate,
                answer,
                reason: holds,
                inputs: if gate == Reason::StaleObservation.as_str() {
                    figures_inputs(thought, volume, inputs)
                } else if gate == Reason::FleetLimit.as_str() && holds.is_none() && facts.manager != Manager::NotAsked {
                    // Its limit, and what is under way elsewhere, is not to be seen from here.
                    BTreeMap::from([(
                        "fleet".to_owned(),
                        "as the manager last reported, which did not hold it for that".to_owned(),
                    )])
                } else {
                    inputs
                },
            }
        })
        .collect()
}

/// What the gate on figures looks at, with the times that the manager wrote: those of figures that are taken as
/// current were moved to now for the planner.
fn figures_inputs(thought: &Thought, volume: &Volume, mut inputs: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let observed = volume.members.iter().map(|member| {
        let text = match thought.figures.get(&member.instance, &volume.key) {
            None => "never".to_owned(),
            Some(figure) => {
                let trust = match figure.trust {
                    Trust::Fresh => "fresh",
                    Trust::TakenAsCurrent => "taken as current",
                    Trust::Old => "not fresh",
                };
                format!("{} ({trust})", figure.disk.observed_at.0)
            }
        };
        format!("{}: {text}", member.instance)
    });
    inputs.insert("observedAt".to_owned(), observed.collect::<Vec<_>>().join(", "));
    inputs
}
