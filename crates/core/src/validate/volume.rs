//! The values of a volume's settings: what a text or a number says, or what is wrong with it.
//!
//! Fields are named from the volume's block on; [`Problem::under`] puts the place of the block before them.

use csm_api::{
    EmergencyGrow, MaintenanceWindow, Model, QuantityText, Resize, ResizeExpansion, ResizeStrategy, ResizeTriggers, StepText,
    VolumeSettings, WalSafetyPolicy,
};
use csm_units::{Bytes, Percent};
use jiff::tz::TimeZone;

use super::{Bounded, Problem, at_least, percent};
use crate::resolve::Step;
use crate::schedule::{self, Duration, Schedule};

pub(crate) const USAGE: Bounded = Bounded {
    unit: " percent; leave it out for the default, set enabled: false to stop",
    ..percent("resize.triggers.usageThreshold", 1..=99, "80")
};
pub(crate) const INODES: Bounded = percent("resize.triggers.inodeThreshold", 1..=99, "90");
pub(crate) const TARGET_BUFFER: Bounded = percent("targetBuffer", 5..=50, "20");
pub(crate) const CRITICAL_THRESHOLD: Bounded = percent("emergencyGrow.criticalThreshold", 80..=99, "95");
pub(crate) const RESIZE_ACTIONS: Bounded = actions("resize.strategy.maxActionsPerDay", "3");
pub(crate) const EMERGENCY_ACTIONS: Bounded = actions("emergencyGrow.maxActionsPerDay", "4");
pub(crate) const RESERVED: Bounded = Bounded {
    field: "emergencyGrow.reservedActionsForEmergency",
    range: 0..=50,
    unit: "",
    example: "1",
};
pub(crate) const PENDING: Bounded = at_least("resize.strategy.walSafetyPolicy.maxPendingWALFiles", "100");

const fn actions(field: &'static str, example: &'static str) -> Bounded {
    Bounded {
        field,
        range: 0..=50,
        unit: " (0: no limit)",
        example,
    }
}

/// The model that an object chooses for a volume, if it says anything of it.
pub(crate) fn model(settings: &VolumeSettings) -> Option<Model> {
    let target = settings.request.is_some() || settings.limit.is_some();
    settings
        .model
        .or_else(|| settings.resize.as_ref().map(|_| Model::Resize))
        .or_else(|| target.then_some(Model::Target))
}

fn wrong_text(field: &'static str, text: &dyn std::fmt::Display, what: &str, example: &str) -> Problem {
    let reason = format!("{field}: \"{text}\" {what}; write for example {example}");
    Problem::new(field, format_args!("\"{text}\""), reason, example)
}

/// A size of at least one byte.
pub(crate) fn positive(field: &'static str, text: &QuantityText) -> Result<Bytes, Problem> {
    match super::check_size(field, text) {
        Some(problem) => Err(problem),
        None => Ok(text.parse().unwrap_or_default()),
    }
}

fn of_a_mebibyte(field: &'static str, text: &QuantityText, example: &str) -> Result<Bytes, Problem> {
    text.parse()
        .ok()
        .filter(|size| *size >= Bytes::MIB)
        .ok_or_else(|| wrong_text(field, &text.as_str(), "is not a quantity of 1Mi or more", example))
}

pub(crate) fn min_available(text: &QuantityText) -> Result<Bytes, Problem> {
    of_a_mebibyte("resize.triggers.minAvailable", text, "\"5Gi\"")
}

pub(crate) fn min_step(text: &QuantityText) -> Result<Bytes, Problem> {
    of_a_mebibyte("resize.expansion.minStep", text, "\"5Gi\"")
}

pub(crate) fn max_step(text: &QuantityText) -> Result<Bytes, Problem> {
    of_a_mebibyte("resize.expansion.maxStep", text, "\"5Gi\"")
}

pub(crate) fn slot_retention(text: &QuantityText) -> Result<Bytes, Problem> {
    let field = "resize.strategy.walSafetyPolicy.maxSlotRetentionBytes";
    text.parse()
        .map_err(|_| wrong_text(field, &text.as_str(), "is not a quantity of 0 or more", "\"10Gi\""))
}

/// A percentage from 1 % to 1000 %, or a quantity of a MiB or more.
pub(crate) fn step(text: &StepText) -> Result<Step, Problem> {
    let field = "resize.expansion.step";
    let example = "\"20%\" or \"20Gi\"";
    let text = match text {
        StepText::Number(number) => {
            let reason = format!("{field}: \"{number}\" is a bare number; write {example}");
            return Err(Problem::new(field, number, reason, example));
        }
        StepText::Text(text) => text,
    };
    let parsed = match text.strip_suffix('%') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            let percent = digits.parse().ok().filter(|p| (1..=1000).contains(p));
            percent.map(|p: u16| Step::Share(Percent::of(p)))
        }
        Some(_) => None,
        None => text.parse().ok().filter(|size| *size >= Bytes::MIB).map(Step::Size),
    };
    parsed.ok_or_else(|| {
        let what = "is neither a percentage from 1% to 1000% nor a quantity of 1Mi or more";
        wrong_text(field, text, what, example)
    })
}

/// A duration in Go's notation, longer than nothing.
pub(crate) fn duration(field: &'static str, text: &str) -> Result<Duration, Problem> {
    text.parse().map_err(|error: schedule::DurationError| {
        let reason = format!("{field}: {error}");
        Problem::new(field, format_args!("\"{text}\""), reason, "\"2h\"")
    })
}

/// A cron schedule.
pub(crate) fn schedule(text: &str) -> Result<Schedule, Problem> {
    let field = "maintenanceWindow.schedule";
    let parsed: Schedule = text.parse().map_err(|error: schedule::ScheduleError| {
        let reason = format!("{field}: {error}");
        Problem::new(field, format_args!("\"{text}\""), reason, "\"0 3 * * *\"")
    })?;
    if parsed.fires() {
        return Ok(parsed);
    }
    let reason = format!("{field}: \"{text}\" never fires, and planned growth would wait for ever; write for example \"0 3 * * *\"");
    Err(Problem::new(field, format_args!("\"{text}\""), reason, "\"0 3 * * *\""))
}

/// A time zone by its name.
pub(crate) fn timezone(name: &str) -> Result<TimeZone, Problem> {
    let field = "maintenanceWindow.timezone";
    schedule::time_zone(name).map_err(|error| {
        let reason = format!("{field}: {error}");
        Problem::new(field, format_args!("\"{name}\""), reason, "\"Europe/Berlin\"")
    })
}

/// Two models in one block.
pub(crate) fn two_models() -> Problem {
    let reason = "resize and request/limit are two models; set one of them in a volume block".to_owned();
    Problem::new("", "both", reason, "resize: {enabled: true}")
}

/// `request` above `limit`.
pub(crate) fn rising_sizes(request: Bytes, limit: Bytes) -> Option<Problem> {
    (request > limit).then(|| {
        let reason = format!("request must not be above limit ({request}, {limit})");
        Problem::new(
            "request",
            format_args!("{request}, limit {limit}"),
            reason,
            "{request: 10Gi, limit: 100Gi}",
        )
    })
}

/// One of `request` and `limit` is missing.
pub(crate) fn request_and_limit() -> Problem {
    let reason = "model Target needs both request and limit, here or in a less specific policy".to_owned();
    Problem::new("", "not both", reason, "{request: 10Gi, limit: 100Gi}")
}

/// `minStep` above `maxStep`.
pub(crate) fn rising_steps(min: Bytes, max: Bytes) -> Option<Problem> {
    (min > max).then(|| {
        let reason = format!("minStep must not be above maxStep ({min}, {max})");
        Problem::new(
            "resize.expansion",
            format_args!("minStep {min}, maxStep {max}"),
            reason,
            "{minStep: 2Gi, maxStep: 500Gi}",
        )
    })
}

/// A reserve that is more than there is.
pub(crate) fn reserve_above_maximum(reserved: u32, max: u32) -> Problem {
    let reason = format!("reservedActionsForEmergency must not be above maxActionsPerDay ({reserved}, {max})");
    Problem::new(
        "emergencyGrow",
        format_args!("reservedActionsForEmergency {reserved}, maxActionsPerDay {max}"),
        reason,
        "{maxActionsPerDay: 4, reservedActionsForEmergency: 1}",
    )
}

/// What is wrong with one object's settings of a volume on their own.
pub(super) fn validate(settings: &VolumeSettings) -> Vec<Problem> {
    let VolumeSettings {
        model: _,
        resize,
        request,
        limit,
        target_buffer,
        maintenance_window,
        emergency_grow,
    } = settings;
    let mut problems = Vec::new();
    if resize.is_some() && (request.is_some() || limit.is_some()) {
        problems.push(two_models());
    }
    let request = request.as_ref().map(|text| positive("request", text));
    let limit = limit.as_ref().map(|text| positive("limit", text));
    if let (Some(Ok(request)), Some(Ok(limit))) = (&request, &limit) {
        problems.extend(rising_sizes(*request, *limit));
    }
    problems.extend([request, limit].into_iter().flatten().filter_map(Result::err));
    problems.extend(target_buffer.and_then(|v| TARGET_BUFFER.check(v)));
    if let Some(resize) = resize {
        validate_resize(resize, &mut problems);
    }
    if let Some(window) = maintenance_window {
        validate_window(window, &mut problems);
    }
    if let Some(emergency) = emergency_grow {
        validate_emergency(emergency, &mut problems);
    }
    problems
}

fn validate_resize(resize: &Resize, problems: &mut Vec<Problem>) {
    let Resize {
        enabled: _,
        triggers,
        expansion,
        strategy,
    } = resize;
    if let Some(ResizeTriggers {
        usage_threshold,
        min_available: available,
        inode_threshold,
        time_to_full,
    }) = triggers
    {
        problems.extend(usage_threshold.and_then(|v| USAGE.check(v)));
        problems.extend(available.as_ref().and_then(|text| min_available(text).err()));
        problems.extend(inode_threshold.and_then(|v| INODES.check(v)));
        let time = time_to_full.as_ref().map(|text| duration("resize.triggers.timeToFull", text));
        problems.extend(time.and_then(Result::err));
    }
    if let Some(ResizeExpansion {
        step: step_text,
        min_step: min,
        max_step: max,
        limit,
    }) = expansion
    {
        problems.extend(step_text.as_ref().and_then(|text| step(text).err()));
        let (min, max) = (min.as_ref().map(min_step), max.as_ref().map(max_step));
        if let (Some(Ok(min)), Some(Ok(max))) = (&min, &max) {
            problems.extend(rising_steps(*min, *max));
        }
        problems.extend([min, max].into_iter().flatten().filter_map(Result::err));
        problems.extend(limit.as_ref().and_then(|text| positive("resize.expansion.limit", text).err()));
    }
    if let Some(ResizeStrategy {
        mode: _,
        max_actions_per_day,
        wal_safety_policy,
    }) = strategy
    {
        problems.extend(max_actions_per_day.and_then(|v| RESIZE_ACTIONS.check(v)));
        if let Some(WalSafetyPolicy {
            acknowledge_wal_risk: _,
            require_archive_healthy: _,
            max_pending_wal_files,
            max_slot_retention_bytes,
            alert_on_resize: _,
        }) = wal_safety_policy
        {
            problems.extend(max_pending_wal_files.and_then(|v| PENDING.check(v)));
            problems.extend(max_slot_retention_bytes.as_ref().and_then(|text| slot_retention(text).err()));
        }
    }
}

fn validate_window(window: &MaintenanceWindow, problems: &mut Vec<Problem>) {
    let MaintenanceWindow {
        schedule: cron,
        duration: long,
        timezone: zone,
    } = window;
    problems.extend(cron.as_ref().and_then(|text| schedule(text).err()));
    let long = long.as_ref().map(|text| duration("maintenanceWindow.duration", text));
    problems.extend(long.and_then(Result::err));
    problems.extend(zone.as_ref().and_then(|name| timezone(name).err()));
}

fn validate_emergency(emergency: &EmergencyGrow, problems: &mut Vec<Problem>) {
    let EmergencyGrow {
        enabled: _,
        critical_threshold,
        critical_minimum_free,
        exceed_limit_on_emergency: _,
        max_actions_per_day,
        reserved_actions_for_emergency,
    } = emergency;
    let before = problems.len();
    problems.extend(critical_threshold.and_then(|v| CRITICAL_THRESHOLD.check(v)));
    let free = critical_minimum_free.as_ref();
    problems.extend(free.and_then(|text| positive("emergencyGrow.criticalMinimumFree", text).err()));
    problems.extend(max_actions_per_day.and_then(|v| EMERGENCY_ACTIONS.check(v)));
    problems.extend(reserved_actions_for_emergency.and_then(|v| RESERVED.check(v)));
    if problems.len() == before
        && let (Some(max @ 1..), Some(reserved)) = (*max_actions_per_day, *reserved_actions_for_emergency)
        && reserved > max
    {
        problems.push(reserve_above_maximum(reserved.unsigned_abs(), max.unsigned_abs()));
    }
}
