//! Volume blocks: which model, which field of which object, which default gives way, and what does not validate.

use csm_api::{ClusterStoragePolicy, Model, Settings, StoragePolicy};
use csm_core::resolve::{Origin, Policy, Resolution, Resolved, VolumeRules, resolve};
use csm_core::validate::validate;
use csm_core::world::VolumeKey;
use rstest::rstest;

/// A ClusterStoragePolicy `fleet`, a StoragePolicy `shop/team` and the PostgresStorage, each where it says anything.
fn resolved(fleet: &str, team: &str, own: &str) -> Resolution {
    let object = |kind: &str, namespace: Option<&str>, name: &str, spec: &str| {
        let spec: serde_json::Value = serde_saphyr::from_str(spec).unwrap();
        serde_json::json!({
            "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": namespace}, "spec": spec,
        })
    };
    let fleet: ClusterStoragePolicy = serde_json::from_value(object("ClusterStoragePolicy", None, "fleet", fleet)).unwrap();
    let team: StoragePolicy = serde_json::from_value(object("StoragePolicy", Some("shop"), "team", team)).unwrap();
    let policies = [Policy::from_storage_policy(&team), Policy::from_cluster_storage_policy(&fleet)];
    let policies: Vec<&Policy> = policies.iter().collect();
    let own: Settings = serde_saphyr::from_str(own).unwrap();
    let origin = Origin::postgres_storage("shop", "orders");
    resolve(&policies, Some((&origin, &own)), &Settings::default())
}

fn good(resolution: Resolution) -> Resolved {
    match resolution {
        Resolution::Settings(resolved) => resolved,
        other => panic!("{other:?}"),
    }
}

fn data(fleet: &str, team: &str, own: &str) -> VolumeRules {
    good(resolved(fleet, team, own)).volumes.of(&VolumeKey::DATA).unwrap().clone()
}

/// A field of a volume: its value, and the name of the object that it comes from.
fn field(resolved: &Resolved, key: &VolumeKey, name: &str) -> (String, String) {
    let fields = resolved.fields_of(key);
    let (_, value, origin) = fields
        .iter()
        .find(|(n, _, _)| n.ends_with(name))
        .unwrap_or_else(|| panic!("{name}: {fields:#?}"));
    (value.clone(), origin.name.to_string())
}

const TARGET: &str = "storage: {request: 10Gi, limit: 100Gi}";
const RESIZE: &str = "storage: {resize: {enabled: true}}";

#[rstest]
#[case::nothing("{}", "{}", "{}", Model::Thresholds)]
#[case::target(TARGET, "{}", "{}", Model::Target)]
#[case::resize(RESIZE, "{}", "{}", Model::Resize)]
#[case::an_empty_block_is_enough("storage: {resize: {}}", "{}", "{}", Model::Resize)]
#[case::the_more_specific(RESIZE, TARGET, "{}", Model::Target)]
#[case::the_most_specific(RESIZE, TARGET, "storage: {resize: {}}", Model::Resize)]
#[case::back_to_thresholds(RESIZE, "storage: {model: Thresholds}", "{}", Model::Thresholds)]
#[case::outright(RESIZE, "storage: {model: Target, request: 1Gi, limit: 2Gi}", "{}", Model::Target)]
#[case::over_what_is_beside_it("{}", "storage: {model: Thresholds, request: 1Gi, limit: 2Gi}", "{}", Model::Thresholds)]
#[case::half_a_target(TARGET, "storage: {limit: 50Gi}", "{}", Model::Target)]
#[case::a_buffer_chooses_nothing(RESIZE, "storage: {targetBuffer: 30}", "{}", Model::Resize)]
#[case::a_window_chooses_nothing("{}", "storage: {maintenanceWindow: {}}", "{}", Model::Thresholds)]
#[case::an_emergency_chooses_nothing(RESIZE, "storage: {emergencyGrow: {}}", "{}", Model::Resize)]
#[case::of_another_volume("{}", "walStorage: {resize: {}}", "{}", Model::Thresholds)]
fn models(#[case] fleet: &str, #[case] team: &str, #[case] own: &str, #[case] model: Model) {
    assert_eq!(data(fleet, team, own).model.value, model);
}

#[test]
fn each_field_of_the_most_specific_object_that_sets_it() {
    let resolved = good(resolved(
        "storage: {resize: {enabled: true, triggers: {usageThreshold: 70, inodeThreshold: 91}, expansion: {step: 5Gi, limit: 900Gi}}}",
        "storage: {resize: {triggers: {usageThreshold: 75, minAvailable: 3Gi}, strategy: {mode: Predictive, maxActionsPerDay: 5}}}",
        "storage: {resize: {expansion: {step: 30%}, strategy: {walSafetyPolicy: {maxPendingWALFiles: 7}}}, emergencyGrow: {}}",
    ));
    for (name, value, origin) in [
        ("storage.model", "Resize", "orders"),
        ("resize.enabled", "true", "fleet"),
        ("usageThreshold", "75", "team"),
        ("minAvailable", "3Gi", "team"),
        ("inodeThreshold", "91", "fleet"),
        ("timeToFull", "2h", ""),
        ("expansion.step", "30%", "orders"),
        ("minStep", "2Gi", ""),
        ("maxStep", "500Gi", ""),
        ("expansion.limit", "900Gi", "fleet"),
        ("strategy.mode", "Predictive", "team"),
        ("strategy.maxActionsPerDay", "5", "team"),
        ("acknowledgeWALRisk", "false", ""),
        ("requireArchiveHealthy", "true", ""),
        ("maxPendingWALFiles", "7", "orders"),
        ("maxSlotRetentionBytes", "0", ""),
        ("alertOnResize", "true", ""),
        ("emergencyGrow.enabled", "true", ""),
        ("criticalThreshold", "95", ""),
        ("exceedLimitOnEmergency", "false", ""),
        ("emergencyGrow.maxActionsPerDay", "4", ""),
        ("reservedActionsForEmergency", "1", ""),
    ] {
        assert_eq!(
            field(&resolved, &VolumeKey::DATA, name),
            (value.to_owned(), origin.to_owned()),
            "{name}"
        );
    }
}

#[test]
fn fields_of_a_target() {
    let resolved = good(resolved(
        "storage: {request: 10Gi, limit: 100Gi, targetBuffer: 30}",
        "storage: {limit: 50Gi, maintenanceWindow: {timezone: Europe/Berlin}}",
        "storage: {maintenanceWindow: {duration: 90m}}",
    ));
    for (name, value, origin) in [
        ("storage.model", "Target", "team"),
        ("storage.request", "10Gi", "fleet"),
        ("storage.limit", "50Gi", "team"),
        ("targetBuffer", "30", "fleet"),
        ("maintenanceWindow.schedule", "0 3 * * *", ""),
        ("maintenanceWindow.duration", "1h30m", "orders"),
        ("maintenanceWindow.timezone", "Europe/Berlin", "team"),
        // On by default in this model.
        ("emergencyGrow.enabled", "true", ""),
    ] {
        assert_eq!(
            field(&resolved, &VolumeKey::DATA, name),
            (value.to_owned(), origin.to_owned()),
            "{name}"
        );
    }
    // Elsewhere it is not.
    assert!(data("{}", "{}", RESIZE).emergency.is_none());
    assert!(data("{}", "{}", TARGET).window.is_none());
}

/// Of each object the entry of that name counts, else its "*".
#[rstest]
#[case::star("a", "61")]
#[case::named("b", "73")]
#[case::named_in_the_less_specific("c", "71")]
fn tablespaces(#[case] name: &str, #[case] threshold: &str) {
    let entry = |name: &str, threshold: u8| format!("{{name: {name}, storage: {{resize: {{triggers: {{usageThreshold: {threshold}}}}}}}}}");
    let fleet = format!("tablespaces: [{}, {}]", entry("\"*\"", 61), entry("c", 62));
    let resolved = |team: &str| good(resolved(&fleet, team, "{}"));
    let team = match name {
        // Its entry "*" says nothing of the threshold.
        "a" => "tablespaces: [{name: \"*\", storage: {resize: {enabled: true}}}]".to_owned(),
        "b" => format!("tablespaces: [{}, {}]", entry("\"*\"", 72), entry("b", 73)),
        _ => format!("tablespaces: [{}]", entry("\"*\"", 71)),
    };
    let key = VolumeKey::tablespace(name);
    assert_eq!(field(&resolved(&team), &key, "usageThreshold").0, threshold);
    // An entry replaces nothing of the other objects.
    assert_eq!(field(&resolved("{}"), &VolumeKey::tablespace("c"), "usageThreshold").0, "62");
}

fn steps(expansion: &str) -> (String, String) {
    let resolved = good(resolved(
        "{}",
        &format!("storage: {{resize: {{expansion: {{{expansion}}}}}}}"),
        "{}",
    ));
    let of = |name: &str| field(&resolved, &VolumeKey::DATA, name).0;
    (of("minStep"), of("maxStep"))
}

#[rstest]
#[case("", "2Gi", "500Gi")]
#[case("maxStep: 1Gi", "1Gi", "1Gi")]
#[case("maxStep: 2Gi", "2Gi", "2Gi")]
#[case("minStep: 600Gi", "600Gi", "600Gi")]
#[case("minStep: 500Gi", "500Gi", "500Gi")]
#[case("minStep: 3Gi, maxStep: 3Gi", "3Gi", "3Gi")]
fn default_steps_give_way(#[case] expansion: &str, #[case] min: &str, #[case] max: &str) {
    assert_eq!(steps(expansion), (min.to_owned(), max.to_owned()));
}

/// The default gives way where the maximum is 1; one of a less specific object is cut to it.
#[rstest]
#[case::default("{}", "{}", 1)]
#[case::default_gives_way("{}", "maxActionsPerDay: 1", 0)]
#[case::no_limit("{}", "maxActionsPerDay: 0", 1)]
#[case::set("{}", "maxActionsPerDay: 3, reservedActionsForEmergency: 3", 3)]
#[case::cut("reservedActionsForEmergency: 5, maxActionsPerDay: 9", "maxActionsPerDay: 2", 2)]
#[case::not_cut_by_no_limit("reservedActionsForEmergency: 5, maxActionsPerDay: 9", "maxActionsPerDay: 0", 5)]
fn reserve(#[case] fleet: &str, #[case] team: &str, #[case] reserved: u32) {
    let block = |emergency: &str| {
        let emergency = emergency.trim_matches(['{', '}']);
        format!("storage: {{request: 1Gi, limit: 100Gi, emergencyGrow: {{{emergency}}}}}")
    };
    let rules = data(&block(fleet), &block(team), "{}");
    assert_eq!(rules.emergency.unwrap().reserved.value, reserved);
}

#[test]
fn a_bound_of_one_leaves_nothing_to_reserve() {
    let rules = data(&format!("{{bounds: {{maxActionsPerDay: 1}}, {TARGET}}}"), "{}", "{}");
    assert_eq!(rules.emergency.unwrap().reserved.value, 0);
}

#[test]
fn fields_of_other_models_are_ignored() {
    let ignored = |team: &str| data(RESIZE, team, "{}").ignored;
    assert!(ignored("{}").is_empty());
    assert_eq!(ignored("storage: {targetBuffer: 20}"), ["targetBuffer"]);
    assert_eq!(ignored(TARGET), ["resize"]);
    assert_eq!(ignored("storage: {model: Thresholds, limit: 5Gi}"), ["resize", "limit"]);
    assert!(ignored("storage: {maintenanceWindow: {}, emergencyGrow: {}}").is_empty());
}

/// A wrong block holds its own volume; what all volumes share holds all.
#[test]
fn a_wrong_block_is_its_own_volumes() {
    let resolved = good(resolved("{}", "walStorage: {request: 10Gi}", "{}"));
    assert!(resolved.volumes.of(&VolumeKey::DATA).is_ok());
    let problems = resolved.volumes.of(&VolumeKey::WAL).unwrap_err();
    let text = problems[0].to_string();
    assert!(
        text.contains("walStorage") && text.contains("needs both request and limit") && text.contains("shop/team"),
        "{text}"
    );
}

/// What is right in each object, and wrong after inheritance: the values' own objects are named.
#[rstest]
#[case::only_one("{}", "storage: {request: 10Gi}", "needs both request and limit", &["team"])]
#[case::outright("{}", "storage: {model: Target}", "needs both request and limit", &["team"])]
#[case::rising("storage: {request: 10Gi, limit: 20Gi}", "storage: {request: 30Gi}", "request must not be above limit (30Gi, 20Gi)", &["team", "fleet"])]
#[case::steps("storage: {resize: {expansion: {maxStep: 3Gi}}}", "storage: {resize: {expansion: {minStep: 4Gi}}}", "minStep must not be above maxStep (4Gi, 3Gi)", &["team", "fleet"])]
#[case::reserve("storage: {request: 1Gi, limit: 2Gi, emergencyGrow: {maxActionsPerDay: 2}}", "storage: {emergencyGrow: {reservedActionsForEmergency: 3}}", "reservedActionsForEmergency must not be above maxActionsPerDay (3, 2)", &["team", "fleet"])]
fn wrong_after_inheritance(#[case] fleet: &str, #[case] team: &str, #[case] says: &str, #[case] origins: &[&str]) {
    let resolved = good(resolved(fleet, team, "{}"));
    let problems = resolved.volumes.of(&VolumeKey::DATA).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    let text = problems[0].to_string();
    assert!(text.contains(says) && text.contains("storage"), "{text}");
    let names: Vec<&str> = problems[0].origins.iter().map(|o| &*o.name).collect();
    assert_eq!(names, origins);
}

#[test]
fn a_wrong_value_that_is_overridden_does_not_count() {
    let fleet = "storage: {resize: {triggers: {usageThreshold: 0}, expansion: {step: nonsense}}}";
    let team = "storage: {resize: {triggers: {usageThreshold: 50}, expansion: {step: 10%}}}";
    assert_eq!(data(fleet, team, "{}").model.value, Model::Resize);
    // Nor does one of a model that is not chosen.
    assert_eq!(data(fleet, TARGET, "{}").model.value, Model::Target);
}

/// The tightest of the bounds of all that match.
#[test]
fn bounds() {
    let of = |spec: &str| {
        let object = serde_saphyr::from_str::<serde_json::Value>(spec).unwrap();
        let policy: ClusterStoragePolicy = serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}, "spec": object})).unwrap();
        Policy::from_cluster_storage_policy(&policy)
    };
    let first = of("{selector: {matchLabels: {a: b}}, bounds: {maxSize: 2Ti, maxActionsPerDay: 3}}");
    let second = of("bounds: {maxSize: 1Ti, maxActionsPerDay: 6}");
    let Resolution::Settings(resolved) = resolve(&[&first, &second], None, &Settings::default()) else {
        panic!("they do not conflict");
    };
    assert_eq!(resolved.bounds.max_size.unwrap().value.to_string(), "1Ti");
    assert_eq!(resolved.bounds.max_actions.unwrap().value, 3);
    for (wrong, says) in [
        ("maxActionsPerDay: 0", "between 1 and 50"),
        ("maxActionsPerDay: 51", "between 1 and 50"),
        ("maxSize: 0", "positive"),
    ] {
        let policy = of(&format!("bounds: {{{wrong}}}"));
        assert!(policy.problems[0].to_string().contains(says));
        assert!(matches!(resolve(&[&policy], None, &Settings::default()), Resolution::Invalid(_)));
    }
}

/// One object on its own: each row of the table, by its block.
#[rstest]
#[case::usage_zero(
    "resize: {triggers: {usageThreshold: 0}}",
    "usageThreshold must be between 1 and 99 percent; leave it out for the default, set enabled: false to stop"
)]
#[case::usage_high("resize: {triggers: {usageThreshold: 100}}", "usageThreshold must be between 1 and 99")]
#[case::inodes_low("resize: {triggers: {inodeThreshold: 0}}", "inodeThreshold must be between 1 and 99")]
#[case::inodes_high("resize: {triggers: {inodeThreshold: 100}}", "inodeThreshold must be between 1 and 99")]
#[case::available(
    "resize: {triggers: {minAvailable: 1023Ki}}",
    "is not a quantity of 1Mi or more; write for example \"5Gi\""
)]
#[case::available_text("resize: {triggers: {minAvailable: 5GB}}", "is not a quantity of 1Mi or more")]
#[case::time("resize: {triggers: {timeToFull: soon}}", "timeToFull")]
#[case::time_zero("resize: {triggers: {timeToFull: 0s}}", "timeToFull")]
#[case::bare_step("resize: {expansion: {step: 20}}", "is a bare number; write \"20%\" or \"20Gi\"")]
#[case::step_zero(
    "resize: {expansion: {step: \"0\"}}",
    "is neither a percentage from 1% to 1000% nor a quantity of 1Mi or more"
)]
#[case::no_percent("resize: {expansion: {step: 0%}}", "is neither a percentage from 1% to 1000%")]
#[case::percent_high("resize: {expansion: {step: 1001%}}", "is neither a percentage from 1% to 1000%")]
#[case::percent_parts("resize: {expansion: {step: 1.5%}}", "is neither a percentage from 1% to 1000%")]
#[case::percent_negative("resize: {expansion: {step: \"-5%\"}}", "is neither a percentage from 1% to 1000%")]
#[case::small_step("resize: {expansion: {step: 1023Ki}}", "nor a quantity of 1Mi or more")]
#[case::least_step("resize: {expansion: {minStep: 1Ki}}", "minStep")]
#[case::largest_step("resize: {expansion: {maxStep: 1Ki}}", "maxStep")]
#[case::steps(
    "resize: {expansion: {minStep: 3Gi, maxStep: 2Gi}}",
    "minStep must not be above maxStep (3Gi, 2Gi)"
)]
#[case::limit("resize: {expansion: {limit: 0}}", "resize.expansion.limit: \"0\" is not a positive quantity")]
#[case::actions_low("resize: {strategy: {maxActionsPerDay: -1}}", "maxActionsPerDay must be between 0 and 50")]
#[case::actions_high("resize: {strategy: {maxActionsPerDay: 51}}", "maxActionsPerDay must be between 0 and 50")]
#[case::pending(
    "resize: {strategy: {walSafetyPolicy: {maxPendingWALFiles: -1}}}",
    "maxPendingWALFiles must be 0 or more"
)]
#[case::slots(
    "resize: {strategy: {walSafetyPolicy: {maxSlotRetentionBytes: much}}}",
    "is not a quantity of 0 or more"
)]
#[case::two_models(
    "{resize: {}, request: 1Gi}",
    "resize and request/limit are two models; set one of them in a volume block"
)]
#[case::two_models_by_limit("{resize: {}, limit: 1Gi}", "are two models")]
#[case::request("request: 0", "request: \"0\" is not a positive quantity")]
#[case::target_limit("limit: big", "limit: \"big\" is not a positive quantity")]
#[case::rising("{request: 3Gi, limit: 2Gi}", "request must not be above limit (3Gi, 2Gi)")]
#[case::buffer_low("targetBuffer: 4", "targetBuffer must be between 5 and 50 percent")]
#[case::buffer_high("targetBuffer: 51", "targetBuffer must be between 5 and 50 percent")]
#[case::cron("maintenanceWindow: {schedule: 61 * * * *}", "maintenanceWindow.schedule")]
#[case::never("maintenanceWindow: {schedule: 0 0 30 2 *}", "never fires")]
#[case::zone("maintenanceWindow: {timezone: Mars/Olympus}", "is no time zone")]
#[case::duration("maintenanceWindow: {duration: 2 hours}", "maintenanceWindow.duration")]
#[case::duration_zero("maintenanceWindow: {duration: 0h}", "maintenanceWindow.duration")]
#[case::critical_low("emergencyGrow: {criticalThreshold: 79}", "criticalThreshold must be between 80 and 99 percent")]
#[case::critical_high("emergencyGrow: {criticalThreshold: 100}", "criticalThreshold must be between 80 and 99 percent")]
#[case::free("emergencyGrow: {criticalMinimumFree: 0}", "criticalMinimumFree: \"0\" is not a positive quantity")]
#[case::emergencies("emergencyGrow: {maxActionsPerDay: 51}", "emergencyGrow.maxActionsPerDay must be between 0 and 50")]
#[case::reserved(
    "emergencyGrow: {reservedActionsForEmergency: 51}",
    "reservedActionsForEmergency must be between 0 and 50"
)]
#[case::reserve(
    "emergencyGrow: {maxActionsPerDay: 1, reservedActionsForEmergency: 2}",
    "reservedActionsForEmergency must not be above maxActionsPerDay (2, 1)"
)]
fn not_valid(#[case] block: &str, #[case] says: &str) {
    let block = if block.starts_with('{') {
        block.to_owned()
    } else {
        format!("{{{block}}}")
    };
    for (place, path) in [
        ("storage: BLOCK", "storage"),
        ("walStorage: BLOCK", "walStorage"),
        ("tablespaces: [{name: a, storage: BLOCK}]", "tablespaces[a].storage"),
    ] {
        let settings: Settings = serde_saphyr::from_str(&place.replace("BLOCK", &block)).unwrap();
        let problems = validate(&settings);
        assert_eq!(problems.len(), 1, "{problems:?}");
        let text = problems[0].to_string();
        assert!(text.contains(says) && text.starts_with(path), "{text}");
        assert!(problems[0].field.starts_with(path) && !problems[0].example.is_empty());
        // The manager says the same of it, where it is the volume's own.
        if place.starts_with("storage") && !block.contains("targetBuffer") {
            let resolution = resolved("{}", &place.replace("BLOCK", &block), "{}");
            assert!(good(resolution).volumes.of(&VolumeKey::DATA).is_err(), "{block}");
        }
    }
}

#[rstest]
#[case("resize: {triggers: {usageThreshold: 1, minAvailable: 1Mi, inodeThreshold: 99, timeToFull: 1s}}")]
#[case("resize: {expansion: {step: 1%, minStep: 1Mi, maxStep: 1Mi, limit: 1}}")]
#[case("resize: {expansion: {step: 1000%}}")]
#[case("resize: {expansion: {step: 1Mi}}")]
#[case("resize: {strategy: {maxActionsPerDay: 50, walSafetyPolicy: {maxPendingWALFiles: 0, maxSlotRetentionBytes: 0}}}")]
#[case("{request: 2Gi, limit: 2Gi, targetBuffer: 5}")]
#[case("{request: 2Gi, limit: 3Gi, targetBuffer: 50}")]
#[case("maintenanceWindow: {schedule: 30 0 3 * * 7, duration: 1h30m, timezone: America/St_Johns}")]
#[case("emergencyGrow: {criticalThreshold: 80, maxActionsPerDay: 0, reservedActionsForEmergency: 50}")]
#[case("emergencyGrow: {criticalThreshold: 99, criticalMinimumFree: 1, maxActionsPerDay: 2, reservedActionsForEmergency: 2}")]
fn valid(#[case] block: &str) {
    let block = if block.starts_with('{') {
        block.to_owned()
    } else {
        format!("{{{block}}}")
    };
    let settings: Settings = serde_saphyr::from_str(&format!("storage: {block}")).unwrap();
    assert_eq!(validate(&settings), []);
}
