//! Faults: what the driver does wrong on demand.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// How many calls are remembered.
const CALLS_KEPT: usize = 4096;

/// The calls that faults can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rpc {
    /// A volume is made.
    CreateVolume,
    /// A volume is deleted.
    DeleteVolume,
    /// The controller's half of an expansion.
    ControllerExpandVolume,
    /// A volume is attached, formatted if new, and mounted on its node.
    NodeStageVolume,
    /// A volume is bound into a pod.
    NodePublishVolume,
    /// The node's half of an expansion: the filesystem.
    NodeExpandVolume,
    /// The kubelet asks for figures. A hang freezes them; an error removes the volume from the kubelet's list.
    NodeGetVolumeStats,
}

/// The gRPC codes that a fault can answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Code {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
}

impl From<Code> for tonic::Code {
    fn from(code: Code) -> Self {
        match code {
            Code::Cancelled => Self::Cancelled,
            Code::Unknown => Self::Unknown,
            Code::InvalidArgument => Self::InvalidArgument,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::PermissionDenied => Self::PermissionDenied,
            Code::ResourceExhausted => Self::ResourceExhausted,
            Code::FailedPrecondition => Self::FailedPrecondition,
            Code::Aborted => Self::Aborted,
            Code::OutOfRange => Self::OutOfRange,
            Code::Unimplemented => Self::Unimplemented,
            Code::Internal => Self::Internal,
            Code::Unavailable => Self::Unavailable,
        }
    }
}

/// Which volumes a fault concerns; everything that is given must match. Empty: all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Exactly this volume's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Claims whose `namespace/name` begins with this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// Exactly this storage class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
}

impl Scope {
    /// Claims whose `namespace/name` begins with `prefix`.
    pub fn claim(prefix: impl Into<String>) -> Self {
        Self {
            claim: Some(prefix.into()),
            ..Self::default()
        }
    }

    /// All volumes of one storage class.
    pub fn storage_class(name: impl Into<String>) -> Self {
        Self {
            storage_class: Some(name.into()),
            ..Self::default()
        }
    }

    fn covers(&self, volume: &VolumeRef) -> bool {
        self.volume.as_ref().is_none_or(|id| *id == volume.id)
            && self.claim.as_ref().is_none_or(|prefix| volume.claim.starts_with(prefix.as_str()))
            && self.storage_class.as_ref().is_none_or(|class| *class == volume.storage_class)
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// The call does not return until the fault is cleared or the caller gives up.
    Hang {
        /// Which call.
        rpc: Rpc,
    },
    /// The call takes longer, and then goes on.
    Delay {
        /// Which call.
        rpc: Rpc,
        /// How much longer.
        seconds: f64,
    },
    /// The call fails.
    Fail {
        /// Which call.
        rpc: Rpc,
        /// The gRPC code of the answer.
        code: Code,
        /// The text of the answer.
        message: String,
        /// How often; without it for ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        times: Option<u32>,
    },
    /// Volumes larger than this are infeasible: `OutOfRange`, at creation and expansion.
    LargestSize {
        /// In bytes.
        bytes: u64,
    },
    /// All volumes in scope together: `ResourceExhausted` beyond it, at creation and expansion.
    PoolCapacity {
        /// In bytes.
        bytes: u64,
    },
    /// The shortest time between two expansions of one volume, as cloud disks have it: `Internal` before.
    CoolDown {
        /// In seconds.
        seconds: u64,
    },
}

/// One fault, by name: setting a name again replaces it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// To clear it by.
    pub name: String,
    /// Whom it concerns.
    #[serde(default)]
    pub scope: Scope,
    /// What it does.
    #[serde(flatten)]
    pub action: Action,
}

/// The volume that a call is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRef {
    /// Its id.
    pub id: String,
    /// Its claim, `namespace/name`.
    pub claim: String,
    /// Its storage class.
    pub storage_class: String,
}

/// The answer that a fault gives in place of the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// gRPC code.
    pub code: Code,
    /// Text.
    pub message: String,
}

impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> Self {
        tonic::Status::new(refusal.code.into(), refusal.message)
    }
}

/// A call that reached the driver, for tests that count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Milliseconds since the epoch, at its begin.
    pub at_ms: u64,
    /// Which.
    pub rpc: Rpc,
    /// About what.
    pub volume: VolumeRef,
    /// Where: a node's name, or `controller`.
    pub node: String,
    /// The fault that hit it first.
    pub fault: Option<String>,
}

#[derive(Clone, Debug)]
struct Armed {
    fault: Fault,
    used: u32,
}

#[derive(Default)]
struct State {
    armed: Vec<Armed>,
    calls: VecDeque<Call>,
}

/// All faults of one driver. They are kept in a file, so that they outlive the driver's process.
pub struct Engine {
    state: Mutex<State>,
    changed: Notify,
    file: Option<PathBuf>,
}

impl Engine {
    /// With what `file` holds. A file that cannot be read is an error: a test must not run without its faults.
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        let faults: Vec<Fault> = match std::fs::read(file) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|e| anyhow::anyhow!("{} is not a list of faults ({e}): delete it", file.display()))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(anyhow::anyhow!("read {}: {error}", file.display())),
        };
        let armed = faults.into_iter().map(|fault| Armed { fault, used: 0 }).collect();
        let state = Mutex::new(State {
            armed,
            calls: VecDeque::new(),
        });
        Ok(Self {
            state,
            changed: Notify::new(),
            file: Some(file.to_owned()),
        })
    }

    /// Without a file.
    pub fn in_memory() -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            file: None,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Armed>)) -> anyhow::Result<()> {
        let mut state = self.state();
        change(&mut state.armed);
        if let Some(file) = &self.file {
            let faults: Vec<&Fault> = state.armed.iter().map(|armed| &armed.fault).collect();
            let new = file.with_extension("new");
            std::fs::write(&new, serde_json::to_vec_pretty(&faults)?)?;
            std::fs::rename(&new, file)?;
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Sets a fault, in place of one of the same name. The count of its uses begins anew.
    pub fn set(&self, fault: Fault) -> anyhow::Result<()> {
        self.change(|armed| {
            armed.retain(|a| a.fault.name != fault.name);
            armed.push(Armed { fault, used: 0 });
        })
    }

    /// Clears one fault, or all. Calls that hang on them go on.
    pub fn clear(&self, name: Option<&str>) -> anyhow::Result<()> {
        self.change(|armed| armed.retain(|a| name.is_some_and(|name| a.fault.name != name)))
    }

    /// What is set.
    pub fn list(&self) -> Vec<Fault> {
        self.state().armed.iter().map(|armed| armed.fault.clone()).collect()
    }

    /// The last calls, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.iter().cloned().collect()
    }

    /// To be called at the begin of each call: waits, or refuses, as the faults want it.
    pub async fn enter(&self, rpc: Rpc, volume: &VolumeRef, node: &str) -> Result<(), Refusal> {
        let hits = self.hits(rpc, volume, node);
        for fault in hits {
            match fault.action {
                Action::Hang { .. } => self.until_cleared(&fault).await,
                Action::Delay { seconds, .. } => {
                    tokio::time::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default()).await;
                }
                Action::Fail { code, message, .. } => return Err(Refusal { code, message }),
                Action::LargestSize { .. } | Action::PoolCapacity { .. } | Action::CoolDown { .. } => {}
            }
        }
        Ok(())
    }

    /// The faults that hit this call; counts the call and their uses.
    fn hits(&self, rpc: Rpc, volume: &VolumeRef, node: &str) -> Vec<Fault> {
        let mut state = self.state();
        let mut hits = Vec::new();
        for armed in &mut state.armed {
            let (of, left) = match &armed.fault.action {
                Action::Hang { rpc } | Action::Delay { rpc, .. } => (rpc, true),
                Action::Fail { rpc, times, .. } => (rpc, times.is_none_or(|times| armed.used < times)),
                _ => continue,
            };
            if *of == rpc && left && armed.fault.scope.covers(volume) {
                armed.used = armed.used.saturating_add(1);
                let fails = matches!(armed.fault.action, Action::Fail { .. });
                hits.push(armed.fault.clone());
                if fails {
                    break;
                }
            }
        }
        if state.calls.len() == CALLS_KEPT {
            state.calls.pop_front();
        }
        state.calls.push_back(Call {
            at_ms: now().as_millis().try_into().unwrap_or(u64::MAX),
            rpc,
            volume: volume.clone(),
            node: node.to_owned(),
            fault: hits.first().map(|fault| fault.name.clone()),
        });
        hits
    }

    async fn until_cleared(&self, fault: &Fault) {
        loop {
            // Registered before the look, so that no change is missed between both.
            let changed = self.changed.notified();
            if !self.state().armed.iter().any(|armed| armed.fault == *fault) {
                return;
            }
            changed.await;
        }
    }

    /// May this volume have this size? `others` are the other volumes and their sizes.
    pub fn allow_size<'a>(
        &self,
        volume: &VolumeRef,
        bytes: u64,
        others: impl Iterator<Item = (VolumeRef, u64)> + Clone + 'a,
    ) -> Result<(), Refusal> {
        for armed in self.state().armed.iter().filter(|armed| armed.fault.scope.covers(volume)) {
            match armed.fault.action {
                Action::LargestSize { bytes: largest } if bytes > largest => {
                    return Err(Refusal {
                        code: Code::OutOfRange,
                        message: format!("{bytes} bytes are more than the largest volume of {largest} bytes"),
                    });
                }
                Action::PoolCapacity { bytes: pool } => {
                    let scope = &armed.fault.scope;
                    let used: u64 = others
                        .clone()
                        .filter(|(other, _)| scope.covers(other))
                        .map(|(_, bytes)| bytes)
                        .sum();
                    if used.saturating_add(bytes) > pool {
                        return Err(Refusal {
                            code: Code::ResourceExhausted,
                            message: format!("the pool of {pool} bytes has {used} in use: {bytes} do not fit"),
                        });
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// May this volume be expanded now, after an expansion at `last` (seconds since the epoch, 0 is never)?
    pub fn allow_expand(&self, volume: &VolumeRef, last: u64) -> Result<(), Refusal> {
        for armed in self.state().armed.iter().filter(|armed| armed.fault.scope.covers(volume)) {
            if let Action::CoolDown { seconds } = armed.fault.action {
                let again = last.saturating_add(seconds);
                let now = now().as_secs();
                if last > 0 && now < again {
                    return Err(Refusal {
                        code: Code::Internal,
                        message: format!("VolumeModificationRateExceeded: wait {} s more", again - now),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Since the epoch.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(claim: &str, class: &str) -> VolumeRef {
        VolumeRef {
            id: format!("pvc-{}", claim.replace('/', "-")),
            claim: claim.into(),
            storage_class: class.into(),
        }
    }

    fn fault(name: &str, scope: Scope, action: Action) -> Fault {
        Fault {
            name: name.into(),
            scope,
            action,
        }
    }

    #[tokio::test]
    async fn a_failure_counts_down_and_keeps_to_its_scope() {
        let engine = Engine::in_memory();
        let fail = Action::Fail {
            rpc: Rpc::NodeExpandVolume,
            code: Code::Internal,
            message: "no".into(),
            times: Some(2),
        };
        engine.set(fault("f", Scope::claim("shop/"), fail)).unwrap();
        let (mine, other) = (volume("shop/a", "loop"), volume("crm/a", "loop"));
        let expected = Err(Refusal {
            code: Code::Internal,
            message: "no".into(),
        });
        assert_eq!(engine.enter(Rpc::NodeExpandVolume, &mine, "n").await, expected);
        assert_eq!(engine.enter(Rpc::NodeExpandVolume, &other, "n").await, Ok(()));
        assert_eq!(engine.enter(Rpc::NodeStageVolume, &mine, "n").await, Ok(()));
        assert_eq!(engine.enter(Rpc::NodeExpandVolume, &mine, "n").await, expected);
        assert_eq!(engine.enter(Rpc::NodeExpandVolume, &mine, "n").await, Ok(()));
        assert_eq!(engine.calls().iter().filter(|call| call.fault.is_some()).count(), 2);
    }

    #[tokio::test]
    async fn a_hang_ends_when_cleared() {
        let engine = std::sync::Arc::new(Engine::in_memory());
        engine
            .set(fault("h", Scope::default(), Action::Hang { rpc: Rpc::CreateVolume }))
            .unwrap();
        let waiting = engine.clone();
        let task = tokio::spawn(async move { waiting.enter(Rpc::CreateVolume, &volume("a/b", "loop"), "n").await });
        while engine.calls().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(!task.is_finished());
        engine.clear(Some("h")).unwrap();
        assert_eq!(task.await.unwrap(), Ok(()));
    }

    #[test]
    fn sizes_and_pools_are_limited() {
        let engine = Engine::in_memory();
        engine
            .set(fault("l", Scope::storage_class("loop"), Action::LargestSize { bytes: 10 }))
            .unwrap();
        engine
            .set(fault("p", Scope::claim("shop/"), Action::PoolCapacity { bytes: 12 }))
            .unwrap();
        let others = [(volume("shop/b", "loop"), 5), (volume("crm/c", "loop"), 100)];
        let size = |claim: &str, bytes| engine.allow_size(&volume(claim, "loop"), bytes, others.iter().cloned());
        assert_eq!(size("shop/a", 7), Ok(()));
        assert_eq!(size("shop/a", 8).unwrap_err().code, Code::ResourceExhausted);
        assert_eq!(size("crm/a", 11).unwrap_err().code, Code::OutOfRange);
        assert_eq!(size("crm/a", 10), Ok(()));
    }

    #[test]
    fn faults_outlive_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("faults.json");
        let cool = fault(
            "c",
            Scope {
                volume: Some("pvc-1".into()),
                ..Scope::default()
            },
            Action::CoolDown { seconds: 9 },
        );
        Engine::open(&file).unwrap().set(cool.clone()).unwrap();
        let engine = Engine::open(&file).unwrap();
        assert_eq!(engine.list(), vec![cool]);
        let volume = VolumeRef {
            id: "pvc-1".into(),
            ..VolumeRef::default()
        };
        assert!(engine.allow_expand(&volume, 0).is_ok());
        assert_eq!(engine.allow_expand(&volume, now().as_secs()).unwrap_err().code, Code::Internal);
    }
}
