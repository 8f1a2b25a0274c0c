//! A relay that holds every answer back: this program started once more, inside the cluster's network.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The argument that makes this program the relay; then come where it listens, whom it asks, and milliseconds.
pub const FLAG: &str = "--late";
/// What it prints for every answer that it held back.
pub const HELD: &str = "answered late";

/// Relays until it is killed.
pub fn relay(args: &[String]) -> Result<()> {
    let [listen, upstream, ms] = args else {
        anyhow::bail!("expected: {FLAG} LISTEN UPSTREAM MILLISECONDS; found: {args:?}");
    };
    let delay = Duration::from_millis(ms.parse()?);
    let listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
    for client in listener.incoming() {
        let (client, upstream) = (client?, upstream.clone());
        // A connection that breaks is its two ends' matter.
        std::thread::spawn(move || drop(pass(client, &upstream, delay)));
    }
    Ok(())
}

fn pass(client: TcpStream, upstream: &str, delay: Duration) -> std::io::Result<()> {
    let server = TcpStream::connect(upstream)?;
    let asked = Arc::new(AtomicBool::new(false));
    let (mut from, mut to, flag) = (client.try_clone()?, server.try_clone()?, Arc::clone(&asked));
    let asking =
        std::thread::spawn(move || copy(&mut from, &mut to, || flag.store(true, Ordering::SeqCst)));
    let (mut from, mut to) = (server, client);
    // The first piece of an answer waits, the rest of it follows at once.
    let answered = copy(&mut from, &mut to, || {
        if asked.swap(false, Ordering::SeqCst) {
            std::thread::sleep(delay);
            println!("{HELD}");
        }
    });
    let _ = asking.join();
    answered
}

fn copy(from: &mut TcpStream, to: &mut TcpStream, mut before: impl FnMut()) -> std::io::Result<()> {
    let mut buffer = [0; 16 << 10];
    let outcome = loop {
        match from.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(read) => {
                before();
                if let Err(error) = to.write_all(&buffer[..read]) {
                    break Err(error);
                }
            }
            Err(error) => break Err(error),
        }
    };
    // Either end may be closed already.
    let _ = to.shutdown(Shutdown::Write);
    outcome
}
