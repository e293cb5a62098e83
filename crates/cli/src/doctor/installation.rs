//! Whether the manager runs, may do what it does, sees the volumes, and is asked by the API server.

use csm_core::world::{Limits, Member};
use jiff::SignedDuration;

use super::{Check, Diagnosis, Level, Subject};
use crate::figures::Trust;
use crate::read::{Allowed, Manager, Trusted};
use crate::render::{ago, moment_and_age};

pub(super) fn examine(subject: &Subject<'_>, diagnosis: &mut Diagnosis) {
    manager(subject, diagnosis);
    permissions(subject, diagnosis);
    kubelets(subject, diagnosis);
    webhooks(subject, diagnosis);
}

fn manager(subject: &Subject<'_>, diagnosis: &mut Diagnosis) {
    let fix = "Look at its pods: kubectl get pods -A -l app.kubernetes.io/name=cnpg-storage-manager, and their logs; docs/runbooks/manager-down.md";
    match &subject.facts.manager {
        Manager::Running { .. } | Manager::NotAsked => {}
        Manager::Unknown => diagnosis.skip(Check::Manager, "its lease cannot be read by you, or it runs without one"),
        Manager::Stopped { renewed } => {
            let since = renewed.map_or_else(
                || "nobody holds its lease".to_owned(),
                |at| format!("its lease was last renewed {}", moment_and_age(at, subject.now)),
            );
            diagnosis.add(
                Level::Problem,
                Check::Manager,
                format!("the manager does not run: {since}. Nothing is watched or grown"),
                fix,
            );
        }
        Manager::NoLease { name } => diagnosis.add(
            Level::Problem,
            Check::Manager,
            format!("the manager does not run: there is no lease {name}. Nothing is watched or grown"),
            "Install it (README), or name its lease with --lease-name where it has another one",
        ),
    }
}

fn permissions(subject: &Subject<'_>, diagnosis: &mut Diagnosis) {
    let account = &subject.surroundings.service_account;
    let Some(permissions) = &subject.surroundings.permissions else {
        diagnosis.skip(
            Check::Permissions,
            "you may not ask what others may do (create on subjectaccessreviews.authorization.k8s.io)",
        );
        return;
    };
    for Allowed { permission, allowed } in permissions {
        if !allowed {
            diagnosis.add(
                Level::Problem,
                Check::Permissions,
                format!("the manager ({account}) may not {permission}: {}", permission.means),
                "Apply deploy/rbac.yaml, or see what took the permission away; where the manager has another service account, name it with --service-account",
            );
        }
    }
}

fn kubelets(subject: &Subject<'_>, diagnosis: &mut Diagnosis) {
    // What there is without a manager is told above.
    if subject.facts.manager.is_away() {
        return;
    }
    let limits = Limits::default();
    // Figures are written at most once a minute, and kubelets renew them every one to two minutes.
    let patience = limits.interval.saturating_mul(3).max(SignedDuration::from_mins(5));
    let world = &subject.thought.world;
    for volume in &world.volumes {
        let blind = |member: &&Member| {
            let figure = subject.thought.figures.get(&member.instance, &volume.key);
            let old = figure.is_none_or(|figure| figure.trust == Trust::Old);
            let new = subject
                .thought
                .claims
                .iter()
                .find(|claim| claim.name == *member.pvc)
                .and_then(|claim| claim.created)
                .is_some_and(|created| subject.now.duration_since(created) < patience);
            member.pod_running && member.bound && old && !new
        };
        for member in volume.members.iter().filter(blind) {
            let since = subject.thought.figures.get(&member.instance, &volume.key);
            let since = since.map_or_else(
                || "there have never been any".to_owned(),
                |figure| format!("the newest are from {}", ago(figure.disk.observed_at.0, subject.now)),
            );
            let node = member.node.as_deref().unwrap_or("unknown");
            diagnosis.add(
                Level::Problem,
                Check::Kubelets,
                format!("there are no figures of {} of {} on node {node}, whose pod runs: {since}", volume.key, member.instance),
                "The manager reads https://NODE:10250/stats/summary: see whether a NetworkPolicy or firewall stands between, whether its log names the node, and docs/runbooks/metrics-lost.md",
            );
        }
    }
}

fn webhooks(subject: &Subject<'_>, diagnosis: &mut Diagnosis) {
    for webhook in &subject.surroundings.webhooks {
        let (kind, without) = (webhook.kind.as_str(), webhook.kind.without());
        match &webhook.trusted {
            Trusted::Unknown => diagnosis.skip(Check::Webhook, format!("{kind}s cannot be read by you")),
            Trusted::Yes => {}
            Trusted::Missing => diagnosis.add(
                Level::Warning,
                Check::Webhook,
                format!("there is no {kind} of the manager: {without}"),
                "Apply deploy/webhook.yaml",
            ),
            Trusted::NoAuthority => diagnosis.add(
                Level::Problem,
                Check::Webhook,
                format!("the {kind} of the manager has no caBundle, so that the API server does not trust it: {without}"),
                "The manager fills it: see its log, whether it may patch that object (deploy/webhook.yaml), and docs/runbooks/webhook-not-ready.md",
            ),
            Trusted::NobodyServes { service } => diagnosis.add(
                Level::Problem,
                Check::Webhook,
                format!("no pod behind service {service} is ready to answer the {kind}: {without}"),
                "See the manager's pods, and whether the service selects them; docs/runbooks/webhook-not-ready.md",
            ),
        }
    }
}
