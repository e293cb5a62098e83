//! The JSON of `/stats/summary`, in the shape that the kubelet gives it (k8s.io/kubelet, stats/v1alpha1).
//!
//! Besides the volumes it carries what a real answer carries, about as large, so that readers are tested and measured on
//! answers like those that they will meet.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::fault::VolumeFault;
use super::volume::Figures;

/// The disk of every simulated node, for the node's own figures and for volumes that are directories on it.
const NODE_DISK: u64 = 100 << 30;
const NODE_DISK_USED: u64 = 37 << 30;

/// One volume of a pod.
pub struct VolumeEntry<'a> {
    /// Its name in the pod.
    pub name: &'a str,
    /// The claim, unless it is a volume of another kind.
    pub claim: Option<&'a str>,
    /// What was measured.
    pub figures: Figures,
    /// What is wrong with the entry.
    pub fault: VolumeFault,
}

/// One pod with a running container.
pub struct PodEntry<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Names of its running containers.
    pub containers: &'a [String],
    /// Its measured volumes.
    pub volumes: Vec<VolumeEntry<'a>>,
}

/// metav1.Time: RFC 3339 in UTC, whole seconds.
fn rfc3339(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// What the node's disk has, the same for everyone at one time.
pub fn node_disk(time: Timestamp) -> Figures {
    Figures {
        time,
        capacity: NODE_DISK,
        available: NODE_DISK - NODE_DISK_USED,
        used: NODE_DISK_USED,
        inodes: NODE_DISK >> 14,
        inodes_free: (NODE_DISK >> 14) - 200_000,
        inodes_used: 200_000,
    }
}

/// The fields of `FsStats`.
fn fs_stats(figures: &Figures) -> Map<String, Value> {
    let Figures {
        time,
        capacity,
        available,
        used,
        inodes,
        inodes_free,
        inodes_used,
    } = *figures;
    let mut map = Map::new();
    map.insert("time".into(), rfc3339(time).into());
    for (name, value) in [
        ("availableBytes", available),
        ("capacityBytes", capacity),
        ("usedBytes", used),
        ("inodesFree", inodes_free),
        ("inodes", inodes),
        ("inodesUsed", inodes_used),
    ] {
        map.insert(name.into(), value.into());
    }
    map
}

fn volume(namespace: &str, entry: &VolumeEntry<'_>) -> Option<Value> {
    let mut map = fs_stats(&entry.figures);
    match entry.fault {
        VolumeFault::None | VolumeFault::Stale => {}
        VolumeFault::Missing => return None,
        VolumeFault::SharedFilesystem => map = fs_stats(&node_disk(entry.figures.time)),
        VolumeFault::WrongTypes => {
            for value in map.values_mut() {
                *value = value.to_string().into();
            }
        }
        VolumeFault::NoCapacity => drop(map.remove("capacityBytes")),
        VolumeFault::Zero => {
            for name in ["availableBytes", "capacityBytes", "usedBytes"] {
                map.insert(name.into(), 0.into());
            }
        }
        VolumeFault::NoTime => drop(map.insert("time".into(), Value::Null)),
        VolumeFault::NoInodes => {
            for name in ["inodesFree", "inodes", "inodesUsed"] {
                map.remove(name);
            }
        }
    }
    map.insert("name".into(), entry.name.into());
    if let Some(claim) = entry.claim {
        map.insert("pvcRef".into(), json!({ "name": claim, "namespace": namespace }));
    }
    Some(map.into())
}

fn cpu(now: &str) -> Value {
    json!({ "time": now, "usageNanoCores": 12_345_678_u64, "usageCoreNanoSeconds": 98_765_432_100_u64, "psi": psi() })
}

fn memory(now: &str) -> Value {
    json!({
        "time": now,
        "availableBytes": 401_276_928_u64,
        "usageBytes": 152_371_200_u64,
        "workingSetBytes": 135_593_984_u64,
        "rssBytes": 61_865_984_u64,
        "pageFaults": 48_213,
        "majorPageFaults": 12,
        "psi": psi(),
    })
}

fn psi() -> Value {
    json!({
        "full": { "total": 0, "avg10": 0.0, "avg60": 0.0, "avg300": 0.0 },
        "some": { "total": 0, "avg10": 0.0, "avg60": 0.0, "avg300": 0.0 },
    })
}

fn pod(entry: &PodEntry<'_>, now: &str, disk: &Map<String, Value>) -> Value {
    let containers: Vec<Value> = entry
        .containers
        .iter()
        .map(|name| {
            json!({
                "name": name,
                "startTime": now,
                "cpu": cpu(now),
                "memory": memory(now),
                "rootfs": disk,
                "logs": disk,
                "swap": { "time": now, "swapUsageBytes": 0 },
            })
        })
        .collect();
    let volumes: Vec<Value> = entry.volumes.iter().filter_map(|each| volume(entry.namespace, each)).collect();
    let interface = json!({ "name": "eth0", "rxBytes": 1_048_576, "rxErrors": 0, "txBytes": 524_288, "txErrors": 0 });
    let mut pod = json!({
        "podRef": { "name": entry.name, "namespace": entry.namespace, "uid": entry.uid },
        "startTime": now,
        "containers": containers,
        "cpu": cpu(now),
        "memory": memory(now),
        "network": { "time": now, "name": "eth0", "rxBytes": 1_048_576, "txBytes": 524_288, "interfaces": [interface] },
        "ephemeral-storage": disk,
        "process_stats": { "process_count": 11 },
        "swap": { "time": now, "swapUsageBytes": 0 },
    });
    // As in the real answer, a pod without measured volumes has no such key.
    if !volumes.is_empty()
        && let Some(map) = pod.as_object_mut()
    {
        map.insert("volume".into(), volumes.into());
    }
    pod
}

/// The whole answer of one node.
pub fn summary(node: &str, now: Timestamp, pods: &[PodEntry<'_>]) -> Value {
    let time = rfc3339(now);
    let disk = fs_stats(&node_disk(now));
    json!({
        "node": {
            "nodeName": node,
            "systemContainers": [
                { "name": "kubelet", "startTime": time, "cpu": cpu(&time), "memory": memory(&time) },
                { "name": "pods", "startTime": time, "cpu": cpu(&time), "memory": memory(&time) },
            ],
            "startTime": time,
            "cpu": cpu(&time),
            "memory": memory(&time),
            "network": { "time": time, "name": "eth0", "rxBytes": 1_048_576, "txBytes": 524_288 },
            "fs": disk,
            "runtime": { "imageFs": disk, "containerFs": disk },
            "rlimit": { "time": time, "maxpid": 32_768, "curproc": 431 },
            "swap": { "time": time, "swapAvailableBytes": 0, "swapUsageBytes": 0 },
        },
        "pods": pods.iter().map(|entry| pod(entry, &time, &disk)).collect::<Vec<_>>(),
    })
}

/// An answer whose types are not those of the schema.
pub fn wrong_types(node: &str) -> Value {
    json!({
        "node": { "nodeName": [node] },
        "pods": { "podRef": "none", "volume": [{ "usedBytes": "many", "capacityBytes": -1, "pvcRef": 3 }] },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fault: VolumeFault) -> Option<Value> {
        let time = Timestamp::from_millisecond(1_767_323_045_678).unwrap();
        let figures = Figures {
            time,
            capacity: 960,
            available: 627,
            used: 333,
            inodes: 50,
            inodes_free: 43,
            inodes_used: 7,
        };
        volume(
            "shop",
            &VolumeEntry {
                name: "pgdata",
                claim: Some("orders-1"),
                figures,
                fault,
            },
        )
    }

    #[test]
    fn a_volume_looks_like_the_kubelets() {
        let expected = json!({
            "time": "2026-01-02T03:04:05Z",
            "availableBytes": 627,
            "capacityBytes": 960,
            "usedBytes": 333,
            "inodesFree": 43,
            "inodes": 50,
            "inodesUsed": 7,
            "name": "pgdata",
            "pvcRef": { "name": "orders-1", "namespace": "shop" },
        });
        assert_eq!(entry(VolumeFault::None), Some(expected));
    }

    #[test]
    fn faults_do_what_they_say() {
        assert_eq!(entry(VolumeFault::Missing), None);
        let with = |fault| entry(fault).unwrap();
        assert_eq!(with(VolumeFault::WrongTypes)["usedBytes"], "333");
        assert_eq!(with(VolumeFault::NoCapacity).get("capacityBytes"), None);
        assert_eq!(with(VolumeFault::Zero)["availableBytes"], 0);
        assert!(with(VolumeFault::NoTime)["time"].is_null());
        assert_eq!(with(VolumeFault::NoInodes).get("inodesFree"), None);
        assert_eq!(with(VolumeFault::SharedFilesystem)["capacityBytes"], NODE_DISK);
    }
}
