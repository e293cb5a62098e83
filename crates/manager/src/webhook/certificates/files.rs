//! A certificate that somebody else keeps in files, such as cert-manager in a mounted Secret.

use std::path::Path;
use std::time::Duration;

use csm_runtime::error::chain;
use csm_runtime::readiness::Readiness;
use csm_runtime::tls::{BadCertificate, Certificate};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::READY;

/// The kubelet takes up to a minute to bring a changed Secret into a pod; some seconds more do not matter. Files are read
/// rather than watched: a kubelet changes them by changing a symbolic link.
const LOOK: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
enum Trouble {
    #[error("cannot read {path}")]
    Read {
        path: String,
        #[source]
        error: std::io::Error,
    },
    #[error("cannot serve with tls.crt and tls.key of {folder}")]
    Serve {
        folder: String,
        #[source]
        error: BadCertificate,
    },
}

/// Serves with `tls.crt` and `tls.key` of a folder as they are, until `stop`.
pub(super) async fn keep(folder: &Path, certificate: &Certificate, readiness: &Readiness, stop: &CancellationToken) {
    let mut served = None;
    let mut told = String::new();
    loop {
        match look(folder, certificate, &mut served).await {
            Ok(changed) => {
                if changed {
                    tracing::info!(folder = %folder.display(), "serving webhooks with a new certificate");
                    readiness.done(READY);
                }
                told = String::new();
            }
            Err(trouble) => {
                let text = chain(&trouble);
                if served.is_none() {
                    readiness.wait_for(READY, &text);
                }
                if told != text {
                    tracing::warn!(error = text, "no new certificate for the webhooks; trying again");
                    told = text;
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

type Pair = (Vec<u8>, Vec<u8>);

/// Whether there was something new. Between the two reads the files may change: then they do not belong together, and
/// the next look finds both.
async fn look(folder: &Path, certificate: &Certificate, served: &mut Option<Pair>) -> Result<bool, Trouble> {
    let pair = (read(&folder.join("tls.crt")).await?, read(&folder.join("tls.key")).await?);
    if served.as_ref() == Some(&pair) {
        return Ok(false);
    }
    certificate.install(&pair.0, &pair.1).map_err(|error| Trouble::Serve {
        folder: folder.display().to_string(),
        error,
    })?;
    *served = Some(pair);
    Ok(true)
}

async fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    tokio::fs::read(path).await.map_err(|error| Trouble::Read {
        path: path.display().to_string(),
        error,
    })
}
