//! What the lab promises to the tests that run on it, one test at a time. They need a running lab, so that plain
//! `cargo test` leaves them out: `make e2e SUITE=lab`, and the whole of `make e2e`, run them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use csm_testkit::csi::faults::{Action, Code, Fault, Rpc, Scope};
use csm_testkit::lab::{Df, Lab, S3};
use csm_testkit::s3::{self, Credentials};
use csm_testkit::wait::retry;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_mins(1);
const GIB: u64 = 1 << 30;

/// A namespace of its own, with one pod that has one volume at `/data`.
struct Room {
    lab: Lab,
    client: kube::Client,
    namespace: String,
}

impl Room {
    async fn new(name: &str) -> Self {
        let lab = Lab::connect().await.unwrap();
        let client = lab.client().await.unwrap();
        let namespace = format!("lab-{name}-{:05}", std::process::id());
        let object: Namespace = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        Self { lab, client, namespace }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn claim(&self, class: &str, size: &str) {
        let claim = json!({
            "metadata": { "name": "data" },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "resources": { "requests": { "storage": size } },
            },
        });
        let claim = serde_json::from_value(claim).unwrap();
        self.claims().create(&PostParams::default(), &claim).await.unwrap();
    }

    async fn pod(&self, name: &str, node: &str) {
        let image = self.lab.postgres_image();
        let pod = json!({
            "metadata": { "name": name },
            "spec": {
                "nodeSelector": { "kubernetes.io/hostname": node },
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "main", "image": image, "command": ["sleep", "infinity"],
                    "securityContext": { "runAsUser": 0 },
                    "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
                }],
                "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }],
            },
        });
        let pod = serde_json::from_value(pod).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap();
        wait(&format!("pod {name} runs"), SOON, async || {
            let pod = self.pods().get(name).await.unwrap();
            let phase = pod.status.and_then(|status| status.phase);
            if phase.as_deref() == Some("Running") {
                Ok(())
            } else {
                Err(format!("{phase:?}"))
            }
        })
        .await;
    }

    async fn resize(&self, size: &str) {
        let patch = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
        self.claims()
            .patch("data", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    async fn df(&self, pod: &str) -> Df {
        self.lab.df(&self.namespace, pod, "main", "/data").await.unwrap()
    }

    /// What the claim's status says of the expansion under way.
    async fn resize_status(&self) -> Option<String> {
        let claim = self.claims().get("data").await.unwrap();
        let statuses: Option<BTreeMap<String, String>> = claim.status.and_then(|status| status.allocated_resource_statuses);
        statuses.and_then(|mut statuses| statuses.remove("storage"))
    }

    async fn wait_for_size(&self, pod: &str, at_least: u64) -> Df {
        wait(&format!("the filesystem has {at_least} bytes"), SOON, async || {
            // A kubelet that has just been restarted does not know its pods yet.
            let df = self
                .lab
                .df(&self.namespace, pod, "main", "/data")
                .await
                .map_err(|error| format!("{error:#}"))?;
            if df.total >= at_least { Ok(df) } else { Err(format!("{df:?}")) }
        })
        .await
    }

    async fn wait_for_status(&self, wanted: &str) {
        wait(&format!("the claim says {wanted}"), SOON, async || {
            let status = self.resize_status().await;
            if status.as_deref() == Some(wanted) {
                Ok(())
            } else {
                Err(format!("{status:?}"))
            }
        })
        .await;
    }

    fn fault(&self, action: Action) -> Fault {
        Fault {
            name: self.namespace.clone(),
            scope: Scope::claim(format!("{}/", self.namespace)),
            action,
        }
    }

    /// The claim's figures, as the kubelet of a node has them: time and capacity.
    async fn figures(&self, node: &str) -> Option<(String, u64)> {
        let uri = format!("/api/v1/nodes/{node}/proxy/stats/summary");
        let text = self
            .client
            .request_text(http::Request::get(uri).body(Vec::new()).unwrap())
            .await
            .unwrap();
        let summary: Value = serde_json::from_str(&text).unwrap();
        let volumes = summary["pods"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|pod| pod["volume"].as_array().into_iter().flatten());
        let mut ours = volumes.filter(|volume| volume["pvcRef"]["namespace"] == self.namespace.as_str());
        ours.next()
            .map(|volume| (volume["time"].as_str().unwrap().into(), volume["capacityBytes"].as_u64().unwrap()))
    }

    /// Deletes the namespace, and waits until its volumes are gone from the machine.
    async fn close(self) {
        self.lab.csi_faults().clear(&self.namespace).await.unwrap();
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
        let ours = format!("{}/", self.namespace);
        for driver in [self.lab.csi_faults(), self.lab.hostdir_faults()] {
            wait("the volumes are deleted", SOON, async || {
                let volumes = driver.volumes().await.unwrap();
                let left: Vec<_> = volumes.into_iter().filter(|volume| volume.claim.starts_with(&ours)).collect();
                if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
            })
            .await;
        }
    }
}

async fn wait<T>(what: &str, patience: Duration, attempt: impl AsyncFn() -> Result<T, String>) -> T {
    let done = retry(Duration::from_millis(100), patience, async || attempt().await).await;
    done.unwrap_or_else(|last| panic!("waited {patience:?} until {what}; last: {last}"))
}

#[tokio::test]
async fn a_volume_fills_and_grows_online_and_the_audit_log_tells() {
    let room = Room::new("grow").await;
    room.claim("loop", "1Gi").await;
    room.pod("one", "lab-1").await;
    let before = room.df("one").await;
    assert!(before.total < GIB && before.total > GIB / 10 * 9, "{before:?}");
    let write = ["dd", "if=/dev/zero", "of=/data/file", "bs=1M", "count=2000"];
    let output = room.lab.exec(&room.namespace, "one", "main", &write).await.unwrap();
    assert!(output.code != 0 && output.stderr.contains("No space left on device"), "{output:?}");
    // dd writes whole blocks of 1 MiB.
    assert!(room.df("one").await.available < 1 << 20);

    let mark = room.lab.audit_log().mark().unwrap();
    room.resize("3Gi").await;
    let after = room.wait_for_size("one", 2 * GIB).await;
    assert!(after.used() >= before.total - (64 << 20), "{after:?}");
    let patches = || {
        let entries = room.lab.audit_log().since(mark).unwrap();
        let ours = entries
            .into_iter()
            .filter(|entry| entry.namespace == room.namespace && entry.resource == "persistentvolumeclaims");
        ours.filter(|entry| entry.verb == "patch" && entry.user == "admin")
            .collect::<Vec<_>>()
    };
    let patches = patches();
    let [patch] = patches.as_slice() else { panic!("{patches:?}") };
    assert_eq!((patch.name.as_str(), patch.code), ("data", 200));
    assert_eq!(patch.request.as_ref().unwrap()["spec"]["resources"]["requests"]["storage"], "3Gi");
    room.close().await;
}

#[tokio::test]
async fn an_infeasible_size_is_refused_until_it_is_feasible() {
    let room = Room::new("infeasible").await;
    room.claim("loop", "1Gi").await;
    room.pod("one", "lab-1").await;
    let faults = room.lab.csi_faults();
    faults.set(room.fault(Action::LargestSize { bytes: 2 * GIB })).await.unwrap();
    room.resize("4Gi").await;
    room.wait_for_status("ControllerResizeInfeasible").await;
    room.resize("2Gi").await;
    room.wait_for_size("one", GIB * 3 / 2).await;
    room.close().await;
}

#[tokio::test]
async fn an_expansion_hangs_on_the_node_and_goes_on() {
    let room = Room::new("hang").await;
    room.claim("loop", "1Gi").await;
    room.pod("one", "lab-1").await;
    let faults = room.lab.csi_faults();
    faults
        .set(room.fault(Action::Hang {
            rpc: Rpc::NodeExpandVolume,
        }))
        .await
        .unwrap();
    room.resize("2Gi").await;
    room.wait_for_status("NodeResizeInProgress").await;
    assert!(room.df("one").await.total < GIB);
    faults.clear(&room.namespace).await.unwrap();
    room.wait_for_size("one", GIB * 3 / 2).await;
    room.close().await;
}

#[tokio::test]
async fn failures_are_counted_and_retried() {
    let room = Room::new("fail").await;
    room.claim("loop", "1Gi").await;
    room.pod("one", "lab-1").await;
    let faults = room.lab.csi_faults();
    let rpc = Rpc::ControllerExpandVolume;
    let fail = Action::Fail {
        rpc,
        code: Code::Internal,
        message: "the array is on fire".into(),
        times: Some(2),
    };
    faults.set(room.fault(fail)).await.unwrap();
    room.resize("2Gi").await;
    room.wait_for_size("one", GIB * 3 / 2).await;
    let calls = faults.calls().await.unwrap();
    let ours = calls
        .iter()
        .filter(|call| call.rpc == rpc && call.volume.claim.starts_with(&room.namespace));
    let (failed, passed): (Vec<_>, Vec<_>) = ours.partition(|call| call.fault.is_some());
    assert_eq!(failed.len(), 2);
    assert!(!passed.is_empty());
    room.close().await;
}

#[tokio::test]
async fn figures_freeze_while_their_call_hangs() {
    let room = Room::new("stats").await;
    room.claim("loop", "1Gi").await;
    room.pod("one", "lab-1").await;
    let faults = room.lab.csi_faults();
    let first = wait("there are figures", SOON, async || {
        room.figures("lab-1").await.ok_or_else(String::new)
    })
    .await;
    assert!(first.1 < GIB);
    faults
        .set(room.fault(Action::Hang {
            rpc: Rpc::NodeGetVolumeStats,
        }))
        .await
        .unwrap();
    let hanging = wait("the call hangs", SOON, async || {
        let calls = faults.calls().await.unwrap();
        calls
            .iter()
            .find(|call| call.fault.as_ref() == Some(&room.namespace))
            .map(|call| call.at_ms)
            .ok_or_else(String::new)
    })
    .await;
    // Another volume's figures show that the kubelet has been around since.
    let frozen = room.figures("lab-1").await.unwrap();
    let frozen_at: jiff::Timestamp = frozen.0.parse().unwrap();
    assert!(u64::try_from(frozen_at.as_millisecond()).unwrap() <= hanging + 1000);
    faults.clear(&room.namespace).await.unwrap();
    wait("the figures move again", SOON, async || {
        let now = room.figures("lab-1").await.unwrap();
        if now.0 == frozen.0 { Err(format!("{now:?}")) } else { Ok(()) }
    })
    .await;
    room.close().await;
}

#[tokio::test]
async fn a_host_directory_reports_the_nodes_disk_and_a_fixed_class_does_not_grow() {
    let room = Room::new("hostdir").await;
    room.claim("hostdir", "1Gi").await;
    room.pod("one", "lab-1").await;
    assert!(room.df("one").await.total > 10 * GIB);
    let (_, capacity) = wait("there are figures", SOON, async || {
        room.figures("lab-1").await.ok_or_else(String::new)
    })
    .await;
    assert!(capacity > 10 * GIB);
    room.close().await;

    let room = Room::new("fixed").await;
    room.claim("loop-fixed", "1Gi").await;
    room.pod("one", "lab-1").await;
    let patch = json!({ "spec": { "resources": { "requests": { "storage": "2Gi" } } } });
    let refusal = room
        .claims()
        .patch("data", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap_err();
    assert!(
        refusal
            .to_string()
            .contains("storageclass that provisions the pvc must support resize"),
        "{refusal}"
    );
    room.close().await;
}

#[tokio::test]
async fn a_volume_follows_its_pod_to_the_other_node_and_a_node_can_be_silenced() {
    let mut room = Room::new("nodes").await;
    room.lab.ensure_nodes(2).await.unwrap();
    room.claim("loop", "1Gi").await;
    room.pod("one", "lab-1").await;
    let touch = room
        .lab
        .exec(&room.namespace, "one", "main", &["touch", "/data/here"])
        .await
        .unwrap();
    assert_eq!(touch.code, 0);
    room.pods().delete("one", &DeleteParams::default()).await.unwrap();
    room.pod("two", "lab-2").await;
    let list = room.lab.exec(&room.namespace, "two", "main", &["ls", "/data/here"]).await.unwrap();
    assert_eq!(list.code, 0, "{list:?}");

    room.lab.stop("kubelet@lab-2").await.unwrap();
    let patience = Duration::from_secs(90);
    let nodes: Api<Node> = Api::all(room.client.clone());
    let ready = async || {
        let node = nodes.get("lab-2").await.unwrap();
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        conditions
            .into_iter()
            .find(|condition| condition.type_ == "Ready")
            .map(|condition| condition.status)
    };
    let wanted = async |status: &str| {
        wait(&format!("the node's readiness is {status}"), patience, async || {
            let now = ready().await;
            if now.as_deref() == Some(status) {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            }
        })
        .await;
    };
    wanted("Unknown").await;
    room.lab.start("kubelet@lab-2").await.unwrap();
    wanted("True").await;
    let kubelet = (room.lab.status().nodes[1].ip, 10250);
    let reachable = async || {
        let connect = tokio::net::TcpStream::connect(kubelet);
        tokio::time::timeout(Duration::from_secs(1), connect)
            .await
            .is_ok_and(|stream| stream.is_ok())
    };
    assert!(reachable().await);
    room.lab.set_link("lab-2", false).await.unwrap();
    assert!(!reachable().await);
    room.lab.set_link("lab-2", true).await.unwrap();
    wait("the kubelet can be reached again", SOON, async || {
        if reachable().await { Ok(()) } else { Err(String::new()) }
    })
    .await;
    room.lab.kill("csi-loop@lab-2").await.unwrap();
    room.resize("2Gi").await;
    room.wait_for_size("two", GIB * 3 / 2).await;
    room.close().await;
}

/// Puts an object as CloudNativePG's archiving does: with boto3, whose calls are signed and whose uploads come in chunks.
const PUT: &str = r"
import sys, boto3
endpoint, access, secret, bucket = sys.argv[1:]
s3 = boto3.client('s3', endpoint_url=endpoint, aws_access_key_id=access, aws_secret_access_key=secret, region_name='lab')
s3.upload_fileobj(open('/usr/lib/postgresql/17/bin/postgres', 'rb'), bucket, 'of/postgres')
print(s3.head_object(Bucket=bucket, Key='of/postgres')['ContentLength'])
";

#[tokio::test]
async fn a_pod_puts_an_object_into_the_store_and_faults_are_seen_there() {
    let room = Room::new("s3").await;
    room.claim("loop", "1Gi").await;
    room.pod("one", "lab-1").await;
    let store = room.lab.s3().unwrap();
    store.create(&room.namespace).unwrap();
    let (endpoint, Credentials { access_key, secret_key }) = (room.lab.s3_endpoint(), Credentials::of_the_lab());
    let put = async |secret: &str| {
        let command = ["python3", "-c", PUT, &endpoint, &access_key, secret, &room.namespace];
        room.lab.exec(&room.namespace, "one", "main", &command).await.unwrap()
    };
    let refused = put("wrong").await;
    assert!(refused.code != 0 && refused.stderr.contains("SignatureDoesNotMatch"), "{refused:?}");
    assert!(store.objects(&room.namespace).unwrap().is_empty());

    let done = put(&secret_key).await;
    assert_eq!(done.code, 0, "{done:?}");
    let objects = store.objects(&room.namespace).unwrap();
    let [object] = objects.as_slice() else { panic!("{objects:?}") };
    assert_eq!(object.key, "of/postgres");
    assert!(
        object.size > 1 << 20 && done.stdout.trim() == object.size.to_string(),
        "{object:?} {done:?}"
    );

    store.set(&room.namespace, s3::Fault::AccessDenied).unwrap();
    let refused = put(&secret_key).await;
    assert!(refused.code != 0 && refused.stderr.contains("AccessDenied"), "{refused:?}");
    store.clear(&room.namespace).unwrap();
    room.lab.stop(S3).await.unwrap();
    let refused = put(&secret_key).await;
    assert!(refused.code != 0 && refused.stderr.contains("Could not connect"), "{refused:?}");
    room.lab.start(S3).await.unwrap();
    wait("the store answers again", SOON, async || {
        let done = put(&secret_key).await;
        if done.code == 0 { Ok(()) } else { Err(format!("{done:?}")) }
    })
    .await;
    store.remove(&room.namespace).unwrap();
    room.close().await;
}

#[tokio::test]
async fn an_image_of_our_own_runs_and_diagnostics_are_collected() {
    let room = Room::new("image").await;
    room.lab
        .load_own_image(Path::new(env!("CARGO_BIN_EXE_loopcsi")), "localhost/loopcsi:test")
        .await
        .unwrap();
    let pod = json!({
        "metadata": { "name": "ours" },
        "spec": {
            "restartPolicy": "Never",
            "containers": [{
                "name": "main", "image": "localhost/loopcsi:test", "imagePullPolicy": "Never", "args": ["--help"],
                "securityContext": { "runAsNonRoot": true, "readOnlyRootFilesystem": true },
            }],
        },
    });
    room.pods()
        .create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
    wait("the program has run", SOON, async || {
        let status = room.pods().get("ours").await.unwrap().status.unwrap();
        if status.phase.as_deref() == Some("Succeeded") {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    room.lab.collect_diagnostics(dir.path()).await.unwrap();
    let log = dir.path().join(format!("pods/{}_ours_main.log", room.namespace));
    assert!(std::fs::read_to_string(log).unwrap().contains("Usage"));
    for name in [
        "events.txt",
        "volumes.yaml",
        "components/kubelet@lab-1.log",
        "audit/audit.log",
        "diagnosis.txt",
    ] {
        let size = std::fs::metadata(dir.path().join(name)).unwrap().len();
        assert!(size > 0, "{name} is empty");
    }
    room.close().await;
}
