//! From the end of a container until PostgreSQL writes again: how long each step took, and who spent the time.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;

use crate::kubelet::{Change, Containers, Doing};
use crate::requests::Nudge;
use crate::stage::Stage;
use crate::timeline::{Member, seconds};

/// From the pod's status until the manager's patch is accepted.
const PATCHED: f64 = 1.0;
/// And until the filesystem has grown, where the pod is nudged.
const GROWN: f64 = 3.0;

/// What a container did at first or afterwards, and when the API server was told.
#[derive(Debug)]
struct Told {
    at: Timestamp,
    doing: Doing,
}

/// The steps of one instance.
#[derive(Debug)]
pub struct Steps {
    instance: String,
    /// All that its container did from its end on.
    told: Vec<Told>,
    accepted: Timestamp,
    volume: Option<Timestamp>,
    nudges: Vec<Nudge>,
    filesystem: Option<Timestamp>,
    back: Option<Timestamp>,
}

impl Steps {
    /// Of an instance that ended after a moment, and whose PVC has grown.
    pub fn of(
        stage: &Stage,
        containers: &Containers,
        instance: &str,
        after: Timestamp,
        member: &Member,
        back: Option<Timestamp>,
    ) -> Result<Self> {
        let changes = containers.of(instance);
        // Ends are told in whole seconds.
        let is_end = |change: &Change| matches!(change.doing, Doing::Ended(_, at) if at.as_second() >= after.as_second());
        let told = changes.iter().skip_while(|change| !is_end(change)).map(|change| {
            Ok(Told {
                at: stage.told(change)?,
                doing: change.doing.clone(),
            })
        });
        let mut nudges = stage.nudges()?;
        nudges.retain(|nudge| nudge.pod == instance);
        Ok(Self {
            instance: instance.to_owned(),
            told: told.collect::<Result<_>>()?,
            accepted: member.accepted,
            volume: member.controller_done,
            nudges,
            filesystem: member.filesystem_told,
            back,
        })
    }

    /// When the API server was told of the first end.
    fn said(&self) -> Result<Timestamp> {
        let first = self.told.first();
        Ok(first.with_context(|| format!("{}: its container has not ended", self.instance))?.at)
    }

    /// When the container that is back now was said to run.
    fn runs(&self) -> Option<Timestamp> {
        let runs = self.told.iter().rev().find(|told| matches!(told.doing, Doing::Runs(_)));
        runs.map(|told| told.at)
    }

    /// What is promised, where the kubelet is nudged and nothing holds the manager back.
    pub fn in_time(&self) -> Result<()> {
        let said = self.said()?;
        let patched = seconds(said, self.accepted);
        ensure!(
            (0.0..PATCHED).contains(&patched),
            "the patch was accepted {patched:.3} s after the pod's status said so"
        );
        let grown = self.filesystem.context("no kubelet told of the filesystem")?;
        let took = seconds(said, grown);
        ensure!(
            (patched..GROWN).contains(&took),
            "the filesystem had grown {took:.3} s after the pod's status said so"
        );
        let [nudge] = self.nudges.as_slice() else {
            anyhow::bail!("{} was nudged {} times: {:?}", self.instance, self.nudges.len(), self.nudges)
        };
        ensure!(nudge.code == 200 && nudge.at < grown, "{nudge:?}, and grown at {grown}");
        let back = self.back.context("PostgreSQL is not back")?;
        ensure!(grown < back, "grown at {grown}, and PostgreSQL wrote at {back}");
        Ok(())
    }

    /// A few lines for people.
    pub fn text(&self) -> Result<String> {
        let said = self.said()?;
        let Some(Doing::Ended(code, ended)) = self.told.first().map(|told| &told.doing) else {
            anyhow::bail!("{} has not ended first: {:?}", self.instance, self.told)
        };
        let mut steps = vec![(self.accepted, "patch accepted".to_owned())];
        steps.extend(self.volume.map(|at| (at, "volume grown".to_owned())));
        steps.extend(self.nudges.iter().map(|nudge| (nudge.at, format!("pod nudged ({})", nudge.code))));
        steps.extend(self.filesystem.map(|at| (at, "filesystem grown".to_owned())));
        steps.extend(self.back.map(|at| (at, "PostgreSQL is back".to_owned())));
        steps.extend(self.told.iter().skip(1).map(|told| {
            let what = match &told.doing {
                Doing::Runs(_) => "container started".to_owned(),
                Doing::Ended(code, _) => format!("container ended with exit code {code}"),
                Doing::Waits(reason) => format!("container waits: {reason}"),
            };
            (told.at, what)
        }));
        steps.sort();
        let mut text = format!(
            "{}: ended {} with exit code {code}; the pod's status says so {:.1} s later (whole seconds); from then on:",
            self.instance,
            ended.strftime("%H:%M:%S"),
            seconds(*ended, said)
        );
        for (at, what) in steps {
            let _ = write!(text, "\n  {:+7.3} s  {what}", seconds(said, at));
        }
        let spent = [
            ("the kubelet, to tell", Some(*ended), Some(said)),
            ("the manager", Some(said), Some(self.accepted)),
            ("the storage driver", Some(self.accepted), self.volume),
            ("the kubelet, for the filesystem", self.volume, self.filesystem),
            ("the kubelet, until it starts the container", self.filesystem, self.runs()),
            ("PostgreSQL", self.runs().max(self.filesystem), self.back),
        ];
        let spent = spent.map(|(who, from, to)| {
            let took = from.zip(to);
            // Nothing where the one began before the other had ended: the kubelet does not wait for the filesystem.
            let took = took.map_or_else(|| "–".to_owned(), |(from, to)| format!("{:.1} s", seconds(from, to).max(0.0)));
            format!("{who} {took}")
        });
        let _ = write!(text, "\n  spent by {}", spent.join(", "));
        Ok(text)
    }
}
