use csm_api::{EventReason, StorageEvent};
use csm_core::world::ClusterKey;
use csm_runtime::Failure;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Resource;
use kube::api::{ObjectMeta, PostParams};

use super::Writer;

/// How grave an Event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// For the record.
    Normal,
    /// A person should look.
    Warning,
}

/// A Kubernetes Event, to be: on the Cluster, or on the record of what concerns all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How grave it is.
    pub severity: Severity,
    /// What it is about, in a word.
    pub reason: EventReason,
    /// A sentence for people, at most 1024 bytes.
    pub message: String,
}

impl Writer {
    /// Records an Event on the Cluster.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn note(&self, key: &ClusterKey, uid: &str, note: &Note, now: Timestamp) -> Result<(), Failure> {
        let regarding = ObjectReference {
            api_version: Some("postgresql.cnpg.io/v1".to_owned()),
            kind: Some("Cluster".to_owned()),
            name: Some(key.name.to_string()),
            namespace: Some(key.namespace.to_string()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        self.record_event(regarding, note, now).await
    }

    /// Records an Event on a StorageEvent, of what concerns no single Cluster.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn note_on_record(&self, record: &StorageEvent, note: &Note, now: Timestamp) -> Result<(), Failure> {
        self.record_event(record.object_ref(&()), note, now).await
    }

    async fn record_event(&self, regarding: ObjectReference, note: &Note, now: Timestamp) -> Result<(), Failure> {
        let (name, namespace) = (
            regarding.name.clone().unwrap_or_default(),
            regarding.namespace.clone().unwrap_or_default(),
        );
        let mut message = note.message.clone();
        // The API server refuses longer notes.
        if let Some((at, _)) = message.char_indices().find(|(at, c)| at + c.len_utf8() > 1024) {
            message.truncate(at);
        }
        let event = Event {
            metadata: ObjectMeta {
                // Several volumes are told of at one moment.
                name: Some(format!("{name}.{:x}{:04x}", now.as_nanosecond(), rand::random::<u16>())),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some(note.reason.to_string()),
            event_time: Some(MicroTime(now)),
            note: Some(message),
            reason: Some(note.reason.to_string()),
            regarding: Some(regarding),
            reporting_controller: Some(csm_api::FIELD_MANAGER.to_owned()),
            reporting_instance: Some(self.reporter.clone()),
            type_: Some(match note.severity {
                Severity::Normal => "Normal".to_owned(),
                Severity::Warning => "Warning".to_owned(),
            }),
            ..Event::default()
        };
        self.write(self.api::<Event>(&namespace).create(&PostParams::default(), &event))
            .await
            .map(|_| ())
    }
}
