//! What the record of an operation must say of itself.

use csm_api::{Growth, Outcome, Phase, PvcPhase};

/// Everything in a StorageEvent that contradicts itself.
pub fn contradictions(event: &Growth) -> Vec<String> {
    let name = event.metadata.name.as_deref().unwrap_or_default();
    let Some(status) = &event.status else {
        return vec![format!("{name} has no status")];
    };
    let mut wrong = Vec::new();
    let mut holds = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{name}: {what}: {status:?}"));
        }
    };
    if status.outcome() == Some(Outcome::NothingToDo) {
        holds(status.pvc_statuses.is_empty(), "what had nothing to do did nothing");
        return wrong;
    }
    let affected: Vec<&str> = event.spec.expansion.affected_pvcs.iter().map(|p| p.uid.as_str()).collect();
    let told: Vec<&str> = status.pvc_statuses.iter().map(|p| p.uid.as_str()).collect();
    holds(affected == told, "it tells of the PVCs that it was begun for, in their order");
    let (start, end) = (status.start_time.as_ref(), status.completion_time.as_ref());
    holds(
        start.zip(end).is_some_and(|(start, end)| start.0 <= end.0),
        "it begins before it ends",
    );
    let [condition] = status.conditions.as_slice() else {
        holds(false, "one condition");
        return wrong;
    };
    let complete = status.phase == Some(Phase::Completed);
    holds((condition.reason == "Succeeded") == complete, "condition and phase say the same");
    for pvc in &status.pvc_statuses {
        let steps = [
            pvc.patched_at.as_ref(),
            pvc.controller_done_at.as_ref(),
            pvc.filesystem_resized.as_ref(),
        ];
        let done: Vec<_> = steps.into_iter().flatten().map(|t| t.0).collect();
        holds(done.is_sorted(), "patched, resized and verified in this order");
        if pvc.phase == PvcPhase::Completed {
            holds(done.len() == 3 && pvc.verified_by.is_some(), "what is complete was verified");
            let size = event.spec.expansion.requested_size;
            holds(pvc.new_size.is_some_and(|new| new >= size), "what is complete has the size");
        }
        holds(complete <= (pvc.phase == PvcPhase::Completed), "where all is complete, each PVC is");
    }
    wrong
}
