//! What policies would have done over a trace: which series is of what (`assign`), running it, and plain data of what came
//! of it (`report`).

mod assign;
mod made_up;
mod report;

use csm_core::simulate::{Options, Outcome, Simulation, Usage};
use csm_core::world::ClusterKey;
use csm_gather::offline::Subject;
use jiff::{SignedDuration, Timestamp};

pub use assign::{Assigned, Assignment, assign};
pub use made_up::make_up;
pub use report::{Action, Part, Simulated, Tenths, VolumeReport};

use crate::error::Error;
use crate::trace::{Progress, Trace};

/// What became of a Cluster.
#[derive(Debug)]
pub struct ClusterOutcome {
    /// The Cluster.
    pub cluster: ClusterKey,
    /// Its volumes that there are samples of, in the order of their names.
    pub outcomes: Vec<Outcome>,
}

/// Runs the Clusters that a trace has samples of, one after the other.
///
/// # Errors
/// Where the trace cannot be read again, or a plan does not pass its check.
pub fn run(
    trace: &mut Trace,
    subjects: &[Subject],
    assigned: &Assigned,
    time_to_grow: SignedDuration,
    progress: &mut Progress,
) -> Result<Vec<ClusterOutcome>, Error> {
    progress.begin("simulating", trace.samples);
    let mut clusters = Vec::new();
    for (subject, assignments) in subjects.iter().zip(&assigned.subjects) {
        let span = span(trace, assignments);
        let Some((from, to)) = span else { continue };
        let options = Options {
            time_to_grow,
            ..Options::new(from, to)
        };
        let outcomes = one(trace, subject, assignments, options, progress)?;
        clusters.push(ClusterOutcome {
            cluster: subject.world.cluster.key.clone(),
            outcomes: outcomes.into_iter().filter(|o| o.seen).collect(),
        });
    }
    progress.end();
    Ok(clusters)
}

/// From the first sample to the last.
fn span(trace: &Trace, assignments: &[Assignment]) -> Option<(Timestamp, Timestamp)> {
    let series = assignments.iter().filter_map(|a| trace.series.get(a.series));
    let from = series.clone().map(|s| s.first).min()?;
    Some((from, series.map(|s| s.last).max()?))
}

fn one(
    trace: &mut Trace,
    subject: &Subject,
    assignments: &[Assignment],
    options: Options,
    progress: &mut Progress,
) -> Result<Vec<Outcome>, Error> {
    let mut world = subject.world.clone();
    // Whoever samples more seldom must not take each figure for a stale one.
    if let Some(step) = trace.step {
        world.limits.interval = world.limits.interval.max(step);
    }
    let mut simulation = Simulation::new(world, options);
    let targets: Vec<_> = assignments
        .iter()
        .map(|a| simulation.target(&a.volume, a.instance.as_deref()))
        .collect();
    let series: Vec<usize> = assignments.iter().map(|a| a.series).collect();
    let mut merged = trace.merged(&series);
    let mut samples = Vec::new();
    let mut usages = Vec::new();
    while let Some(at) = merged.moment(&mut samples).map_err(Error::Spool)? {
        usages.clear();
        let known = samples
            .iter()
            .filter_map(|(index, used)| Some((targets.get(*index).copied()??, *used)));
        usages.extend(known.map(|(target, used)| Usage { target, used }));
        // Two series of one PVC, as when its pod moves: the larger figure counts, and comes last.
        usages.sort_by_key(|usage| usage.used);
        simulation.observe(at, &usages).map_err(refused)?;
        progress.add(u64::try_from(samples.len()).unwrap_or(0));
    }
    simulation.finish().map_err(refused)
}

fn refused(refused: csm_core::simulate::Refused) -> Error {
    let violations: Vec<String> = refused.violations.iter().map(ToString::to_string).collect();
    Error::Refused {
        cluster: format!("{} at {}", refused.cluster, refused.at),
        violations: violations.join("; "),
    }
}
