//! What `doctor` asks about is what `deploy/rbac.yaml` grants.

use std::fs;

use k8s_openapi::api::rbac::v1::ClusterRole;
use kubectl_cnpg_storage::read::NEEDED;

#[test]
fn what_the_manager_is_said_to_need_is_granted() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/rbac.yaml");
    let text = fs::read_to_string(path).expect("deploy/rbac.yaml");
    let documents = text.split("\n---\n").filter(|document| document.contains("\nkind: ClusterRole\n"));
    let roles: Vec<ClusterRole> = documents.map(|d| serde_saphyr::from_str(d).expect("a ClusterRole")).collect();
    let rules: Vec<_> = roles.iter().flat_map(|role| role.rules.iter().flatten()).collect();
    assert!(!rules.is_empty());
    for needed in NEEDED {
        let has = |list: &Option<Vec<String>>, what: &str| list.iter().flatten().any(|item| item == what);
        let granted = rules.iter().any(|rule| {
            has(&rule.api_groups, needed.group) && has(&rule.resources, needed.resource) && rule.verbs.iter().any(|v| v == needed.verb)
        });
        assert!(granted, "{needed}");
    }
}
