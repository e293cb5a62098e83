//! What can go wrong, and what a person can do about it.

use std::fmt::Write as _;
use std::path::PathBuf;

use csm_gather::offline::Mistake;
use thiserror::Error;

/// Why a command could not answer.
#[derive(Debug, Error)]
pub enum Error {
    /// The kubeconfig cannot be read, or has no such context.
    #[error("cannot use the kubeconfig{0}; give --kubeconfig FILE, and --context NAME for another of its contexts")]
    Kubeconfig(String, #[source] kube::config::KubeconfigError),
    /// There is neither a kubeconfig nor a service account.
    #[error("no Kubernetes cluster to ask; give --kubeconfig FILE, or set KUBECONFIG")]
    NoCluster(#[source] Box<kube::config::InferConfigError>),
    /// The kubeconfig is not usable.
    #[error("cannot make a client from the kubeconfig")]
    Client(#[source] Box<kube::Error>),
    /// The API server does not answer.
    #[error("cannot reach the API server at {server}; check that it runs, and that --context and --kubeconfig name the right one")]
    Unreachable {
        /// Its address.
        server: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("the API server at {server} did not answer within {seconds} s (asked for {what}); try again, or check its load")]
    Slow {
        /// Its address.
        server: String,
        /// What was asked for.
        what: &'static str,
        /// How long we waited.
        seconds: u64,
    },
    /// Who we are is not accepted.
    #[error("the API server at {server} does not accept your credentials; log in again, or choose another --context")]
    Unauthorized {
        /// Its address.
        server: String,
    },
    /// We may not read what the command needs.
    #[error("you are not allowed to list {what} in {scope}; {remedy}")]
    Forbidden {
        /// What.
        what: &'static str,
        /// Where.
        scope: String,
        /// What could help.
        remedy: &'static str,
    },
    /// CloudNativePG is not there.
    #[error(
        "CloudNativePG is not installed in this cluster: it serves no clusters.postgresql.cnpg.io; check that --context names the right one"
    )]
    NoCloudNativePg,
    /// Our kinds are not there.
    #[error(
        "CNPG Storage Manager is not installed in this cluster: it serves no {0}; install its kinds and the manager with kubectl apply -f deploy/crds -f deploy/rbac.yaml -f deploy/user-roles.yaml -f deploy/admission.yaml -f deploy/webhook.yaml -f deploy/manager.yaml"
    )]
    NotInstalled(&'static str),
    /// There is no such Cluster.
    #[error("there is no CNPG Cluster {name} in namespace {namespace}{hint}")]
    NoSuchCluster {
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
        /// What could have been meant.
        hint: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    File {
        /// Its name.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing to read in a folder.
    #[error("folder {} has no .yaml, .yml or .json files; folders below it are not looked into", .0.display())]
    EmptyFolder(PathBuf),
    /// Arguments that do not go together, or not with the files.
    #[error("{0}")]
    Usage(String),
    /// What was read of a trace cannot be kept, or read again.
    #[error("cannot keep the trace in a temporary file; set TMPDIR to a folder with more room")]
    Spool(#[source] std::io::Error),
    /// A file cannot be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// Its name.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something in files is wrong.
    #[error("the input is not valid")]
    Input(Vec<Mistake>),
    /// The files do not have what was asked for.
    #[error("the files have {what}{remedy}")]
    NotInFiles {
        /// What.
        what: String,
        /// What could help.
        remedy: String,
    },
    /// The check of plans found a bug.
    #[error("this is a bug of ours, please report it with the files: the plan for {cluster} does not pass its check: {violations}")]
    Refused {
        /// The Cluster.
        cluster: String,
        /// What is wrong with the plan.
        violations: String,
    },
    /// We may not write what the command needs, or something in the API server refuses it.
    #[error("you are not allowed to {verb} {what} in {scope}; ask for a role with the verb {verb} on {what}: {said}")]
    MayNot {
        /// The verb, as in roles.
        verb: &'static str,
        /// What.
        what: &'static str,
        /// Where.
        scope: String,
        /// The API server's own words.
        said: String,
    },
    /// The API server refused what was to be written: its schema, a webhook or a quota.
    #[error("the API server refused to {verb} {what}: {said}")]
    NotWritten {
        /// The verb, as in roles.
        verb: &'static str,
        /// What.
        what: &'static str,
        /// The API server's own words.
        said: String,
    },
    /// Others wrote at the same time, again and again.
    #[error("{what} {name} changed each time before it could be written; nothing was written; try again")]
    Contended {
        /// What.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// There is nothing to set the annotation of the global breaker on.
    #[error(
        "there is no ClusterStoragePolicy, and the circuit breaker of the fleet is reset by an annotation on one; create one (an empty spec sets nothing), and try again"
    )]
    NoClusterStoragePolicy,
    /// What was asked of a Cluster by hand cannot be done.
    #[error("{what} is not begun: {why}")]
    Stands {
        /// What was asked for.
        what: String,
        /// What stands against it, and what to do.
        why: String,
    },
    /// What is waited for has not ended.
    #[error("StorageEvent {event} is {phase} after {seconds} s, and goes on; kubectl describe storageevent {event} says how far it is")]
    NotYet {
        /// Its name.
        event: String,
        /// How far it is.
        phase: csm_api::Phase,
        /// How long was waited.
        seconds: u64,
    },
    /// Nobody has written down that it was begun.
    #[error(
        "nothing is known of StorageEvent {event} after {seconds} s: {manager}. The record stands, and is looked at when the manager comes to it; whoever may delete it takes it back with kubectl delete storageevent {event} -n {namespace}"
    )]
    NotTakenUp {
        /// Its name.
        event: String,
        /// Its namespace.
        namespace: String,
        /// How long was waited.
        seconds: u64,
        /// Whether there is a manager, and where to look.
        manager: String,
    },
    /// Something else.
    #[error("cannot read {what}")]
    Other {
        /// What was asked for.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The answer cannot be written in the form that was asked for.
    #[error("cannot write the answer as {0}")]
    Format(&'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a person could have meant: names like it, namespaces that have it; and whether the namespace has any Cluster at
/// all, where that is known.
#[must_use]
pub fn hint(near: &[String], elsewhere: &[String], any: Option<bool>) -> String {
    let mut text = String::new();
    if !near.is_empty() {
        let _ = write!(text, "; did you mean {}?", near.join(" or "));
    }
    if !elsewhere.is_empty() {
        let _ = write!(text, "; namespace {} has one: add -n", elsewhere.join(", "));
    }
    if text.is_empty() {
        text.push_str(match any {
            Some(false) => ", which has none at all; give another with -n, or list all with status -A",
            Some(true) | None => "; status lists those that there are, status -A those of all namespaces",
        });
    }
    text
}

impl Error {
    /// The status that it ends the program with: 2 where the input is to be corrected, else 1.
    #[must_use]
    pub const fn status(&self) -> u8 {
        match self {
            Self::Input(_) | Self::Usage(_) => 2,
            _ => 1,
        }
    }

    /// What is to be printed, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Input(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
            error => vec![error.line()],
        }
    }

    /// The error and its causes on one line, each said once.
    #[must_use]
    pub fn line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.contains(&said) {
                let _ = write!(text, ": {said}");
            }
            cause = error.source();
        }
        text
    }
}
