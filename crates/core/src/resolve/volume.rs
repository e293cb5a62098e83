//! The settings of one volume: its model, and the fields that this model reads.

use csm_api::{Mode, Model, QuantityText, Role, Settings, StepText, VolumeSettings};
use csm_units::{Bytes, Percent};

use super::{Field, Layers, Origin, Raw, percent};
use crate::schedule::{Duration, Window};
use crate::validate::volume as read;
use crate::validate::{Bounded, Problem};
use crate::world::VolumeKey;

/// The volumes that a block of settings is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block<'a> {
    /// `storage`.
    Data,
    /// `walStorage`.
    Wal,
    /// The entry of `tablespaces` with this name, else the one named "*".
    Tablespace(&'a str),
}

/// The name of the entry for all tablespaces that have none.
pub(crate) const ANY_TABLESPACE: &str = "*";

impl<'a> Block<'a> {
    /// The block of a volume.
    pub fn new(key: &'a VolumeKey) -> Self {
        match key.role {
            Role::Data => Self::Data,
            Role::Wal => Self::Wal,
            Role::Tablespace => Self::Tablespace(key.tablespace.as_deref().unwrap_or_default()),
        }
    }

    /// What an object says of these volumes.
    pub fn of<'s>(&self, settings: &'s Settings) -> Option<&'s VolumeSettings> {
        match self {
            Self::Data => settings.storage.as_ref(),
            Self::Wal => settings.wal_storage.as_ref(),
            Self::Tablespace(name) => {
                let named = |wanted: &str| settings.tablespaces.iter().flatten().find(|t| t.name == wanted);
                named(name).or_else(|| named(ANY_TABLESPACE)).map(|t| &t.storage)
            }
        }
    }

    /// Where the fields stand in an object.
    pub fn path(&self) -> String {
        match self {
            Self::Data => "storage".to_owned(),
            Self::Wal => "walStorage".to_owned(),
            Self::Tablespace(name) => format!("tablespaces[{name}].storage"),
        }
    }
}

/// How one volume is sized.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeRules {
    /// The model; its origin is the object that chose it.
    pub model: Field<Model>,
    /// What the model reads.
    pub sizing: Sizing,
    /// `maintenanceWindow`, where one is set.
    pub window: Option<WindowRules>,
    /// `emergencyGrow`, where the model has one or somebody set it.
    pub emergency: Option<EmergencyRules>,
    /// Fields of other models that are set, and have no effect.
    pub ignored: Vec<&'static str>,
}

/// What a model reads, beyond what all volumes of a Cluster share.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // three a Cluster, shared
pub enum Sizing {
    /// `thresholds` and `expansion`.
    Thresholds,
    /// `resize`.
    Resize(ResizeRules),
    /// `request`, `limit`, `targetBuffer`.
    Target(TargetRules),
}

/// `resize`.
#[derive(Clone, Debug, PartialEq)]
pub struct ResizeRules {
    /// `enabled`.
    pub enabled: Field<bool>,
    /// `triggers.usageThreshold`.
    pub usage_threshold: Field<Percent>,
    /// `triggers.minAvailable`.
    pub min_available: Option<Field<Bytes>>,
    /// `triggers.inodeThreshold`.
    pub inode_threshold: Option<Field<Percent>>,
    /// `triggers.timeToFull`.
    pub time_to_full: Field<Duration>,
    /// `expansion.step`.
    pub step: Field<Step>,
    /// `expansion.minStep`.
    pub min_step: Field<Bytes>,
    /// `expansion.maxStep`, at least `minStep`.
    pub max_step: Field<Bytes>,
    /// `expansion.limit`.
    pub limit: Option<Field<Bytes>>,
    /// `strategy.mode`.
    pub mode: Field<Mode>,
    /// `strategy.maxActionsPerDay`; 0: no limit.
    pub max_actions: Field<u32>,
    /// `strategy.walSafetyPolicy`.
    pub wal_safety: WalSafetyRules,
}

/// `resize.expansion.step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Of the effective size.
    Share(Percent),
    /// As it is.
    Size(Bytes),
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Share(percent) => write!(f, "{}%", percent.get()),
            Self::Size(size) => size.fmt(f),
        }
    }
}

/// `resize.strategy.walSafetyPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub struct WalSafetyRules {
    /// `acknowledgeWALRisk`.
    pub acknowledged: Field<bool>,
    /// `requireArchiveHealthy`.
    pub require_archive_healthy: Field<bool>,
    /// `maxPendingWALFiles`; 0: no check.
    pub max_pending_files: Field<u32>,
    /// `maxSlotRetentionBytes`; 0: no check.
    pub max_slot_retention: Field<Bytes>,
    /// `alertOnResize`.
    pub alert_on_resize: Field<bool>,
}

/// `request`, `limit`, `targetBuffer`: request <= limit.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetRules {
    /// `request`.
    pub request: Field<Bytes>,
    /// `limit`.
    pub limit: Field<Bytes>,
    /// `targetBuffer`, 5 to 50.
    pub buffer: Field<Percent>,
}

/// `maintenanceWindow`.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowRules {
    /// When it is open.
    pub window: Window,
    /// `schedule`, as it was written.
    pub schedule: Field<String>,
    /// `duration`.
    pub duration: Field<Duration>,
    /// `timezone`.
    pub timezone: Field<String>,
}

/// `emergencyGrow`.
#[derive(Clone, Debug, PartialEq)]
pub struct EmergencyRules {
    /// `enabled`: whether it is in force.
    pub enabled: Field<bool>,
    /// `criticalThreshold`, 80 to 99.
    pub threshold: Field<Percent>,
    /// `criticalMinimumFree`; none: 1 GiB, or 5 percent of the member's size where that is less.
    pub minimum_free: Option<Field<Bytes>>,
    /// `exceedLimitOnEmergency`.
    pub exceed_limit: Field<bool>,
    /// `maxActionsPerDay`; 0: no limit.
    pub max_actions: Field<u32>,
    /// `reservedActionsForEmergency`.
    pub reserved: Field<u32>,
}

impl EmergencyRules {
    /// Of a member of this size.
    #[must_use]
    pub fn minimum_free_of(&self, size: Bytes) -> Bytes {
        self.minimum_free
            .as_ref()
            .map_or_else(|| Bytes::GIB.min(size.mul_div(5, 100)), |field| field.value)
    }
}

impl VolumeRules {
    /// The ceiling that the model itself sets: `limit`.
    #[must_use]
    pub fn limit(&self) -> Option<Bytes> {
        match &self.sizing {
            Sizing::Thresholds => None,
            Sizing::Resize(resize) => resize.limit.as_ref().map(|f| f.value),
            Sizing::Target(target) => Some(target.limit.value),
        }
    }

    /// Each effective field, from `path` on: its name, its value as a policy would say it, and where it comes from.
    #[must_use]
    pub fn fields(&self, path: &str) -> Vec<(String, String, Origin)> {
        let Self {
            model,
            sizing,
            window,
            emergency,
            ignored: _,
        } = self;
        let mut fields = Vec::new();
        let mut add = |name: &str, value: String, origin: &Origin| fields.push((format!("{path}.{name}"), value, origin.clone()));
        add("model", model.value.to_string(), &model.origin);
        match sizing {
            Sizing::Thresholds => {}
            Sizing::Resize(resize) => resize.fields(&mut add),
            Sizing::Target(TargetRules { request, limit, buffer }) => {
                add("request", request.value.to_string(), &request.origin);
                add("limit", limit.value.to_string(), &limit.origin);
                add("targetBuffer", buffer.value.get().to_string(), &buffer.origin);
            }
        }
        if let Some(WindowRules {
            window: _,
            schedule,
            duration,
            timezone,
        }) = window
        {
            add("maintenanceWindow.schedule", schedule.value.clone(), &schedule.origin);
            add("maintenanceWindow.duration", duration.value.to_string(), &duration.origin);
            add("maintenanceWindow.timezone", timezone.value.clone(), &timezone.origin);
        }
        if let Some(EmergencyRules {
            enabled,
            threshold,
            minimum_free,
            exceed_limit,
            max_actions,
            reserved,
        }) = emergency
        {
            let at = |name: &str| format!("emergencyGrow.{name}");
            add(&at("enabled"), enabled.value.to_string(), &enabled.origin);
            add(&at("criticalThreshold"), threshold.value.get().to_string(), &threshold.origin);
            match minimum_free {
                Some(size) => add(&at("criticalMinimumFree"), size.value.to_string(), &size.origin),
                None => add(&at("criticalMinimumFree"), "1Gi or 5 %".to_owned(), &Origin::built_in()),
            }
            add(&at("exceedLimitOnEmergency"), exceed_limit.value.to_string(), &exceed_limit.origin);
            add(&at("maxActionsPerDay"), max_actions.value.to_string(), &max_actions.origin);
            add(&at("reservedActionsForEmergency"), reserved.value.to_string(), &reserved.origin);
        }
        fields
    }
}

impl ResizeRules {
    fn fields(&self, add: &mut impl FnMut(&str, String, &Origin)) {
        let Self {
            enabled,
            usage_threshold,
            min_available,
            inode_threshold,
            time_to_full,
            step,
            min_step,
            max_step,
            limit,
            mode,
            max_actions,
            wal_safety,
        } = self;
        let WalSafetyRules {
            acknowledged,
            require_archive_healthy,
            max_pending_files,
            max_slot_retention,
            alert_on_resize,
        } = wal_safety;
        let none = || Origin::built_in();
        add("resize.enabled", enabled.value.to_string(), &enabled.origin);
        add(
            "resize.triggers.usageThreshold",
            usage_threshold.value.get().to_string(),
            &usage_threshold.origin,
        );
        match min_available {
            Some(size) => add("resize.triggers.minAvailable", size.value.to_string(), &size.origin),
            None => add("resize.triggers.minAvailable", "none".to_owned(), &none()),
        }
        match inode_threshold {
            Some(percent) => add("resize.triggers.inodeThreshold", percent.value.get().to_string(), &percent.origin),
            None => add("resize.triggers.inodeThreshold", "none".to_owned(), &none()),
        }
        add("resize.triggers.timeToFull", time_to_full.value.to_string(), &time_to_full.origin);
        add("resize.expansion.step", step.value.to_string(), &step.origin);
        if matches!(step.value, Step::Share(_)) {
            add("resize.expansion.minStep", min_step.value.to_string(), &min_step.origin);
            add("resize.expansion.maxStep", max_step.value.to_string(), &max_step.origin);
        }
        match limit {
            Some(size) => add("resize.expansion.limit", size.value.to_string(), &size.origin),
            None => add("resize.expansion.limit", "none".to_owned(), &none()),
        }
        add("resize.strategy.mode", mode.value.to_string(), &mode.origin);
        add(
            "resize.strategy.maxActionsPerDay",
            max_actions.value.to_string(),
            &max_actions.origin,
        );
        let mut wal = |name: &str, value: String, origin: &Origin| add(&format!("resize.strategy.walSafetyPolicy.{name}"), value, origin);
        wal("acknowledgeWALRisk", acknowledged.value.to_string(), &acknowledged.origin);
        wal(
            "requireArchiveHealthy",
            require_archive_healthy.value.to_string(),
            &require_archive_healthy.origin,
        );
        wal("maxPendingWALFiles", max_pending_files.value.to_string(), &max_pending_files.origin);
        wal(
            "maxSlotRetentionBytes",
            max_slot_retention.value.to_string(),
            &max_slot_retention.origin,
        );
        wal("alertOnResize", alert_on_resize.value.to_string(), &alert_on_resize.origin);
    }
}

/// Reads the fields of one volume from all layers.
struct Reader<'a> {
    layers: &'a Layers<'a>,
    block: Block<'a>,
    problems: Vec<Problem>,
}

/// Resolves the settings of one volume; `bound` is the most growths a day that any policy allows.
pub(super) fn resolve(layers: &Layers, block: Block, bound: Option<u32>) -> Result<VolumeRules, Vec<Problem>> {
    let mut reader = Reader {
        layers,
        block,
        problems: Vec::new(),
    };
    let rules = reader.rules(bound);
    if reader.problems.is_empty() {
        return Ok(rules);
    }
    let path = block.path();
    Err(reader.problems.into_iter().map(|p| p.under(&path)).collect())
}

impl Reader<'_> {
    /// What the most specific object that says it says, and its place among the objects.
    fn set<T>(&self, read: impl Fn(&VolumeSettings) -> Option<T>) -> Option<(T, Origin)> {
        self.layers.set(|s| self.block.of(s).and_then(&read))
    }

    /// What an object or the manager's defaults say, else what is built in.
    fn field<T>(&self, read: impl Fn(&VolumeSettings) -> Option<T>, built_in: T) -> (T, Origin) {
        self.layers.field(|s| self.block.of(s).and_then(&read), built_in, |v| v)
    }

    fn optional<T>(&self, read: impl Fn(&VolumeSettings) -> Option<T>) -> Option<(T, Origin)> {
        let (value, origin) = self.field(|v| read(v).map(Some), None);
        value.map(|value| (value, origin))
    }

    fn flag(&self, read: impl Fn(&VolumeSettings) -> Option<bool>, built_in: bool) -> Field<bool> {
        let (value, origin) = self.field(read, built_in);
        Field { value, origin }
    }

    /// What was read; where that failed, the problem is noted, and the result will not be used.
    fn note<T>(&mut self, read: Result<T, Problem>, origin: &Origin, otherwise: T) -> T {
        read.unwrap_or_else(|problem| {
            self.problems.push(problem.from([origin]));
            otherwise
        })
    }

    fn whole(&mut self, bounds: &Bounded, (value, origin): Raw) -> Field<u32> {
        self.problems.extend(bounds.check(value).map(|p| p.from([&origin])));
        Field {
            value: u32::try_from(value).unwrap_or(0),
            origin,
        }
    }

    fn size(
        &mut self,
        read: impl Fn(&VolumeSettings) -> Option<&QuantityText>,
        parse: impl Fn(&QuantityText) -> Result<Bytes, Problem>,
    ) -> Option<Field<Bytes>> {
        let (text, origin) = self.optional(|v| read(v).cloned())?;
        let value = self.note(parse(&text), &origin, Bytes::ZERO);
        Some(Field { value, origin })
    }

    fn rules(&mut self, bound: Option<u32>) -> VolumeRules {
        let model = self.model();
        let sizing = match model.value {
            Model::Thresholds => Sizing::Thresholds,
            Model::Resize => Sizing::Resize(self.resize()),
            Model::Target => self.target(&model.origin).map_or(Sizing::Thresholds, Sizing::Target),
        };
        VolumeRules {
            window: self.window(),
            emergency: self.emergency(model.value, bound),
            ignored: self.ignored(model.value),
            model,
            sizing,
        }
    }

    /// The model of the most specific object that says anything of it.
    fn model(&mut self) -> Field<Model> {
        let (chosen, origin) = self.field(
            |v| {
                let both = v.resize.is_some() && (v.request.is_some() || v.limit.is_some());
                read::model(v).map(|model| (model, both))
            },
            (Model::Thresholds, false),
        );
        let (value, both) = chosen;
        if both {
            self.problems.push(read::two_models().from([&origin]));
        }
        Field { value, origin }
    }

    /// Fields of other models that anybody set.
    fn ignored(&self, model: Model) -> Vec<&'static str> {
        let set = |read: fn(&VolumeSettings) -> bool| self.set(|v| read(v).then_some(())).is_some();
        let fields = [
            ("resize", Model::Resize, set(|v| v.resize.is_some())),
            ("request", Model::Target, set(|v| v.request.is_some())),
            ("limit", Model::Target, set(|v| v.limit.is_some())),
            ("targetBuffer", Model::Target, set(|v| v.target_buffer.is_some())),
        ];
        fields
            .into_iter()
            .filter(|(_, of, set)| *set && *of != model)
            .map(|(name, ..)| name)
            .collect()
    }

    fn resize(&mut self) -> ResizeRules {
        let triggers = |v: &VolumeSettings| v.resize.as_ref()?.triggers.clone();
        let expansion = |v: &VolumeSettings| v.resize.as_ref()?.expansion.clone();
        let strategy = |v: &VolumeSettings| v.resize.as_ref()?.strategy.clone();
        let wal = move |v: &VolumeSettings| strategy(v)?.wal_safety_policy;

        let enabled = self.flag(|v| v.resize.as_ref()?.enabled, false);
        let raw = self.field(|v| triggers(v)?.usage_threshold, 80);
        let usage_threshold = self.whole(&read::USAGE, raw).map(percent);
        let min_available = self.size(
            |v| v.resize.as_ref()?.triggers.as_ref()?.min_available.as_ref(),
            read::min_available,
        );
        let raw = self.optional(|v| triggers(v)?.inode_threshold);
        let inode_threshold = raw.map(|raw| self.whole(&read::INODES, raw).map(percent));
        let (text, origin) = self.field(|v| triggers(v)?.time_to_full, "2h".to_owned());
        let time_to_full = Field {
            value: self.note(read::duration("resize.triggers.timeToFull", &text), &origin, Duration::TWO_HOURS),
            origin,
        };
        let (mode, origin) = self.field(|v| strategy(v)?.mode, Mode::Standard);
        let mode = Field { value: mode, origin };

        let (text, origin) = self.field(|v| expansion(v)?.step, StepText::Text("20%".to_owned()));
        let step = Field {
            value: self.note(read::step(&text), &origin, Step::Size(Bytes::MIB)),
            origin,
        };
        let (min_step, max_step) = self.steps();
        let limit = self.size(
            |v| v.resize.as_ref()?.expansion.as_ref()?.limit.as_ref(),
            |t| read::positive("resize.expansion.limit", t),
        );
        let raw = self.field(|v| strategy(v)?.max_actions_per_day, 3);
        let max_actions = self.whole(&read::RESIZE_ACTIONS, raw);
        let raw = self.field(|v| wal(v)?.max_pending_wal_files, 100);
        let max_pending_files = self.whole(&read::PENDING, raw);
        let (text, origin) = self.field(|v| wal(v)?.max_slot_retention_bytes, QuantityText::from("0"));
        let max_slot_retention = Field {
            value: self.note(read::slot_retention(&text), &origin, Bytes::ZERO),
            origin,
        };
        ResizeRules {
            enabled,
            usage_threshold,
            min_available,
            inode_threshold,
            time_to_full,
            step,
            min_step,
            max_step,
            limit,
            mode,
            max_actions,
            wal_safety: WalSafetyRules {
                acknowledged: self.flag(|v| wal(v)?.acknowledge_wal_risk, false),
                require_archive_healthy: self.flag(|v| wal(v)?.require_archive_healthy, true),
                max_pending_files,
                max_slot_retention,
                alert_on_resize: self.flag(|v| wal(v)?.alert_on_resize, true),
            },
        }
    }

    /// `minStep` and `maxStep`: a default gives way to the other one where that is set.
    fn steps(&mut self) -> (Field<Bytes>, Field<Bytes>) {
        let min = self.step_bound(
            |v| v.resize.as_ref()?.expansion.as_ref()?.min_step.as_ref(),
            read::min_step,
            Bytes::gib(2),
        );
        let max = self.step_bound(
            |v| v.resize.as_ref()?.expansion.as_ref()?.max_step.as_ref(),
            read::max_step,
            Bytes::gib(500),
        );
        let ((mut min, min_is_set), (mut max, max_is_set)) = (min, max);
        match (min_is_set, max_is_set) {
            (true, false) => max.value = max.value.max(min.value),
            (false, _) => min.value = min.value.min(max.value),
            (true, true) => {
                let wrong = read::rising_steps(min.value, max.value);
                self.problems.extend(wrong.map(|p| p.from([&min.origin, &max.origin])));
            }
        }
        (min, max)
    }

    /// One of them, and whether an object set it.
    fn step_bound(
        &mut self,
        read: impl Fn(&VolumeSettings) -> Option<&QuantityText>,
        parse: impl Fn(&QuantityText) -> Result<Bytes, Problem>,
        built_in: Bytes,
    ) -> (Field<Bytes>, bool) {
        let is_set = self.set(|v| read(v).map(|_| ())).is_some();
        let found = self.size(read, parse);
        let field = found.unwrap_or_else(|| Field {
            value: built_in,
            origin: Origin::built_in(),
        });
        (field, is_set)
    }

    fn target(&mut self, chosen_by: &Origin) -> Option<TargetRules> {
        let request = self.size(|v| v.request.as_ref(), |t| read::positive("request", t));
        let limit = self.size(|v| v.limit.as_ref(), |t| read::positive("limit", t));
        let raw = self.field(|v| v.target_buffer, 20);
        let buffer = self.whole(&read::TARGET_BUFFER, raw).map(percent);
        match (request, limit) {
            (Some(request), Some(limit)) => {
                let wrong = read::rising_sizes(request.value, limit.value);
                self.problems.extend(wrong.map(|p| p.from([&request.origin, &limit.origin])));
                Some(TargetRules { request, limit, buffer })
            }
            (request, limit) => {
                let from = request.or(limit).map_or_else(|| chosen_by.clone(), |field| field.origin);
                self.problems.push(read::request_and_limit().from([&from]));
                None
            }
        }
    }

    fn window(&mut self) -> Option<WindowRules> {
        self.optional(|v| v.maintenance_window.as_ref().map(|_| ()))?;
        let (schedule, from) = self.field(|v| v.maintenance_window.as_ref()?.schedule.clone(), "0 3 * * *".to_owned());
        let schedule = Field {
            value: schedule,
            origin: from,
        };
        let (text, origin) = self.field(|v| v.maintenance_window.as_ref()?.duration.clone(), "2h".to_owned());
        let duration = Field {
            value: self.note(read::duration("maintenanceWindow.duration", &text), &origin, Duration::TWO_HOURS),
            origin,
        };
        let (timezone, from) = self.field(|v| v.maintenance_window.as_ref()?.timezone.clone(), "UTC".to_owned());
        let timezone = Field {
            value: timezone,
            origin: from,
        };
        let cron = read::schedule(&schedule.value);
        let zone = read::timezone(&timezone.value);
        match (cron, zone) {
            (Ok(cron), Ok(zone)) => Some(WindowRules {
                window: Window::new(cron, duration.value, zone),
                schedule,
                duration,
                timezone,
            }),
            (cron, zone) => {
                self.problems.extend(cron.err().map(|p| p.from([&schedule.origin])));
                self.problems.extend(zone.err().map(|p| p.from([&timezone.origin])));
                None
            }
        }
    }

    /// In force by default in model Target; elsewhere where anybody says so, even as `{}`.
    fn emergency(&mut self, model: Model, bound: Option<u32>) -> Option<EmergencyRules> {
        let given = self.optional(|v| v.emergency_grow.as_ref().map(|_| ())).is_some();
        if model != Model::Target && !given {
            return None;
        }
        let emergency = |v: &VolumeSettings| v.emergency_grow.clone();
        let enabled = self.flag(|v| emergency(v)?.enabled, true);
        let raw = self.field(|v| emergency(v)?.critical_threshold, 95);
        let threshold = self.whole(&read::CRITICAL_THRESHOLD, raw).map(percent);
        let minimum_free = self.size(
            |v| v.emergency_grow.as_ref()?.critical_minimum_free.as_ref(),
            |t| read::positive("emergencyGrow.criticalMinimumFree", t),
        );
        let raw = self.field(|v| emergency(v)?.max_actions_per_day, 4);
        let max_actions = self.whole(&read::EMERGENCY_ACTIONS, raw);
        let reserved = self.reserved(&max_actions, bound);
        Some(EmergencyRules {
            enabled,
            threshold,
            minimum_free,
            exceed_limit: self.flag(|v| emergency(v)?.exceed_limit_on_emergency, false),
            max_actions,
            reserved,
        })
    }

    /// What is kept for emergencies. A default gives way; so does a reserve of a less specific object than the maximum.
    fn reserved(&mut self, max_actions: &Field<u32>, bound: Option<u32>) -> Field<u32> {
        let reserve = |v: &VolumeSettings| v.emergency_grow.as_ref()?.reserved_actions_for_emergency;
        let place = |of: &dyn Fn(&VolumeSettings) -> bool| self.layers.place(|s| self.block.of(s).is_some_and(of));
        let reserve_at = place(&|v| reserve(v).is_some());
        let max_at = place(&|v| v.emergency_grow.as_ref().is_some_and(|e| e.max_actions_per_day.is_some()));
        let raw = self.field(reserve, 1);
        let mut reserved = self.whole(&read::RESERVED, raw);
        let max = max_actions.value;
        if reserve_at.is_none() {
            let effective = bound.map_or(max, |b| if max == 0 { b } else { max.min(b) });
            if effective == 1 {
                reserved.value = 0;
            }
        } else if max_at < reserve_at && max_at.is_some() && max > 0 {
            reserved.value = reserved.value.min(max);
        } else if max > 0 && reserved.value > max {
            let wrong = read::reserve_above_maximum(reserved.value, max);
            self.problems.push(wrong.from([&reserved.origin, &max_actions.origin]));
        }
        reserved
    }
}
