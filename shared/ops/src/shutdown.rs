//! An orderly end: one signal, one watch channel, every task joined.

use std::{collections::BTreeSet, future::Future, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

/// Why a program ended other than by request.
#[derive(Debug, thiserror::Error)]
pub enum ShutdownError {
    /// The signal handlers could not be installed.
    #[error("signal handlers: {0}")]
    Signal(#[from] std::io::Error),
    /// A task ended, or panicked, before anybody asked for the end.
    #[error("task {0} ended early")]
    Early(String),
    /// Tasks were still running when the grace was over; they were aborted.
    #[error("tasks still running after the grace: {0}")]
    Late(String),
}

impl ShutdownError {
    /// The metric label of this error.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Signal(_) => "system",
            Self::Early(_) => "task_early",
            Self::Late(_) => "task_late",
        }
    }
}

/// The tasks of a program and the channel that ends them.
#[derive(Debug)]
pub struct Tasks {
    stop: watch::Sender<bool>,
    running: BTreeSet<&'static str>,
    set: JoinSet<&'static str>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            stop: watch::Sender::new(false),
            running: BTreeSet::new(),
            set: JoinSet::new(),
        }
    }
}

impl Tasks {
    /// A channel that turns true when the end is asked for.
    pub fn stop(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Starts a task that runs until the stop channel turns true. Names are unique.
    pub fn spawn<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.running.insert(name);
        self.set.spawn(async move {
            task.await;
            name
        });
    }

    /// Runs until SIGTERM, SIGINT or the early end of a task; then ends all within `grace`.
    pub async fn run(self, grace: Duration) -> Result<(), ShutdownError> {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let asked = async move {
            tokio::select! { _ = term.recv() => (), _ = int.recv() => () }
        };
        self.run_until(asked, grace).await
    }

    /// As [`Tasks::run`], with the caller's own wish to end.
    pub async fn run_until(
        mut self,
        asked: impl Future<Output = ()>,
        grace: Duration,
    ) -> Result<(), ShutdownError> {
        let early = tokio::select! {
            () = asked => None,
            Some(ended) = self.set.join_next() => Some(match ended {
                Ok(name) => { self.running.remove(name); name.to_owned() }
                Err(error) => error.to_string(),
            }),
        };
        self.stop.send_replace(true);
        let joined = tokio::time::timeout(grace, async {
            while let Some(ended) = self.set.join_next().await {
                match ended {
                    Ok(name) => {
                        self.running.remove(name);
                    }
                    Err(error) => tracing::error!(%error, "task failed while ending"),
                }
            }
        })
        .await;
        if let Some(name) = early {
            return Err(ShutdownError::Early(name));
        }
        if joined.is_err() {
            let names: Vec<_> = self.running.iter().copied().collect();
            self.set.shutdown().await;
            return Err(ShutdownError::Late(names.join(", ")));
        }
        Ok(())
    }
}

/// Ends when the channel turns true, or when its sender is gone.
pub async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error says that the sender is gone, which also means the end.
    drop(stop.wait_for(|stop| *stop).await);
}

#[cfg(test)]
mod tests {
    use std::{future, time::Duration};

    use super::{Tasks, stopped};

    const GRACE: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn every_task_is_told_and_joined() {
        let mut tasks = Tasks::default();
        let (sender, mut receiver) = tokio::sync::mpsc::channel(2);
        for name in ["a", "b"] {
            let (stop, sender) = (tasks.stop(), sender.clone());
            tasks.spawn(name, async move {
                stopped(stop).await;
                sender.send(name).await.unwrap();
            });
        }
        tasks.run_until(future::ready(()), GRACE).await.unwrap();
        assert!(receiver.try_recv().is_ok() && receiver.try_recv().is_ok());
    }

    #[tokio::test]
    async fn early_end_and_late_end_are_errors() {
        let mut tasks = Tasks::default();
        tasks.spawn("brief", future::ready(()));
        let error = tasks.run_until(future::pending(), GRACE).await.unwrap_err();
        assert_eq!(error.to_string(), "task brief ended early");

        let mut tasks = Tasks::default();
        tasks.spawn("stubborn", future::pending());
        let error = tasks.run_until(future::ready(()), GRACE).await.unwrap_err();
        assert_eq!(error.category(), "task_late");
        assert!(error.to_string().ends_with(": stubborn"));
    }
}
