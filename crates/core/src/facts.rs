//! The few figures that a verdict rests on, for people.

use csm_api::{Reason, Urgency};
use csm_units::{Bytes, Percent};
use jiff::SignedDuration;

use crate::between::Estimate;
use crate::decision::{Cause, CeilingSetting, CeilingSource, Evidence, Facts, Filling, Fired, Found, Pace, Usage};
use crate::resolve::{Field, Origin, ResizeRules, Sizing};
use crate::size;
use crate::view::{Kind, MemberView, View, Want, total};
use crate::world::{Inodes, Observation, Pause};

/// What `fired` rests on, where the ceiling of `want` comes from, which is done or else held, and what holds `held`.
pub(crate) fn of(view: &View, fired: Option<&Want>, want: Option<&Want>, held: Option<&Want>, cause: Cause) -> Facts {
    Facts {
        usage: view.worst.map(|(_, figures)| usage(figures)),
        estimate: view.worst.and_then(|(worst, _)| estimate(worst)),
        threshold: threshold(view),
        fired: fired.and_then(|fired| {
            Some(Fired {
                reason: fired.reason,
                evidence: evidence(view, fired)?,
            })
        }),
        filling: want.filter(|want| want.urgency == Urgency::Runway).and_then(|_| filling(view)),
        ceiling: want.and_then(|want| ceiling(view, want.urgency)),
        bound: bound(view, held, &cause),
        cause,
        ignored: view.rules.map_or_else(Vec::new, |rules| rules.ignored.clone()),
        pause: match &view.world.cluster.pause {
            Pause::Paused { unreadable, .. } => unreadable.clone(),
            Pause::No => None,
        },
        suspected: found(view, |m| !m.member.disk_full),
    }
}

/// What is known of instances that are down, by name.
fn found(view: &View, of: impl Fn(&MemberView) -> bool) -> Vec<Found> {
    let members = view.members.iter().filter(|m| of(m));
    let mut found: Vec<Found> = members
        .filter_map(|m| {
            Some(Found {
                instance: m.member.instance.clone(),
                findings: m.member.findings.clone()?,
            })
        })
        .collect();
    found.sort_by(|a, b| a.instance.cmp(&b.instance));
    found
}

fn usage(figures: &Observation) -> Usage {
    Usage {
        used: figures.used,
        available: figures.available,
    }
}

/// What the figures of a member are taken from, where they are not those of its sample.
fn estimate(m: &MemberView) -> Option<Estimate> {
    let (estimate, sample) = (m.member.estimate?, m.member.figures()?);
    estimate.on(sample).map(|_| estimate)
}

fn threshold(view: &View) -> Option<Percent> {
    Some(match &view.rules?.sizing {
        Sizing::Thresholds => view.settings?.thresholds.expansion.value,
        Sizing::Resize(rules) => rules.usage_threshold.value,
        Sizing::Target(rules) => rules.buffer.value,
    })
}

fn pace(view: &View) -> Option<Pace> {
    let time_to_full = view.time_to_full()?;
    let per_hour = view.forecast()?.grows_in(SignedDuration::from_hours(1));
    Some(Pace { time_to_full, per_hour })
}

/// Members with the figures that a rule may look at: those that are larger than the ceiling only where nobody else wants
/// what they want.
fn observed<'a>(view: &View<'a>, want: &Want) -> Vec<(&'a MemberView<'a>, &'a Observation)> {
    if want.kind == Kind::Outsize {
        let outsize = view.members.iter().filter(|m| m.is_outsize());
        return outsize.filter_map(|m| m.fresh.as_ref().map(|figures| (m, figures))).collect();
    }
    view.observed().collect()
}

/// The member with the least available; of equals the first by name.
fn tightest<'a>(members: &[(&'a MemberView<'a>, &'a Observation)]) -> Option<(&'a MemberView<'a>, &'a Observation)> {
    members.iter().copied().min_by_key(|(_, figures)| figures.available)
}

fn filling(view: &View) -> Option<Filling> {
    let members: Vec<_> = view.observed().collect();
    let (member, figures) = tightest(&members)?;
    Some(Filling {
        instance: member.member.instance.clone(),
        available: figures.available,
        forecast: pace(view),
    })
}

fn evidence(view: &View, want: &Want) -> Option<Evidence> {
    let outsize = want.kind == Kind::Outsize;
    Some(match want.reason {
        Reason::DiskFull => Evidence::Down {
            instances: view.names(|m| m.member.disk_full && m.is_outsize() == outsize),
            findings: found(view, |m| m.member.disk_full && m.is_outsize() == outsize),
        },
        Reason::UsageThreshold => percent(view, want, threshold(view)?)?,
        Reason::CriticalThreshold => percent(view, want, view.emergency()?.threshold.value)?,
        Reason::CriticalMinimumFree => {
            let rules = view.emergency()?;
            let mut members = observed(view, want);
            members.retain(|(m, figures)| figures.available <= rules.minimum_free_of(m.member.size));
            let (member, figures) = tightest(&members)?;
            Evidence::Available {
                instance: member.member.instance.clone(),
                available: figures.available,
                least: rules.minimum_free_of(member.member.size),
                default: rules.minimum_free.is_none(),
            }
        }
        Reason::MinAvailable => {
            let (member, figures) = tightest(&observed(view, want))?;
            Evidence::Available {
                instance: member.member.instance.clone(),
                available: figures.available,
                least: view.resize()?.min_available.as_ref()?.value,
                default: false,
            }
        }
        Reason::InodeThreshold => inodes(view, view.resize()?)?,
        Reason::TimeToFull => Evidence::Forecast {
            forecast: pace(view)?,
            least: view.resize()?.time_to_full.value.get(),
        },
        Reason::RequestFloor => match &view.rules?.sizing {
            Sizing::Target(rules) => Evidence::Floor {
                request: rules.request.value,
            },
            Sizing::Thresholds | Sizing::Resize(_) => return None,
        },
        Reason::TargetBuffer => {
            let (member, figures) = size::most_used(view)?;
            Evidence::Buffer {
                instance: member.member.instance.clone(),
                usage: usage(figures),
                buffer: threshold(view)?,
                ahead: size::own(view).is_some_and(|own| want.unbounded > own),
            }
        }
        Reason::MemberBelowEffectiveSize => Evidence::Lagging {
            instances: view.names(MemberView::is_lagging),
        },
        _ => return None,
    })
}

/// The fullest member and the level that it has reached.
fn percent(view: &View, want: &Want, level: Percent) -> Option<Evidence> {
    let fuller = |a: &Observation, b: &Observation| a.used.wide().saturating_mul(total(b)) > b.used.wide().saturating_mul(total(a));
    let (member, figures) = match want.kind {
        Kind::Outsize => observed(view, want)
            .into_iter()
            .reduce(|a, b| if fuller(b.1, a.1) { b } else { a })?,
        Kind::Growth | Kind::CatchUp => view.worst?,
    };
    Some(Evidence::Percent {
        instance: member.member.instance.clone(),
        usage: usage(figures),
        level,
    })
}

/// The member with the largest share of inodes in use.
fn inodes(view: &View, rules: &ResizeRules) -> Option<Evidence> {
    let share = |i: Inodes, of: Inodes| u128::from(i.used).saturating_mul(u128::from(of.total));
    let counted = view
        .observed()
        .filter_map(|(m, figures)| Some((m, figures.inodes.filter(|i| i.total > 0)?)));
    let (member, Inodes { total, used }) = counted.reduce(|a, b| if share(b.1, a.1) > share(a.1, b.1) { b } else { a })?;
    Some(Evidence::Inodes {
        instance: member.member.instance.clone(),
        used,
        total,
        level: rules.inode_threshold.as_ref()?.value,
    })
}

/// The setting that the ceiling of a growth of this urgency comes from.
fn ceiling(view: &View, urgency: Urgency) -> Option<CeilingSetting> {
    let settings = view.settings?;
    let field: &Field<Bytes> = match (view.ceiling_of(urgency)?.source, &view.rules?.sizing) {
        (CeilingSource::MaxSize, _) => settings.expansion.max_size.as_ref()?,
        (CeilingSource::Bound, _) => settings.bounds.max_size.as_ref()?,
        (CeilingSource::Limit, Sizing::Resize(rules)) => rules.limit.as_ref()?,
        (CeilingSource::Limit, Sizing::Target(rules)) => &rules.limit,
        (CeilingSource::Limit, Sizing::Thresholds) | (CeilingSource::Learned | CeilingSource::Fallback, _) => return None,
    };
    Some(CeilingSetting {
        size: field.value,
        origin: field.origin.clone(),
    })
}

/// The policy whose bound holds, where the budget does: a maximum of the volume's own that is the same comes first.
fn bound(view: &View, held: Option<&Want>, cause: &Cause) -> Option<Origin> {
    let (Cause::Budget { max, .. }, Some(held)) = (cause, held) else {
        return None;
    };
    let bound = view.settings?.bounds.max_actions.as_ref()?;
    let rules = view.rules?;
    let own = match (&rules.sizing, held.urgency) {
        (_, Urgency::Rescue) => return None,
        (Sizing::Resize(rules), _) => rules.max_actions.value,
        (Sizing::Thresholds, Urgency::Planned) => 0,
        (Sizing::Thresholds | Sizing::Target(_), _) => rules.emergency.as_ref().map_or(0, |rules| rules.max_actions.value),
    };
    (bound.value == *max && own != *max).then(|| bound.origin.clone())
}
