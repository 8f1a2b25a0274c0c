//! The thread that writes the log of decisions: no tick waits for the disk, or for whoever reads the program's output.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

use super::record::{Line, Log};

/// Hand-overs that may wait: two minutes of ticks, less where the reflex grows.
const WAITING: usize = 8;

/// Hands lines to the thread.
#[derive(Debug)]
pub struct Recorder {
    ticks: SyncSender<Vec<Line>>,
    ended: oneshot::Receiver<()>,
}

impl Recorder {
    /// Starts the thread.
    pub fn start(mut log: Log) -> Result<Self, std::io::Error> {
        Self::by(move |line| log.write(line))
    }

    /// Starts the thread with another way of writing.
    pub(super) fn by(
        write: impl FnMut(&Line) -> Result<(), std::io::Error> + Send + 'static,
    ) -> Result<Self, std::io::Error> {
        let (ticks, received) = sync_channel(WAITING);
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("decisions".into())
            .spawn(move || {
                work(write, &received);
                // Nobody waits any more: the program has ended.
                let _late = end.send(());
            })?;
        Ok(Self { ticks, ended })
    }

    /// Hands the lines of one tick or look over; false when too many wait already, and these are lost.
    pub fn record(&self, lines: Vec<Line>) -> bool {
        self.ticks.try_send(lines).is_ok()
    }

    /// Waits until everything is written, at most for `within`; whether it was.
    pub async fn end(self, within: Duration) -> bool {
        drop(self.ticks);
        matches!(tokio::time::timeout(within, self.ended).await, Ok(Ok(())))
    }
}

fn work(mut write: impl FnMut(&Line) -> Result<(), std::io::Error>, ticks: &Receiver<Vec<Line>>) {
    while let Ok(lines) = ticks.recv() {
        // After a failure, the others handed over with it would fail likewise.
        if let Err(error) = lines.iter().try_for_each(&mut write) {
            tracing::warn!(%error, "decisions of a tick were not logged");
        }
    }
}
