//! The kubelet's `/stats/summary`, read as far as it concerns volumes.
//!
//! Source: `k8s.io/kubelet/pkg/apis/stats/v1alpha1/types.go`. Everything else in the answer is skipped while parsing;
//! text is borrowed from the buffer.

use std::borrow::Cow;

use csm_core::world::{Inodes, Observation};
use csm_units::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use crate::json::Object;

#[derive(Debug, Deserialize)]
struct Summary<'a> {
    #[serde(borrow)]
    pods: Vec<Object<Pod<'a>>>,
}

#[derive(Debug, Deserialize)]
struct Pod<'a> {
    #[serde(borrow, default)]
    volume: Option<Vec<Object<Volume<'a>>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume<'a> {
    time: Option<Timestamp>,
    available_bytes: Option<u64>,
    capacity_bytes: Option<u64>,
    used_bytes: Option<u64>,
    inodes: Option<u64>,
    inodes_used: Option<u64>,
    #[serde(borrow)]
    pvc_ref: Option<Object<PvcRef<'a>>>,
}

#[derive(Debug, Deserialize)]
struct PvcRef<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
}

/// The figures of one PVC's filesystem.
#[derive(Debug, PartialEq)]
pub struct Figure<'a> {
    pub namespace: Cow<'a, str>,
    pub name: Cow<'a, str>,
    pub observation: Observation,
}

/// Reads the figures of all PVCs in a summary. A volume without figures, or with `used + available = 0`, is left out:
/// that is no observation, and is never read as zero.
///
/// # Errors
/// Where the text is not a summary; with the place.
pub fn parse(body: &[u8]) -> Result<Vec<Figure<'_>>, serde_json::Error> {
    let Object(summary): Object<Summary<'_>> = serde_json::from_slice(body)?;
    Ok(summary
        .pods
        .into_iter()
        .flat_map(|Object(pod)| pod.volume.unwrap_or_default())
        .filter_map(|Object(volume)| figure(volume))
        .collect())
}

fn figure(volume: Volume<'_>) -> Option<Figure<'_>> {
    let Object(pvc) = volume.pvc_ref?;
    let (used, available) = (Bytes::new(volume.used_bytes?), Bytes::new(volume.available_bytes?));
    if used.is_zero() && available.is_zero() {
        return None;
    }
    // 0 inodes is how a filesystem without a fixed number of them (btrfs) reports.
    let inodes = volume
        .inodes
        .filter(|total| *total > 0)
        .zip(volume.inodes_used)
        .map(|(total, used)| Inodes { total, used });
    let capacity = volume.capacity_bytes.map_or_else(|| used.saturating_add(available), Bytes::new);
    Some(Figure {
        namespace: pvc.namespace,
        name: pvc.name,
        observation: Observation {
            used,
            available,
            capacity,
            inodes,
            at: volume.time?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = r#"{"node": {"nodeName": "n1", "fs": {"usedBytes": 1}}, "pods": [
        {"podRef": {"name": "pg-1", "namespace": "db", "uid": "u"}, "startTime": "2026-03-01T10:00:00Z", "containers": [{"name": "postgres"}],
         "volume": [
          {"time": "2026-03-01T11:59:30Z", "availableBytes": 300, "capacityBytes": 1000, "usedBytes": 650, "inodesFree": 5, "inodes": 9, "inodesUsed": 4,
           "name": "pgdata", "pvcRef": {"name": "pg-1", "namespace": "db"}},
          {"time": "2026-03-01T11:59:30Z", "availableBytes": 3, "capacityBytes": 10, "usedBytes": 7, "inodes": 0, "inodesUsed": 0, "name": "w", "pvcRef": {"name": "pg-1-wal", "namespace": "db"}},
          {"time": "2026-03-01T11:59:30Z", "availableBytes": 0, "capacityBytes": 0, "usedBytes": 0, "name": "z", "pvcRef": {"name": "pg-1-z", "namespace": "db"}},
          {"time": "2026-03-01T11:59:30Z", "name": "none", "pvcRef": {"name": "pg-1-none", "namespace": "db"}},
          {"time": "2026-03-01T11:59:30Z", "availableBytes": 1, "capacityBytes": 1, "usedBytes": 1, "name": "scratch"}]},
        {"podRef": {"name": "x", "namespace": "db", "uid": "v"}}]}"#;

    #[test]
    fn reads_the_volumes_that_have_a_claim_and_figures() {
        let figures = parse(SUMMARY.as_bytes()).unwrap_or_default();
        let names: Vec<_> = figures.iter().map(|f| f.name.as_ref()).collect();
        assert_eq!(names, ["pg-1", "pg-1-wal"]);
        let Some(first) = figures.first() else { panic!("no figures") };
        assert_eq!(first.observation.capacity, Bytes::new(1000));
        assert_eq!(
            (first.observation.used, first.observation.available),
            (Bytes::new(650), Bytes::new(300))
        );
        assert_eq!(first.observation.inodes, Some(Inodes { total: 9, used: 4 }));
        assert_eq!(first.observation.at.to_string(), "2026-03-01T11:59:30Z");
        assert_eq!(figures.get(1).and_then(|f| f.observation.inodes), None);
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic() {
        for bad in [
            "",
            "{}",
            "null",
            "[]",
            "[[]]",
            r#"{"pods": [[null]]}"#,
            r#"{"pods": [{"volume": [{"pvcRef": ["a", "b"]}]}]}"#,
            "hello",
            r#"{"pods": 3}"#,
            r#"{"pods": [{"volume": [{"usedBytes": -4}]}]}"#,
            r#"{"pods": [{"volume": "x"}]}"#,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        for cut in 0..SUMMARY.len() {
            let _ = parse(SUMMARY.as_bytes().get(..cut).unwrap_or_default());
        }
        assert_eq!(parse(br#"{"pods": []}"#).map(|f| f.len()).ok(), Some(0));
    }
}
