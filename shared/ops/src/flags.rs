//! Flags that all our programs share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use clap::{Args, ValueEnum};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line, for collectors.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Logging flags.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// Format of log lines.
    #[arg(long, env = "MSARS_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Filter in the syntax of tracing's `EnvFilter`, such as `info,kube=warn`.
    #[arg(long, env = "MSARS_LOG", default_value = "info")]
    pub log_filter: String,
}

/// Flags of the admin server.
#[derive(Args, Clone, Debug)]
pub struct AdminArgs {
    /// Address of `/livez`, `/readyz` and `/metrics`.
    #[arg(long, env = "MSARS_ADMIN_ADDR", value_parser = listening, default_value = "[::]:8080")]
    pub admin_addr: SocketAddr,
}

/// Reads where to listen. `[::]` takes IPv4 as well; on a machine without IPv6 it is `0.0.0.0`.
pub fn listening(text: &str) -> Result<SocketAddr, String> {
    let at = text
        .parse::<SocketAddr>()
        .map_err(|_no_address| format!("`{text}`, expected an address and a port: [::]:8080"))?;
    let ipv6 = || TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    Ok(within_reach(at, ipv6))
}

/// The same address, but `0.0.0.0` for `[::]` where there is no IPv6.
fn within_reach(at: SocketAddr, ipv6: impl FnOnce() -> bool) -> SocketAddr {
    if at.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !ipv6() {
        (Ipv4Addr::UNSPECIFIED, at.port()).into()
    } else {
        at
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use clap::Parser;

    use super::{AdminArgs, LogArgs, LogFormat, within_reach};

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        log: LogArgs,
        #[command(flatten)]
        admin: AdminArgs,
    }

    #[test]
    fn flags_parse_and_bad_values_are_refused() {
        let argv = ["x", "--log-format", "text", "--admin-addr", "127.0.0.1:9"];
        let program = Program::try_parse_from(argv).unwrap();
        assert_eq!(program.log.log_format, LogFormat::Text);
        assert_eq!(program.admin.admin_addr.port(), 9);
        assert!(Program::try_parse_from(["x", "--log-format", "xml"]).is_err());
        assert!(Program::try_parse_from(["x", "--admin-addr", "8080"]).is_err());
    }

    #[test]
    fn where_nothing_is_said_ipv4_is_answered_too() {
        let mut at = Program::try_parse_from(["x"]).unwrap().admin.admin_addr;
        assert_eq!(at.port(), 8080);
        at.set_port(0);
        let listener = TcpListener::bind(at).unwrap();
        let port = listener.local_addr().unwrap().port();
        let caller = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let (_, from) = listener.accept().unwrap();
        assert_eq!(from.port(), caller.local_addr().unwrap().port());
    }

    #[test]
    fn without_ipv6_only_what_means_every_address_changes() {
        for (at, ipv6, wanted) in [
            ("[::]:8080", true, "[::]:8080"),
            ("[::]:8080", false, "0.0.0.0:8080"),
            ("[::1]:8080", false, "[::1]:8080"),
            ("0.0.0.0:8080", false, "0.0.0.0:8080"),
            ("127.0.0.1:8080", true, "127.0.0.1:8080"),
        ] {
            let found = within_reach(at.parse().unwrap(), || ipv6);
            assert_eq!(found.to_string(), wanted, "{at} {ipv6}");
        }
    }
}
