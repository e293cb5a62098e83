use csm_api::Reason;
use jiff::Timestamp;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::resolve::WindowRules;
use crate::view::{View, Want};

/// Gate 20: planned growth waits for the maintenance window.
pub(crate) const GATE: Gate = Gate {
    lets_catch_up: true,
    lets_runway: |_| true,
    opens_at: Some(opens_at),
    ..Gate::new(Reason::MaintenanceWindowClosed, holds, inputs)
};

fn rules<'a>(view: &View<'a>) -> Option<&'a WindowRules> {
    view.rules?.window.as_ref()
}

fn opens_at(view: &View, want: &Want, from: Timestamp) -> Option<Timestamp> {
    let window = &rules(view).filter(|_| want.is_planned())?.window;
    (!window.is_open(from)).then(|| window.next_open(from).unwrap_or(Timestamp::MAX))
}

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    let opens = opens_at(view, want?, view.now())?;
    let cause = Cause::Window {
        at: Some(opens).filter(|at| *at < Timestamp::MAX),
    };
    Some(Held::new(Reason::MaintenanceWindowClosed, cause))
}

fn inputs(view: &View) -> Inputs {
    let Some(WindowRules {
        window,
        schedule,
        duration,
        timezone,
    }) = rules(view)
    else {
        return vec![("maintenanceWindow", "none, always open".to_owned())];
    };
    let now = view.now();
    vec![
        ("maintenanceWindow.schedule", schedule.value.clone()),
        ("maintenanceWindow.duration", duration.value.to_string()),
        ("maintenanceWindow.timezone", timezone.value.clone()),
        ("openUntil", super::moment(window.open(now), "closed")),
        ("nextFiring", super::moment(window.next_firing(now), "never")),
    ]
}
