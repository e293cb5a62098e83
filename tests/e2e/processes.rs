//! The manager's processes: a pod has one after the other, and to the API server they all look the same.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_testkit::wait::looks;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use tokio_util::task::AbortOnDropHandle;

use crate::manager::{Manager, process_of};

/// No process of the manager is known to live shorter than this.
const LOOK: Duration = Duration::from_millis(250);
/// What the kernel counts a process's begin in, the same on all architectures that the lab runs on (proc(5), `USER_HZ`).
const TICKS_PER_SECOND: i64 = 100;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pod: String,
    number: i32,
    /// By the kernel, to the hundredth of a second.
    began: Timestamp,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "process {} of {} ({})",
            self.number,
            self.pod,
            self.began.strftime("%H:%M:%S%.2f")
        )
    }
}

/// All that there were since it was made.
pub struct Processes {
    seen: Arc<Mutex<Vec<Process>>>,
    _task: AbortOnDropHandle<()>,
}

impl Processes {
    /// Begins to look for them.
    pub fn watch(manager: &Arc<Manager>) -> Self {
        let seen = Arc::new(Mutex::new(Vec::<Process>::new()));
        let (manager, kept) = (manager.clone(), seen.clone());
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut looks = looks(LOOK);
            loop {
                looks.tick().await;
                for pod in manager.pods().await.unwrap_or_default() {
                    let Some(uid) = pod.uid() else { continue };
                    // Between two processes a pod has none.
                    let Ok(process) = process_of(&uid) else { continue };
                    let number = process.as_raw_nonzero().get();
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    if kept.iter().any(|known| known.number == number) {
                        continue;
                    }
                    // It may have ended since.
                    let Ok(began) = began(number) else { continue };
                    kept.push(Process {
                        pod: pod.name_any(),
                        number,
                        began,
                    });
                }
            }
        }));
        Self { seen, _task: task }
    }

    /// The process of a pod that sent what the API server received then: the last one that had begun.
    pub fn sent(&self, pod: &str, received: Timestamp) -> Result<Process> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = seen.iter().filter(|process| process.pod == pod && process.began <= received);
        let last = begun.max_by_key(|process| process.began);
        last.cloned()
            .with_context(|| format!("no process of {pod} had begun at {received}: {seen:?}"))
    }
}

/// When a process began.
fn began(process: i32) -> Result<Timestamp> {
    let (now, uptime) = (Timestamp::now(), std::fs::read_to_string("/proc/uptime")?);
    let up: f64 = uptime.split(' ').next().unwrap_or_default().parse().context("/proc/uptime")?;
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path)?;
    // The name, in brackets, is the second field and may hold anything; the begin is the twenty-second.
    let (_, rest) = stat.rsplit_once(") ").with_context(|| format!("{path}: {stat}"))?;
    let ticks: i64 = rest
        .split(' ')
        .nth(19)
        .unwrap_or_default()
        .parse()
        .with_context(|| format!("{path}: {stat}"))?;
    let age = SignedDuration::from_secs_f64(up) - SignedDuration::from_millis(ticks * 1000 / TICKS_PER_SECOND);
    ensure!(!age.is_negative(), "{path} begins {age:?} from now");
    Ok(now.checked_sub(age)?)
}
