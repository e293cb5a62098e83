//! Reads the settings of one volume: its model, and the fields that this model reads.

use csm_api::{
    EmergencyGrow, MaintenanceWindow, Mode, Model, QuantityText, ResizeExpansion, ResizeStrategy, ResizeTriggers, Role, Settings, StepText,
    VolumeSettings,
};
use csm_units::Bytes;

use super::rules::{EmergencyRules, ResizeRules, Sizing, Step, TargetRules, VolumeRules, WalSafetyRules, WindowRules};
use super::{Field, Layers, Origin, bounded, percent};
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

fn triggers(settings: &VolumeSettings) -> Option<&ResizeTriggers> {
    settings.resize.as_ref()?.triggers.as_ref()
}

fn expansion(settings: &VolumeSettings) -> Option<&ResizeExpansion> {
    settings.resize.as_ref()?.expansion.as_ref()
}

fn strategy(settings: &VolumeSettings) -> Option<&ResizeStrategy> {
    settings.resize.as_ref()?.strategy.as_ref()
}

fn emergency(settings: &VolumeSettings) -> Option<&EmergencyGrow> {
    settings.emergency_grow.as_ref()
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
    /// Whether an object sets it.
    fn is_set<T>(&self, read: impl Fn(&VolumeSettings) -> Option<T>) -> bool {
        self.layers.set(|s| self.block.of(s).and_then(&read)).is_some()
    }

    /// What an object or the manager's defaults say, else what is built in.
    fn field<T>(&self, read: impl Fn(&VolumeSettings) -> Option<T>, built_in: T) -> Field<T> {
        let (value, origin) = self.layers.field(|s| self.block.of(s).and_then(&read), built_in, |v| v);
        Field { value, origin }
    }

    /// What an object or the manager's defaults say.
    fn optional<T>(&self, read: impl Fn(&VolumeSettings) -> Option<T>) -> Option<Field<T>> {
        let Field { value, origin } = self.field(|v| read(v).map(Some), None);
        value.map(|value| Field { value, origin })
    }

    /// What a field's text means; where it means nothing, the problem is noted, and the result will not be used.
    fn parse<S, T>(&mut self, field: Field<S>, parse: impl FnOnce(&S) -> Result<T, Problem>, otherwise: T) -> Field<T> {
        let Field { value, origin } = field;
        let value = parse(&value).unwrap_or_else(|problem| {
            self.problems.push(problem.from([&origin]));
            otherwise
        });
        Field { value, origin }
    }

    /// A whole number within its bounds.
    fn whole(&mut self, bounds: &Bounded, read: impl Fn(&VolumeSettings) -> Option<i32>, built_in: i32) -> Field<u32> {
        let Field { value, origin } = self.field(read, built_in);
        bounded(bounds, (value, origin), &mut self.problems)
    }

    fn size(
        &mut self,
        read: impl Fn(&VolumeSettings) -> Option<&QuantityText>,
        parse: impl Fn(&QuantityText) -> Result<Bytes, Problem>,
    ) -> Option<Field<Bytes>> {
        let text = self.optional(|v| read(v).cloned())?;
        Some(self.parse(text, parse, Bytes::ZERO))
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
        let Field { value, origin } = self.field(
            |v| {
                let both = v.resize.is_some() && (v.request.is_some() || v.limit.is_some());
                read::model(v).map(|model| (model, both))
            },
            (Model::Thresholds, false),
        );
        let (value, both) = value;
        if both {
            self.problems.push(read::two_models().from([&origin]));
        }
        Field { value, origin }
    }

    /// Fields of other models that anybody set.
    fn ignored(&self, model: Model) -> Vec<&'static str> {
        let set = |read: fn(&VolumeSettings) -> bool| self.is_set(|v| read(v).then_some(()));
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
        let enabled = self.field(|v| v.resize.as_ref()?.enabled, false);
        let usage_threshold = self.whole(&read::USAGE, |v| triggers(v)?.usage_threshold, 80).map(percent);
        let min_available = self.size(|v| triggers(v)?.min_available.as_ref(), read::min_available);
        let inodes = self.optional(|v| triggers(v)?.inode_threshold);
        let inode_threshold = inodes.map(|f| bounded(&read::INODES, (f.value, f.origin), &mut self.problems).map(percent));
        let text = self.field(|v| triggers(v)?.time_to_full.clone(), "2h".to_owned());
        let time_to_full = self.parse(text, |t| read::duration("resize.triggers.timeToFull", t), Duration::TWO_HOURS);
        let text = self.field(|v| expansion(v)?.step.clone(), StepText::Text("20%".to_owned()));
        let step = self.parse(text, read::step, Step::Size(Bytes::MIB));
        let (min_step, max_step) = self.steps();
        ResizeRules {
            enabled,
            usage_threshold,
            min_available,
            inode_threshold,
            time_to_full,
            step,
            min_step,
            max_step,
            limit: self.size(|v| expansion(v)?.limit.as_ref(), |t| read::positive("resize.expansion.limit", t)),
            mode: self.field(|v| strategy(v)?.mode, Mode::Standard),
            max_actions: self.whole(&read::RESIZE_ACTIONS, |v| strategy(v)?.max_actions_per_day, 3),
            wal_safety: self.wal_safety(),
        }
    }

    fn wal_safety(&mut self) -> WalSafetyRules {
        let wal = |v: &VolumeSettings| strategy(v)?.wal_safety_policy.clone();
        let slot_retention = self.field(|v| wal(v)?.max_slot_retention_bytes, QuantityText::from("0"));
        WalSafetyRules {
            acknowledged: self.field(|v| wal(v)?.acknowledge_wal_risk, false),
            require_archive_healthy: self.field(|v| wal(v)?.require_archive_healthy, true),
            max_pending_files: self.whole(&read::PENDING, |v| wal(v)?.max_pending_wal_files, 100),
            max_slot_retention: self.parse(slot_retention, read::slot_retention, Bytes::ZERO),
            alert_on_resize: self.field(|v| wal(v)?.alert_on_resize, true),
        }
    }

    /// `minStep` and `maxStep`: a default gives way to the other one where that is set.
    fn steps(&mut self) -> (Field<Bytes>, Field<Bytes>) {
        let (mut min, min_is_set) = self.step_bound(|v| expansion(v)?.min_step.as_ref(), read::min_step, Bytes::gib(2));
        let (mut max, max_is_set) = self.step_bound(|v| expansion(v)?.max_step.as_ref(), read::max_step, Bytes::gib(500));
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
        let is_set = self.is_set(|v| read(v).map(|_| ()));
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
        let buffer = self.whole(&read::TARGET_BUFFER, |v| v.target_buffer, 20).map(percent);
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
        fn window(v: &VolumeSettings) -> Option<&MaintenanceWindow> {
            v.maintenance_window.as_ref()
        }
        self.optional(|v| window(v).map(|_| ()))?;
        let schedule = self.field(|v| window(v)?.schedule.clone(), "0 3 * * *".to_owned());
        let text = self.field(|v| window(v)?.duration.clone(), "2h".to_owned());
        let duration = self.parse(text, |t| read::duration("maintenanceWindow.duration", t), Duration::TWO_HOURS);
        let timezone = self.field(|v| window(v)?.timezone.clone(), "UTC".to_owned());
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
        let given = self.optional(|v| emergency(v).map(|_| ())).is_some();
        if model != Model::Target && !given {
            return None;
        }
        let threshold = self.whole(&read::CRITICAL_THRESHOLD, |v| emergency(v)?.critical_threshold, 95);
        let minimum_free = self.size(
            |v| emergency(v)?.critical_minimum_free.as_ref(),
            |t| read::positive("emergencyGrow.criticalMinimumFree", t),
        );
        let max_actions = self.whole(&read::EMERGENCY_ACTIONS, |v| emergency(v)?.max_actions_per_day, 4);
        Some(EmergencyRules {
            enabled: self.field(|v| emergency(v)?.enabled, true),
            threshold: threshold.map(percent),
            minimum_free,
            exceed_limit: self.field(|v| emergency(v)?.exceed_limit_on_emergency, false),
            reserved: self.reserved(&max_actions, bound),
            max_actions,
        })
    }

    /// What is kept for emergencies. A default gives way; so does a reserve of a less specific object than the maximum.
    fn reserved(&mut self, max_actions: &Field<u32>, bound: Option<u32>) -> Field<u32> {
        let reserve = |v: &VolumeSettings| emergency(v)?.reserved_actions_for_emergency;
        let place = |of: &dyn Fn(&VolumeSettings) -> bool| self.layers.place(|s| self.block.of(s).is_some_and(of));
        let reserve_at = place(&|v| reserve(v).is_some());
        let max_at = place(&|v| emergency(v).is_some_and(|e| e.max_actions_per_day.is_some()));
        let mut reserved = self.whole(&read::RESERVED, reserve, 1);
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
