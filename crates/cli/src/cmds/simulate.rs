//! `simulate`: what policies would have done over a trace, or while volumes fill.

use std::path::{Path, PathBuf};

use csm_api::Reason;
use csm_core::schedule::Duration;
use csm_core::world::{Member, Volume, VolumeKey};
use csm_gather::offline::{self, File, MakeUp, Offline};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::plan::INVALID;
use super::{Answer, View};
use crate::args::Simulate;
use crate::decisions::InvalidBlock;
use crate::error::Error;
use crate::read;
use crate::render;
use crate::simulated::{Assigned, Simulated, VolumeReport, assign, make_up, run};
use crate::trace::{Fill, Name, Progress, Rate, Trace};

/// A made-up Cluster has as many instances as CloudNativePG's examples.
const INSTANCES: u32 = 3;
/// How long volumes fill where nobody says.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Runs policies over a trace, or over volumes that fill.
///
/// # Errors
/// Where something cannot be read, is not valid, or does not go together; or the answer cannot be written.
pub fn simulate(arguments: &Simulate, progress: &mut Progress) -> Result<Answer, Error> {
    once(arguments)?;
    let stats = read::files(&arguments.stats)?;
    let files = read::files(&arguments.files)?;
    let others = read::files(&arguments.against)?;
    let traced = match &arguments.trace {
        Some(path) => Some(Trace::read(path, progress)?),
        None => None,
    };
    let volume = arguments.volume.clone().unwrap_or(VolumeKey::DATA);
    let invented = make_up(
        traced.as_ref().map_or(&[], |trace| &trace.series),
        &volume,
        arguments.size.unwrap_or(Bytes::GIB),
        arguments.instances.unwrap_or(INSTANCES),
    );
    let clock = traced.as_ref().and_then(Trace::span).map(|(from, _)| from);
    let input = Input {
        stats: &stats,
        make_up: &invented,
        clock: clock.or(arguments.start).unwrap_or_else(some_day),
    };
    let first = input.read(&files, &[], arguments)?;
    let mut trace = match (traced, arguments.fill) {
        (Some(trace), _) => trace,
        (None, rate) => filling(arguments, rate, &first, &volume)?,
    };
    let first = Set::of(first, &trace)?;
    let second = if others.is_empty() {
        None
    } else {
        Some(Set::of(input.read(&others, &files, arguments)?, &trace)?)
    };

    let (from, to) = trace.span().unwrap_or((input.clock, input.clock));
    let time_to_grow = arguments.time_to_grow.get();
    let volumes = first.run(&mut trace, time_to_grow, progress)?;
    let against = match &second {
        Some(set) => Some(paired(&volumes, set.run(&mut trace, time_to_grow, progress)?, &first, set)?),
        None => None,
    };
    let problems: Vec<InvalidBlock> = [Some(&first), second.as_ref()]
        .into_iter()
        .flatten()
        .flat_map(|set| set.offline.problems.iter().map(InvalidBlock::of))
        .collect();
    let data = Simulated {
        files: names(&files),
        against_files: names(&others),
        from,
        to,
        samples: trace.samples,
        step_seconds: trace.step.map(|step| step.as_secs()),
        time_to_grow_seconds: time_to_grow.as_secs(),
        volumes,
        against,
        problems,
    };
    let text = View::at(arguments.output, to).write(&data, |page| render::simulated(&data, page))?;
    if let Some(path) = &arguments.svg {
        write(path, &render::simulated_svg(&data))?;
    }
    Ok(Answer {
        text,
        notes: notes(&trace, &data, &first, second.as_ref()),
        problems: data.problems.iter().map(InvalidBlock::line).collect(),
        summary: None,
        status: if data.problems.is_empty() { 0 } else { INVALID },
    })
}

/// A day for those who say none: the same each time, so that the same command gives the same answer.
fn some_day() -> Timestamp {
    /// 2026-01-01T00:00:00Z.
    const SECONDS: i64 = 1_767_225_600;
    Timestamp::from_second(SECONDS).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Standard input can be read but once.
fn once(arguments: &Simulate) -> Result<(), Error> {
    let Simulate {
        files,
        against,
        stats,
        trace,
        ..
    } = arguments;
    let paths = files.iter().chain(against).chain(stats).chain(trace);
    if paths.filter(|path| path.as_os_str() == "-").count() > 1 {
        return Err(Error::Usage(
            "- is standard input, which can be read but once; give a file for the others".to_owned(),
        ));
    }
    Ok(())
}

fn names(files: &[File]) -> Vec<String> {
    files.iter().map(|file| file.name.clone()).collect()
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|source| Error::Write {
        path: PathBuf::from(path),
        source,
    })
}

/// What each set of policies is read with.
struct Input<'a> {
    stats: &'a [File],
    make_up: &'a MakeUp,
    clock: Timestamp,
}

impl Input<'_> {
    fn read(&self, files: &[File], others: &[File], arguments: &Simulate) -> Result<Offline, Error> {
        let offline = offline::read_to_try(files, others, self.stats, Some(self.make_up), self.clock).map_err(Error::Input)?;
        let wrong = match (offline.made_up, arguments.size, arguments.instances) {
            (true, None, _) => "the files have no Cluster; say how large the volumes of a made-up one are, such as with --size 10Gi",
            (false, Some(_), _) => "--size is for a made-up Cluster, and the files have Clusters of their own; leave it out",
            (false, None, Some(_)) => "--instances is for a made-up Cluster, and the files have Clusters of their own; leave it out",
            (true, Some(_), _) | (false, None, None) => return Ok(offline),
        };
        Err(Error::Usage(wrong.to_owned()))
    }
}

/// A set of policies with its Clusters, and which samples are of which of them.
struct Set {
    offline: Offline,
    assigned: Assigned,
}

impl Set {
    fn of(offline: Offline, trace: &Trace) -> Result<Self, Error> {
        let assigned = assign(trace, &offline.subjects).map_err(Error::Input)?;
        Ok(Self { offline, assigned })
    }

    fn run(&self, trace: &mut Trace, time_to_grow: SignedDuration, progress: &mut Progress) -> Result<Vec<VolumeReport>, Error> {
        let clusters = run(trace, &self.offline.subjects, &self.assigned, time_to_grow, progress)?;
        Ok(VolumeReport::of(&clusters))
    }
}

/// Volumes that fill evenly: that one of each Cluster.
fn filling(arguments: &Simulate, rate: Option<Rate>, offline: &Offline, volume: &VolumeKey) -> Result<Trace, Error> {
    // clap asks for one of both.
    let rate = rate.ok_or_else(|| Error::Usage("give a trace with --trace, or --fill".to_owned()))?;
    let fill = Fill {
        rate,
        from: arguments.start.unwrap_or(offline.now),
        lasts: arguments.lasts.map_or(DAY, Duration::get),
    };
    let volumes = offline.subjects.iter().filter_map(|subject| {
        let found = subject.world.volumes.iter().find(|v| v.key == *volume)?;
        let key = &subject.world.cluster.key;
        let several = offline.subjects.len() > 1;
        let name = Name {
            namespace: several.then(|| key.namespace.to_string()),
            cluster: several.then(|| key.name.to_string()),
            volume: Some(volume.clone()),
            ..Name::default()
        };
        Some((name, arguments.start_used.unwrap_or_else(|| used(found))))
    });
    let volumes: Vec<(Name, Bytes)> = volumes.collect();
    if volumes.is_empty() {
        return Err(Error::Usage(format!(
            "no Cluster of the files has a volume {volume}; choose another with --volume"
        )));
    }
    Trace::fill(&fill, volumes)
}

/// What the fullest instance uses.
fn used(volume: &Volume) -> Bytes {
    let used = volume.members.iter().filter_map(Member::figures).map(|figures| figures.used);
    used.max().unwrap_or_default()
}

/// The volumes of the second set in the order of the first.
fn paired(volumes: &[VolumeReport], others: Vec<VolumeReport>, first: &Set, second: &Set) -> Result<Vec<VolumeReport>, Error> {
    // Two Clusters that were made up are one, whatever the policies have them called.
    let same = first.offline.made_up && second.offline.made_up && volumes.len() == others.len();
    if same {
        return Ok(others);
    }
    let find = |volume: &VolumeReport| {
        let found = others.iter().find(|other| other.title() == volume.title()).cloned();
        found.ok_or_else(|| Error::Usage(format!("the files of --against have Clusters, but not {}", volume.title())))
    };
    volumes.iter().map(find).collect()
}

fn notes(trace: &Trace, data: &Simulated, first: &Set, second: Option<&Set>) -> Vec<String> {
    let mut notes = trace.notes.clone();
    for set in [Some(first), second].into_iter().flatten() {
        let new = set.offline.notes.iter().chain(&set.assigned.notes).filter(|n| !notes.contains(n));
        let new: Vec<String> = new.cloned().collect();
        notes.extend(new);
    }
    let assigned = first.offline.subjects.iter().zip(&first.assigned.subjects);
    let unseen = assigned.flat_map(|(subject, assignments)| {
        let unseen = subject
            .world
            .volumes
            .iter()
            .filter(|v| !assignments.iter().any(|a| a.volume == v.key));
        unseen.map(|v| format!("{} {}", subject.world.cluster.key, v.key))
    });
    let unseen: Vec<String> = unseen.collect();
    if !unseen.is_empty() && !first.offline.made_up {
        notes.push(format!("there are no samples of {}", unseen.join(", ")));
    }
    let volumes = || data.volumes.iter().chain(data.against.iter().flatten());
    if volumes().any(|v| v.held.contains_key(&Reason::DryRun)) {
        notes.push("dryRun is set: what DryRun held would have been done without it".to_owned());
    }
    for (reason, says) in [
        (Reason::NoPolicy, "no policy of the files selects"),
        (Reason::PolicyConflict, "two policies of one rank select"),
    ] {
        let mut of: Vec<String> = volumes()
            .filter(|v| v.held.contains_key(&reason))
            .map(VolumeReport::title)
            .collect();
        of.dedup();
        if !of.is_empty() {
            notes.push(format!("{says} {}, so nothing is done", of.join(", ")));
        }
    }
    notes
}
