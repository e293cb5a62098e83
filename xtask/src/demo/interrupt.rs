//! Ctrl-C, and its relatives: the first asks for an orderly end, the second ends at once. Either way no process stays:
//! children die with this program.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::terminal;

/// Tells of the first signal.
pub struct Interrupt(watch::Receiver<Option<u8>>);

impl Interrupt {
    /// From now on, signals no longer end this program by themselves.
    pub fn catch() -> Result<Self> {
        let catch = |kind| signal(kind).context("catch signals");
        let mut interrupt = catch(SignalKind::interrupt())?;
        let mut terminate = catch(SignalKind::terminate())?;
        let mut hangup = catch(SignalKind::hangup())?;
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            loop {
                // The shell's convention: 128 and the signal's number.
                let status = tokio::select! {
                    _ = interrupt.recv() => 130,
                    _ = terminate.recv() => 143,
                    _ = hangup.recv() => 129,
                };
                if sender.send_replace(Some(status)).is_some() {
                    terminal::restore();
                    std::process::exit(i32::from(status));
                }
            }
        });
        Ok(Self(receiver))
    }

    /// The exit status that the first signal asks for, once there was one.
    pub fn status(&self) -> Option<u8> {
        *self.0.borrow()
    }

    /// Waits for the first signal.
    pub async fn wait(&mut self) {
        // An error means that nobody listens for signals any more, so none will come.
        if self.0.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
