use std::collections::BTreeMap;

use crate::{label, role};

/// What CloudNativePG's labels say of a PVC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeLabels<'a> {
    /// The Cluster that it belongs to.
    pub cluster: &'a str,
    /// The instance that it belongs to.
    pub instance: &'a str,
    /// Its role: one of [`crate::role`].
    pub role: &'a str,
    /// The tablespace, where it holds one.
    pub tablespace: Option<&'a str>,
}

/// Reads the labels of a PVC; none where one is missing, or the role is not one that we know.
#[must_use]
pub fn read_volume_labels(labels: &BTreeMap<String, String>) -> Option<VolumeLabels<'_>> {
    let get = |key| labels.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let role = get(label::PVC_ROLE)?;
    let tablespace = match role {
        role::DATA | role::WAL => None,
        role::TABLESPACE => Some(get(label::TABLESPACE_NAME)?),
        _ => return None,
    };
    Some(VolumeLabels {
        cluster: get(label::CLUSTER)?,
        instance: get(label::INSTANCE_NAME)?,
        role,
        tablespace,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn roles_are_read_and_odd_pvcs_left_alone() {
        let data = labels(&[
            ("cnpg.io/cluster", "pg"),
            ("cnpg.io/instanceName", "pg-1"),
            ("cnpg.io/pvcRole", "PG_DATA"),
        ]);
        let read = read_volume_labels(&data);
        assert_eq!(
            read,
            Some(VolumeLabels {
                cluster: "pg",
                instance: "pg-1",
                role: role::DATA,
                tablespace: None
            })
        );
        let mut odd = data.clone();
        odd.insert("cnpg.io/pvcRole".into(), "PG_SCRATCH".into());
        assert_eq!(read_volume_labels(&odd), None);
        let mut nameless = data.clone();
        nameless.insert("cnpg.io/pvcRole".into(), "PG_TABLESPACE".into());
        assert_eq!(read_volume_labels(&nameless), None);
        nameless.insert("cnpg.io/tablespaceName".into(), "cold".into());
        assert_eq!(read_volume_labels(&nameless).and_then(|v| v.tablespace), Some("cold"));
    }
}
