//! `plan`: what the planner would do with what files describe.

use csm_core::check::check;
use csm_core::plan::plan as planned;
use csm_gather::offline::Offline;

use super::{Answer, View};
use crate::decisions::{Decisions, InvalidBlock, of_plan};
use crate::error::Error;
use crate::render;

/// The status of an answer to input that does not validate.
pub(super) const INVALID: u8 = 2;

/// What the planner would do with each volume.
///
/// # Errors
/// Where the answer cannot be written in the form that was asked for, or the planner's own check refuses it.
pub fn plan(offline: &Offline, view: &View) -> Result<Answer, Error> {
    let now = offline.now;
    let mut decisions = Vec::new();
    for subject in &offline.subjects {
        let plan = planned(&subject.world, now);
        check(&subject.world, &plan, now).map_err(|violations| Error::Refused {
            cluster: subject.world.cluster.key.to_string(),
            violations: violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        })?;
        decisions.extend(of_plan(&subject.world, &plan, now));
    }
    let problems: Vec<InvalidBlock> = offline.problems.iter().map(InvalidBlock::of).collect();
    let said = problems.iter().map(InvalidBlock::line).collect();
    let status = if problems.is_empty() { 0 } else { INVALID };
    let data = Decisions { now, decisions, problems };
    let text = view.write(&data, |page| render::plan(&data.decisions, page))?;
    Ok(Answer {
        text,
        notes: offline.notes.clone(),
        problems: said,
        summary: None,
        status,
    })
}
