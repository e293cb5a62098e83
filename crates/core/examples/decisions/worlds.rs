//! Worlds to measure: a Cluster of three instances with two volumes of 100Gi each, with a ledger of ten operations, and all
//! that gates look at.

use csm_core::world::{Archiving, Fleet, Member, Operation, ProviderLimit, Sample, Slot, Volume, VolumeKey, WalHealth, World};
use csm_units::Bytes;
use jiff::SignedDuration;

use crate::support::{MemberExt as _, WorldExt as _, growth, member, noon, volume, world};

/// The model that is the default.
pub const THRESHOLDS: &str = "expansion: {maxSize: 1Ti}";

/// The resize model on both volumes, with all that holds a growth in use, none of which does; but for the dry run, which
/// is asked last.
pub fn resize(mode: &str, dry_run: bool) -> String {
    let volume = format!(
        "{{resize: {{enabled: true, triggers: {{minAvailable: 5Gi, inodeThreshold: 90, timeToFull: 10m}}, expansion: {{limit: 500Gi}}, \
         strategy: {{mode: {mode}, maxActionsPerDay: 3, walSafetyPolicy: {{maxSlotRetentionBytes: 50Gi}}}}}}, \
         maintenanceWindow: {{schedule: 0 12 * * *}}, emergencyGrow: {{}}}}"
    );
    format!("{{dryRun: {dry_run}, {THRESHOLDS}, storage: {volume}, walStorage: {volume}}}")
}

/// The request/limit model on both volumes.
pub const TARGET: &str = "{storage: {request: 10Gi, limit: 1Ti, maintenanceWindow: {}}, walStorage: {request: 10Gi, limit: 1Ti}}";

/// Managed by these settings; every volume is so many percent full.
pub fn cluster(percent: u64, settings: &str) -> World {
    world(Vec::new()).policy(settings).change(|world| {
        world.volumes = [VolumeKey::DATA, VolumeKey::WAL].map(|key| of(key, percent)).to_vec();
        world.operations = (0..10).map(operation).collect();
        world.fleet = Fleet {
            in_progress: 3,
            ahead: 0,
            limit: Some(10),
        };
        let cluster = &mut world.cluster;
        cluster.primary = Some("orders-1".into());
        cluster.wal = Some(WalHealth {
            archiving: Some(Archiving {
                last_archived: Some(noon() - SignedDuration::from_secs(40)),
                last_failed: None,
                pending: 2,
            }),
            slots: vec![Slot {
                name: "old".into(),
                active: false,
                retained: Bytes::gib(1),
            }],
        });
    })
}

fn of(key: VolumeKey, percent: u64) -> Volume {
    let member = |i: u64| {
        member(&format!("orders-{i}"), "100Gi", &Bytes::gib(percent).to_string()).change(|member| {
            member.pvc = format!("orders-{i}-{key}").into();
            member.uid = format!("uid-{i}-{key}").into();
            member.last_resize_at = Some(noon() - SignedDuration::from_hours(7));
            member.class.provider_limit = Some(ProviderLimit {
                max_actions: 4,
                period: SignedDuration::from_hours(24),
            });
        })
    };
    let members = (1..=3).map(member).collect();
    Volume {
        fallback_ceiling: Some(Bytes::gib(500)),
        ..volume(key, members)
    }
}

fn operation(i: i64) -> Operation {
    Operation {
        volume: if i % 2 == 0 { VolumeKey::DATA } else { VolumeKey::WAL },
        ..growth(noon() - SignedDuration::from_hours(7 * (i + 1)), "50Gi", "100Gi")
    }
}

/// A sample each half minute for an hour: 120 with the present one.
pub fn with_samples(mut world: World) -> World {
    let samples = |member: &mut Member| {
        let Some(present) = member.observation else { return };
        let sample = |i: i64| Sample {
            at: present.at - SignedDuration::from_secs(30 * i),
            used: present.used.saturating_sub(Bytes::mib(i.unsigned_abs() * 3 + i.unsigned_abs() % 7)),
        };
        member.history = (1..120).map(sample).collect();
    };
    world.volumes.iter_mut().flat_map(|v| &mut v.members).for_each(samples);
    world
}
