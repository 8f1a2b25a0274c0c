//! Logging to standard error.

use tracing_subscriber::EnvFilter;

use crate::flags::{LogArgs, LogFormat};

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter of `--log-filter` does not parse.
    #[error("log filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// A global subscriber exists already.
    #[error("logging was started twice: {0}")]
    Twice(String),
}

impl LoggingError {
    /// The metric label of this error.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Filter(_) => "flags",
            Self::Twice(_) => "bug",
        }
    }
}

/// Starts logging; call once, first thing in `main`.
pub fn init(args: &LogArgs) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(&args.log_filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    }
    .map_err(|error| LoggingError::Twice(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{LogArgs, LogFormat, init};

    #[test]
    fn bad_filter_and_second_start_are_errors() {
        let args = |filter: &str| LogArgs {
            log_format: LogFormat::Json,
            log_filter: filter.to_owned(),
        };
        assert_eq!(init(&args("a=b=c")).unwrap_err().category(), "flags");
        init(&args("info")).unwrap();
        assert_eq!(init(&args("info")).unwrap_err().category(), "bug");
    }
}
