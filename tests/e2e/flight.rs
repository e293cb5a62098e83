//! Growth that is held in flight: calls of the storage driver that do not return until they are let go.

use anyhow::{Context as _, Result};
use csm_testkit::csi::control;
use csm_testkit::csi::faults::{Action, Code, Fault, Rpc, Scope};
use jiff::Timestamp;

use crate::stage::{SOON, Stage};
use csm_testkit::wait::within;

/// A call of the driver that hangs or fails, for all PVCs of a namespace. What a test leaves set is cleared after it.
pub struct Hold {
    faults: control::Client,
    name: String,
}

impl Hold {
    /// From now on the call does not return.
    pub async fn set(stage: &Stage, rpc: Rpc) -> Result<Self> {
        Self::with(stage, rpc, Action::Hang { rpc }).await
    }

    /// From now on kubelets have no figures of the volumes.
    pub async fn no_figures(stage: &Stage) -> Result<Self> {
        let rpc = Rpc::NodeGetVolumeStats;
        let action = Action::Fail {
            rpc,
            code: Code::Unimplemented,
            message: "no figures today".to_owned(),
            times: None,
        };
        Self::with(stage, rpc, action).await
    }

    async fn with(stage: &Stage, rpc: Rpc, action: Action) -> Result<Self> {
        let faults = stage.lab.csi_faults();
        let name = format!("{}-{rpc:?}", stage.namespace);
        let fault = Fault {
            name: name.clone(),
            scope: Scope::claim(format!("{}/", stage.namespace)),
            action,
        };
        faults.set(fault).await.context("hold the driver's call")?;
        Ok(Self { faults, name })
    }

    /// Lets it go on. A caller that has given up in between tries again by itself: external-resizer within 30 s.
    pub async fn release(self) -> Result<()> {
        self.faults.clear(&self.name).await.context("let the driver's call go")
    }
}

impl Stage {
    /// Waits until a PVC is seen, after a moment, with this word in `status.allocatedResourceStatuses`. Returns its name.
    pub async fn reached(&self, word: &str, after: Timestamp) -> Result<String> {
        within(SOON, &format!("a PVC reaches {word}"), async || {
            let seen = self.journal.all();
            let found = seen
                .into_iter()
                .rev()
                .find(|s| s.at > after && s.expansion.as_deref() == Some(word));
            Ok(found.map(|s| s.name))
        })
        .await
    }
}
