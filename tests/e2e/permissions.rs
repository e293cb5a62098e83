//! The manager's requests in the audit log against the permissions that ship.

use anyhow::{Context as _, Result, ensure};
use csm_testkit::lab::audit::Entry;
use csm_testkit::manifest;
use serde::Deserialize;

use crate::manager::USER;

/// A rule of a Role or a ClusterRole.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    /// The objects that it is about; none: all.
    #[serde(default)]
    resource_names: Vec<String>,
    verbs: Vec<String>,
    /// Where it holds; none: everywhere.
    #[serde(skip)]
    namespace: Option<String>,
}

/// What every authenticated user may do, by Kubernetes' own roles `system:discovery` and `system:public-info-viewer`.
const EVERYBODY: [&str; 6] = ["/api", "/apis", "/openapi", "/version", "/healthz", "/readyz"];

/// What nobody may ever have to grant, but for single objects of a namespace by name.
const NEVER: [&str; 4] = ["secrets", "nodes/proxy", "pods/exec", "pods/attach"];

/// What is granted where WAL is to be relieved, and what of it the manager may use in namespaces of the tests that are about that.
const OPTIONAL: &str = "wal-cleanup.yaml";
const WITH_RELIEF: [&str; 2] = ["e2e-w0", "e2e-c06"];

/// Namespaces of the test that takes the permission to annotate pods away. The audit log tells of earlier runs, too.
const WITHOUT_NUDGES: &str = "e2e-c17b-";

/// The rules of these files of `deploy`.
fn rules(names: &[&str]) -> Result<Vec<Rule>> {
    let mut text = String::new();
    for name in names {
        let file = csm_tests::root().join("deploy").join(name);
        text += &std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        text += "\n---\n";
    }
    let mut rules = Vec::new();
    for document in manifest::documents(&text)? {
        let namespace = match document["kind"].as_str() {
            Some("ClusterRole") => None,
            Some("Role") => Some(
                document["metadata"]["namespace"]
                    .as_str()
                    .context("a Role without a namespace")?
                    .to_owned(),
            ),
            _ => continue,
        };
        for rule in document["rules"].as_array().context("a role without rules")? {
            let rule = Rule::deserialize(rule).with_context(|| format!("rule {rule}"))?;
            rules.push(Rule {
                namespace: namespace.clone(),
                ..rule
            });
        }
    }
    ensure!(!rules.is_empty(), "{names:?} have no rules");
    Ok(rules)
}

/// What everybody grants who installs the manager.
fn shipped() -> Result<Vec<Rule>> {
    let rules = rules(&["rbac.yaml", "webhook.yaml", "pod-logs.yaml"])?;
    for rule in &rules {
        let wide = rule
            .verbs
            .iter()
            .chain(&rule.resources)
            .chain(&rule.api_groups)
            .any(|word| word.contains('*'));
        let named = rule.namespace.is_some() && !rule.resource_names.is_empty();
        let never = !named && rule.resources.iter().any(|resource| NEVER.contains(&resource.as_str()));
        ensure!(!wide && !never, "deploy grants too much: {rule:?}");
    }
    Ok(rules)
}

impl Rule {
    fn permits(&self, entry: &Entry) -> bool {
        let resource = match entry.subresource.as_str() {
            "" => entry.resource.clone(),
            subresource => format!("{}/{subresource}", entry.resource),
        };
        let has = |list: &[String], word: &str| list.iter().any(|item| item == word);
        has(&self.api_groups, &entry.api_group)
            && has(&self.resources, &resource)
            && has(&self.verbs, &entry.verb)
            // A list and a watch of one object name it in their query.
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|name| *name == entry.name || entry.uri.contains(&format!("metadata.name%3D{name}"))))
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == entry.namespace)
    }
}

/// Checks all requests of the manager. Returns how many there were.
pub fn check(entries: &[Entry]) -> Result<usize> {
    let shipped = shipped()?;
    let relief = rules(&[OPTIONAL])?;
    let ours: Vec<&Entry> = entries.iter().filter(|entry| entry.user == USER).collect();
    for entry in &ours {
        let Entry {
            verb, uri, code, message, ..
        } = entry;
        // Whoever looks at a namespace that somebody deletes can come too late: that is no lack of a permission.
        let terminating = message.contains("because it is being terminated");
        // Nor is a quota that is used up.
        let quota = message.contains("exceeded quota");
        // Nor what a test took away.
        let withdrawn = verb == "patch" && entry.resource == "pods" && entry.namespace.starts_with(WITHOUT_NUDGES);
        // Logs are read where somebody grants it; a manager that is set to read them, and may not, goes by the rest.
        let optional = entry.resource == "pods" && entry.subresource == "log";
        ensure!(
            *code != 403 || terminating || quota || withdrawn || optional,
            "the manager was refused: {verb} {uri}: {message}"
        );
        let everybody = entry.resource.is_empty() && verb == "get" && EVERYBODY.iter().any(|path| uri.starts_with(path));
        let with_relief = WITH_RELIEF.iter().any(|begin| entry.namespace.starts_with(begin));
        let mut permitted = shipped.iter().chain(relief.iter().filter(|_| with_relief));
        ensure!(
            everybody || permitted.any(|rule| rule.permits(entry)),
            "deploy does not grant what the manager did: {verb} {uri} ({code})"
        );
    }
    Ok(ours.len())
}
