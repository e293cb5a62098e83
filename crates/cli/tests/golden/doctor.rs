//! What `doctor` finds: each misconfiguration alone, all of them together, and nothing on a sound cluster.

use std::collections::BTreeMap;

use csm_cnpg::PostgresConfiguration;
use k8s_openapi::api::core::v1::ResourceQuota;
use kubectl_cnpg_storage::args::Format;
use kubectl_cnpg_storage::cmds::doctor;
use kubectl_cnpg_storage::doctor::{Check, Level, Subject, examine};
use kubectl_cnpg_storage::read::{Allowed, Manager, NEEDED, Surroundings, Trusted, Webhook, WebhookKind};
use kubectl_cnpg_storage::thought::think;
use serde_json::json;

use crate::cases;
use crate::fixture::{Fixture, MIB, ago, now, of};
use crate::{shown, view};

/// A cluster, and what stands around it.
struct Scene {
    fixture: Fixture,
    around: Surroundings,
}

impl Scene {
    /// Three instances with a WAL volume, and settings that suit it.
    fn sound() -> Self {
        let webhook = |kind| Webhook {
            kind,
            trusted: Trusted::Yes,
        };
        let allowed = |permission| Allowed { permission, allowed: true };
        Self {
            fixture: cases::balanced(Fixture::new()),
            around: Surroundings {
                quotas: Some(vec![quota("100Gi")]),
                service_account: "cnpg-storage-manager/cnpg-storage-manager".to_owned(),
                permissions: Some(NEEDED.map(allowed).to_vec()),
                webhooks: vec![webhook(WebhookKind::Validating), webhook(WebhookKind::Mutating)],
            },
        }
        .parameter("max_slot_wal_keep_size", "2GB")
        .archives(true)
        .wal(&json!({"archiveHealthy": true, "pendingWALFiles": 0, "inactiveSlotCount": 0, "lastArchivedTime": ago(40)}))
    }

    fn archives(mut self, whether: bool) -> Self {
        let cluster = self.fixture.facts.clusters.first_mut().expect("a cluster");
        cluster.spec.backup = whether.then(|| of(json!({"barmanObjectStore": {}})));
        self
    }

    /// What the manager says of the primary.
    fn wal(mut self, health: &serde_json::Value) -> Self {
        let status = self.fixture.facts.storages.first_mut().and_then(|s| s.status.as_mut());
        let disks = status.and_then(|s| s.disk_status.as_mut()).expect("figures");
        disks.instances.get_mut("billing-1").expect("the primary").wal_health = Some(of(health.clone()));
        self
    }

    fn parameter(mut self, name: &str, value: &str) -> Self {
        let cluster = self.fixture.facts.clusters.first_mut().expect("a cluster");
        let configuration = cluster.spec.postgresql.get_or_insert_with(PostgresConfiguration::default);
        configuration.parameters.insert(name.to_owned(), value.to_owned());
        self
    }

    fn without_parameters(mut self) -> Self {
        let cluster = self.fixture.facts.clusters.first_mut().expect("a cluster");
        cluster.spec.postgresql = Some(PostgresConfiguration {
            parameters: BTreeMap::new(),
        });
        self
    }

    fn class(mut self, provisioner: &str, expandable: bool) -> Self {
        self.fixture.details.classes = Some(vec![of(json!({
            "metadata": {"name": "fast"}, "provisioner": provisioner, "allowVolumeExpansion": expandable,
        }))]);
        self
    }

    fn found(&self) -> Vec<(Level, Check)> {
        let Fixture { facts, details } = &self.fixture;
        let thought = think(facts, details, now()).expect("a cluster");
        let diagnosis = examine(&Subject {
            facts,
            details,
            surroundings: &self.around,
            thought: &thought,
            now: now(),
        });
        // Nobody asks the primary while the manager is away.
        if !facts.manager.is_away() {
            assert_eq!(diagnosis.not_checked, []);
        }
        diagnosis.findings.iter().map(|f| (f.level, f.check)).collect()
    }
}

fn quota(hard: &str) -> ResourceQuota {
    of(json!({"metadata": {"name": "storage"},
        "status": {"hard": {"requests.storage": hard}, "used": {"requests.storage": "64Gi"}}}))
}

/// A misconfiguration, and what is to be found of it.
type Case = (&'static str, fn(Scene) -> Scene, &'static [(Level, Check)]);

const CASES: &[Case] = &[
    (
        "the manager has stopped",
        |mut scene| {
            scene.fixture.facts.manager = Manager::Stopped { renewed: None };
            // What it last wrote is an hour old, and says nothing of kubelets.
            scene
        },
        &[(Level::Problem, Check::Manager)],
    ),
    (
        "it may not patch PVCs",
        |mut scene| {
            let permissions = scene.around.permissions.as_mut().expect("they are known");
            let patch = permissions
                .iter_mut()
                .find(|p| (p.permission.resource, p.permission.verb) == ("persistentvolumeclaims", "patch"));
            patch.expect("it is needed").allowed = false;
            scene
        },
        &[(Level::Problem, Check::Permissions)],
    ),
    (
        "a kubelet says nothing",
        |mut scene| {
            let status = scene.fixture.facts.storages.first_mut().and_then(|s| s.status.as_mut());
            let disks = status.and_then(|s| s.disk_status.as_mut()).expect("figures");
            disks.instances.remove("billing-3");
            scene
        },
        &[(Level::Problem, Check::Kubelets), (Level::Problem, Check::Kubelets)],
    ),
    (
        "the webhook's authority is missing",
        |mut scene| {
            scene.around.webhooks[0].trusted = Trusted::NoAuthority;
            scene
        },
        &[(Level::Problem, Check::Webhook)],
    ),
    (
        "nobody serves the webhook, and the other is not installed",
        |mut scene| {
            scene.around.webhooks[0].trusted = Trusted::Missing;
            scene.around.webhooks[1].trusted = Trusted::NobodyServes {
                service: "cnpg-storage-manager/cnpg-storage-manager-webhook".to_owned(),
            };
            scene
        },
        &[(Level::Problem, Check::Webhook), (Level::Warning, Check::Webhook)],
    ),
    (
        "no policy",
        |mut scene| {
            scene.fixture.details.policies.clear();
            scene
        },
        &[(Level::Warning, Check::Policy)],
    ),
    (
        "two policies of one rank",
        |mut scene| {
            scene.fixture = scene.fixture.policy("other", &json!({"expansion": {"maxSize": "90Gi"}}));
            scene
        },
        &[(Level::Problem, Check::Policy)],
    ),
    (
        "a class that cannot expand volumes",
        |scene| scene.class("ebs.csi.aws.com", false),
        &[(Level::Problem, Check::StorageClass), (Level::Problem, Check::StorageClass)],
    ),
    (
        "directories of a node's disk",
        |scene| scene.class("rancher.io/local-path", true),
        &[(Level::Problem, Check::StorageClass), (Level::Problem, Check::StorageClass)],
    ),
    (
        "volumes may not be resized in use",
        |mut scene| {
            let cluster = scene.fixture.facts.clusters.first_mut().expect("a cluster");
            cluster.spec.storage.as_mut().expect("storage").resize_in_use_volumes = Some(false);
            scene
        },
        &[(Level::Problem, Check::ResizeInUseVolumes)],
    ),
    (
        "no room in the quota",
        |mut scene| {
            // 14 GiB are left: enough for wal, and not for data.
            scene.around.quotas = Some(vec![quota("78Gi")]);
            scene
        },
        &[(Level::Warning, Check::Quota)],
    ),
    (
        "max_wal_size larger than the volume",
        |scene| scene.parameter("max_wal_size", "8GB"),
        &[(Level::Problem, Check::WalSettings)],
    ),
    (
        "wal_keep_size of most of the volume",
        |scene| scene.parameter("wal_keep_size", "3000"),
        &[(Level::Warning, Check::WalSettings)],
    ),
    ("slots without a limit", Scene::without_parameters, &[(Level::Advice, Check::Slots)]),
    (
        "a limit for slots that never comes",
        |scene| scene.parameter("max_slot_wal_keep_size", "4GB"),
        &[(Level::Warning, Check::Slots)],
    ),
    (
        "an abandoned slot",
        |scene| {
            scene.wal(
                &json!({"archiveHealthy": true, "pendingWALFiles": 0, "inactiveSlotCount": 2, "inactiveSlots": [
                    {"slotName": "analytics", "retentionBytes": 900 * MIB}, {"slotName": "small", "retentionBytes": 300 * MIB},
                ]}),
            )
        },
        &[(Level::Warning, Check::Slots)],
    ),
    (
        "archiving fails",
        |scene| {
            scene.wal(&json!({"archiveHealthy": false, "pendingWALFiles": 37, "inactiveSlotCount": 0,
                "lastArchivedTime": ago(4000), "lastFailedTime": ago(12)}))
        },
        &[(Level::Problem, Check::Archiving)],
    ),
    ("no archive", |scene| scene.archives(false), &[(Level::Advice, Check::Archiving)]),
    (
        "data and WAL on one volume",
        |mut scene| {
            scene
                .fixture
                .facts
                .pvcs
                .retain(|pvc| !pvc.metadata.name.as_deref().unwrap_or_default().ends_with("-wal"));
            scene
        },
        &[(Level::Advice, Check::SingleVolume)],
    ),
];

#[test]
fn each_misconfiguration_is_found_and_nothing_else() {
    assert_eq!(Scene::sound().found(), [], "a sound cluster");
    for (name, misconfigure, expected) in CASES {
        assert_eq!(misconfigure(Scene::sound()).found(), *expected, "{name}");
    }
}

#[test]
fn findings_say_what_to_do() {
    for (name, chosen) in [
        ("doctor_sound", &[][..]),
        (
            "doctor_volumes",
            &[
                "no room in the quota",
                "wal_keep_size of most of the volume",
                "volumes may not be resized in use",
            ],
        ),
        (
            "doctor_installation",
            &[
                "it may not patch PVCs",
                "a kubelet says nothing",
                "nobody serves the webhook, and the other is not installed",
            ],
        ),
        ("doctor_wal", &["archiving fails", "max_wal_size larger than the volume"]),
        ("doctor_slots", &["an abandoned slot"]),
        (
            "doctor_advice",
            &["data and WAL on one volume", "slots without a limit", "no archive"],
        ),
    ] {
        let cases = CASES.iter().filter(|(name, ..)| chosen.contains(name));
        let scene = cases.fold(Scene::sound(), |scene, (_, misconfigure, _)| misconfigure(scene));
        let Fixture { facts, details } = &scene.fixture;
        let answer = doctor(facts, details, &scene.around, true, &view(Format::Table, Some(110))).expect("an answer");
        insta::assert_snapshot!(name, shown(&answer));
    }
}

#[test]
fn what_cannot_be_looked_at_is_said() {
    let mut scene = Scene::sound();
    scene.fixture.details.classes = None;
    scene.fixture.facts.manager = Manager::Unknown;
    scene.around = Surroundings {
        webhooks: vec![Webhook {
            kind: WebhookKind::Validating,
            trusted: Trusted::Unknown,
        }],
        ..Surroundings::default()
    };
    let Fixture { facts, details } = &scene.fixture;
    let answer = doctor(facts, details, &scene.around, true, &view(Format::Table, None)).expect("an answer");
    insta::assert_snapshot!("doctor_not_checked", shown(&answer));
    let answer = doctor(facts, details, &scene.around, true, &view(Format::Json, None)).expect("an answer");
    let data: serde_json::Value = serde_json::from_str(&answer.text).expect("JSON");
    assert_eq!(data["notChecked"].as_array().map(Vec::len), Some(5), "{data}");
    assert_eq!(data["findings"], json!([]));
}
