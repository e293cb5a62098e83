//! Decides which faults hit which call, and remembers the calls.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::faults::{Action, Call, Code, Fault, Refusal, Rpc, VolumeRef};

/// How many calls are remembered.
const CALLS_KEPT: usize = 4096;

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

    /// Clears one fault, or all. Calls that hang on them, or are delayed by them, go on.
    pub fn clear(&self, name: Option<&str>) -> anyhow::Result<()> {
        self.change(|armed| armed.retain(|a| name.is_some_and(|name| a.fault.name != name)))
    }

    /// What is set.
    pub fn list(&self) -> Vec<Fault> {
        self.state().armed.iter().map(|armed| armed.fault.clone()).collect()
    }

    /// The last calls, oldest first. Of the calls for figures only those that a fault hit.
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
                    let delay = Duration::try_from_secs_f64(seconds).unwrap_or_default();
                    let _ = tokio::time::timeout(delay, self.until_cleared(&fault)).await;
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
        // Kubelets ask for figures all the time: what went well would push out everything else.
        if rpc == Rpc::NodeGetVolumeStats && hits.is_empty() {
            return hits;
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
    use super::super::faults::Scope;
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
