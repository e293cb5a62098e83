use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{NamespaceResourceScope, Resource};
use serde::{Deserialize, Deserializer, Serialize};

/// What we read of a `postgresql.cnpg.io/v1 Cluster`. Everything is optional: an odd object is read as far as it goes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cluster {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// What the user wants.
    pub spec: ClusterSpec,
    /// What the operator reports.
    pub status: ClusterStatus,
}

/// The part of the spec that says how large volumes are, and whether WAL is archived.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterSpec {
    /// Number of instances.
    pub instances: Option<i32>,
    /// PGDATA.
    pub storage: Option<StorageConfiguration>,
    /// The separate WAL volume, where there is one.
    pub wal_storage: Option<StorageConfiguration>,
    /// Tablespaces.
    pub tablespaces: Option<Vec<TablespaceConfiguration>>,
    /// How backups are made, and WAL archived.
    pub backup: Option<BackupConfiguration>,
    /// CNPG-I plugins.
    pub plugins: Option<Vec<PluginConfiguration>>,
    /// How PostgreSQL is configured.
    pub postgresql: Option<PostgresConfiguration>,
    /// The slots that the operator keeps for its instances.
    pub replication_slots: Option<ReplicationSlots>,
    /// It may follow another Cluster.
    pub replica: Option<ReplicaCluster>,
    /// How the exporter is set up.
    pub monitoring: Option<MonitoringConfiguration>,
    /// How it was made.
    pub bootstrap: Option<Bootstrap>,
}

/// How a Cluster was made.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bootstrap {
    /// As a new database.
    pub initdb: Option<InitDb>,
}

/// A new database.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InitDb {
    /// Size of a WAL segment in MiB; missing: 16.
    pub wal_segment_size: Option<i64>,
}

/// The slots that the operator keeps.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicationSlots {
    /// For the standbys of the Cluster.
    pub high_availability: Option<HighAvailabilitySlots>,
}

/// Slots for the standbys of the Cluster.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HighAvailabilitySlots {
    /// Default true.
    pub enabled: Option<bool>,
    /// Default `_cnpg_`.
    pub slot_prefix: Option<String>,
}

/// A Cluster that may follow another one.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaCluster {
    /// Whether it does; missing: as `primary` says.
    pub enabled: Option<bool>,
    /// The Cluster that all of a distributed topology follow.
    pub primary: Option<String>,
    /// What this one is called there; missing: by its name.
    #[serde(rename = "self")]
    pub own_name: Option<String>,
}

/// How the exporter is set up.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MonitoringConfiguration {
    /// Whether it speaks TLS.
    pub tls: Option<MonitoringTls>,
}

/// Whether the exporter speaks TLS.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MonitoringTls {
    /// Default false.
    pub enabled: Option<bool>,
}

/// The part of PostgreSQL's configuration that is read.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PostgresConfiguration {
    /// Settings by name, as `postgresql.conf` has them.
    pub parameters: BTreeMap<String, String>,
}

/// How backups are made.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupConfiguration {
    /// Where base backups and WAL go, by the operator itself (until CloudNativePG 1.30).
    pub barman_object_store: Option<ObjectStore>,
}

/// An object store: that there is one is all that we read of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ObjectStore {}

/// A plugin that a Cluster uses.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PluginConfiguration {
    /// Its name.
    pub name: String,
    /// Default true.
    pub enabled: Option<bool>,
    /// It archives the WAL. Default false.
    #[serde(rename = "isWALArchiver")]
    pub is_wal_archiver: Option<bool>,
}

/// A tablespace.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TablespaceConfiguration {
    /// Its name.
    pub name: String,
    /// Its volume.
    pub storage: Option<StorageConfiguration>,
}

/// A volume as the Cluster describes it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageConfiguration {
    /// Its size, a quantity.
    pub size: Option<String>,
    /// Its storage class.
    pub storage_class: Option<String>,
    /// Whether volumes in use may be resized; read by CloudNativePG from `spec.storage` only, for all roles. Default true.
    pub resize_in_use_volumes: Option<bool>,
    /// Says the size where `size` is empty.
    pub pvc_template: Option<PvcTemplate>,
}

/// The part of a PVC template that says a size.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PvcTemplate {
    /// Resources.
    pub resources: Option<PvcTemplateResources>,
}

/// Resources of a PVC template.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PvcTemplateResources {
    /// Requests, by name.
    pub requests: BTreeMap<String, QuantityText>,
}

/// A quantity as it was written: a text, or a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QuantityText(String);

impl<'de> Deserialize<'de> for QuantityText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Number(serde_json::Number),
        }
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::Number(number) => number.to_string(),
        }))
    }
}

impl StorageConfiguration {
    /// The size that it asks for: `size`, or else the template's request (CloudNativePG's `GetSizeOrNil`).
    #[must_use]
    pub fn requested_size(&self) -> Option<&str> {
        self.size.as_deref().filter(|size| !size.is_empty()).or_else(|| {
            let requests = &self.pvc_template.as_ref()?.resources.as_ref()?.requests;
            requests.get("storage").map(|quantity| quantity.0.as_str())
        })
    }
}

/// The field of a Cluster that says how large a volume is: the one that CloudNativePG reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeField {
    /// Where it is, as a JSON pointer (RFC 6901): `/spec/storage/size`.
    pub pointer: String,
    /// The same for people: `spec.storage.size`, `spec.tablespaces[1].storage.size`.
    pub path: String,
    /// What it says, a quantity.
    pub size: String,
}

impl SizeField {
    fn of(parts: &[&str], storage: &StorageConfiguration) -> Option<Self> {
        let size = storage.requested_size()?.to_owned();
        let in_size = storage.size.as_deref().is_some_and(|size| !size.is_empty());
        let last: &[&str] = if in_size {
            &["size"]
        } else {
            &["pvcTemplate", "resources", "requests", "storage"]
        };
        let parts = || parts.iter().chain(last);
        let mut path = String::new();
        for part in parts() {
            if part.bytes().all(|b| b.is_ascii_digit()) {
                path.extend(["[", *part, "]"]);
            } else {
                path.extend([if path.is_empty() { "" } else { "." }, *part]);
            }
        }
        let pointer = parts().fold(String::new(), |pointer, part| pointer + "/" + part);
        Some(Self { pointer, path, size })
    }
}

impl Cluster {
    /// Whether its WAL is archived, or may be: by an object store of its own, or by a plugin; unless an annotation says to skip
    /// that. Every plugin that is enabled is given WAL if it can take it; `isWALArchiver` is not asked for
    /// (`pkg/management/postgres/archiver`, `archiveWALViaPlugins`; measured). Without any of these, CloudNativePG's
    /// `archive_command` returns success and keeps nothing, and the same is true under the annotation
    /// (`internal/cmd/manager/walarchive/cmd.go`, `IsWalArchivingDisabled`).
    #[must_use]
    pub fn archives_wal(&self) -> bool {
        let annotations = self.metadata.annotations.as_ref();
        let skips = annotations.and_then(|a| a.get(crate::annotation::SKIP_WAL_ARCHIVING));
        skips.map(String::as_str) != Some("enabled") && (self.has_store() || self.plugins().next().is_some())
    }

    /// Whether its WAL is archived for certain: by an object store of its own, or by a plugin that is meant to.
    #[must_use]
    pub fn surely_archives_wal(&self) -> bool {
        let archiver = |plugin: &PluginConfiguration| plugin.is_wal_archiver == Some(true);
        self.archives_wal() && (self.has_store() || self.plugins().any(archiver))
    }

    fn has_store(&self) -> bool {
        self.spec.backup.as_ref().is_some_and(|b| b.barman_object_store.is_some())
    }

    /// Plugins that are enabled.
    fn plugins(&self) -> impl Iterator<Item = &PluginConfiguration> {
        let plugins = self.spec.plugins.iter().flatten();
        plugins.filter(|plugin| plugin.enabled != Some(false))
    }

    /// Whether it follows another Cluster (`IsReplica`, `api/v1/cluster_funcs.go`); where that is not said, it is taken to.
    #[must_use]
    pub fn follows_another(&self) -> bool {
        let Some(replica) = &self.spec.replica else { return false };
        replica.enabled.unwrap_or_else(|| {
            let own = replica.own_name.as_deref().or(self.metadata.name.as_deref());
            replica.primary.is_none() || replica.primary.as_deref() != own
        })
    }

    /// The slot that the operator keeps for an instance, where it keeps any (`GetSlotNameFromInstanceName`, `api/v1/cluster_funcs.go`).
    #[must_use]
    pub fn slot_of(&self, instance: &str) -> Option<String> {
        let slots = self
            .spec
            .replication_slots
            .as_ref()
            .and_then(|slots| slots.high_availability.as_ref());
        if slots.and_then(|slots| slots.enabled) == Some(false) {
            return None;
        }
        let prefix = slots.and_then(|slots| slots.slot_prefix.as_deref()).unwrap_or("_cnpg_");
        let name = format!("{prefix}{instance}").to_lowercase();
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
        Some(name.chars().map(plain).collect())
    }

    /// Whether the exporters of its instances speak TLS (`spec.monitoring.tls.enabled`; `pkg/specs/podmonitor.go`).
    #[must_use]
    pub fn exporter_tls(&self) -> bool {
        let tls = self.spec.monitoring.as_ref().and_then(|monitoring| monitoring.tls.as_ref());
        tls.and_then(|tls| tls.enabled).unwrap_or(false)
    }

    /// The size of a WAL segment in MiB that it was made with, where it says so (`spec.bootstrap.initdb.walSegmentSize`).
    #[must_use]
    pub fn wal_segment_mebibytes(&self) -> Option<u64> {
        let size = self.spec.bootstrap.as_ref()?.initdb.as_ref()?.wal_segment_size?;
        u64::try_from(size).ok()
    }

    /// The field that says how large a volume is: of a role ([`crate::role`]), and the name of the tablespace where it is one.
    /// None where the Cluster has no such volume, or says no size.
    #[must_use]
    pub fn size_field(&self, role: &str, tablespace: Option<&str>) -> Option<SizeField> {
        match role {
            crate::role::DATA => SizeField::of(&["spec", "storage"], self.spec.storage.as_ref()?),
            crate::role::WAL => SizeField::of(&["spec", "walStorage"], self.spec.wal_storage.as_ref()?),
            _ => {
                let mut tablespaces = self.spec.tablespaces.iter().flatten().enumerate();
                let (at, found) = tablespaces.find(|(_, t)| Some(t.name.as_str()) == tablespace)?;
                SizeField::of(&["spec", "tablespaces", &at.to_string(), "storage"], found.storage.as_ref()?)
            }
        }
    }
}

/// What the operator reports.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterStatus {
    /// A phrase such as "Cluster in healthy state".
    pub phase: Option<String>,
    /// The instance that is primary; in a replica cluster, the designated primary.
    pub current_primary: Option<String>,
    /// The instance that is to be primary: during a switchover another one.
    pub target_primary: Option<String>,
    /// Its instances.
    pub instance_names: Option<Vec<String>>,
    /// Instances that are ready.
    pub ready_instances: Option<i32>,
}

impl Resource for Cluster {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Cluster".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "postgresql.cnpg.io".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "clusters".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_the_one_that_is_read() {
        let cluster = r#"{"spec": {
            "storage": {"size": "", "pvcTemplate": {"resources": {"requests": {"storage": 1073741824}}}},
            "walStorage": {"size": "4Gi", "pvcTemplate": {"resources": {"requests": {"storage": "9Gi"}}}},
            "tablespaces": [{"name": "hot", "storage": {"size": "5Gi"}}, {"name": "cold", "storage": {"size": "6Gi"}}, {"name": "odd"}]
        }}"#;
        let cluster: Cluster = serde_json::from_str(cluster).unwrap_or_default();
        let field = |role, tablespace| cluster.size_field(role, tablespace).map(|f| (f.pointer, f.path, f.size));
        let expected = |pointer: &str, path: &str, size: &str| Some((pointer.to_owned(), path.to_owned(), size.to_owned()));
        assert_eq!(
            field(crate::role::DATA, None),
            expected(
                "/spec/storage/pvcTemplate/resources/requests/storage",
                "spec.storage.pvcTemplate.resources.requests.storage",
                "1073741824"
            )
        );
        assert_eq!(
            field(crate::role::WAL, None),
            expected("/spec/walStorage/size", "spec.walStorage.size", "4Gi")
        );
        assert_eq!(
            field(crate::role::TABLESPACE, Some("cold")),
            expected("/spec/tablespaces/1/storage/size", "spec.tablespaces[1].storage.size", "6Gi")
        );
        assert_eq!(field(crate::role::TABLESPACE, Some("odd")), None);
        assert_eq!(field(crate::role::TABLESPACE, Some("gone")), None);
        assert_eq!(Cluster::default().size_field(crate::role::DATA, None), None);
    }

    #[test]
    fn wal_is_archived_by_a_store_or_by_a_plugin_that_does_so() {
        let archives = |spec: &str, value: Option<&str>| {
            let annotations = value.map_or_else(String::new, |value| {
                format!("\"{}\": \"{value}\"", crate::annotation::SKIP_WAL_ARCHIVING)
            });
            let cluster = format!("{{\"metadata\": {{\"annotations\": {{{annotations}}}}}, \"spec\": {spec}}}");
            let cluster = serde_json::from_str::<Cluster>(&cluster).ok();
            cluster.map(|cluster| (cluster.archives_wal(), cluster.surely_archives_wal()))
        };
        let store = r#"{"backup": {"barmanObjectStore": {"destinationPath": "s3://wal/"}}}"#;
        let plugin = |more: &str| {
            format!(r#"{{"plugins": [{{"name": "other", "enabled": false}}, {{"name": "barman-cloud.cloudnative-pg.io"{more}}}]}}"#)
        };
        for (spec, annotation, expected) in [
            ("{}", None, (false, false)),
            (
                r#"{"backup": {"retentionPolicy": "30d", "barmanObjectStore": null}, "plugins": null}"#,
                None,
                (false, false),
            ),
            (store, None, (true, true)),
            (store, Some("enabled"), (false, false)),
            (store, Some("disabled"), (true, true)),
            (&plugin(""), None, (true, false)),
            (&plugin(r#", "isWALArchiver": false"#), None, (true, false)),
            (&plugin(r#", "isWALArchiver": true"#), None, (true, true)),
            (&plugin(r#", "isWALArchiver": true"#), Some("enabled"), (false, false)),
            (&plugin(r#", "isWALArchiver": true, "enabled": true"#), None, (true, true)),
            (&plugin(r#", "isWALArchiver": true, "enabled": false"#), None, (false, false)),
        ] {
            assert_eq!(archives(spec, annotation), Some(expected), "{spec} {annotation:?}");
        }
    }

    #[test]
    fn size_comes_from_the_template_where_size_is_empty() {
        let read = |json: &str| serde_json::from_str::<StorageConfiguration>(json).map(|s| s.requested_size().map(str::to_owned));
        let template = r#""pvcTemplate": {"resources": {"requests": {"storage": "7Gi"}}}"#;
        assert_eq!(read(r#"{"size": "3Gi"}"#).ok().flatten().as_deref(), Some("3Gi"));
        assert_eq!(
            read(&format!(r#"{{"size": "", {template}}}"#)).ok().flatten().as_deref(),
            Some("7Gi")
        );
        assert_eq!(read(&format!(r"{{{template}}}")).ok().flatten().as_deref(), Some("7Gi"));
        let number = r#"{"pvcTemplate": {"resources": {"requests": {"storage": 7516192768, "cpu": 0.5}}}}"#;
        assert_eq!(read(number).ok().flatten().as_deref(), Some("7516192768"));
        assert_eq!(read("{}").ok().flatten(), None);
    }
}
