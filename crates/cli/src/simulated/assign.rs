//! Which series of a trace is of which volume of which Cluster.

use csm_core::world::{VolumeKey, World};
use csm_gather::offline::{Mistake, Subject};

use crate::trace::{Name, Series, Trace};

/// So many wrong series are named; the others would say the same.
const NAMED: usize = 5;

/// A series that is of a volume, or of one instance of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Its place among the series.
    pub series: usize,
    /// The volume.
    pub volume: VolumeKey,
    /// The instance; none: all that have no series of their own.
    pub instance: Option<String>,
}

/// What each Cluster gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// For each Cluster, in the order of the subjects.
    pub subjects: Vec<Vec<Assignment>>,
    /// What was left out.
    pub notes: Vec<String>,
}

/// What became of one series.
enum Found {
    Of(usize, Assignment),
    /// It goes by a PVC that none of these Clusters has: most PVCs of a namespace can be of something else.
    Foreign,
}

/// Assigns each series.
///
/// # Errors
/// Where one names a Cluster, a volume or an instance that there is not, or it is not clear which one it means; or none is
/// of anything here.
pub fn assign(trace: &Trace, subjects: &[Subject]) -> Result<Assigned, Vec<Mistake>> {
    let worlds: Vec<&World> = subjects.iter().map(|s| &s.world).collect();
    let mut assigned = Assigned {
        subjects: vec![Vec::new(); worlds.len()],
        notes: Vec::new(),
    };
    let mut mistakes = Vec::new();
    let mut foreign: Vec<&Name> = Vec::new();
    for (index, series) in trace.series.iter().enumerate() {
        match find(index, &series.name, &worlds) {
            Ok(Found::Of(subject, assignment)) => {
                if let Some(list) = assigned.subjects.get_mut(subject) {
                    list.push(assignment);
                }
            }
            Ok(Found::Foreign) => foreign.push(&series.name),
            Err(message) if mistakes.len() < NAMED => mistakes.push(mistake(trace, series, message)),
            Err(_) => {}
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let names: Vec<String> = foreign.iter().take(NAMED).map(ToString::to_string).collect();
    let names = names.join(", ") + if foreign.len() > NAMED { ", …" } else { "" };
    if assigned.subjects.iter().all(Vec::is_empty) {
        let has = among(worlds.iter().map(|w| w.cluster.key.to_string()));
        return Err(vec![Mistake {
            file: trace.file.clone(),
            place: None,
            message: format!("no series of the trace is of a volume of {has}; it has {names}"),
        }]);
    }
    if !foreign.is_empty() {
        let (file, count) = (&trace.file, foreign.len());
        assigned.notes.push(format!(
            "{file}: series of PVCs that these Clusters do not have, and that are left out: {count} ({names})"
        ));
    }
    Ok(assigned)
}

fn mistake(trace: &Trace, series: &Series, message: String) -> Mistake {
    Mistake {
        file: trace.file.clone(),
        place: (series.line > 0).then_some((series.line, 1)),
        message,
    }
}

fn among(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    let rest = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    if rest > 0 {
        names.push(format!("{rest} more"));
    }
    names.join(", ")
}

fn find(series: usize, name: &Name, worlds: &[&World]) -> Result<Found, String> {
    let in_namespace = |world: &World| name.namespace.as_ref().is_none_or(|n| *world.cluster.key.namespace == **n);
    if let Some(pvc) = &name.pvc {
        return of_pvc(series, pvc, worlds, in_namespace);
    }
    let is_it = |world: &World| in_namespace(world) && name.cluster.as_ref().is_none_or(|n| *world.cluster.key.name == **n);
    let mut candidates = worlds.iter().enumerate().filter(|(_, world)| is_it(world));
    let (index, world) = match (candidates.next(), candidates.next()) {
        (Some(one), None) => one,
        (None, _) => {
            let has = among(worlds.iter().map(|w| w.cluster.key.to_string()));
            return Err(format!(
                "the trace has samples of {name}, and the files have no such Cluster; they have {has}"
            ));
        }
        (Some(_), Some(_)) => {
            let has = among(worlds.iter().filter(|w| is_it(w)).map(|w| w.cluster.key.to_string()));
            return Err(format!(
                "it is not clear which Cluster the samples are of: {has}; write it in a column cluster"
            ));
        }
    };
    let volume = name.volume.clone().unwrap_or(VolumeKey::DATA);
    let key = &world.cluster.key;
    let Some(of) = world.volumes.iter().find(|v| v.key == volume) else {
        let has = among(world.volumes.iter().map(|v| v.key.to_string()));
        return Err(format!("{key} has no volume {volume}; it has {has}"));
    };
    if let Some(instance) = &name.instance
        && !of.members.iter().any(|m| *m.instance == **instance)
    {
        let has = among(of.members.iter().map(|m| m.instance.to_string()));
        return Err(format!("{key} has no instance {instance}; it has {has}"));
    }
    let assignment = Assignment {
        series,
        volume,
        instance: name.instance.clone(),
    };
    Ok(Found::Of(index, assignment))
}

fn of_pvc(series: usize, pvc: &str, worlds: &[&World], in_namespace: impl Fn(&World) -> bool) -> Result<Found, String> {
    let worlds = worlds.iter().enumerate().filter(|(_, world)| in_namespace(world));
    let volumes = worlds.flat_map(|(index, world)| world.volumes.iter().map(move |volume| (index, volume)));
    let members = volumes.flat_map(|(index, volume)| volume.members.iter().map(move |member| (index, volume, member)));
    let mut found = members.filter(|(_, _, member)| *member.pvc == *pvc);
    match (found.next(), found.next()) {
        (None, _) => Ok(Found::Foreign),
        (Some((index, volume, member)), None) => {
            let assignment = Assignment {
                series,
                volume: volume.key.clone(),
                instance: Some(member.instance.to_string()),
            };
            Ok(Found::Of(index, assignment))
        }
        (Some(_), Some(_)) => Err(format!(
            "a PVC {pvc} is there in more than one namespace; the trace needs a namespace, too"
        )),
    }
}
