//! SIGINT, SIGTERM and SIGHUP as a question that every wait asks, so that what was started is stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// Whether the run was told to end; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on, in a thread of its own, until the process ends.
    ///
    /// # Errors
    /// When signals cannot be listened to.
    pub fn listen() -> Result<Self> {
        let told = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("signals")?;
        let (mut int, mut term, mut hup) = {
            let _entered = runtime.enter();
            (
                signal(SignalKind::interrupt()).context("SIGINT")?,
                signal(SignalKind::terminate()).context("SIGTERM")?,
                signal(SignalKind::hangup()).context("SIGHUP")?,
            )
        };
        let flag = told.clone();
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                    _ = hup.recv() => {}
                }
                flag.tell();
                // Further signals are swallowed: the way down must not be cut short.
                loop {
                    tokio::select! {
                        _ = int.recv() => {}
                        _ = term.recv() => {}
                        _ = hup.recv() => {}
                    }
                }
            });
        });
        Ok(told)
    }

    /// Says that the run is to end.
    pub fn tell(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// # Errors
    /// When the run was told to end.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::SeqCst) {
            bail!("interrupted");
        }
        Ok(())
    }
}
