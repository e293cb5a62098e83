use csm_api::{Reason, Role};

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::view::{View, Want};

/// Gate 21, resize model: PGDATA and WAL share the volume, and nobody has acknowledged what growing it may hide.
pub(crate) const GATE: Gate = Gate {
    lets_catch_up: true,
    ..Gate::new(Reason::WalRiskNotAcknowledged, holds, inputs)
};

fn is_at_risk(view: &View) -> bool {
    let acknowledged = view.resize().is_none_or(|rules| rules.wal_safety.acknowledged.value);
    view.volume.key.role == Role::Data && !view.has_wal_volume() && !acknowledged
}

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    use csm_api::Urgency::{Emergency, Planned};
    let concerned = matches!(want?.urgency, Planned | Emergency);
    (concerned && is_at_risk(view)).then(|| Held::new(Reason::WalRiskNotAcknowledged, Cause::None))
}

fn inputs(view: &View) -> Inputs {
    if view.volume.key.role != Role::Data {
        return vec![("pgdata", "not on this volume".to_owned())];
    }
    let acknowledged = view.resize().map(|rules| rules.wal_safety.acknowledged.value.to_string());
    vec![
        (
            "walVolume",
            if view.has_wal_volume() { "separate" } else { "shared with data" }.to_owned(),
        ),
        ("acknowledgeWALRisk", acknowledged.unwrap_or_else(|| "not asked".to_owned())),
    ]
}
