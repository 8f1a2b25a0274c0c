//! Flags that all our programs share.

use std::net::SocketAddr;

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
    #[arg(long, env = "MSARS_ADMIN_ADDR", default_value = "0.0.0.0:8080")]
    pub admin_addr: SocketAddr,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{AdminArgs, LogArgs, LogFormat};

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
    }
}
