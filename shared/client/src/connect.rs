//! Two ways to talk to the API server.

use std::time::Duration;

use kube::{Client, Config};

/// Longest wait for an answer of the strict client: a connection that broke without a word would keep its caller for
/// minutes.
const ANSWERED: Duration = Duration::from_secs(15);

/// Clients of one program.
#[derive(Clone)]
pub struct Clients {
    /// Repeats requests that the server refused for being busy: for reads and watches.
    pub retrying: Client,
    /// Sends every request once: for writes, whose caller decides anew before repeating.
    pub strict: Client,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients") // a kube client has no Debug
    }
}

/// Clients for the cluster that `config` names.
pub fn clients(config: Config) -> Result<Clients, kube::Error> {
    let mut strict = config.clone();
    strict.default_retry = false;
    strict.read_timeout = Some(ANSWERED);
    // From the request on, not from when the pooled connection fell silent.
    strict.reset_reader_on_write = true;
    Ok(Clients {
        retrying: Client::try_from(config)?,
        strict: Client::try_from(strict)?,
    })
}
